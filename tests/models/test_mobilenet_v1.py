"""MobileNet (v1) against timm, its two multipliers, and its counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models.mobilenet_v1 import MobileNetV1, SeparableBlock
from dlcore.nn import relu6
from tests.models.cost import multiply_adds, stages_of
from tests.models.training import compiled, draw


@pytest.mark.slow(unless=["1.0-224-569", "0.25-224-41", "1.0-128-186"])
@pytest.mark.covers("ZO-19")
@pytest.mark.parametrize(
    ("alpha", "side", "millions"),  # tables 6 and 7 of the paper
    [
        (1.0, 224, 569),
        (0.75, 224, 325),
        (0.5, 224, 149),
        (0.25, 224, 41),
        (1.0, 192, 418),
        (1.0, 160, 290),
        (1.0, 128, 186),
    ],
)
def test_multiply_adds_are_the_papers(alpha, side, millions):
    assert abs(multiply_adds(MobileNetV1(width_mult=alpha), side) / 1e6 - millions) < 1


@pytest.mark.covers("ZO-19")
def test_the_cost_goes_with_the_squares_of_alpha_and_rho():
    full = multiply_adds(MobileNetV1(), 224)
    # convolutions depthwise, pointwise and the stem go with alpha, alpha^2 and alpha; the head's 1.0 of 568.7 million
    # with alpha alone, and not with rho; 112 / 32 is no whole number, so that the last maps are 4 x 4, not 3.5 x 3.5
    assert multiply_adds(MobileNetV1(width_mult=0.5), 224) / full == pytest.approx(0.5**2, rel=0.06)
    assert multiply_adds(MobileNetV1(), 448) / full == pytest.approx(2**2, rel=0.002)
    assert multiply_adds(MobileNetV1(), 112) / full == pytest.approx(0.5**2, rel=0.06)
    assert multiply_adds(MobileNetV1(width_mult=0.5), 448) / full == pytest.approx(1, rel=0.06)


@pytest.mark.slow
@pytest.mark.covers("ZO-19")
def test_alpha_multiplies_every_layers_channels_and_any_size_goes():
    channels = lambda **fields: [s["channels"] for s in stages_of(MobileNetV1(**fields), (128, 128, 3)).values()]  # noqa: E731
    assert channels() == [32, 64, 128, 256, 512, 1024]
    assert channels(width_mult=0.5) == [16, 32, 64, 128, 256, 512]
    assert channels(width_mult=1.25) == [40, 80, 160, 320, 640, 1280]
    assert [s["stride"] for s in stages_of(MobileNetV1(), (128, 128, 3)).values()] == [2, 2, 4, 8, 16, 32]
    assert [s["stride"] for s in stages_of(MobileNetV1(stem="cifar"), (32, 32, 3)).values()] == [1, 1, 2, 4, 8, 16]


@pytest.mark.covers("ZO-19")
def test_a_block_is_depthwise_then_pointwise_without_a_shortcut():
    x = 3 * jax.random.normal(jax.random.key(0), (2, 6, 6, 8))
    block = SeparableBlock(8)
    variables = draw(block, x, False)
    params, scale = variables["params"], jnp.sqrt(1 + 1e-5)
    each = [
        jax.lax.conv_general_dilated(
            x[..., c : c + 1],
            params["conv_dw"]["kernel"][..., c : c + 1],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        for c in range(8)
    ]
    depthwise = relu6(jnp.concatenate(each, -1) / scale)
    want = relu6(depthwise @ params["conv_pw"]["kernel"][0, 0] / scale)
    np.testing.assert_allclose(compiled(block, variables, x, False), want, atol=1e-5)
    assert (want == 6).any()


def test_kernels_are_drawn_as_in_timm():
    params = jax.jit(SeparableBlock(256).init, static_argnums=2)(jax.random.key(0), jnp.zeros((1, 4, 4, 128)), False)
    kernels = params["params"]
    assert float(kernels["conv_dw"]["kernel"].std()) == pytest.approx(np.sqrt(2 / 9), rel=0.1)  # fan-out of a group
    assert float(kernels["conv_pw"]["kernel"].std()) == pytest.approx(np.sqrt(2 / 256), rel=0.05)
