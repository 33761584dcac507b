"""Bounds on time, worked out by hand."""

import pytest

from dlcore.cost.layers import Layer
from dlcore.cost.roofline import CHIPS, Bound, Chip, bound_of, roofline, total_seconds

CHIP = Chip(flops=100.0, bandwidth=10.0)  # compute binds above 10 FLOPs a byte
COMPUTE = Layer("a", "Conv", macs=1000, input_bytes=40, parameter_bytes=20, output_bytes=40)
MEMORY = Layer("b", "Dense", macs=100, input_bytes=40, parameter_bytes=120, output_bytes=40)
NORM = Layer("c", "BatchNorm", input_bytes=50, output_bytes=50)


def test_the_longer_of_arithmetic_and_traffic():
    """2000 FLOPs take 20 s and 100 bytes 10 s; 200 FLOPs take 2 s and 200 bytes 20 s."""
    assert roofline(COMPUTE, CHIP) == Bound(20.0, "compute", 20.0)
    assert roofline(MEMORY, CHIP) == Bound(1.0, "memory", 20.0)
    assert roofline(NORM, CHIP) == Bound(0.0, "memory", 10.0)
    assert roofline(Layer("d", "parameter"), CHIP).seconds == 0


def test_sums():
    assert total_seconds([COMPUTE, MEMORY, NORM], CHIP) == (50.0, 40.0)
    assert bound_of([COMPUTE, MEMORY, NORM], CHIP) == Bound(2200 / 400, "memory", 50.0)
    assert bound_of([COMPUTE, NORM], CHIP).by == "compute"


@pytest.mark.parametrize(("name", "least"), [("v5e", 241), ("v5p", 166), ("a100", 153), ("h100", 295)])
def test_the_intensity_at_which_compute_binds(name, least):
    """197e12 / 819e9, 459e12 / 2765e9, 312e12 / 2039e9, 989.4e12 / 3350e9."""
    chip = CHIPS[name]
    assert round(chip.flops / chip.bandwidth) == least


def test_peaks_are_those_of_the_makers_sheets():
    """Google's Cloud TPU documentation and NVIDIA's SXM data sheets give bfloat16 TFLOP/s (dense), and GB/s."""
    assert {name: (chip.flops / 1e12, chip.bandwidth / 1e9) for name, chip in CHIPS.items()} == {
        "v4": (275, 1200), "v5e": (197, 819), "v5p": (459, 2765), "v6e": (918, 1640),
        "a100": (312, 2039), "h100": (989.4, 3350), "h200": (989.4, 4800),
    }  # fmt: skip


def test_the_sum_is_bound_by_the_kind_that_binds_most_of_its_time():
    """Half of 40 s is not most of it; a layer is bound by memory where both take as long, or take no time."""
    assert bound_of([COMPUTE, MEMORY], CHIP).by == "memory"
    equal = Layer("e", "Conv", macs=500, input_bytes=100)  # 10 s either way
    assert roofline(equal, CHIP) == Bound(10.0, "memory", 10.0)
    assert bound_of([], CHIP) == Bound(0.0, "memory", 0)
    assert roofline(Layer("d", "parameter"), CHIP) == Bound(0.0, "memory", 0.0)
