"""im2col, FFT and Winograd are one convolution; col2im is im2col's transpose."""

import json
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from dlcore.ops import col2im, conv_fft, conv_im2col, conv_winograd, im2col, winograd_multiplications

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "torch_conv.npz"
NHWC = ("NHWC", "HWIO", "NHWC")


def normal(seed, *shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def lax_conv(x, w, strides=(1, 1), padding="VALID", dilation=(1, 1)):
    return lax.conv_general_dilated(
        x, w, strides, padding, rhs_dilation=dilation, dimension_numbers=NHWC, precision=lax.Precision.HIGHEST
    )


def close(got, want, tolerance=1e-4):
    chex.assert_equal_shape([got, want])
    assert got.dtype == want.dtype
    np.testing.assert_allclose(
        np.asarray(got, np.float32),
        np.asarray(want, np.float32),
        rtol=0,
        atol=tolerance * max(float(np.abs(want).max()), 1e-9),
    )


@pytest.mark.slow
@pytest.mark.covers("CV-34", "CV-01")
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    size=st.tuples(st.integers(3, 9), st.integers(3, 9)),
    channels=st.integers(1, 4),
    features=st.integers(1, 4),
    padding=st.sampled_from(["VALID", "SAME", 1, ((0, 2), (3, 1))]),
)
def test_all_forms_of_a_3x3_convolution_agree(seed, size, channels, features, padding):
    x, w = normal(seed, 2, *size, channels), normal(seed + 1, 3, 3, channels, features)

    @jax.jit
    def all_forms(x, w):
        own = [conv(x, w, padding=padding) for conv in (conv_im2col, conv_fft, conv_winograd)]
        return lax_conv(x, w, padding=[(1, 1)] * 2 if padding == 1 else padding), own

    want, own = all_forms(x, w)
    for got in own:
        close(got, want)


@pytest.mark.covers("CV-34")
@pytest.mark.parametrize("conv", [conv_im2col, conv_fft])
@pytest.mark.parametrize(
    ("kernel", "strides", "padding"), [((5, 2), (2, 3), "SAME"), ((1, 4), 1, ((2, 0), (1, 1))), ((6, 7), 1, "VALID")]
)
def test_other_kernels_and_strides(conv, kernel, strides, padding):
    x, w = normal(0, 2, 6, 7, 3), normal(1, *kernel, 3, 2)
    got = jax.jit(lambda x, w: conv(x, w, strides, padding))(x, w)
    close(got, lax_conv(x, w, (strides,) * 2 if strides == 1 else strides, padding))


def test_dilated_im2col():
    x, w = normal(0, 2, 7, 8, 3), normal(1, 3, 2, 3, 4)
    close(conv_im2col(x, w, 2, 1, (2, 3)), lax_conv(x, w, (2, 2), [(1, 1)] * 2, (2, 3)))


@pytest.mark.covers("CV-34")
@pytest.mark.parametrize("conv", [conv_im2col, conv_fft, conv_winograd])
def test_gradients_and_dtypes(conv):
    x, w = normal(0, 1, 5, 6, 2), normal(1, 3, 3, 2, 3)
    got, want = (
        jax.jit(jax.grad(lambda x, w, f=f: jnp.sin(f(x, w, padding="SAME")).sum(), (0, 1)))(x, w)
        for f in (conv, lax_conv)
    )
    for a, b in zip(got, want, strict=True):
        close(a, b)
    assert jax.eval_shape(conv, x.astype(jnp.bfloat16), w.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    with jax.enable_x64(True):
        x, w = normal(0, 1, 5, 6, 2, dtype=jnp.float64), normal(1, 3, 3, 2, 3, dtype=jnp.float64)
        close(jax.jit(conv)(x, w), lax_conv(x, w), 1e-12)


@pytest.mark.covers("CV-34")
def test_multiplications_of_winograd():
    assert winograd_multiplications(2, 2) == {"direct": 36, "winograd": 16}  # 4 outputs of 9 weights; a 4x4 window
    assert winograd_multiplications(3, 2) == {"direct": 54, "winograd": 32}  # the odd row needs tiles of its own
    assert winograd_multiplications(56, 56)["direct"] / winograd_multiplications(56, 56)["winograd"] == 2.25


@pytest.mark.covers("CV-34")
def test_im2col_equals_unfold_of_torch():
    data = np.load(GOLDENS)
    assert json.loads(str(data["meta"]))["cases"]["unfold"]["args"]["padding"] == 2
    x, cotangent, out, gradient = (data[f"unfold/{n}"] for n in ("in.x", "in.cot", "out", "grad.x"))

    def as_rows(v):  # [N, (c, k), windows] -> [N, H', W', (k, c)]
        return v.reshape(1, 2, 9, 7, 8).transpose(0, 3, 4, 2, 1).reshape(1, 7, 8, 18)

    @jax.jit
    def both(x, rows):
        cols, pull = jax.vjp(lambda x: im2col(x, 3, padding=2), x)
        return cols, pull(rows)[0], col2im(rows, (5, 6), 3, padding=2)

    cols, *gradients = both(x.transpose(0, 2, 3, 1), as_rows(cotangent))
    np.testing.assert_array_equal(cols, as_rows(out))
    for found in gradients:
        close(found, gradient.transpose(0, 2, 3, 1), 1e-6)


def test_col2im_counts_the_windows_that_see_a_pixel():
    # 2x2 windows at stride 1 on 3x3 pixels: a corner is in one, an edge in two, the center in four.
    got = jax.jit(lambda x: col2im(im2col(x, 2), (3, 3), 2))(np.ones((1, 3, 3, 1), np.float32))
    np.testing.assert_array_equal(got[0, :, :, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])


def test_integers_keep_their_dtype_in_im2col():
    rows = jax.jit(lambda x: im2col(x, 2))(np.arange(12).reshape(1, 3, 4, 1))
    np.testing.assert_array_equal(rows[0, 1, 2], [6, 7, 10, 11])
    assert jnp.issubdtype(rows.dtype, jnp.integer)


def test_windows_of_unequal_axes_are_copied_and_added_back():
    """Kernel rows, then columns, then channels; 1 row above, 2 columns on the right; gaps of 1 along a row."""
    x = np.arange(2 * 5 * 6 * 2, dtype=np.float32).reshape(2, 5, 6, 2)
    settings = (2, 3), (2, 1), ((1, 0), (0, 2)), (1, 2)
    rows, back = jax.jit(lambda x: (im2col(x, *settings), col2im(im2col(x, *settings), (5, 6), *settings)))(x)
    padded = np.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)))
    counts = np.zeros((6, 8, 1))
    chex.assert_shape(rows, (2, 3, 4, 12))
    for p, q in np.ndindex(3, 4):
        window = slice(2 * p, 2 * p + 2), slice(q, q + 5, 2)
        np.testing.assert_array_equal(rows[:, p, q], padded[:, *window].reshape(2, 12))
        counts[window] += 1
    np.testing.assert_array_equal(back, (counts * padded)[:, 1:, :6])


def test_the_convolution_by_fft_of_whole_numbers_is_exact():
    x, kernel = (
        np.arange(50, dtype=np.int32).reshape(1, 5, 5, 2),
        np.arange(-18, 18, dtype=np.int32).reshape(3, 3, 2, 2),
    )
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), (0, 1))  # [3, 3, C, 3, 3]
    np.testing.assert_array_equal(conv_fft(x, kernel)[0], np.einsum("yxcij,ijco->yxo", windows, kernel))
