"""The normalizer-free ResNet against timm, its convolution, and the variances that it counts on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from dlcore.models.nf_resnet import GAMMA_RELU, NFBlock, NFResNet, ScaledStdConv
from tests.models.cost import stages_of
from tests.models.parity import parameter_count


@pytest.mark.slow
def test_counts_and_strides():
    assert parameter_count("nf_resnet50") == 25_557_032
    info = stages_of(create_model("nf_resnet50"))
    assert [tuple(s.values()) for s in info.values()] == [(4, 64), (4, 256), (8, 512), (16, 1024), (32, 2048)]
    cifar = stages_of(create_model("nf_resnet50", stem="cifar"), (32, 32, 3))
    assert [s["stride"] for s in cifar.values()] == [1, 1, 2, 4, 8]


def apply(module, x):
    """The module's variables and its output, compiled once."""
    variables = jax.jit(module.init)(jax.random.key(1), x)
    return variables["params"], jax.jit(module.apply)(variables, x)


def test_a_scaled_standardized_convolution_by_hand():
    x = jnp.asarray([[[[1.0, 2.0]]]])
    params, _ = apply(ScaledStdConv(1, 1), x)
    assert {name: leaf.shape for name, leaf in params.items()} == {"kernel": (1, 1, 2, 1), "gain": (1,), "bias": (1,)}
    params = {
        "kernel": jnp.asarray([3.0, 7.0]).reshape(1, 1, 2, 1),
        "gain": jnp.asarray([0.5]),
        "bias": jnp.asarray([4.0]),
    }
    # mean 5, standard deviation 2: -1 and 1, times .5 1.71396 / sqrt(2) = .60598; 4 + .60598 (2 - 1)
    got = ScaledStdConv(1, 1).apply({"params": params}, x)
    np.testing.assert_allclose(got, 4.60598, rtol=1e-5)


def test_gamma_is_what_a_relu_takes():
    """A standard normal's relu has the mean 1 / sqrt(2 pi) and the variance 1 / 2 - 1 / (2 pi)."""
    assert pytest.approx(np.sqrt(1 / (0.5 - 0.5 / np.pi)), rel=1e-3) == GAMMA_RELU


@pytest.mark.slow
def test_variances_are_those_that_the_blocks_count_on():
    """1 after the shortcut's convolution and 0.04 more a block, where batch norm would make them 1."""
    x = jax.random.normal(jax.random.key(0), (8, 8, 8, 256))
    first = NFBlock(64, alpha=0.2, stride=2, zero_init_residual=False)
    _, y = apply(first, x)
    assert float(y.var(0).mean()) == pytest.approx(1.04 / 4, rel=0.15)  # the mean of four pixels has a quarter
    for variance in (1.0, 2.0, 9.0):
        block = NFBlock(64, alpha=0.2, variance=variance, zero_init_residual=False)
        params, y = apply(block, jnp.sqrt(variance) * x)
        assert "downsample_conv" not in params
        branch = y - jnp.sqrt(variance) * x
        assert float(branch.var((0, 1, 2)).mean()) == pytest.approx(0.04, rel=0.3)


def test_each_block_is_given_the_variance_of_its_input():
    seen = []

    def watch(call, args, kwargs, context):
        if isinstance(context.module, NFBlock):
            seen.append(context.module.variance)
        return call(*args, **kwargs)

    with nn.intercept_methods(watch):
        stages_of(NFResNet(stages=(3, 2), alpha=0.2), (32, 32, 3))
    np.testing.assert_allclose(seen, [1, 1.04, 1.08, 1.12, 1.04])


@pytest.mark.slow
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_by_hand(stride):
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 8))
    block = NFBlock(2, stride, alpha=0.5, variance=4.0, zero_init_residual=False)
    params, got = apply(block, x)

    def conv(x, name, size, stride=1):
        return ScaledStdConv(params[name]["bias"].size, size, stride).apply({"params": params[name]}, x)

    active = nn.relu(x) / 2
    y = nn.relu(conv(nn.relu(conv(active, "conv1", 1)), "conv2", 3, stride))
    if stride == 2:  # the last row and column have pixels of two and of one
        mean = jnp.stack(
            [jnp.stack([active[:, i : i + 2, j : j + 2].mean((1, 2)) for j in (0, 2, 4)]) for i in (0, 2, 4)]
        )
        x = conv(mean.transpose(2, 0, 1, 3), "downsample_conv", 1)
    np.testing.assert_allclose(got, x + 0.5 * conv(y, "conv3", 1), atol=1e-5)


@pytest.mark.slow
def test_a_block_starts_as_the_identity():
    x = jax.random.normal(jax.random.key(0), (2, 4, 4, 8))
    np.testing.assert_array_equal(apply(NFBlock(2), x)[1], x)
