"""Pooling against flax and torch: values, gradients, ties, NaN, padding and worked examples."""

import itertools
import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given
from hypothesis import strategies as st

from dlcore.ops import avg_pool, global_avg_pool, max_pool

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "torch_pool_resize.npz"
BOARD = [[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]

# window, strides, padding
WINDOWS = [
    ((2, 2), (2, 2), "VALID"),
    ((3, 3), (2, 2), "SAME"),
    ((3, 3), (2, 2), ((1, 1), (1, 1))),
    ((3, 2), (1, 3), ((0, 2), (1, 0))),
    ((2, 3), None, "VALID"),
    ((1, 1), (3, 2), "VALID"),
    ((7, 8), (1, 1), "VALID"),
]


def board():
    return jnp.asarray(BOARD, jnp.float32)[None, :, :, None]


def value_and_gradient(pool, x):
    y, pull = jax.vjp(pool, x)
    return y, pull(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))[0]


def value_and_pullback(pool):
    """Jitted (x, cotangent) -> (value, gradient)."""

    def run(x, cotangent):
        y, pull = jax.vjp(pool, x)
        return y, pull(cotangent)[0]

    return jax.jit(run)


@pytest.fixture(scope="module")
def compiled():
    """{(kind, window): (ours, flax's)}, each x -> (value, gradient); compiled once a module."""
    pairs = {}
    for i, window in enumerate(WINDOWS):
        for kind, functions in {
            "max": (max_pool, linen.max_pool),
            "avg": (avg_pool, linen.avg_pool),
            "avg of pixels": (
                lambda *a: avg_pool(*a, count_include_pad=False),
                lambda *a: linen.avg_pool(*a, count_include_pad=False),
            ),
        }.items():
            pairs[kind, i] = [
                jax.jit(lambda x, f=function, w=window: value_and_gradient(lambda x: f(x, *w), x))
                for function in functions
            ]
    return pairs


@pytest.mark.slow(only=["0-avg of pixels", "1-avg*", "5-*", "6-*"])
@pytest.mark.parametrize("kind", ["max", "avg", "avg of pixels"])
@pytest.mark.parametrize("window", range(len(WINDOWS)))
@given(seed=st.integers(0, 2**31 - 1))
def test_values_and_gradients_equal_flax(compiled, kind, window, seed):
    ours, theirs = compiled[kind, window]
    x = jnp.asarray(np.random.default_rng(seed).normal(size=(2, 7, 8, 3)), jnp.float32)
    (value, gradient), (want_value, want_gradient) = ours(x), theirs(x)
    if kind == "max":
        np.testing.assert_array_equal(value, want_value)
    np.testing.assert_allclose(value, want_value, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, want_gradient, rtol=1e-5, atol=1e-6)


@pytest.mark.slow(unless=["0", "2", "3"])
@pytest.mark.parametrize("window", range(len(WINDOWS)))
@given(seed=st.integers(0, 2**31 - 1))
def test_ties_go_to_the_first_pixel_as_in_reduce_window(compiled, window, seed):
    ours, theirs = compiled["max", window]
    x = jnp.asarray(np.random.default_rng(seed).integers(0, 3, size=(2, 7, 8, 3)), jnp.float32)
    np.testing.assert_allclose(ours(x)[1], theirs(x)[1], atol=1e-6)


