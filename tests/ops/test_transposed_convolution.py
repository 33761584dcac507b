"""Transposed convolution: torch's goldens, the adjoint of a convolution, and the worked example."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from dlcore.ops import conv_transpose, conv_transpose_output_size
from tests.derivatives import output_and_gradients

GOLDENS = pathlib.Path(__file__).parents[1] / "goldens" / "torch_conv.npz"
NHWC = ("NHWC", "HWIO", "NHWC")


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.covers("CV-10")
def test_the_worked_example():
    # Stride 2: 1 [1, 10, 100] from 0 and 2 [1, 10, 100] from 2: [1, 10, 100 + 2, 20, 200].
    x, w = np.float32([1, 2]).reshape(1, 2, 1), np.float32([1, 10, 100]).reshape(3, 1, 1)
    y = jax.jit(lambda x, w: conv_transpose(x, w, 2))(x, w)
    np.testing.assert_array_equal(y[0, :, 0], [1, 10, 102, 20, 200])


@pytest.mark.covers("CV-10")
def test_it_multiplies_by_the_transposed_matrix_and_not_by_the_inverse():
    # The matrix of a convolution of 3 pixels with [1, 2], zeros around: its transpose applied to [1, 1, 1].
    matrix = np.array([[1, 2, 0], [0, 1, 2], [0, 0, 1]])
    x, w = np.ones((1, 3, 1), np.float32), np.float32([1, 2]).reshape(2, 1, 1)
    got = jax.jit(conv_transpose)(x, w)[0, :3, 0]
    np.testing.assert_array_equal(got, matrix.T @ np.ones(3))
    assert not np.allclose(got, np.linalg.inv(matrix) @ np.ones(3))


@pytest.mark.covers("CV-10")
@pytest.mark.parametrize("case", ["s2", "s2op1", "k4s2"])
def test_equals_torch(case):
    data = np.load(GOLDENS)
    stated = json.loads(str(data["meta"]))["cases"][f"convT2d.{case}"]["args"]
    x, w, cotangent = (data[f"convT2d.{case}/in.{n}"] for n in ("x", "w", "cot"))
    y, dx, dw = output_and_gradients(
        lambda x, w: conv_transpose(x, w, stated["stride"], stated["padding"], stated.get("output_padding", 0)),
        cotangent.transpose(0, 2, 3, 1),
        x.transpose(0, 2, 3, 1),
        w.transpose(2, 3, 1, 0),
    )
    bias = data.get(f"convT2d.{case}/in.b", np.zeros(1))
    for got, name, axes in (
        (y + bias, "out", (0, 2, 3, 1)),
        (dx, "grad.x", (0, 2, 3, 1)),
        (dw, "grad.w", (2, 3, 1, 0)),
    ):
        want = data[f"convT2d.{case}/{name}"].transpose(axes)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


@pytest.mark.weekly
@pytest.mark.covers("CV-10")
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**31 - 1),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.integers(0, 1),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
)
def test_it_is_the_adjoint_of_the_convolution_with_its_kernel(seed, kernel, stride, padding, dilation, groups):
    """<conv x, y> = <x, conv' y>, and conv' is what jax gives as the gradient."""
    size = [dilation * (k - 1) + 1 + 4 * s for k, s in zip(kernel, stride, strict=True)]  # at least 5 windows
    w = normal(seed, *kernel, 4 // groups, 6)

    def conv(x):
        return lax.conv_general_dilated(
            x,
            w,
            stride,
            [(padding, padding)] * 2,
            rhs_dilation=(dilation,) * 2,
            dimension_numbers=NHWC,
            feature_group_count=groups,
        )

    x = normal(seed + 1, 2, *size, 4)
    out, pull = jax.vjp(conv, x)
    y = normal(seed + 2, *out.shape)
    rest = [
        n - conv_transpose_output_size(count, k, s, padding, 0, dilation)
        for n, count, k, s in zip(size, out.shape[1:3], kernel, stride, strict=True)
    ]
    got = conv_transpose(y, w, stride, padding, rest if max(rest) else 0, dilation, groups)
    np.testing.assert_allclose(got, pull(y)[0], atol=1e-4)
    assert float(jnp.vdot(out, y)) == pytest.approx(float(jnp.vdot(x, got)), rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (5, 1), (4, 4)])
def test_named_paddings_give_the_sizes_of_flax(padding, kernel, stride):
    x = normal(0, 1, 5, 6, 2)
    theirs = linen.ConvTranspose(3, (kernel, kernel), (stride, stride), padding)
    want = jax.eval_shape(theirs.init_with_output, jax.random.key(0), x)[0].shape
    assert jax.eval_shape(lambda: conv_transpose(x, jnp.ones((kernel, kernel, 3, 2)), stride, padding)).shape == want


def test_volumes():
    x, w = normal(0, 1, 2, 3, 2, 2), normal(1, 2, 2, 2, 3, 2)
    got = jax.jit(lambda x, w: conv_transpose(x, w, 2))(x, w)
    want = np.einsum("ndhwc,ijkoc->ndihjwko", x, w).reshape(1, 4, 6, 4, 3)  # the stamps do not overlap
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strides": (2,)}, r"strides=\(2,\)"),
        ({"output_padding": 1}, "output_padding=1"),
        ({"padding": "SOME"}, "padding='SOME'"),
        ({"padding": 9}, "padding=9"),
        ({"groups": 2}, "groups=2"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        conv_transpose(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 2, 3)), **arguments)
    with pytest.raises(ValueError, match=r"kernel.shape="):
        conv_transpose(jnp.zeros((1, 4, 4, 3)), jnp.zeros((3, 3, 3, 2)))


def test_stamps_of_unequal_sides_equal_a_loop():
    """y[s p + r k - l] += x[p] w[k]: another stride, padding, dilation and extra pixel for each axis; two groups."""
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(2, 3, 4, 4)).astype(np.float32), rng.normal(size=(3, 2, 3, 4)).astype(np.float32)
    settings = (2, 3), (1, 0), (1, 0), (1, 2)
    # (3 - 1) 2 - 2 + 3 + 1 and (4 - 1) 3 + 3
    want = np.zeros((2, 6, 12, 6))
    for p, q, i, j, c in np.ndindex(3, 4, 3, 2, 4):
        row, column, group = 2 * p + i - 1, 3 * q + 2 * j, c // 2
        if 0 <= row < 6:
            want[:, row, column, 3 * group : 3 * group + 3] += x[:, p, q, c, None] * w[i, j, :, c]
    got = jax.jit(lambda x, w: conv_transpose(x, w, *settings, groups=2))(x, w)
    np.testing.assert_allclose(got, want, atol=1e-5)
