"""Surface distances by hand, with thick slices, and by all pairs of surface voxels."""

import numpy as np
import pytest

from dlcore.metrics.surface_distance import mean_surface_distance, surface_dice


def test_two_voxels_are_as_far_apart_as_the_spacing_says():
    a, b = np.zeros((2, 4, 4, 4), bool)
    a[0, 0, 0], b[2, 0, 1] = True, True
    # 2 slices of 3 mm and 1 pixel of 2 mm, in both directions: sqrt(6^2 + 2^2).
    distance = np.sqrt(40)
    assert mean_surface_distance(a, b, (3, 1, 2)) == pytest.approx(distance)
    assert surface_dice(a, b, 6.3, (3, 1, 2)) == 0
    assert surface_dice(a, b, 6.4, (3, 1, 2)) == 1


def test_distances_are_those_of_all_pairs_of_surface_voxels():
    a, b = np.zeros((2, 6, 7, 8), bool)
    a[1:5, 1:6, 2:6], b[2:6, 1:5, 1:8] = True, True
    inner_a, inner_b = np.zeros((2, 6, 7, 8), bool)
    # The border of the volume is a surface too: b touches slice 5 and column 7.
    inner_a[2:4, 2:5, 3:5], inner_b[3:5, 2:4, 2:7] = True, True
    points_a, points_b = (np.argwhere(mask) * (2.0, 1.0, 0.5) for mask in (a & ~inner_a, b & ~inner_b))
    pairs = np.linalg.norm(points_a[:, None] - points_b, axis=-1)
    distances = np.concatenate([pairs.min(1), pairs.min(0)])
    assert mean_surface_distance(a, b, (2, 1, 0.5)) == pytest.approx(distances.mean())
    assert surface_dice(a, b, 0.75, (2, 1, 0.5)) == pytest.approx((distances <= 0.75).mean())


def test_empty_masks():
    empty, full = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    assert np.isnan(mean_surface_distance(empty, empty))
    assert np.isnan(surface_dice(empty, empty, 1))
    assert mean_surface_distance(empty, full) == np.inf
    assert surface_dice(full, empty, 1) == 0
    assert mean_surface_distance(full, full) == 0
    assert surface_dice(full, full, 0) == 1
