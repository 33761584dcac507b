"""Nested shape layers: extents by hand, a cavity, and exact round trips of R / 2 layers."""

import chex
import jax
import numpy as np
import pytest

from dlcore.vision3d.shape_layers import decode_shape_layers, encode_shape_layers


def ball(side, radius):
    along = (np.arange(side) + 0.5) * 2 / side - 1
    x, y, z = np.meshgrid(along, along, along, indexing="ij")
    return x**2 + y**2 + z**2 <= radius**2


ENCODE = jax.jit(encode_shape_layers, static_argnums=1)
DECODE = jax.jit(decode_shape_layers)


def test_extents_by_hand():
    voxels = np.zeros((3, 3, 3))
    voxels[0, 1, 2] = voxels[2, 1, 2] = 1
    layers = ENCODE(voxels, 2)
    chex.assert_shape(layers, (2, 3, 2, 3, 3))
    expected = np.zeros((3, 2, 3, 3), int)
    expected[0, :, 1, 2] = 0, 3  # along x at (y, z) = (1, 2)
    expected[1, :, [0, 2], 2] = 1, 2  # along y at (x, z) = (0, 2) and (2, 2)
    expected[2, :, [0, 2], 1] = 2, 3
    np.testing.assert_array_equal(layers[0], expected)
    # Lines along y and z tell that the voxel between them is empty: nothing is left for the second layer.
    assert not np.asarray(layers[1]).any()
    np.testing.assert_array_equal(DECODE(layers), voxels > 0)


@pytest.mark.covers("TD-06")
def test_a_cavity_takes_a_second_layer():
    outer, cavity, core = ball(16, 0.9), ball(16, 0.5), ball(16, 0.3)
    batch = np.stack([outer, outer & ~cavity, outer & ~cavity | core])  # a ball in the cavity takes a third
    layers = np.array(ENCODE(batch, 3))
    np.testing.assert_array_equal(layers.any((-4, -3, -2, -1)), [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(DECODE(layers), batch)
    layers[:, 1:] = 0
    np.testing.assert_array_equal(DECODE(layers), np.stack([outer] * 3))
    assert layers[0, :2].size < outer.size  # 2 layers of 6 16² = 3,072 of 4,096 numbers


@pytest.mark.covers("TD-06")
def test_half_as_many_layers_as_voxels_along_a_side_hold_any_grid():
    voxels = np.random.default_rng(0).random((3, 8, 8, 8)) < 0.5
    layers = ENCODE(voxels, 4)
    np.testing.assert_array_equal(DECODE(layers), voxels)
    near, far = np.asarray(layers[..., 0, :, :]), np.asarray(layers[..., 1, :, :])  # [3, L, 3, R, R]
    assert ((far - near)[:, 1:] <= np.maximum((far - near)[:, :-1] - 2, 0)).all()  # both ends are left out


def test_bad_input_is_one_clear_line():
    with pytest.raises(ValueError, match=r"no cubes; allowed: \[..., R, R, R\]"):
        encode_shape_layers(np.zeros((4, 4, 2)))
