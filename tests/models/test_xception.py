"""Xception and aligned Xception against timm, their blocks, and their counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.models import create_model, input_shape
from dlcore.models.xception import SeparableConv, Xception, XceptionBlock
from dlcore.models.xception_aligned import AlignedBlock, SeparableConvNorm
from tests.models.cost import cost, stages_of
from tests.models.parity import parameter_count
from tests.models.training import compiled, draw


@pytest.mark.slow
@pytest.mark.covers("ZO-18")
def test_parameters_and_multiplications():
    parameters, operations = cost(Xception(), 299)
    assert parameters == 22_855_952  # 22,855,952 in the paper's table 3 too
    assert operations / 1e9 == pytest.approx(8.4, abs=0.05)
    assert parameter_count("xception41") == 26_969_560
    assert parameter_count("xception65") == 39_916_312


def apply(module, x, *rest):
    """The module's variables and its output, compiled once."""
    variables = draw(module, x, *rest)
    return variables["params"], compiled(module, variables, x, *rest)


def depthwise(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=x.shape[-1]
    )


@pytest.mark.covers("ZO-18")
def test_nothing_stands_between_depthwise_and_pointwise():
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 4))
    params, got = apply(SeparableConv(6), x)
    assert set(params) == {"conv1", "pointwise"}
    want = depthwise(x, params["conv1"]["kernel"]) @ params["pointwise"]["kernel"][0, 0]
    np.testing.assert_allclose(got, want, atol=1e-5)
    _, negated = apply(SeparableConv(6), -x)
    np.testing.assert_allclose(negated, -got, atol=1e-6)


@pytest.mark.covers("ZO-18")
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_by_hand(stride):
    x = jax.random.normal(jax.random.key(0), (2, 6, 6, 4))
    params, got = apply(XceptionBlock((4, 4), stride), x, False)
    scale, y = jnp.sqrt(1 + 1e-5), x
    for name in ("rep_1", "rep_4"):
        y = depthwise(nn.relu(y), params[name]["conv1"]["kernel"]) @ params[name]["pointwise"]["kernel"][0, 0] / scale
    if stride == 1:
        assert "skip" not in params
        want = x + y
    else:
        pooled = nn.max_pool(y, (3, 3), (2, 2), [(1, 1), (1, 1)])
        want = pooled + x[:, ::2, ::2] @ params["skip"]["kernel"][0, 0] / scale
    np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("ZO-18")
def test_flows():
    """Entry of three, middle of eight of three convolutions, exit; strides and channels of the paper's figure 5."""
    info = stages_of(create_model("legacy_xception"), (299, 299, 3))
    assert {name: stage["channels"] for name, stage in info.items()} == {
        "stem": 64,
        "block1": 128,
        "block2": 256,
        "block3": 728,
        "middle": 728,
        "block12": 1024,
        "last": 2048,
    }
    params = jax.eval_shape(lambda: Xception().init(jax.random.key(0), jnp.zeros((1, 64, 64, 3))))["params"]
    for i in range(1, 13):
        found = [name for name in params[f"block{i}"] if "conv1" in params[f"block{i}"][name]]
        assert len(found) == (3 if 4 <= i <= 11 else 2)
        assert ("skip" in params[f"block{i}"]) == (i in (1, 2, 3, 12))
    kernels = [p for p, _ in jax.tree.leaves_with_path(params) if p[-1].key == "kernel" and "skip" not in str(p)]
    # 2 plain, and of each separable convolution two: 3 2 + 8 3 + 2 + 2 = 34; the head
    assert len(kernels) == 2 + 2 * 34 + 1
    assert input_shape("legacy_xception") == (299, 299, 3)
    assert stages_of(create_model("legacy_xception"), (7, 7, 3))["last"]["stride"] == 7


@pytest.mark.parametrize("relu_first", [True, False])
def test_an_aligned_block_by_hand(relu_first):
    x = jax.random.normal(jax.random.key(0), (2, 5, 5, 4))
    params, got = apply(AlignedBlock((4, 4, 4), relu_first=relu_first, skip=relu_first), x, False)
    scale, y = jnp.sqrt(1 + 1e-3), x
    after = (lambda y: y) if relu_first else nn.relu
    for i in (1, 2, 3):
        part = params[f"stack_conv{i}"]
        y = after(depthwise(nn.relu(y) if relu_first else y, part["conv_dw"]["kernel"]) / scale)
        y = after(y @ part["conv_pw"]["kernel"][0, 0] / scale)
    np.testing.assert_allclose(got, x + y if relu_first else y, atol=1e-5)


def test_the_stride_of_an_aligned_block_is_in_its_last_depthwise_convolution():
    seen = []

    def watch(call, args, kwargs, context):
        if isinstance(context.module, SeparableConvNorm):
            seen.append(context.module.stride)
        return call(*args, **kwargs)

    x = jnp.zeros((1, 8, 8, 4))
    with nn.intercept_methods(watch):
        jax.eval_shape(lambda: AlignedBlock((4, 4, 8), stride=2).init(jax.random.key(0), x, False))
    assert seen == [1, 1, 2]


@pytest.mark.slow
def test_aligned_stages():
    info = stages_of(create_model("xception65"), (128, 128, 3))
    assert [(name, *stage.values()) for name, stage in info.items()] == [
        ("stem", 2, 64),
        ("entry0", 4, 128),
        ("entry1", 8, 256),
        ("middle", 16, 728),
        ("exit", 32, 2048),
    ]
