"""Recurrent layers against torch's golden outputs and gradients, and by hand."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn.recurrent import BidirectionalRecurrent, Recurrent, RecurrentStack, reverse_sequences

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "torch_seq_attn.npz")
TORCH = {"input_kernel": "weight_ih", "hidden_kernel": "weight_hh", "input_bias": "bias_ih", "hidden_bias": "bias_hh"}
COVERS = {"rnn": "SQ-01", "lstm": "SQ-02", "gru": "SQ-03"}
cells = pytest.mark.parametrize("cell", [pytest.param(c, marks=pytest.mark.covers(r)) for c, r in COVERS.items()])


def from_torch(case: str, layer: int, kind: str = "in") -> dict:
    """A layer's parameters (or their gradients): kernels transposed, biases as they are."""
    return {ours: GOLDEN[f"{case}/{kind}.w.{theirs}_l{layer}"].T for ours, theirs in TORCH.items()}


def carry_of(case: str, layer: int, where: str) -> tuple:
    names = {"in": ("in.h0", "in.c0"), "out": ("out.hn", "out.cn")}[where]
    return tuple(jnp.asarray(GOLDEN[f"{case}/{n}"][layer]) for n in names if f"{case}/{n}" in GOLDEN.files)


@pytest.mark.slow(only=["1-*", "2-rnn"])
@cells
@pytest.mark.parametrize("unroll", [1, 2])
def test_a_layer_equals_torch_forward_and_backward(cell, unroll):
    case = f"{cell.upper()}.1"
    layer = Recurrent(4, cell, unroll=unroll)
    params, x, carry = from_torch(case, 0), jnp.asarray(GOLDEN[f"{case}/in.x"]), carry_of(case, 0, "in")

    def weighted(params, x):
        after, h = layer.apply({"params": params}, carry, x)
        return (h * GOLDEN[f"{case}/in.cot"]).sum(), (after, h)

    (d_params, d_x), (after, h) = jax.jit(jax.grad(weighted, (0, 1), has_aux=True))(params, x)
    np.testing.assert_allclose(h, GOLDEN[f"{case}/out"], atol=2e-6)
    for ours, theirs in zip(after, carry_of(case, 0, "out"), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    np.testing.assert_allclose(d_x, GOLDEN[f"{case}/grad.x"], atol=5e-6)
    for name, want in from_torch(case, 0, "grad").items():
        np.testing.assert_allclose(d_params[name], want, atol=5e-6, err_msg=name)


@pytest.mark.covers("SQ-04")
@pytest.mark.parametrize("cell", COVERS)
def test_two_layers_equal_torch(cell):
    case = f"{cell.upper()}.2"
    params = {f"layer{i}": from_torch(case, i) for i in range(2)}
    start = tuple(carry_of(case, i, "in") for i in range(2))
    after, h = jax.jit(RecurrentStack(4, 2, cell).apply)({"params": params}, start, GOLDEN[f"{case}/in.x"])
    np.testing.assert_allclose(h, GOLDEN[f"{case}/out"], atol=2e-6)
    for i in range(2):
        np.testing.assert_allclose(after[i][0], GOLDEN[f"{case}/out.hn"][i], atol=2e-6)


@pytest.mark.slow
@pytest.mark.covers("SQ-04")
def test_a_stack_of_one_is_the_layer():
    x = jax.random.normal(jax.random.key(0), (2, 5, 3))
    layer, stack = Recurrent(4), RecurrentStack(4)
    params = layer.init(jax.random.key(1), layer.initial_carry(2), x)["params"]
    one, _ = layer.apply({"params": params}, layer.initial_carry(2), x)[1], None
    np.testing.assert_array_equal(one, stack.apply({"params": {"layer0": params}}, stack.initial_carry(2), x)[1])


# D = 3, H = 5: (3 + 5 + 2) * 5 = 50 a gate; one gate, four and three
@pytest.mark.parametrize(
    ("cell", "count"),
    [
        pytest.param("rnn", 50, marks=pytest.mark.covers("SQ-01")),
        pytest.param("lstm", 200, marks=pytest.mark.covers("SQ-02")),
        pytest.param("gru", 150, marks=pytest.mark.covers("SQ-03")),
    ],
)
def test_the_number_of_parameters(cell, count):
    layer = Recurrent(5, cell)
    params = jax.eval_shape(lambda: layer.init(jax.random.key(0), layer.initial_carry(1), jnp.zeros((1, 7, 3))))
    assert sum(x.size for x in jax.tree.leaves(params)) == count


def test_the_recurrent_kernel_starts_orthogonal_and_the_forget_gate_open():
    layer = Recurrent(4, "lstm")
    init = jax.jit(lambda: layer.init(jax.random.key(0), layer.initial_carry(1), jnp.zeros((1, 1, 3))))
    params = init()["params"]
    for gate in np.split(np.asarray(params["hidden_kernel"]), 4, axis=1):
        np.testing.assert_allclose(gate @ gate.T, np.eye(4), atol=1e-5)
    np.testing.assert_array_equal(params["input_bias"], np.r_[np.zeros(4), np.ones(4), np.zeros(8)])


@pytest.mark.slow
def test_a_carry_goes_on_where_it_stopped():
    x = jax.random.normal(jax.random.key(0), (2, 6, 3))
    layer = Recurrent(4, "gru")
    variables = layer.init(jax.random.key(1), layer.initial_carry(2), x)
    whole = layer.apply(variables, layer.initial_carry(2), x)[1]
    carry, first = layer.apply(variables, layer.initial_carry(2), x[:, :4])
    np.testing.assert_allclose(
        whole, jnp.concatenate([first, layer.apply(variables, carry, x[:, 4:])[1]], 1), rtol=1e-6
    )


def test_a_sequence_without_a_batch_is_an_error():
    layer = Recurrent(4)
    with pytest.raises(ValueError, match=r"x=float32\[5, 3\]: wrong shape or dtype; allowed: \[B, T, D\]"):
        layer.init(jax.random.key(0), layer.initial_carry(1), jnp.zeros((5, 3)))


def both_from_torch(case: str, layer: int) -> dict:
    return {
        name: {ours: GOLDEN[f"{case}/in.w.{theirs}_l{layer}{end}"].T for ours, theirs in TORCH.items()}
        for name, end in (("forward", ""), ("backward", "_reverse"))
    }


@pytest.mark.slow(unless=["1-rnn", "2-lstm"])
@pytest.mark.covers("SQ-05")
@pytest.mark.parametrize("cell", COVERS)
@pytest.mark.parametrize("layers", [1, 2])
def test_reading_both_ways_equals_torch(cell, layers):
    case = f"{cell.upper()}.{layers}bi"
    stack = RecurrentStack(4, layers, cell, bidirectional=True)
    params = {f"layer{i}": both_from_torch(case, i) for i in range(layers)}
    start = tuple((carry_of(case, 2 * i, "in"), carry_of(case, 2 * i + 1, "in")) for i in range(layers))
    x = jnp.asarray(GOLDEN[f"{case}/in.x"])
    after, h = jax.jit(stack.apply)({"params": params}, start, x)
    np.testing.assert_allclose(h, GOLDEN[f"{case}/out"], atol=2e-6)
    for i in range(layers):
        for end in (0, 1):
            for ours, theirs in zip(after[i][end], carry_of(case, 2 * i + end, "out"), strict=True):
                np.testing.assert_allclose(ours, theirs, atol=2e-6)
    assert jax.tree.map(jnp.shape, stack.initial_carry(len(x))) == jax.tree.map(jnp.shape, start)


LENGTHS = np.array([5, 2, 3, 1], np.int32)


def ragged(module, dtype=np.float64, features=3):
    """(parameters, zero carry, x [4, 5, features]) with every bias away from zero."""
    x = np.random.default_rng(0).normal(size=(4, 5, features)).astype(dtype)
    carry = jax.tree.map(lambda h: h.astype(dtype), module.initial_carry(4))
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), carry, x))["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda p: rng.normal(size=p.shape).astype(dtype), shapes), carry, x


@pytest.mark.slow(only=["rnn-*", "lstm-None", "gru-lengths1"])
@pytest.mark.covers("SQ-05")
@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("cell", COVERS)
def test_the_reversed_input_gives_the_outputs_reversed_and_swapped_where_the_weights_are_swapped(cell, lengths):
    with jax.enable_x64(True):
        layer = BidirectionalRecurrent(4, cell)
        params, carry, x = ragged(layer)
        swapped = {"forward": params["backward"], "backward": params["forward"]}
        run, turn = jax.jit(layer.apply), jax.jit(reverse_sequences)
        (after, before), h = run({"params": params}, carry, x, lengths)
        (forth, back), g = run({"params": swapped}, carry, turn(np.asarray(x), lengths), lengths)
        left, right = np.split(np.asarray(h), 2, -1)
        want = np.asarray(turn(np.concatenate([right, left], -1), lengths))
        np.testing.assert_array_equal(g, want)
        for ours, theirs in zip(forth + back, before + after, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert (np.asarray(g) != np.asarray(h)).any()


@pytest.mark.slow
@pytest.mark.covers("SQ-05")
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_padded_row_is_the_row_alone(bidirectional):
    stack = RecurrentStack(4, 2, "lstm", bidirectional=bidirectional)
    params, carry, x = ragged(stack, np.float32)
    run = jax.jit(stack.apply)
    after, h = run({"params": params}, carry, x, LENGTHS)
    for i, n in enumerate(LENGTHS):
        alone, g = stack.apply({"params": params}, stack.initial_carry(1), x[i : i + 1, :n])
        np.testing.assert_allclose(h[i, :n], g[0], atol=1e-6)
        np.testing.assert_array_equal(h[i, n:], 0)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a[i], b[0], atol=1e-6), after, alone)