@pytest.mark.covers("CV-16")
def test_max_of_the_worked_example():
    cotangent = np.array([[10, 20], [30, 40]], np.float32)[None, :, :, None]
    value, gradient = value_and_pullback(lambda x: max_pool(x, (2, 2), (2, 2)))(board(), cotangent)
    np.testing.assert_array_equal(value[0, :, :, 0], [[6, 8], [3, 4]])
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 0, 0, 0], [0, 10, 0, 20], [30, 0, 0, 0], [0, 0, 0, 40]])
    large = jax.eval_shape(lambda x: max_pool(x, (3, 3), (2, 2)), jax.ShapeDtypeStruct((1, 13, 13, 5), jnp.float32))
    chex.assert_shape(large, (1, (13 - 3) // 2 + 1, 6, 5))


@pytest.mark.covers("CV-17")
def test_average_of_the_worked_example():
    # (1 + 1 + 5 + 6) / 4 = 3.25, (2 + 4 + 7 + 8) / 4 = 5.25, (3 + 2 + 1 + 2) / 4 = 2, (1 + 0 + 3 + 4) / 4 = 2
    ones = np.ones((1, 2, 2, 1), np.float32)
    value, gradient = value_and_pullback(lambda x: avg_pool(x, (2, 2), (2, 2)))(board(), ones)
    np.testing.assert_array_equal(value[0, :, :, 0], [[3.25, 5.25], [2, 2]])
    np.testing.assert_array_equal(gradient, np.full((1, 4, 4, 1), 0.25))


def test_padding_is_counted_or_not():
    # Padded by one, the corner window holds 1, 1, 5, 6 and five zeros: 13 / 9, or 13 / 4 without the padding.
    including, excluding = jax.jit(
        lambda x: [avg_pool(x, (3, 3), (1, 1), 1, count_include_pad=count)[0, 0, 0, 0] for count in (True, False)]
    )(board())
    assert including == pytest.approx(13 / 9)
    assert excluding == pytest.approx(13 / 4)


@pytest.mark.slow(unless=["avg_pool2d.k2-<lambda>", "avg_pool2d.pad_excl-<lambda>", "max_pool1d-<lambda>"])
@pytest.mark.parametrize(
    ("case", "pool"),
    [
        ("max_pool2d.k3s2p1", lambda x: max_pool(x, (3, 3), (2, 2), 1)),
        ("max_pool2d.ceil", lambda x: max_pool(x, (3, 3), (2, 2), ceil_mode=True)),
        ("avg_pool2d.k2", lambda x: avg_pool(x, (2, 2), (2, 2))),
        ("avg_pool2d.pad_incl", lambda x: avg_pool(x, (3, 3), (2, 2), 1)),
        ("avg_pool2d.pad_excl", lambda x: avg_pool(x, (3, 3), (2, 2), 1, count_include_pad=False)),
        ("max_pool1d", lambda x: max_pool(x, (3,), (2,))),
        ("max_pool3d", lambda x: max_pool(x, (2, 2, 2), (2, 2, 2))),
    ],
)
def test_equals_torch(case, pool):
    data = np.load(GOLDENS)
    assert case in json.loads(str(data["meta"]))["cases"]
    last = lambda name: np.moveaxis(data[f"{case}/{name}"], 1, -1)  # noqa: E731
    value, gradient = value_and_pullback(pool)(last("in.x"), last("in.cot"))
    np.testing.assert_allclose(value, last("out"), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, last("grad.x"), rtol=1e-5, atol=1e-6)


def test_ceil_mode_averages_over_existing_pixels():
    # Rows of 5 with window 2, stride 2: [1 2] [3 4] [5 .]. The last holds one pixel, and torch divides by one.
    @jax.jit
    def run(x):
        calls = ((avg_pool, 0), (avg_pool, 1), (max_pool, 0))
        return [pool(x, (2,), (2,), padding, ceil_mode=True)[0, :, 0] for pool, padding in calls]

    # Padded by one on each side: [0 1] [2 3] [4 5] [0 .]: the last starts past the input and is not counted.
    average, padded, largest = run(np.arange(1, 6, dtype=np.float32)[None, :, None])
    np.testing.assert_allclose(average, [1.5, 3.5, 5.0])
    np.testing.assert_allclose(padded, [0.5, 2.5, 4.5])
    np.testing.assert_allclose(largest, [2, 4, 5])


def test_nan_spreads_over_its_windows_and_nowhere_else():
    ours, theirs = (jax.jit(lambda x, f=f: f(x, (3, 3), (1, 1))) for f in (max_pool, linen.max_pool))
    for row in range(4):
        for column in range(4):
            x = np.array(BOARD, np.float32)[None, :, :, None]
            x[0, row, column, 0] = np.nan
            got = ours(x)
            np.testing.assert_array_equal(got, theirs(x))
            assert np.isnan(got[0, max(0, row - 2) : row + 1, max(0, column - 2) : column + 1]).all()


def test_integers_and_leading_axes():
    x = np.array(BOARD, np.int8)[None, None, None, :, :, None]
    got = jax.jit(lambda x: max_pool(x, (2, 2), (2, 2), ((1, 1), (1, 1))))(-x)
    assert got.dtype == jnp.int8
    chex.assert_shape(got, (1, 1, 1, 3, 3, 1))
    np.testing.assert_array_equal(got[0, 0, 0, :, :, 0], [[-1, -1, -4], [-3, -1, 0], [-1, -2, -4]])


@pytest.mark.weekly
def test_averages_are_summed_in_float32():
    x = jnp.full((1, 64, 64, 1), 1.01, jnp.bfloat16)  # 4096 equal summands: a bfloat16 sum would stop at 256
    for got in (avg_pool(x, (64, 64)), global_avg_pool(x)):
        assert got.dtype == jnp.bfloat16
        assert float(got.ravel()[0]) == float(x[0, 0, 0, 0])


@pytest.mark.covers("CV-18")
def test_global_average():
    x = jnp.stack([board()[..., 0], 2 * board()[..., 0]], -1)
    np.testing.assert_array_equal(global_avg_pool(x), [[50 / 16, 100 / 16]])  # 8 + 26 + 6 + 10 = 50
    chex.assert_shape(global_avg_pool(x[0]), (2,))
    with pytest.raises(ValueError, match=r"\(4, 2\)"):
        global_avg_pool(x[0, 0])


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.int32, jnp.bfloat16])
def test_an_average_of_integers_has_fractions(dtype):
    """Windows (1, 2; 3, 4) and (200, 255; 255, 255)."""
    x = jnp.array([[1, 2, 200, 255], [3, 4, 255, 255]], dtype)[..., None]
    np.testing.assert_allclose(avg_pool(x, (2, 2), (2, 2))[0, :, 0], [2.5, 241.25], rtol=4e-3)
    assert avg_pool(x, (2, 2)).dtype == (jnp.bfloat16 if dtype == jnp.bfloat16 else jnp.float32)


