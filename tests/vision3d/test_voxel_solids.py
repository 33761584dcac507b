"""Voxel grids of solids: volumes, poses and images by their formulas."""

import math

import chex
import numpy as np
import pytest

from dlcore.data.voxel_solids import SOLIDS, depth_map, occupancy, solid_volume, voxel_solids


@pytest.mark.parametrize("kind", SOLIDS)
def test_volumes_are_those_of_the_formulas_in_every_pose(kind):
    half_extents = np.array([0.5, 0.45, 0.6])
    voxels = occupancy(kind, half_extents, 32, yaw=0.7, tilt=0.3, center=(0.1, 0.0, -0.1))
    assert voxels.sum() * (2 / 32) ** 3 == pytest.approx(solid_volume(kind, half_extents), rel=0.02)


def test_a_box_has_its_voxels():
    # Centers lie at -0.875, -0.625, ...: |x| <= 0.5 holds for 4 of 8, |y| <= 0.25 for 2, |z| <= 0.75 for 6.
    voxels = occupancy("box", np.array([0.5, 0.25, 0.75]), 8)
    assert voxels.sum() == 4 * 2 * 6
    rows, columns, depth = (voxels.any(axes) for axes in ((1, 2), (0, 2), (0, 1)))
    assert [v.sum() for v in (rows, columns, depth)] == [6, 4, 2]  # z, x, y
    turned = occupancy("box", np.array([0.5, 0.25, 0.75]), 8, yaw=math.pi / 2)
    np.testing.assert_array_equal(turned, voxels.transpose(0, 2, 1))


def test_axes_are_rows_down_columns_right_depth_away():
    cone = occupancy("cone", np.array([0.8, 0.8, 0.8]), 16)
    counts = cone.sum((1, 2))
    assert counts[2:14].tolist() == sorted(counts[2:14])  # its tip is up, in the first rows
    ball = occupancy("sphere", np.array([0.3, 0.3, 0.3]), 16, center=(0.5, -0.5, 0.5))
    assert np.argwhere(ball).mean(0) == pytest.approx([3.5, 11.5, 3.5])  # high, to the right, near


def test_the_depth_map_is_the_first_occupied_voxel():
    voxels = np.zeros((1, 2, 4), bool)
    voxels[0, 0, 1:] = True
    np.testing.assert_array_equal(depth_map(voxels), [[0.75, 0]])  # the second of four planes; nothing


def test_a_seed_gives_the_same_solids_whatever_their_number():
    few, many = voxel_solids(2, 3, 8), voxel_solids(4, 3, 8)
    for name, array in few.arrays.items():
        np.testing.assert_array_equal(array, many.arrays[name][:2])
    chex.assert_shape(few.arrays["image"], (2, 16, 16, 1))
    assert few.arrays["image"].min() == 0
    assert few.arrays["image"].max() <= 1
    lit = few.arrays["image"][..., 0].reshape(2, 8, 2, 8, 2).max((2, 4)) > 0
    assert (lit | ~few.arrays["voxels"].any(-1)).all(), "an occupied line of sight is seen"


def test_bad_input():
    with pytest.raises(ValueError, match=r"resolution=0: out of range"):
        occupancy("box", np.ones(3), 0)
