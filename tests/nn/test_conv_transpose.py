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
