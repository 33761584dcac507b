"""Pre-activation ResNets against timm, and the identity that they are made for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model
from dlcore.models.resnet_v2 import PreActBasicBlock, PreActBottleneck
from tests.models.cost import stages_of
from tests.models.parity import parameter_count
from tests.models.training import compiled, draw, losses

pytestmark = pytest.mark.covers("ZO-14")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("block", "last", "channels"), [(PreActBasicBlock, "conv2", 8), (PreActBottleneck, "conv3", 32)]
)
def test_with_the_last_convolution_zero_a_block_is_the_identity(block, last, channels):
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, channels))  # negative numbers too: no ReLU behind the sum
    layer = block(8)
    variables = draw(layer, x, False)
    assert jnp.abs(compiled(layer, variables, x, False) - x).max() > 0.1
    variables["params"][last]["kernel"] = jnp.zeros_like(variables["params"][last]["kernel"])
    np.testing.assert_array_equal(compiled(layer, variables, x, False), x)
    trained, _ = layer.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(trained, x)


def test_batch_norm_and_relu_stand_before_each_convolution():
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
    layer = PreActBasicBlock(3)
    variables = draw(layer, x, False)
    y = x
    for i in (1, 2):
        y = jax.lax.conv_general_dilated(
            jax.nn.relu(y / jnp.sqrt(1 + 1e-5)),
            variables["params"][f"conv{i}"]["kernel"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
    np.testing.assert_allclose(compiled(layer, variables, x, False), x + y, atol=1e-5)


def test_counts_and_strides():
    # 20 layers: stem 3 3 3 16 = 432; stages of three blocks of two 3x3 convolutions 16, 32, 64 wide
    convolutions = 432 + 6 * 9 * 16 * 16 + 9 * 16 * 32 + 5 * 9 * 32 * 32 + 9 * 32 * 64 + 5 * 9 * 64 * 64
    shortcuts = 16 * 32 + 32 * 64
    norms = 2 * (6 * 16 + 16 + 5 * 32 + 32 + 5 * 64 + 64)
    assert parameter_count("preact_resnet20_cifar") == convolutions + shortcuts + norms + 650
    strides = [stage["stride"] for stage in stages_of(create_model("resnetv2_50")).values()]
    assert strides == [4, 4, 8, 16, 32]


@pytest.mark.slow
def test_a_step_lowers_the_loss():
    model = create_model("preact_resnet20_cifar", stages=(1, 1), width=8)
    values = list(losses(model, side=8, steps=4, batch=8))
    assert values[0] == pytest.approx(np.log(10))
    assert values == sorted(values, reverse=True)
