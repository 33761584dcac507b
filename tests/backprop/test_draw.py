"""The picture of a graph: everything has a place of its own, and the numbers on the edges are those of the graph."""

import numpy as np
import pytest

from dlcore.backprop import Value, backward, draw, topological
from dlcore.backprop.draw import positions
from experiments.backprop import graph


@pytest.mark.parametrize("name", graph.CIRCUITS)
def test_positions(name):
    root = graph.CIRCUITS[name]()
    place = positions(root)
    order = topological(root)
    assert len(set(place.values())) == len(order)
    assert all(place[id(p)][0] < place[id(v)][0] for v in order for p in v.parents)
    assert place[id(root)][0] == max(x for x, _ in place.values())


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
    assert any(t.get_text().startswith("2x3") for t in draw(root).axes[0].texts)
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
