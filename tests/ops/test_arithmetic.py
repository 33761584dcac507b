"""Sizes, parameters, multiply-adds and receptive fields: the worked numbers, and jax's own shapes."""

import jax
import jax.numpy as jnp
import pytest

from dlcore.ops import (
    conv_general_dilated,
    conv_macs,
    conv_output_size,
    conv_parameters,
    conv_transpose_output_size,
    effective_kernel_size,
    receptive_field,
    same_padding,
)


@pytest.mark.covers("CV-02")
def test_output_sizes():
    assert conv_output_size(32, 5, 1, 2) == 32  # (32 - 5 + 4) / 1 + 1
    assert conv_output_size(7, 3, 2) == 3  # (7 - 3) / 2 + 1
    assert conv_output_size(7, 3, 3) == 2  # (7 - 3) / 3 + 1 = 2.33, rounded down
    with pytest.raises(ValueError, match=r"stride=3: 2.33 is not a whole number"):
        conv_output_size(7, 3, 3, exact=True)
    assert conv_output_size(7, 3, 2, exact=True) == 3


@pytest.mark.covers("CV-29")
def test_padding_that_keeps_the_size():
    assert [same_padding(f) for f in (1, 3, 5, 7)] == [0, 1, 2, 3]  # (F - 1) / 2
    assert same_padding(3, dilation=2) == 2
    for kernel in (1, 3, 5, 7):
        assert conv_output_size(19, kernel, padding=same_padding(kernel)) == 19


@pytest.mark.covers("CV-03", "CV-05", "CV-06", "CV-08", "CV-11")
def test_parameters_and_multiplications():
    assert conv_parameters(3, 10, 5) == 760  # 5 5 3 10 + 10
    assert conv_parameters(64, 32, 1) == 2_080  # 64 32 + 32
    assert conv_macs(56, 64, 32, 1) == 6_422_528  # 56 56 64 32
    assert conv_parameters(256, 256, 3, bias=False) == 589_824
    assert conv_parameters(256, 256, 3, groups=4, bias=False) == 147_456
    assert conv_parameters(256, 256, 3, groups=256, bias=False) == 2_304
    separable = conv_parameters(64, 64, 3, 64, bias=False) + conv_parameters(64, 128, 1, bias=False)
    full = conv_parameters(64, 128, 3, bias=False)
    assert (separable, full) == (8_768, 73_728)  # 9 64 + 64 128, 9 64 128
    assert separable / full == pytest.approx(1 / 128 + 1 / 9)
    c = 24
    assert 2 * conv_parameters(c, c, 3, bias=False) == 18 * c * c  # two 3x3 see what one 5x5 sees
    assert conv_parameters(c, c, 5, bias=False) == 25 * c * c
    assert conv_parameters(c, c, (1, 7), bias=False) + conv_parameters(c, c, (7, 1), bias=False) == 14 * c * c


@pytest.mark.covers("CV-09")
def test_reach_of_a_dilated_kernel():
    assert [effective_kernel_size(3, d) for d in (1, 2, 4)] == [3, 5, 9]  # d (3 - 1) + 1
    # Dilations 1, 2, 4 see 1 + 2 + 4 + 8 = 15 pixels.
    assert receptive_field([effective_kernel_size(3, d) for d in (1, 2, 4)]) == 15


def test_receptive_fields():
    assert receptive_field([3, 3]) == 5  # two 3x3 see what one 5x5 sees
    assert [receptive_field([3] * n) for n in range(4)] == [1, 3, 5, 7]  # 1 + 2 L
    # ResNet's stem: 7 at stride 2, then a pool of 3 at stride 2: 1 + 6 + 2 2 = 11.
    assert receptive_field([7, 3], [2, 2]) == 11


@pytest.mark.parametrize("size", [5, 8])
@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [(3, 2, 1, 1), (2, 3, 0, 2), (4, 1, (0, 3), 1)])
def test_sizes_are_those_that_come_out(size, kernel, stride, padding, dilation):
    pads = [padding if isinstance(padding, tuple) else (padding, padding)] * 2
    out = jax.eval_shape(
        lambda x, w: conv_general_dilated(
            x, w, (stride, stride), pads, rhs_dilation=(dilation, dilation), dimension_numbers=("NHWC", "HWIO", "NHWC")
        ),
        jnp.zeros((1, size, size, 2)),
        jnp.zeros((kernel, kernel, 2, 3)),
    )
    assert out.shape[1] == conv_output_size(size, kernel, stride, padding, dilation)
    if isinstance(padding, int):
        back = conv_transpose_output_size(out.shape[1], kernel, stride, padding, 0, dilation)
        assert size - stride < back <= size


def test_every_argument_of_a_size_counts():
    # (11 - (3 (3 - 1) + 1) + 2 + 4) / 2 + 1 = 6; a remainder of 1 is rounded down.
    assert conv_output_size(11, 3, 2, (2, 4), 3) == 6
    assert conv_output_size(12, 3, 2, (2, 4), 3) == 6
    assert conv_output_size(3, 3) == conv_output_size(1, 1) == conv_output_size(1, 3, padding=1) == 1
    # (4 - 1) 3 - 2 2 + (2 (3 - 1) + 1) + 1
    assert conv_transpose_output_size(4, 3, 3, 2, 1, 2) == 11
    assert conv_transpose_output_size(1, 1) == 1
    assert conv_transpose_output_size(4, 3, 2, output_padding=1) == 10  # 6 + 3 + 1
    assert conv_transpose_output_size(4, 3, 1, output_padding=2, dilation=3) == 12  # 3 + 7 + 2
    assert conv_transpose_output_size(3, 2, 2, 2) == 2  # 4 - 4 + 2


def test_macs_of_unequal_sides_and_least_numbers():
    assert conv_macs((5, 7), 6, 4, (3, 2), 2) == 5 * 7 * 3 * 2 * 3 * 4
    assert conv_macs(5, 6, 4, 3) == 25 * 9 * 24
    assert conv_parameters(1, 1, 1) == 2
    assert conv_parameters(6, 4, (3, 2, 5), 2) == 30 * 3 * 4 + 4
    assert effective_kernel_size(1, 5) == 1
    assert receptive_field([]) == 1
    assert receptive_field([3, 5, 2], [2, 3, 4]) == 1 + 2 + 4 * 2 + 1 * 6
