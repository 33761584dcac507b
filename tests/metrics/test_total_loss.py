"""Sums of losses, each divided by a count of its own, by hand."""

import jax.numpy as jnp
import pytest

from dlcore.learner import Sum
from dlcore.metrics import TotalLoss
from dlcore.metrics.total_loss import normalize_losses


def test_each_sum_is_divided_by_its_own_count():
    """6 / 2 + 3 / 4 + 0, the last without a count."""
    sums = {"box": jnp.float32(6), "class": (jnp.float32(3), jnp.float32(4)), "mask": (jnp.float32(0), jnp.int32(0))}
    value, metrics = normalize_losses({**sums, "num_foreground": jnp.int32(2)})
    assert float(value) == pytest.approx(3.75)
    assert isinstance(metrics["loss"], TotalLoss)
    assert metrics["loss"].compute() == pytest.approx(3.75)
    assert (metrics["box"].compute(), metrics["class"].compute(), metrics["mask"].compute()) == (3, 0.75, None)


def test_sums_with_one_count_are_one_mean():
    """(6 + 1) / 2 over one batch, and (6 + 1 + 2) / 4 with another that has 2 over 2."""
    first, metrics = normalize_losses({"a": jnp.float32(6), "b": jnp.float32(1), "num_foreground": jnp.int32(2)})
    _, other = normalize_losses({"a": jnp.float32(2), "b": jnp.float32(0), "num_foreground": jnp.int32(2)})
    assert float(first) == pytest.approx(3.5)
    assert metrics["loss"].merge(other["loss"]).compute() == pytest.approx(9 / 4)
    assert isinstance(metrics["loss"], Sum)


def test_totals_are_float32_and_counts_stay_whole():
    _, metrics = normalize_losses({"a": jnp.bfloat16(6), "num_foreground": jnp.int32(2)})
    for metric in (metrics["loss"], metrics["a"]):
        assert (metric.total.dtype, metric.count.dtype) == (jnp.float32, jnp.int32)