@pytest.mark.slow
@pytest.mark.covers("SQ-05")
def test_padding_changes_no_output_and_no_gradient():
    stack = RecurrentStack(4, 2, "gru", bidirectional=True)
    params, carry, x = ragged(stack, np.float32)
    padding = np.arange(5) >= LENGTHS[:, None]
    other = np.where(padding[..., None], 100.0, x).astype(np.float32)

    @jax.jit
    def measured(params, x):
        after, h = stack.apply({"params": params}, carry, x, LENGTHS)
        return jnp.square(h).sum() + sum(jnp.sum(c) for c in jax.tree.leaves(after)), h

    first, second = (jax.grad(measured, has_aux=True)(params, v) for v in (x, other))
    jax.tree.map(np.testing.assert_array_equal, first[1], second[1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), first[0], second[0])


def test_full_lengths_change_nothing_and_an_empty_row_keeps_its_carry():
    layer = Recurrent(4, "lstm")
    params, carry, x = ragged(layer, np.float32)
    carry = jax.tree.map(lambda h: h + 0.5, carry)
    run = jax.jit(layer.apply)
    plain = run({"params": params}, carry, x)
    full = run({"params": params}, carry, x, np.full(4, 5))
    # Two programs: an optimizing compiler fuses and rounds them differently, by a unit in the last place.
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), plain, full)
    after, h = run({"params": params}, carry, x, np.array([0, 5, 5, 5]))
    assert (h[0] == 0).all()
    assert all((c[0] == 0.5).all() for c in after)


