"""Deformable attention against grid sampling by hand, its gradient by finite differences, and its dtypes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.ops import deformable_attention

SHAPES, COUNTS = ((3, 4), (2, 2)), (2, 1)


def arrays():
    rng = np.random.default_rng(0)
    value = rng.normal(size=(2, 16, 2, 3))
    locations = rng.uniform(-0.2, 1.2, size=(2, 3, 2, 3, 2))  # some are outside
    weights = rng.uniform(size=(2, 3, 2, 3))
    return value, locations, weights


def by_hand(value, locations, weights, method="bilinear"):
    """Every point on its own, in NumPy's float64."""
    out = np.zeros((2, 3, 2, 3))
    for b, q, h in np.ndindex(2, 3, 2):
        for p, level in enumerate((0, 0, 1)):
            rows, columns = SHAPES[level]
            start = 12 * level
            image = value[b, start : start + rows * columns, h].reshape(rows, columns, 3)
            x, y = locations[b, q, h, p] * (columns, rows)
            if method == "discrete":
                i, j = (int(np.clip(np.floor(c + 0.5), 0, n - 1)) for c, n in ((y, rows), (x, columns)))
                out[b, q, h] += weights[b, q, h, p] * image[i, j]
                continue
            for i, j in np.ndindex(rows, columns):
                hat = max(0, 1 - abs(x - 0.5 - j)) * max(0, 1 - abs(y - 0.5 - i))
                out[b, q, h] += weights[b, q, h, p] * hat * image[i, j]
    return out


@pytest.mark.parametrize("method", ["bilinear", "discrete"])
def test_it_is_grid_sampling_by_hand(method):
    value, locations, weights = arrays()
    result = deformable_attention(*map(jnp.asarray, (value,)), SHAPES, locations, weights, COUNTS, method)
    np.testing.assert_allclose(result, by_hand(value, locations, weights, method), atol=2e-6)


def test_gradients_equal_finite_differences():
    value, locations, weights = arrays()
    cotangent = np.random.default_rng(1).normal(size=(2, 3, 2, 3))
    gradient = jax.grad(
        lambda *a: (deformable_attention(a[0], SHAPES, a[1], a[2], COUNTS) * cotangent).sum(), argnums=(0, 1, 2)
    )
    gradients = jax.device_get(jax.jit(gradient)(*(np.float32(a) for a in (value, locations, weights))))
    step = 1e-6
    for index, gradient in enumerate(gradients):
        for flat in (1, 7, 20, 31):
            sides = []
            for sign in (1, -1):
                moved = [value.copy(), locations.copy(), weights.copy()]
                moved[index].reshape(-1)[flat] += sign * step
                sides.append((by_hand(*moved) * cotangent).sum())
            slope = (sides[0] - sides[1]) / (2 * step)
            assert float(gradient.reshape(-1)[flat]) == pytest.approx(slope, rel=1e-4, abs=1e-5)


def test_half_precision_values_are_summed_in_float32():
    value, locations, weights = arrays()
    rounded = jnp.asarray(value, jnp.bfloat16)
    result = deformable_attention(rounded, SHAPES, jnp.asarray(locations), jnp.asarray(weights), COUNTS)
    chex.assert_type(result, jnp.bfloat16)
    exact = by_hand(np.asarray(rounded, np.float64), locations, weights)
    np.testing.assert_array_equal(result, jnp.asarray(exact, jnp.float32).astype(jnp.bfloat16))


def test_shapes_that_do_not_fit_are_named():
    value, locations, weights = (jnp.asarray(a) for a in arrays())
    with pytest.raises(ValueError, match=r"value=.*: wrong shape or dtype; allowed: \[B, 9, H, D\]"):
        deformable_attention(value, ((3, 3),), locations, weights)
