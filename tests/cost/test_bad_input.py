"""Formulas of cost take whole numbers, and chips and tables what they can compute with."""

import pytest
from flax import linen as nn

from dlcore.cost import formulas as f
from dlcore.cost.layers import Layer, fold, layer_costs, merge_layers
from dlcore.cost.memory import readable, residual_bytes
from dlcore.cost.profiled_operations import hot_operations, measured_chip
from dlcore.cost.roofline import CHIPS, Chip, roofline, total_seconds
from dlcore.cost.step_collectives import data_parallel_bytes, unexpected_collectives
from dlcore.cost.step_flops import step_flops
from dlcore.cost.table import text_table, write_csv

LAYER, NAN = Layer("a", "Conv"), float("nan")
WHOLE = "no whole number; allowed: integers from 1"

CASES = {
    "channels of a stack": (lambda: f.stacked_conv_weights(1.5, 3, 2), f"channels=1.5: {WHOLE}"),
    "kernel of a stack": (lambda: f.stacked_conv_weights(1, NAN, 2), f"kernel_size=nan: {WHOLE}"),
    "kernel of one": (lambda: f.single_conv_weights(1, 3.5, 2), f"kernel_size=3.5: {WHOLE}"),
    "basic block": (lambda: f.basic_block_weights(0.5), f"channels=0.5: {WHOLE}"),
    "bottleneck": (lambda: f.bottleneck_block_weights(0), "channels=0: too small; allowed: at least 1"),
    "features": (lambda: f.reduced_conv_macs(1, 1, 0, (3, 3), (4, 4)), "features=0: too small"),
    "side of a kernel": (lambda: f.reduced_conv_macs(1, 1, 1, (3, 3.5), (4, 4)), rf"kernel_size\[1\]=3.5: {WHOLE}"),
    "axes": (lambda: f.reduced_conv_macs(1, 1, 1, (3, 3), (4,)), r"output_size=\(4,\): of another number of axes"),
    "no channels": (lambda: f.layer_parameters(nn.Dense(2), ()), r"input_shape=\(\): no channels; allowed: \(..., C\)"),
    "half a channel": (lambda: f.layer_parameters(nn.Dense(2), (1, 1.5)), f"channels=1.5: {WHOLE}"),
    "bias": (lambda: f.dense_parameters(2, 3, bias=5), "bias=5: no bool; allowed: True, False"),
    "shape": (lambda: f.activation_kb(5), "shape=5: no sizes; allowed: a tuple of whole numbers"),
    "model": (lambda: layer_costs(nn.Dense, None), "model=.*: no flax module; allowed: one with its fields"),
    "input": (lambda: layer_costs(nn.Dense(2), (1, 4)), r"x=\(1, 4\): no array; allowed: jax.ShapeDtypeStruct"),
    "chip": (lambda: roofline(LAYER, "h100"), r"chip='h100': no Chip; allowed: Chip\(flops, bandwidth\)"),
    "function to store": (lambda: residual_bytes(5), "function=5: no function"),
    "function to count": (lambda: step_flops(None), "function=None: no function; allowed: one that JAX can trace"),
    "depth": (lambda: fold([LAYER], 1.5), f"depth=1.5: {WHOLE}"),
    "no layer": (lambda: merge_layers([], "a"), r"layers=\[\]: none; allowed: at least one"),
    "size": (lambda: readable(NAN), "count=nan: not finite"),
    "peak": (lambda: roofline(LAYER, Chip(0, 1)), "flops=0: out of range; allowed: above 0"),
    "bandwidth": (lambda: total_seconds([LAYER], Chip(1, NAN)), "bandwidth=nan: out of range; allowed: above 0"),
    "runs": (lambda: hot_operations({}, "", 0, CHIPS["v4"]), "runs=0: out of range; allowed: at least 1"),
    "time": (lambda: hot_operations({"a": -1.0}, "", 1, CHIPS["v4"]), "times=-1: out of range; allowed: at least 0"),
    "side of a product": (lambda: measured_chip(0), "size=0: out of range; allowed: at least 1"),
    "repeats": (lambda: measured_chip(1, 1, 0.5), "repeats=0.5: no whole number"),
    "gradients": (lambda: data_parallel_bytes("fsdp", gradients=-1), "gradients=-1: too small; allowed: at least 0"),
    "split": (lambda: data_parallel_bytes("fsdp", gradients=1, split=NAN), "split=nan: no whole number"),
    "slack": (lambda: unexpected_collectives([], {}, {}, NAN), "slack=nan: no whole number"),
    "batch of a table": (lambda: text_table([LAYER], -1), "batch=-1: too small; allowed: at least 1"),
    "batch of a file": (lambda: write_csv("", [LAYER], NAN), f"batch=nan: {WHOLE}"),
    "depth of a file": (lambda: write_csv("", [LAYER], depth=0), "depth=0: too small; allowed: at least 1"),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
