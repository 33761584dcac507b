"""Equations of nested programs by hand, and values that pass through them."""

import jax
import jax.numpy as jnp
import pytest

from dlcore.diagnostics.jaxpr import inner_jaxpr, propagate, scan_counts, walk


def nested(x):
    """A sine in two nested loops, 3 times 2 turns, a cosine in each of two branches, and a call."""

    def turn(carry, _):
        inner, _ = jax.lax.scan(lambda c, _: (jnp.sin(c), None), carry, None, length=2)
        return inner, None

    x, _ = jax.lax.scan(turn, x, None, length=3)
    x = jax.lax.cond(x > 0, jnp.cos, lambda v: jnp.cos(2 * v), x)
    return jax.jit(lambda v: v + 1)(x)


def test_every_equation_is_listed_with_its_number_of_turns():
    names = [(e.primitive.name, times) for e, times in walk(jax.make_jaxpr(nested)(1.0).jaxpr)]
    assert [times for name, times in names if name == "sin"] == [3 * 2]
    assert [times for name, times in names if name == "cos"] == [1, 1]
    assert names.index(("scan", 1)) < names.index(("scan", 3)) < names.index(("sin", 6)), "outer equations come first"
    assert ("add", 1) in names


def test_calls_are_told_from_loops_and_branches():
    inner = {e.primitive.name: inner_jaxpr(e) for e, _ in walk(jax.make_jaxpr(nested)(1.0).jaxpr)}
    assert inner["scan"] is None
    assert inner["cond"] is None
    assert inner["sin"] is None
    assert [e.primitive.name for e in inner["jit"].jaxpr.eqns] == ["add"]


def test_constants_and_carry_of_a_scan_are_told_by_their_shapes():
    """Two constants, a carry of three arrays, and one scanned array whose slices have the shape of the carry."""

    def step(carry, x, a, b):
        i, y, z = carry
        return (i + 1, a * y + x, z + 1), (y, i)

    def scanned(a, b, x):
        return jax.lax.scan(lambda c, x: step(c, x + b, a, b), (0, jnp.ones(3), jnp.zeros(())), x)

    a, b, x = jnp.ones(3), jnp.float32(2), jnp.ones((3, 3))
    (scan,) = [e for e, _ in walk(jax.make_jaxpr(scanned)(a, b, x).jaxpr) if e.primitive.name == "scan"]
    assert scan_counts(scan) == (2, 3)


def test_values_pass_from_equation_to_equation():
    """How many multiplications lie behind each result: y = 3 x x of two, and 5 of none."""
    closed = jax.make_jaxpr(lambda x: (3 * x * x, 5.0))(2.0)
    depth = propagate(
        closed.jaxpr, [0], lambda e, values: [max(values) + (e.primitive.name == "mul")], literal=lambda _: 0
    )
    assert depth == [2, 0]


def test_constants_and_literals_are_read():
    table = jnp.arange(3.0)
    closed = jax.make_jaxpr(lambda x: x * 2.0 + table)(1.0)
    run = lambda e, values: [e.primitive.bind(*values, **e.params)]  # noqa: E731
    got = propagate(closed.jaxpr, [jnp.float32(1)], run, consts=closed.consts, literal=lambda value: value)
    assert got[0].tolist() == [2, 3, 4]
    with pytest.raises(ValueError, match="zip"):
        propagate(closed.jaxpr, [], run, consts=closed.consts)
