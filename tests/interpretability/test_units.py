"""Top patches: fields by hand, and units that see nothing outside of their patch."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.interpretability.units import Reach, receptive_field, top_patches
from dlcore.weights.network import load_network


def two_convolutions(x):
    """3 x 3 at stride 2 with padding 1, then 3 x 3 without padding: 3 + 2 * 2 = 7 pixels from -1, every 2."""
    numbers = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, jnp.ones((3, 3, 1, 1)), (2, 2), [(1, 1)] * 2, dimension_numbers=numbers)
    return jax.lax.conv_general_dilated(
        jax.nn.relu(x), jnp.ones((3, 3, 1, 1)), (1, 1), "VALID", dimension_numbers=numbers
    )


def test_fields_by_hand_and_of_a_network_that_mixes_everything():
    assert receptive_field(two_convolutions, (1, 12, 16, 1)) == (Reach(2, -1, 5), Reach(2, -1, 5))
    with pytest.raises(ValueError, match="a place of its map sees all of the image"):
        receptive_field(lambda x: x - x.mean((1, 2), keepdims=True), (1, 8, 8, 1))


@pytest.mark.covers("VI-04")
def test_patches_of_windows_that_are_wider_than_high_are_cut_along_their_own_sides():
    """Rows 2 i - 1 to 2 i + 1, and columns j to j + 4: pixel (7, 3) is first seen at (3, 0)."""

    def wide(x):
        sides = {"window_strides": (2, 1), "padding": [(1, 1), (0, 0)], "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
        return jax.lax.conv_general_dilated(x, jnp.ones((3, 5, 1, 1)), **sides)

    images = np.random.default_rng(0).random((2, 12, 9, 1), np.float32)
    images[1, 7, 3] = 50
    reach = receptive_field(wide, images.shape)
    assert reach == (Reach(2, -1, 1), Reach(1, 0, 4))
    maps = np.zeros((2, 6, 5, 1), np.float32)
    maps[1, 3, 0], maps[0, 5, 4] = 9, 7
    found = top_patches(maps, images, 0, reach, count=2)
    np.testing.assert_array_equal(found.pixels[0], images[1, 5:8, :5])
    np.testing.assert_array_equal(found.pixels[1], images[0, 9:12, 4:9])
    np.testing.assert_array_equal(found.places, [[3, 0], [5, 4]])


@pytest.mark.covers("VI-04")
def test_patches_are_the_strongest_each_of_another_image_and_filled_outside():
    images = np.zeros((3, 12, 12, 1), np.float32)
    images[0, 0, 0] = 5.0
    images[1, 11, 11] = 3.0
    images[2, 4:7, 4:7] = 1.0
    reach = receptive_field(two_convolutions, (1, 12, 12, 1))
    maps = np.asarray(two_convolutions(jnp.asarray(images)))
    found = top_patches(maps, images, 0, reach, count=2, fill=-1.0)
    # Place (1, 1) sees pixels 1 to 7: columns of windows 1-3, 3-5, 5-7 count 4, 5, 6 once, twice, twice: 5 * 5 = 25.
    assert found.images.tolist() == [2, 0]
    assert top_patches(maps, images, 0, reach, count=1).images.tolist() == [2]
    assert found.activations.tolist() == [maps[2].max(), 5]
    assert found.places[1].tolist() == [0, 0]
    chex.assert_shape(found.pixels, (2, 7, 7, 1))
    corner = found.pixels[1, ..., 0]
    assert (corner[0] == -1).all()
    assert (corner[:, 0] == -1).all()
    assert corner[1, 1] == 5


@pytest.mark.covers("VI-04")
def test_a_unit_of_a_trained_network_sees_its_patch_and_nothing_else():
    network = load_network()
    run = jax.jit(lambda x: network.model.apply(network.variables, x, method="features")["relu2_1"])
    rng = np.random.default_rng(0)
    images = rng.normal(size=(4, 32, 32, 3)).astype(np.float32)
    maps, reach = np.asarray(run(images)), receptive_field(run, images.shape)
    found = top_patches(maps, images, 7, reach, count=4)
    assert found.activations[0] == maps[..., 7].max() > 0
    assert (np.diff(found.activations) <= 0).all()
    for patch, activation, place in zip(found.pixels, found.activations, found.places, strict=True):
        start = [r.step * i + r.first for r, i in zip(reach, place, strict=True)]
        other = rng.normal(size=(32, 32, 3)).astype(np.float32)
        height, width = patch.shape[:2]
        if min(start) < 0 or start[0] + height > 32 or start[1] + width > 32:
            continue
        other[start[0] : start[0] + height, start[1] : start[1] + width] = patch
        np.testing.assert_allclose(run(other[None])[0, place[0], place[1], 7], activation, rtol=1e-4)
        other[start[0] : start[0] + height, start[1] : start[1] + width] = 0
        assert abs(run(other[None])[0, place[0], place[1], 7] - activation) > 0.1
