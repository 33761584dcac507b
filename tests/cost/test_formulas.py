"""The catalog's worked numbers; tests/models/test_manifests.py compares the formulas with the layers of the zoo."""

import math

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from dlcore.cost.formulas import (
    activation_kb,
    attention_macs,
    basic_block_weights,
    bottleneck_block_weights,
    dense_macs,
    dense_parameters,
    layer_parameters,
    patch_tokens,
    pixel_attention_entries,
    reduced_conv_macs,
    single_conv_weights,
    stacked_conv_weights,
    video_bytes,
    voxel_bytes,
    window_attention_macs,
)
from dlcore.models import create_model
from dlcore.nn import GlobalResponseNorm
from dlcore.ops.arithmetic import conv_macs, conv_parameters, receptive_field


@pytest.mark.covers("CO-01", "CO-02", "CO-03")
def test_a_convolution():
    """AlexNet's first, 11x11 from 3 to 64 channels, on images of 227 (56x56) and of 224 (55x55)."""
    assert conv_parameters(3, 64, (11, 11)) == 64 * 3 * 121 + 64 == 23_296
    assert conv_macs((56, 56), 3, 64, (11, 11)) == 64 * 56 * 56 * 3 * 121 == 72_855_552
    assert conv_macs((55, 55), 3, 64, (11, 11)) == 70_276_800
    assert activation_kb((64, 56, 56)) == 784
    assert activation_kb((64, 55, 55)) == 756.25
    assert activation_kb((64, 56, 56), itemsize=2) == 392
    assert conv_parameters(32, 64, (3, 3), groups=32, bias=False) == 64 * 9
    assert conv_macs((10, 5), 32, 64, (3, 3), groups=4) == 50 * 64 * 8 * 9
    assert (dense_parameters(9216, 4096), dense_macs(9216, 4096)) == (37_752_832, 37_748_736)
    assert dense_macs(768, 3072, positions=197) == 197 * 768 * 3072


@pytest.mark.covers("CO-04")
def test_receptive_fields_at_stride_1():
    assert [receptive_field([3] * layers) for layers in range(1, 6)] == [3, 5, 7, 9, 11]
    assert receptive_field([5] * 4) == 1 + 4 * (5 - 1)


@pytest.mark.covers("CO-05")
def test_receptive_fields():
    assert receptive_field([3, 3], [1, 1]) == 5
    assert receptive_field([3, 3], [2, 1]) == 7  # the stride of a layer widens those after it
    assert receptive_field([3, 3], [1, 2]) == 5
    vgg16 = [layer for n in (2, 2, 3, 3, 3) for layer in [(3, 1)] * n + [(2, 2)]]
    assert receptive_field([k for k, _ in vgg16], [s for _, s in vgg16]) == 212
    assert receptive_field([11, 3, 5, 3, 3, 3, 3, 3], [4, 2, 1, 2, 1, 1, 1, 2]) == 195  # AlexNet to pool5


@pytest.mark.covers("CO-06")
@pytest.mark.parametrize("channels", [1, 64])
def test_stacked_convolutions(channels):
    square = channels**2
    assert receptive_field([3, 3]) == receptive_field([5])
    assert (stacked_conv_weights(channels, 3, 2), single_conv_weights(channels, 3, 2)) == (18 * square, 25 * square)
    assert (stacked_conv_weights(channels, 3, 3), single_conv_weights(channels, 3, 3)) == (27 * square, 49 * square)


@pytest.mark.covers("CO-09", "CO-10")
def test_attention_on_pixels_and_on_patches():
    assert pixel_attention_entries(128) == 268_435_456
    assert pixel_attention_entries(128) * 4 == 2**30  # 1 GiB of float32 a head and layer
    assert (patch_tokens(224, 16), patch_tokens(224, 32)) == (196, 49)
    with pytest.raises(ValueError, match="patch=15: does not tile the image; allowed: divisors of its side 224"):
        patch_tokens(224, 15)


@pytest.mark.covers("CO-11")
def test_windows_make_attention_linear_in_the_image():
    assert attention_macs(56 * 56, 96) == 2 * (56 * 56) ** 2 * 96
    assert window_attention_macs(56, 56, 7, 96) == 2 * 49 * 56 * 56 * 96 == 29_503_488
    assert window_attention_macs(112, 56, 7, 96) == 2 * window_attention_macs(56, 56, 7, 96)  # twice the pixels
    assert attention_macs(112 * 56, 96) == 4 * attention_macs(56 * 56, 96)
    assert window_attention_macs(56, 56, 14, 96) == 4 * window_attention_macs(56, 56, 7, 96)  # quadratic in M
    assert window_attention_macs(7, 7, 7, 96) == attention_macs(49, 96)


@pytest.mark.covers("CO-12")
def test_a_1x1_convolution_before_a_5x5_one():
    assert conv_macs((28, 28), 192, 32, (5, 5)) == 120_422_400
    assert reduced_conv_macs(192, 16, 32, (5, 5), (28, 28)) == 2_408_448 + 10_035_200 == 12_443_648


@pytest.mark.covers("CO-13")
def test_residual_blocks():
    assert basic_block_weights(64) == 18 * 64**2
    assert bottleneck_block_weights(64) == 17 * 64**2  # three layers, on four times the channels
    x = jnp.zeros((1, 8, 8, 256))
    bottleneck = create_model("resnet50").block(64)
    params = jax.eval_shape(lambda: bottleneck.init(jax.random.key(0), x, False))["params"]
    kernels = [params[f"conv{i}"]["kernel"].shape for i in (1, 2, 3)]
    assert sum(map(math.prod, kernels)) == 17 * 64**2


@pytest.mark.covers("CO-14", "CO-15")
def test_voxels_and_videos():
    assert voxel_bytes(1024) == 4 * 2**30
    assert voxel_bytes(2 * 64) == 8 * voxel_bytes(64)
    assert video_bytes(480, 640, 30 * 60) == 1_658_880_000  # 1.66 GB a minute
    assert video_bytes(1080, 1920, 30 * 60) == 11_197_440_000
    assert video_bytes(112, 112, 16) == 588 * 1024
    assert voxel_bytes(4, channels=3, itemsize=2) == 64 * 3 * 2
    assert video_bytes(5, 7, 2, channels=4, itemsize=3) == 5 * 7 * 2 * 4 * 3


@pytest.mark.covers("CO-01")
@pytest.mark.parametrize(
    ("layer", "parameters"),
    [
        (nn.ConvTranspose(5, (2, 3)), 2 * 3 * 7 * 5 + 5),
        (nn.ConvTranspose(5, (2, 3), use_bias=False), 2 * 3 * 7 * 5),
        (nn.Conv(14, (2, 3), feature_group_count=7), 2 * 3 * 14 + 14),
        (nn.Dense(5, use_bias=False), 7 * 5),
        (nn.LayerNorm(), 2 * 7),
        (nn.RMSNorm(), 7),
        (GlobalResponseNorm(), 2 * 7),
        (nn.Dropout(0.5), None),
    ],
)
def test_parameters_of_a_layer_by_its_fields(layer, parameters):
    assert layer_parameters(layer, (1, 4, 6, 7)) == parameters
