"""What XLA counts, and the three ways in which it differs."""

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn
from jax import lax

from dlcore.cost.compiled import Compiled, compiled_cost, compiled_summary
from dlcore.cost.layers import Total, layer_costs, total
from dlcore.nn import Conv


class Products(nn.Module):
    """Dense layers, `turns` of them in a scan."""

    turns: int = 0

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(64, use_bias=False)(x)
        w = self.param("w", nn.initializers.ones, (64, 64))
        return lax.scan(lambda y, _: (y @ w, None), x, length=self.turns)[0] if self.turns else x


class Convolution(nn.Module):
    """A 3x3 convolution that keeps the size."""

    padding: int

    @nn.compact
    def __call__(self, x):
        return Conv(8, (3, 3), padding=self.padding, use_bias=False)(x)


def counts(model, shape):
    x = jax.ShapeDtypeStruct(shape, jnp.float32)
    return compiled_cost(model, x).flops, total(layer_costs(model, x)).flops


@pytest.mark.covers("CO-02")
def test_of_products_alone_both_count_the_same():
    xla, ours = counts(Products(), (32, 64))
    assert ours == 2 * 32 * 64 * 64
    assert xla == pytest.approx(ours, rel=0.01)


def test_xla_counts_a_loop_once():
    once, _ = counts(Products(1), (32, 64))
    xla, ours = counts(Products(100), (32, 64))
    assert ours == 2 * 32 * 64 * 64 * 101
    assert xla < 3.1 * 2 * 32 * 64 * 64
    assert once <= xla


def test_xla_leaves_out_taps_on_padding():
    """On 8x8 with a border of one pixel, an axis has 3 * 8 - 2 = 22 taps of 24."""
    xla, ours = counts(Convolution(1), (1, 8, 8, 16))
    assert ours == 2 * 64 * 8 * 16 * 9
    assert xla == pytest.approx(ours * (22 / 24) ** 2, rel=0.01)
    xla, ours = counts(Convolution(0), (1, 8, 8, 16))
    assert xla == pytest.approx(ours, rel=0.01)


def test_memory_is_that_of_the_program():
    found = compiled_cost(Products(), jax.ShapeDtypeStruct((32, 64), jnp.float32))
    assert found.arguments == 4 * (32 * 64 + 64 * 64)  # x and the kernel: jit hands over no unused parameter
    assert found.outputs == 4 * 32 * 64
    assert found.platform == jax.default_backend()


def test_the_summary():
    text = compiled_summary(Compiled("cpu", 3e9, 1.0, 2**20, None, 2**19), Total(1, 10**9, 1))
    assert "3.000 GFLOPs on this cpu, +50.0% against 2 MACs" in text
    assert "1.0 MiB of parameters and images, unknown of temporaries" in text
    assert "0.5 MiB of outputs" in text
    # Nothing is divided by 0 MACs.
    assert "3.000 GFLOPs on this cpu, +nan% against" in compiled_summary(
        Compiled("cpu", 3e9, *[None] * 4), Total(1, 0, 1)
    )
    assert "does not say" in compiled_summary(Compiled("cpu", None, None, None, None, None), Total(1, 1, 1))
