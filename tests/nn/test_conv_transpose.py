"""The transposed and the deformable layer: their variables, sizes, and starts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import Conv, ConvTranspose, DeformableConv
from dlcore.ops import conv_transpose


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@pytest.mark.covers("CV-10")
def test_the_layer_is_the_function_with_a_bias():
    layer, x = (
        ConvTranspose(6, (4, 3), strides=2, padding=1, output_padding=(0, 1), feature_group_count=2),
        normal(0, 2, 3, 4, 4),
    )
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    p = variables["params"]
    assert (p["kernel"].shape, p["bias"].shape, y.shape) == ((4, 3, 3, 4), (6,), (2, 6, 8, 6))
    p = {**p, "bias": jnp.arange(6.0)}
    want = conv_transpose(x, p["kernel"], 2, 1, (0, 1), groups=2) + jnp.arange(6.0)
    np.testing.assert_allclose(layer.apply({"params": p}, x), want, atol=1e-5)
    with pytest.raises(ValueError, match="feature_group_count=4"):
        ConvTranspose(6, (3, 3), feature_group_count=4).init(jax.random.key(0), x)


@pytest.mark.slow
@pytest.mark.covers("CV-10")
def test_an_even_kernel_at_its_half_as_stride_leaves_no_checkerboard():
    x = jnp.ones((1, 6, 6, 1))

    def inner(kernel, padding):
        ones = {"params": {"kernel": jnp.ones((kernel, kernel, 1, 1))}}
        return ConvTranspose(1, (kernel, kernel), strides=2, padding=padding, use_bias=False).apply(ones, x)[
            0, 2:-2, 2:-2, 0
        ]

    assert len(np.unique(inner(4, 1))) == 1
    assert len(np.unique(inner(3, 1))) > 1


@pytest.mark.slow
@pytest.mark.covers("CV-33")
@pytest.mark.parametrize("modulated", [False, True])
def test_a_new_deformable_layer_is_a_convolution(modulated):
    layer = DeformableConv(3, (3, 3), strides=2, padding=1, offset_groups=2, modulated=modulated)
    x = normal(0, 2, 6, 5, 4)
    y, variables = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    p = variables["params"]
    plain = Conv(3, (3, 3), strides=2, padding=1).apply({"params": {"kernel": p["kernel"], "bias": p["bias"]}}, x)
    np.testing.assert_allclose(y, plain / 2 if modulated else plain, atol=1e-5)
    chex.assert_shape(p["offset"]["kernel"], (3, 3, 4, 36))  # 2 groups, 9 taps, (dy, dx)
    gradient = jax.jit(jax.grad(lambda v: layer.apply(v, x).sum()))(variables)["params"]
    assert jnp.abs(gradient["offset"]["bias"]).max() > 0  # it can learn where to look
    assert ("mask" in p) == modulated


@pytest.mark.covers("CV-33")
def test_a_learned_offset_moves_the_taps_and_a_mask_scales_them():
    """A kernel of one tap, 2, one column to the right of (1, 2, 3, 4), of which sigmoid(log 3) = 3/4 counts, plus 1."""
    x, zero = jnp.arange(1.0, 5).reshape(1, 1, 4, 1), jnp.zeros((1, 1, 1, 1))
    params = {"kernel": zero + 2, "bias": jnp.ones(1)}
    params["offset"] = {"kernel": jnp.concatenate([zero, zero], -1), "bias": jnp.array([0.0, 1.0])}
    mask = {"mask": {"kernel": zero, "bias": jnp.log(jnp.array([3.0]))}}
    layers = DeformableConv(1, (1, 1)), DeformableConv(1, (1, 1), modulated=False)
    masked, plain = jax.jit(
        lambda: [layer.apply({"params": p}, x) for layer, p in zip(layers, (params | mask, params), strict=True)]
    )()
    np.testing.assert_allclose(masked[0, 0, :, 0], [4, 5.5, 7, 1], rtol=1e-6)
    np.testing.assert_allclose(plain[0, 0, :, 0], [5, 7, 9, 1], rtol=1e-6)


def test_settings_of_a_deformable_layer_reach_all_its_convolutions():
    """Nine pixels and a border of one, taps two apart: windows at (9 + 2 - 5) / 2 + 1 = 4 rows and at 5 columns.

    Each of them has 2 x 6 taps of (dy, dx).
    """
    x = jnp.zeros((1, 9, 9, 4), jnp.bfloat16)
    layer = DeformableConv(6, (3, 2), 2, 1, 2, 2, 2, use_bias=False, dtype=jnp.bfloat16)
    y, variables = jax.eval_shape(layer.init_with_output, jax.random.key(0), x)
    kernels = {name: getattr(leaf, "shape", None) or leaf["kernel"].shape for name, leaf in variables["params"].items()}
    assert (y.shape, y.dtype) == ((1, 4, 5, 6), jnp.bfloat16)
    assert kernels == {"kernel": (3, 2, 2, 6), "offset": (3, 2, 4, 24), "mask": (3, 2, 4, 12)}
    y, variables = jax.eval_shape(DeformableConv(6).init_with_output, jax.random.key(0), x)
    chex.assert_shape(y, (1, 9, 9, 6))
    chex.assert_shape(variables["params"]["offset"]["kernel"], (3, 3, 4, 18))
    for groups, problem in ((0, "too small; allowed: at least 1"), (3, "not a divisor; allowed: of 4")):
        problem = f"feature_group_count={groups}: {problem}"
        with pytest.raises(ValueError, match=problem):
            jax.eval_shape(DeformableConv(6, feature_group_count=groups).init, jax.random.key(0), x)