def line_windows(size, k, stride, low, high, ceil):
    """First pixel of each window of a line, below 0 in the padding, as torch counts them."""
    free = size + low + high - k
    starts = [i * stride - low for i in range((-(-free // stride) if ceil else free // stride) + 1)]
    return [start for start in starts if not ceil or start < size]


@pytest.mark.parametrize("ceil_mode", [False, True])
def test_windows_beyond_unequal_borders_equal_a_loop(ceil_mode):
    """Windows of 3 x 2 every 2 x 3 pixels, 1 row above, 2 columns on the right; 7 x 8 pixels, two channels."""
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 2)).astype(np.float32)
    options = {"window_shape": (3, 2), "strides": (2, 3), "padding": ((1, 0), (0, 2)), "ceil_mode": ceil_mode}

    @jax.jit
    def call(x):
        of_pixels = avg_pool(x, count_include_pad=False, **options)
        return max_pool(x, **options), of_pixels, avg_pool(x, **options), max_pool((9 * x).astype(int), **options)

    largest, of_pixels, of_all, whole = call(x)
    rows, columns = line_windows(7, 3, 2, 1, 0, ceil_mode), line_windows(8, 2, 3, 0, 2, ceil_mode)
    chex.assert_shape(largest, (2, len(rows), len(columns), 2))
    for (p, r), (q, c) in itertools.product(enumerate(rows), enumerate(columns)):
        pixels = x[:, max(r, 0) : r + 3, max(c, 0) : c + 2]
        padded = (min(r + 3, 7) - r) * (min(c + 2, 10) - c)
        total = pixels.sum((1, 2))
        count = pixels.shape[1] * pixels.shape[2]
        np.testing.assert_allclose(of_all[:, p, q], total / padded, atol=1e-6)
        np.testing.assert_allclose(of_pixels[:, p, q], total / max(count, 1), atol=1e-6)
        np.testing.assert_array_equal(largest[:, p, q], pixels.max((1, 2), initial=-np.inf))
        lowest = np.iinfo(np.int32).min
        np.testing.assert_array_equal(whole[:, p, q], (9 * pixels).astype(int).max((1, 2), initial=lowest))


@pytest.mark.parametrize("window", [(4, 4), (5, 4), (2, 3)])
def test_tiles_leave_a_remainder_out(window):
    x = np.random.default_rng(0).normal(size=(11, 9, 2)).astype(np.float32)
    got, half = jax.jit(lambda x: (avg_pool(x, window, window), avg_pool(x.astype(jnp.bfloat16), window, window)))(x)
    (rows, columns), (a, b) = (n // k for n, k in zip((11, 9), window, strict=True)), window
    want = x[: rows * a, : columns * b].reshape(rows, a, columns, b, 2).mean((1, 3))
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), want, atol=0.02)
