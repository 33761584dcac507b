"""Unit vectors of any length: values in float64, gradients, and the floor of torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.ops import l2_normalize
from dlcore.ops.l2_normalize import cosine_distance


@pytest.mark.parametrize("length", [1e-30, 1e-11, 1e-7, 1.0, 1e19, 1e30])
def test_vectors_have_length_one_and_torchs_floor(length):
    """(3, 4) is 5 long: (.6, .8). Below 1e-12 the vector is divided by 1e-12, as in torch.nn.functional.normalize."""
    x = (length * np.array([3.0, -4.0])).astype(np.float32)
    want = x.astype(np.float64) / max(np.linalg.norm(x.astype(np.float64)), 1e-12)
    np.testing.assert_allclose(jax.jit(l2_normalize)(x), want, rtol=1e-5)


def test_gradients():
    """Of y_0 = x_0 / |x|: x_1^2 / |x|^3 and -x_0 x_1 / |x|^3, at (3, 4) .128 and -.096; longer vectors have less."""
    slope = jax.jit(jax.grad(lambda x: l2_normalize(x)[0]))
    for length in (1e-7, 1.0, 1e20):
        found = slope(jnp.float32(length) * jnp.array([3.0, 4.0]))
        np.testing.assert_allclose(np.asarray(found, np.float64) * length, [0.128, -0.096], rtol=1e-4)
    np.testing.assert_array_equal(l2_normalize(jnp.zeros(2)), 0)
    assert np.isfinite(slope(jnp.zeros(2))).all()


@pytest.mark.parametrize("length", [1e-37, 1e-20, 1.0, 1e30])
def test_without_a_floor_the_direction_is_kept_at_any_length(length):
    x = jnp.float32(length) * jnp.array([[[3.0, 0.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    found = jax.jit(lambda x: l2_normalize(x, (1, 2), 0))(x)
    np.testing.assert_allclose(found[0], [[0.6, 0], [0, 0.8]], rtol=1e-5)
    np.testing.assert_array_equal(found[1], 0)
    np.testing.assert_allclose(jax.jit(lambda x: l2_normalize(x, None, 0))(x)[0], found[0], rtol=1e-6)
    slope = jax.grad(lambda x: l2_normalize(x, None, 0).sum())(jnp.zeros(2))
    assert np.isfinite(slope).all()


def test_integers_and_halves_have_the_direction_of_the_same_floats():
    np.testing.assert_allclose(l2_normalize(np.array([3, -4], np.int8)), [0.6, -0.8], rtol=1e-6)
    np.testing.assert_allclose(l2_normalize(jnp.array([3e-5, 4e-5], jnp.float16), floor=0), [0.6, 0.8], atol=2e-3)


def test_axis_and_dtype():
    x = jnp.array([[3.0, 0], [4.0, 2]], jnp.bfloat16)
    assert l2_normalize(x).dtype == jnp.bfloat16
    np.testing.assert_allclose(l2_normalize(x.astype(jnp.float32), axis=0), [[0.6, 0], [0.8, 1]], rtol=1e-6)


def test_the_cosine_distance_keeps_small_angles():
    """(1, 0) and (1, d) are atan d apart, and 1 - cos is half its square; the lengths do not matter."""
    x, y = (
        np.float32([[1, 0], [3e20, 0], [2, 0], [1, 0], [0, 0]]),
        np.float32([[1, 1e-4], [1, 1e-3], [0, 7], [-2, 0], [1, 1]]),
    )
    expected = [0.5 * np.arctan(1e-4) ** 2, 0.5 * np.arctan(1e-3) ** 2, 1, 2, 1]
    np.testing.assert_allclose(cosine_distance(x, y), expected, rtol=1e-3)
    np.testing.assert_array_equal(jax.grad(lambda x: cosine_distance(x, y[4]))(jnp.zeros(2)), 0)
