"""Random regions of fractional pooling: their number, their location, and that each output is its region's largest."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcore.ops import fractional_max_pool, fractional_starts


@pytest.mark.slow(only=["25-1.414-17"])
@pytest.mark.covers("RG-11")
@pytest.mark.parametrize(
    ("size", "ratio", "want"),
    [
        (25, 1.414, 17),  # 25 / 1.414 = 17.68
        (36, 1.5, 24),
        (10, 10 / 7, 7),
        (11, 1.9, 5),  # 5.79
        (7, 1.2, 5),  # 5.83
    ],
)
def test_output_sizes(size, ratio, want):
    x, key = jax.ShapeDtypeStruct((2, size, size + 3, 3), jnp.float32), jax.random.key(0)
    pooled = jax.eval_shape(lambda x: fractional_max_pool(key, x, ratio), x)
    chex.assert_shape(pooled, (2, want, int((size + 3) / ratio), 3))
    # torch.nn.FractionalMaxPool2d(2, output_ratio=1 / ratio) has int(size / ratio) too.
    pooled = jax.eval_shape(lambda x: fractional_max_pool(key, x, output_size=(want, 4)), x)
    chex.assert_shape(pooled, (2, want, 4, 3))


@pytest.mark.covers("RG-11")
def test_starts_by_hand():
    # size 10, out 5, window 2: a = 8 / 4 = 2, whatever u: 0 2 4 6 8.
    np.testing.assert_array_equal(fractional_starts(0.3, 10, 5), [0, 2, 4, 6, 8])
    # size 8, out 5: a = 6 / 4 = 1.5. u = .5: floor(1.5 i + .75) - 0 = 0 2 3 5, then 6.
    np.testing.assert_array_equal(fractional_starts(0.5, 8, 5), [0, 2, 3, 5, 6])
    # u = 0: 0 1 3 4, then 6.
    np.testing.assert_array_equal(fractional_starts(0.0, 8, 5), [0, 1, 3, 4, 6])


@pytest.mark.covers("RG-11")
def test_a_pooled_ramp_by_hand(monkeypatch):
    """The largest number of a window of 10 row + column is its last; u is 0.5 for rows and 0 for columns."""
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape: np.array([0.5, 0.0]))
    ramp = (10.0 * np.arange(8)[:, None] + np.arange(9)).astype(np.float32)[..., None]
    key = jax.random.key(0)
    # Rows of 8 to 5 by windows of 3: a = 5 / 4, floor(1.25 i + .625) = 0 1 3 4 5. Columns of 9 to 4 by 2: a = 7 / 3,
    # floor(2.33 i) = 0 2 4 7.
    pooled = jax.jit(lambda x: fractional_max_pool(key, x, output_size=(5, 4), window=(3, 2)))(ramp)[..., 0]
    np.testing.assert_array_equal(pooled, 10 * np.array([2, 3, 5, 6, 7])[:, None] + [1, 3, 5, 8])
    # 8 / 2 and 9 / 3.
    chex.assert_shape(jax.eval_shape(lambda x: fractional_max_pool(key, x, (2.0, 3.0)), ramp), (4, 3, 1))
    np.testing.assert_array_equal(fractional_starts(0.3, 5, 1), [3])
    np.testing.assert_array_equal(fractional_starts(0.3, 3, 3, 1), [0, 1, 2])
    for bad, message in (
        ((0, 2), "output_size=0: out of range"),
        ((4, 0), "window=0: out of range"),
        ((5, 2), "output_size=5, window=2: does not fit size=5"),
    ):
        with pytest.raises(ValueError, match=message):
            fractional_starts(0.3, 5, *bad)


@pytest.mark.weekly
@pytest.mark.covers("RG-11")
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), ratio=st.sampled_from([1.2, 1.41, 1.7]), height=st.sampled_from([9, 14]))
def test_each_output_is_the_largest_of_its_region_and_every_pixel_is_in_one(seed, ratio, height):
    key, width = jax.random.key(seed), 12
    x = np.random.default_rng(seed).normal(size=(height, width, 2)).astype(np.float32)
    out = fractional_max_pool(key, jnp.asarray(x), ratio)
    u = jax.random.uniform(key, (2,))
    rows = np.asarray(fractional_starts(u[0], height, out.shape[0]))
    columns = np.asarray(fractional_starts(u[1], width, out.shape[1]))
    want = [[x[r : r + 2, c : c + 2].max((0, 1)) for c in columns] for r in rows]
    np.testing.assert_array_equal(out, want)
    for starts, size in ((rows, height), (columns, width)):
        assert starts[0] == 0
        assert starts[-1] == size - 2
        assert set(np.diff(starts)) <= {1, 2}
        assert set(np.concatenate([starts, starts + 1])) == set(range(size))


@pytest.mark.slow
@pytest.mark.covers("RG-11")
def test_regions_differ_by_key_and_the_gradient_goes_to_the_largest():
    x = jnp.asarray(np.random.default_rng(0).permutation(15 * 15).reshape(15, 15, 1), jnp.float32)
    pooled = jax.jit(jax.vmap(lambda key: fractional_max_pool(key, x, 1.5)))(jax.random.split(jax.random.key(0), 20))
    assert len(np.unique(np.asarray(pooled).reshape(20, -1), axis=0)) > 5
    gradient = jax.grad(lambda x: fractional_max_pool(jax.random.key(0), x, 1.5).sum())(x)
    assert float(gradient.sum()) == 100  # one for each of 10 x 10 outputs
    nan = fractional_max_pool(jax.random.key(0), x.at[0, 0].set(jnp.nan), 1.5)
    assert np.isnan(nan[0, 0, 0])
    assert fractional_max_pool(jax.random.key(0), x.astype(jnp.bfloat16), 1.5).dtype == jnp.bfloat16
    chex.assert_shape(fractional_max_pool(jax.random.key(0), jnp.zeros((0, 6, 6, 1)), 1.5), (0, 4, 4, 1))


def test_bad_arguments():
    key, x = jax.random.key(0), jnp.zeros((8, 8, 1))
    with pytest.raises(ValueError, match="allowed: exactly one"):
        fractional_max_pool(key, x)


def test_limits_of_ratios_and_shifts():
    key, x = jax.random.key(0), np.zeros((2, 6, 8, 1), np.float32)
    chex.assert_shape(jax.eval_shape(lambda x: fractional_max_pool(key, x, 1.0, window=1), x), (2, 6, 8, 1))
    # 3 times 7 / 3 is a little less than 7 in floats; 7 are 3.
    line = np.zeros((7, 7, 1), np.float32)
    chex.assert_shape(jax.eval_shape(lambda x: fractional_max_pool(key, x, 7 / 3), line), (3, 3, 1))
    for ratio in (np.inf, np.nan, (1.5, 0.9)):
        with pytest.raises(ValueError, match="ratio"):
            fractional_max_pool(key, x, ratio)
    with pytest.raises(ValueError, match="allowed: exactly one of them"):
        fractional_max_pool(key, x, 1.5, output_size=(3, 3))
