"""One step of each cell by hand, what gates keep, and the variants of the LSTM as layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn.recurrent import Recurrent
from dlcore.nn.recurrent_cells import (
    RECURRENT_CELLS,
    coupled_lstm_cell,
    gru_cell,
    lstm_cell,
    no_forget_lstm_cell,
    no_output_lstm_cell,
    peephole_lstm_cell,
    rnn_cell,
)


@pytest.mark.covers("SQ-02")
def test_an_open_forget_gate_and_a_closed_input_gate_keep_the_cell_for_ever():
    # i = sigmoid(-100) = 0, f = sigmoid(100) = 1 in float32: c stays, and h = o tanh c.
    gates = jnp.concatenate([jnp.full(2, v) for v in (-100.0, 100.0, 3.0, 0.0)])
    c = jnp.array([0.7, -2.0])
    carry = (jnp.zeros(2), c)
    for _ in range(50):
        carry = lstm_cell(carry, gates, jnp.zeros(8))
    np.testing.assert_array_equal(carry[1], c)
    np.testing.assert_allclose(carry[0], 0.5 * np.tanh(c), rtol=1e-6)


@pytest.mark.covers("SQ-02")
def test_gates_lie_between_zero_and_one():
    # E36: the forget gate is a sigmoid: with everything at -large the cell is forgotten, and never changes its sign.
    h, c = lstm_cell((jnp.zeros(1), jnp.array([5.0])), jnp.array([-100.0, -100.0, 0.0, 100.0]), jnp.zeros(4))
    assert c == 0
    assert h == 0


def test_one_step_of_each_by_hand():
    h = jnp.array([0.5])
    assert rnn_cell((h,), jnp.array([0.2]), jnp.array([0.1]))[0] == pytest.approx(np.tanh(0.3))
    # r = z = sigmoid(0) = .5; n = tanh(.4 + .5 * .2) = tanh(.5); h' = .5 n + .5 * .5
    got = gru_cell((h,), jnp.array([0.0, 0.0, 0.4]), jnp.array([0.0, 0.0, 0.2]))[0]
    assert got == pytest.approx(0.5 * np.tanh(0.5) + 0.25)


# The variants of the LSTM


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


I, F, G, O = 0.3, -0.4, 0.8, 1.1  # noqa: E741
H, C = 0.2, 0.6
"""Gates before their sigmoids, and the state, of one unit."""


def variants():
    """Name -> (gates, peephole, c', h') by hand."""
    more = {"lstm_peephole": {"peephole": np.array([[0.5], [-1.0], [2.0]])}}
    c = {
        "lstm": sigmoid(F) * C + sigmoid(I) * np.tanh(G),
        "lstm_no_forget": C + sigmoid(I) * np.tanh(G),
        "lstm_coupled": sigmoid(F) * C + (1 - sigmoid(F)) * np.tanh(G),
        "lstm_peephole": sigmoid(F - C) * C + sigmoid(I + 0.5 * C) * np.tanh(G),
    }
    c["lstm_no_output"] = c["lstm"]
    output = {name: sigmoid(O) for name in c} | {"lstm_no_output": 1.0}
    output["lstm_peephole"] = sigmoid(O + 2 * c["lstm_peephole"])  # the output gate sees the new cell
    gates = dict.fromkeys(c, (I, F, G, O)) | {
        "lstm_no_forget": (I, G, O),
        "lstm_no_output": (I, F, G),
        "lstm_coupled": (F, G, O),
    }
    return [pytest.param(name, gates[name], more.get(name, {}), c[name], output[name] * np.tanh(c[name])) for name in c]


@pytest.mark.covers("SQ-20")
@pytest.mark.parametrize(("name", "gates", "extra", "c", "h"), variants())
def test_a_step_of_each_variant_by_hand(name, gates, extra, c, h):
    u = jnp.full(len(gates), 0.1)
    step = RECURRENT_CELLS[name].step
    got = step((jnp.array([H]), jnp.array([C])), jnp.array(gates) - u, u, **extra)
    np.testing.assert_allclose([got[0][0], got[1][0]], [h, c], rtol=1e-6)


def test_terms_and_peepholes_of_another_size_are_refused():
    """Three units: an LSTM has 12 numbers in each term, and a peephole 3 for each unit."""
    h, c, term = np.zeros(2), np.zeros(3), np.zeros(12)
    for step, a, u, more, problem in ((lstm_cell, term, np.zeros(9), {}, r"u=float32\[9\]: wrong shape"),):
        with pytest.raises(ValueError, match=problem):
            step((c,) if step is gru_cell else (h, c), a, u, **more)


@pytest.mark.covers("SQ-20")
def test_variants_that_become_the_lstm():
    """Peepholes of zero; a forget gate, an output gate that are open; an input gate that is 1 - f."""
    carry, (i, f, g, o) = (jnp.array([H]), jnp.array([C])), (jnp.array([v]) for v in (I, F, G, O))
    zero, wide = jnp.zeros(4), jnp.array([100.0])

    def lstm(i, f, g, o):
        return lstm_cell(carry, jnp.concatenate([i, f, g, o]), zero)

    for got, want in (
        (peephole_lstm_cell(carry, jnp.concatenate([i, f, g, o]), zero, jnp.zeros((3, 1))), lstm(i, f, g, o)),
        (no_forget_lstm_cell(carry, jnp.concatenate([i, g, o]), zero[1:]), lstm(i, wide, g, o)),
        (no_output_lstm_cell(carry, jnp.concatenate([i, f, g]), zero[1:]), lstm(i, f, g, wide)),
        (coupled_lstm_cell(carry, jnp.concatenate([f, g, o]), zero[1:]), lstm(-f, f, g, o)),
    ):
        np.testing.assert_allclose(got, want, rtol=1e-6)


# D = 3, H = 5: (3 + 5 + 2) * 5 = 50 a gate, and three peepholes of 5
@pytest.mark.slow(only=["lstm_no_forget-150-None"])
@pytest.mark.covers("SQ-20")
@pytest.mark.parametrize(
    ("cell", "count", "forget"),
    [("lstm_no_forget", 150, None), ("lstm_no_output", 150, 1), ("lstm_coupled", 150, 0), ("lstm_peephole", 215, 1)],
)
def test_the_parameters_of_a_variant(cell, count, forget):
    layer = Recurrent(5, cell, forget_bias=2.0)
    x = np.ones((2, 7, 3), np.float32)
    params = jax.jit(lambda key, x: layer.init(key, layer.initial_carry(2), x))(jax.random.key(0), x)["params"]
    assert sum(p.size for p in jax.tree.leaves(params)) == count
    bias = np.asarray(params["input_bias"]).reshape(-1, 5)
    np.testing.assert_array_equal(bias, [[2.0 * (gate == forget)] * 5 for gate in range(len(bias))])
    assert ("peephole" in params) == (cell == "lstm_peephole")


@pytest.mark.slow
@pytest.mark.covers("SQ-20")
def test_peepholes_get_a_gradient_through_time():
    layer = Recurrent(4, "lstm_peephole")
    x = jax.random.normal(jax.random.key(1), (2, 3, 3))
    params = layer.init(jax.random.key(0), layer.initial_carry(2), x)["params"]
    gradient = jax.grad(lambda p: (layer.apply({"params": p}, layer.initial_carry(2), x)[1] ** 2).sum())(params)
    assert np.abs(gradient["peephole"]).min() > 0