def test_sequences_are_reversed_within_their_lengths():
    x = jnp.array([[1, 2, 3, 0], [4, 0, 0, 0], [5, 6, 7, 8]])
    lengths = jnp.array([3, 1, 4])
    reversed_rows = reverse_sequences(x, lengths)
    np.testing.assert_array_equal(reversed_rows, [[3, 2, 1, 0], [4, 0, 0, 0], [8, 7, 6, 5]])
    np.testing.assert_array_equal(reverse_sequences(reversed_rows, lengths), x)
    np.testing.assert_array_equal(reverse_sequences(x), x[:, ::-1])


def test_lengths_may_be_an_array_of_jax_inside_jit():
    x, lengths = jnp.arange(6.0).reshape(2, 3), jnp.asarray([2, 3])
    np.testing.assert_array_equal(jax.jit(lambda x: reverse_sequences(x, lengths))(x), [[1, 0, 2], [5, 4, 3]])


@pytest.mark.slow
@pytest.mark.covers("SQ-02")
def test_a_projected_lstm_by_hand():
    """h' = W_p (o tanh c'), which the gates of the next step see: torch's `proj_size`."""
    layer = Recurrent(5, "lstm", proj_features=2)
    x = jax.random.normal(jax.random.key(0), (2, 4, 3))
    carry = layer.initial_carry(2)
    assert [c.shape for c in carry] == [(2, 2), (2, 5)]
    params = layer.init(jax.random.key(1), carry, x)["params"]
    assert {k: v.shape for k, v in params.items()} == {
        "input_kernel": (3, 20),
        "hidden_kernel": (2, 20),
        "projection": (5, 2),
        "input_bias": (20,),
        "hidden_bias": (20,),
    }
    (after, cell), got = layer.apply({"params": params}, carry, x)
    p, h, c = jax.tree.map(lambda v: np.asarray(v, np.float64), params), np.zeros((2, 2)), np.zeros((2, 5))
    for t in range(4):
        gates = np.asarray(x[:, t]) @ p["input_kernel"] + p["input_bias"] + h @ p["hidden_kernel"] + p["hidden_bias"]
        i, f, g, o = np.split(gates, 4, -1)
        i, f, o = (1 / (1 + np.exp(-v)) for v in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = (o * np.tanh(c)) @ p["projection"]
        np.testing.assert_allclose(got[:, t], h, atol=1e-5)
    np.testing.assert_allclose(cell, c, atol=1e-5)
    np.testing.assert_array_equal(after, got[:, -1])


@pytest.mark.covers("SQ-01")
def test_the_rnn_of_rectified_units_by_hand():
    # h = 1: max(0, 2 1 - 3 1 + .5) = 0; max(0, 2 2 - 3 0 + .5) = 4.5; max(0, 2 1 - 3 4.5 + .5) = 0.
    params = {"input_kernel": [[2.0]], "hidden_kernel": [[-3.0]], "input_bias": [0.25], "hidden_bias": [0.25]}
    x = jnp.array([1.0, 2.0, 1.0])[None, :, None]
    params = jax.tree.map(jnp.asarray, params, is_leaf=lambda v: isinstance(v, list))
    _, h = Recurrent(1, "relu_rnn").apply({"params": params}, (jnp.ones((1, 1)),), x)
    np.testing.assert_array_equal(h[0, :, 0], [0, 4.5, 0])


@pytest.mark.covers("SQ-01", "SQ-15")
def test_a_learned_carry_is_the_state_before_the_first_step_of_both_ways():
    """h_1 = tanh(w x_1 + u h_0) with w = 2, u = 3: tanh(2 * 0.1 + 3 * h_0), from either end of one step."""
    layer = BidirectionalRecurrent(1, "rnn", learned_carry=True)
    shape = {"input_kernel": (1, 1), "hidden_kernel": (1, 1), "input_bias": (1,), "hidden_bias": (1,), "initial0": (1,)}
    values = {"input_kernel": 2.0, "hidden_kernel": 3.0, "input_bias": 0.0, "hidden_bias": 0.0}
    params = {
        name: {key: np.full(size, values.get(key, start), np.float32) for key, size in shape.items()}
        for name, start in (("forward", 0.5), ("backward", -0.25))
    }
    x, run = np.full((2, 1, 1), 0.1, np.float32), jax.jit(layer.apply)
    _, h = run({"params": params}, None, x)
    np.testing.assert_allclose(h, np.tanh([[[0.2 + 1.5, 0.2 - 0.75]]] * 2), rtol=1e-6)
    zeros = layer.initial_carry(2)
    np.testing.assert_allclose(run({"params": params}, zeros, x)[1], np.tanh([[[0.2, 0.2]]] * 2), rtol=1e-6)
    without = {name: {k: v for k, v in leaves.items() if k != "initial0"} for name, leaves in params.items()}
    plain = jax.jit(BidirectionalRecurrent(1, "rnn").apply)({"params": without}, None, x)[1]
    np.testing.assert_allclose(plain, np.tanh([[[0.2, 0.2]]] * 2), rtol=1e-6)


@pytest.mark.weekly
def test_each_state_of_each_layer_is_learned_and_starts_at_zero():
    stack, x = RecurrentStack(3, 2, "lstm", learned_carry=True), jnp.ones((2, 4, 5))
    params = jax.jit(stack.init)(jax.random.key(0), None, x)["params"]
    gradient = jax.jit(jax.grad(lambda p: jnp.square(stack.apply({"params": p}, None, x)[1]).sum()))(params)
    for layer in ("layer0", "layer1"):
        for name in ("initial0", "initial1"):
            np.testing.assert_array_equal(params[layer][name], np.zeros(3))
            assert (np.abs(gradient[layer][name]) > 0).all()
