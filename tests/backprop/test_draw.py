"""The picture of a graph: everything has a place of its own, and the numbers on the edges are those of the graph."""

import numpy as np
import pytest

from dlcore.backprop import Value, backward, draw, topological
from dlcore.backprop.draw import GRADIENT, VALUE, positions
from experiments.backprop import graph


@pytest.mark.parametrize("name", graph.CIRCUITS)
def test_positions(name):
    root = graph.CIRCUITS[name]()
    place = positions(root)
    order = topological(root)
    assert len(set(place.values())) == len(order)
    assert all(place[id(p)][0] < place[id(v)][0] for v in order for p in v.parents)
    assert place[id(root)][0] == max(x for x, _ in place.values())


def test_places_by_hand():
    """x y + z: leaves from the top down, each in the column before its first use; gates between their parents."""
    x, y, z = Value(2.0), Value(3.0), Value(1.0)
    product = x * y
    root = product + z
    place = positions(root)
    assert [place[id(v)] for v in (x, y, product, z, root)] == [(0, 2), (0, 1), (1, 1.5), (1, 0), (2, 0.75)]
    # Two gates of the same parents: the second stands below the first. A leaf alone is in column 0.
    first, second = x * y, x + y
    place = positions(first + second)
    assert [place[id(v)] for v in (x, y, first)] == [(0, 1), (0, 0), (1, 0.5)]
    assert place[id(second)] == (1, pytest.approx(0.5 - 0.8))
    assert positions(x) == {id(x): (0, 0)}


def test_the_numbers_of_a_product_stand_right_before_its_gate():
    """Value and gradient at 0.48 of an edge of length 1, seen from its start, and of the product behind its gate."""
    root = Value(2.0, name="x") * Value(-3.0)
    backward(root)
    figure = draw(root, digits=1)
    texts = {(*np.round(t.get_position(), 2).tolist(), t.get_text()) for t in figure.axes[0].texts if t.get_text()}
    numbers = {(0.48, 0.76, "2.0"), (0.48, 0.76, "-3.0"), (0.48, 0.24, "-3.0"), (0.48, 0.24, "2.0")}
    labels = {(0, 1, "x"), (0, 0, "-3"), (1, 0.5, "*")}
    assert texts == numbers | labels | {(1.52, 0.5, "-6.0"), (1.52, 0.5, "1.0")}
    assert figure.axes[0].get_xlim() == pytest.approx((-0.6, 2.1))
    assert figure.axes[0].get_ylim() == pytest.approx((-0.7, 1.7))
    np.testing.assert_allclose(figure.get_size_inches(), [1.5 * 3, 0.9 * 2.5])
    above = {t.get_va() for t in figure.axes[0].texts if t.get_color() == VALUE}
    below = {t.get_va() for t in figure.axes[0].texts if t.get_color() == GRADIENT}
    assert (above, below) == ({"bottom"}, {"top"})


def test_a_value_that_is_used_twice_has_two_edges_and_a_sum():
    x = Value(3.0, name="x")
    root = x * x
    backward(root)
    axes = draw(root, title="A square").axes[0]
    texts = sorted((*np.round(t.get_position(), 2).tolist(), t.get_text()) for t in axes.texts if t.get_text())
    assert texts == sorted(
        [(0, 0, "x"), (1, 0, "*"), (0, -0.32, "Σ 6.00"), (1.52, 0, "9.00"), (1.52, 0, "1.00")]
        + [(0.48, 0, "3.00")] * 2
        + [(0.48, -0.35, "3.00")] * 2
    )
    assert axes.get_title() == "A square"


def test_the_numbers_of_the_circuit_are_on_its_edges():
    root = graph.neuron(grouped=True)
    backward(root)
    texts = [t.get_text() for t in draw(root).axes[0].texts]
    for number in ("2.00", "-0.20", "-3.00", "-0.39", "-1.00", "0.39", "-2.00", "-0.59", "0.20", "0.73", "1.00"):
        assert number in texts, number
    assert {"w0", "w1", "w2", "x0", "x1", "σ", "+", "*"} <= set(texts)


def test_each_edge_of_a_fork_has_its_own_gradient():
    # (x y + max(z, w)) 2 + z: 2 comes back to z through max, 1 through the sum, 3 in all.
    root = graph.gates()
    backward(root)
    texts = [t.get_text() for t in draw(root).axes[0].texts]
    assert "Σ 3.00" in texts
    assert "3.00" in texts, "the value of x"
    z = next(v for v in topological(root) if v.name == "z")
    edges = [
        float(g) for v in topological(root) for p, g in zip(v.parents, v.parent_gradients(), strict=True) if p is z
    ]
    assert sorted(edges) == [1, 2]
    x = Value(3.0, name="x")
    square = x * x
    backward(square)
    assert "Σ 6.00" in [t.get_text() for t in draw(square).axes[0].texts]


def test_arrays_show_their_shape_and_a_leaf_alone_is_drawn():
    root = Value(np.ones((2, 3)), name="X").sum()
    backward(root)
    texts = [t.get_text() for t in draw(root).axes[0].texts]
    assert texts.count("2x3 ‖2.4‖") == 2, "six ones, and as many slopes: their norm is 2.449"
    assert "2x3" in [t.get_text() for t in draw(Value(np.ones((2, 3))).sum()).axes[0].texts], "a leaf without a name"
    assert draw(Value(1.0, name="x"))


def test_the_page_checks_every_gradient():
    result = graph.study()
    assert result.holds
    assert set(result.figures) == set(graph.CIRCUITS)
    assert result.numbers["neuron: output"] == pytest.approx(0.7310586, abs=1e-6)
    assert result.numbers["neuron: gradient of x1"] == pytest.approx(-0.5898358, abs=1e-6)
    assert result.numbers["largest relative error"] < 1e-7
    # max routes: z wins and is copied, 2 + 1; w gets nothing.
    assert result.numbers["gates: gradient of z"] == 3
    assert result.numbers["gates: gradient of w"] == 0


def test_each_circuit_is_that_of_its_name():
    """A grouped neuron has a gate for its sigmoid, the other one exp and a division; 2 (3 (-4) + 2) + 2 = -18."""
    roots = {name: make() for name, make in graph.CIRCUITS.items()}
    gates = {name: {value.gate.name for value in topological(root) if value.gate} for name, root in roots.items()}
    assert {name: round(float(root.data), 2) for name, root in roots.items() if name != "layer"} == {
        "neuron": 0.73,
        "grouped": 0.73,
        "gates": -18,
    }
    assert ("exp" in gates["neuron"], "exp" in gates["grouped"]) == (True, False)
    assert "@" in gates["layer"]
