"""MobileNetV2 against torchvision, its block, and its counts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model
from dlcore.models.mobilenet_v2 import InvertedResidual, MobileNetV2, round_channels
from dlcore.nn import relu6
from tests.models.cost import cost, stages_of
from tests.models.training import compiled, draw


@pytest.mark.covers("ZO-20")
def test_parameters_and_multiplications():
    parameters, operations = cost(create_model("mobilenet_v2"), 224)
    assert (parameters, round(operations / 1e6)) == (3_504_872, 301)  # 300 in the paper
    parameters, operations = cost(create_model("mobilenet_v2", width_mult=1.4), 224)
    assert (parameters, round(operations / 1e6)) == (6_108_776, 582)  # 6.1 million and 582 in the paper


def plain(x, kernel, groups=1):
    y = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
    )
    return y / jnp.sqrt(1 + 1e-5)


@pytest.mark.covers("ZO-20")
@pytest.mark.parametrize("features", [4, 5])
def test_a_block_expands_filters_each_channel_and_projects_without_an_activation(features):
    x = 3 * jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
    block = InvertedResidual(features)
    variables = draw(block, x, False)
    params = variables["params"]
    wide, depthwise, thin = params["conv_0"]["0"]["kernel"], params["conv_1"]["0"]["kernel"], params["conv_2"]["kernel"]
    assert (wide.shape, depthwise.shape, thin.shape) == ((1, 1, 4, 24), (3, 3, 1, 24), (1, 1, 24, features))
    y = plain(relu6(plain(relu6(plain(x, wide)), depthwise, 24)), thin)
    assert (y < 0).any()
    want = x + y if features == 4 else y  # the shortcut joins the thin ends, where they are of one shape
    np.testing.assert_allclose(compiled(block, variables, x, False), want, atol=1e-5)


@pytest.mark.covers("ZO-20")
def test_a_linear_block_of_zeros_is_the_identity_only_at_stride_1():
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype(np.float32)
    zero = lambda block: jax.tree.map(np.zeros_like, draw(block, x, False))  # noqa: E731
    for block, want in ((InvertedResidual(3), x), (InvertedResidual(3, stride=2), jnp.zeros((1, 2, 2, 3)))):
        np.testing.assert_array_equal(compiled(block, zero(block), x, False), want)


@pytest.mark.covers("ZO-20")
def test_the_first_block_does_not_expand():
    x = jnp.zeros((1, 4, 4, 8))
    params = jax.eval_shape(lambda: InvertedResidual(5, expansion=1).init(jax.random.key(0), x, False))["params"]
    assert set(params) == {"conv_0", "conv_1", "conv_2"}
    chex.assert_shape(params["conv_0"]["0"]["kernel"], (3, 3, 1, 8))
    chex.assert_shape(params["conv_1"]["kernel"], (1, 1, 8, 5))


def test_channels_are_rounded_to_eights_but_never_by_more_than_a_tenth_down():
    # 24 .75 = 18 -> 16 is .89 of 18, so 24; 20 -> 24 (halves up); 19.6 -> 16 is .82, so 24; 3 -> 8
    assert [round_channels(n) for n in (32, 18.0, 20, 19.6, 3, 83)] == [32, 24, 24, 24, 8, 80]
    assert round_channels(50, 16) == 48


@pytest.mark.slow
def test_strides_stems_and_widths():
    info = stages_of(create_model("mobilenet_v2"))
    assert [s["stride"] for s in info.values()] == [2, 2, 4, 8, 16, 16, 32, 32, 32]
    assert [s["channels"] for s in info.values()] == [32, 16, 24, 32, 64, 96, 160, 320, 1280]
    half = stages_of(create_model("mobilenet_v2", width_mult=0.5, stem="cifar"), (32, 32, 3))
    assert [s["stride"] for s in half.values()] == [1, 1, 2, 4, 8, 8, 16, 16, 16]
    assert [s["channels"] for s in half.values()] == [16, 8, 16, 16, 32, 48, 80, 160, 1280]


@pytest.mark.slow
def test_dropout_is_of_training_alone():
    model = MobileNetV2(settings=((1, 8, 1, 1),), head_init=nn.initializers.normal())
    x = jax.random.normal(jax.random.key(0), (2, 8, 8, 3))
    variables = jax.jit(model.init)(jax.random.key(1), x)
    run = jax.jit(lambda key: model.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})[0])
    assert jnp.any(run(jax.random.key(2)) != run(jax.random.key(3)))
    jax.eval_shape(model.apply, variables, x)  # asks for no rng
