"""Walks in a latent space by hand, and a direction found again."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.autoencoder_tiny import AutoencoderTiny
from dlcore.generative.latents import arcs, attribute_direction, edit, principal_directions, slerp, traverse
from tests.wiring import assert_wiring


@pytest.mark.covers("GE-11")
def test_slerp_keeps_the_length_that_a_line_would_lose():
    a, b = np.float32([2, 0]), np.float32([0, 2])
    third, walk = jax.device_get(jax.jit(lambda a, b: (slerp(a, b, 1 / 3), arcs(a[None], b[None], 5)))(a, b))
    np.testing.assert_allclose(third, [2 * np.cos(np.pi / 6), 2 * np.sin(np.pi / 6)], rtol=1e-6)
    chex.assert_shape(walk, (1, 5, 2))
    np.testing.assert_allclose(np.linalg.norm(walk, axis=-1), 2, rtol=1e-6)
    np.testing.assert_allclose(walk[0, 0], a, atol=1e-6)
    np.testing.assert_allclose(walk[0, -1], b, atol=1e-6)


def test_slerp_of_one_direction_or_of_nothing_is_the_line():
    a = jnp.array([1.0, 1])
    np.testing.assert_allclose(slerp(a, 3 * a, 0.5), 2 * a, rtol=1e-6)
    np.testing.assert_allclose(slerp(0 * a, a, 0.25), 0.25 * a, rtol=1e-6)
    np.testing.assert_allclose(slerp(0 * a, 0 * a, 0.25), 0, atol=0)


@pytest.mark.covers("GE-11")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("a", "b"), [([1.0, 2.0], [1.0, 2.0]), ([0.0, 0.0], [1.0, 2.0]), ([0.0, 0.0], [0.0, 0.0])])
def test_the_gradient_of_slerp_of_one_direction_or_of_nothing_is_that_of_the_line(a, b, dtype):
    """(1 - s) a + s b has the gradients 1 - s and s; the angle of an arc moves in second order only."""
    gradient = jax.grad(lambda a, b: slerp(a, b, 0.25).astype(jnp.float32).sum(), (0, 1))
    first, second = gradient(jnp.array(a, dtype), jnp.array(b, dtype))
    np.testing.assert_array_equal(first.astype(jnp.float32), [0.75, 0.75])
    np.testing.assert_array_equal(second.astype(jnp.float32), [0.25, 0.25])


@pytest.mark.covers("GE-11")
def test_a_traversal_varies_one_dimension_at_a_time():
    z = jnp.array([1.0, 2, 3])
    got = traverse(z, [2, 0], [-1.0, 5])
    np.testing.assert_array_equal(got, [[[1, 2, -1], [1, 2, 5]], [[-1, 2, 3], [5, 2, 3]]])


@pytest.mark.covers("GE-11")
def test_a_step_along_the_direction_raises_the_attribute_by_its_length():
    codes = np.random.default_rng(0).normal(size=(200, 3)) * [1, 5, 0.2]
    attribute = 7 + codes @ [2.0, 0, -1]
    direction = attribute_direction(codes, attribute)
    np.testing.assert_allclose(direction, np.array([2, 0, -1]) / 5, atol=1e-3)
    moved = edit(jnp.asarray(codes[:4], jnp.float32), direction, [-1.0, 0, 2])
    chex.assert_shape(moved, (3, 4, 3))
    np.testing.assert_allclose(
        7 + moved @ np.array([2.0, 0, -1]), attribute[:4] + np.array([[-1], [0], [2]]), atol=1e-2
    )


@pytest.mark.covers("GE-18")
def test_principal_directions_are_the_axes_of_an_ellipsoid():
    rng = np.random.default_rng(0)
    axes = np.array([[0.6, 0.8, 0.0], [-0.8, 0.6, 0.0], [0.0, 0.0, 1.0]])
    codes = 7 + rng.normal(size=(20_000, 3)) * [3.0, 1.0, 0.1] @ axes
    directions, shares = principal_directions(codes, 2)
    np.testing.assert_allclose(directions, [3 * axes[0], axes[1] * -1], atol=0.06)
    np.testing.assert_allclose(shares, [9 / 10.01, 1 / 10.01], atol=0.01)


def test_the_wiring_of_autoencoder_tiny_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(AutoencoderTiny(channels=(4, 4), num_blocks=(1, 1)), (1, 4, 8, 3), [31.3321, -13.6786])


def test_codes_of_whole_numbers_move_by_fractions():
    z = np.array([0, 2])
    np.testing.assert_allclose(edit(z, np.float32([1, 0]), np.array([0.25, 0.5])), [[0.25, 2], [0.5, 2]])
    np.testing.assert_allclose(traverse(z, np.array([1]), np.array([0.25])), [[[0, 0.25]]])
    np.testing.assert_allclose(slerp(z, np.array([2, 0]), 0.5), [2**0.5, 2**0.5], rtol=1e-6)
