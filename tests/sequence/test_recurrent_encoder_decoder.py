"""The recurrent encoder-decoder by hand: reading from both ends by length, and one step of the decoder."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.sequence.recurrent_encoder_decoder import RecurrentEncoderDecoder

SOURCE = np.array([[4, 5, 6, 2], [7, 2, 0, 0]])


def drawn(model):
    """Parameters of normal numbers."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), SOURCE, SOURCE[:, :2])
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: 0.6 * rng.normal(size=s.shape).astype(np.float32), shapes)


def gru(h, a, hidden):
    """A GRU's step: r, z, n from the input's part a and the state's, in torch's order."""
    u = h @ hidden["kernel"] + hidden["bias"]
    (a_r, a_z, a_n), (u_r, u_z, u_n) = np.split(a, 3), np.split(u, 3)
    r, z = 1 / (1 + np.exp(-(a_r + u_r))), 1 / (1 + np.exp(-(a_z + u_z)))
    return (1 - z) * np.tanh(a_n + r * u_n) + z * h


@pytest.mark.covers("SQ-12", "SQ-13")
@pytest.mark.parametrize("attention", ["additive", pytest.param("none", marks=pytest.mark.slow)])
def test_encoder_and_one_step_by_hand(attention):
    """The second row, `w END PAD PAD`: two states from each end, s_0, the weights, the context, s_1 and the logits."""
    model = RecurrentEncoderDecoder(9, 8 if attention == "additive" else None, attention, 3, 4, dropout_rate=0.5)
    variables, tokens = drawn(model), np.ones((2, 1), int)

    @jax.jit
    def run(variables):
        memory = model.apply(variables, SOURCE, method="encode")
        decoded = model.apply(variables, memory, tokens, method="decode", mutable=["intermediates"])
        carry = model.apply(variables, memory, 5, method="start")
        return memory, decoded, model.apply(variables, carry, tokens[:, 0], method="step")[1]

    memory, (logits, sown), stepped = run(variables)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), variables["params"])
    x = [p["source_embed" if attention == "additive" else "embed"]["embedding"][token] * 2 for token in (7, 2)]

    def read(name, inputs):
        layer, h, states = p["encoder"][name], np.zeros(3), []
        for row in inputs:
            a = row @ layer["input_kernel"] + layer["input_bias"]
            h = gru(h, a, {"kernel": layer["hidden_kernel"], "bias": layer["hidden_bias"]})
            states.append(h)
        return states

    ahead, back = read("forward", x), read("backward", x[::-1])
    summary = np.concatenate([ahead[-1], back[-1]])
    states = np.stack([np.concatenate(pair) for pair in zip(ahead, back[::-1], strict=True)])
    np.testing.assert_allclose(memory["summary"][1], summary, atol=1e-5)

    s = np.tanh(summary @ p["bridge"]["kernel"] + p["bridge"]["bias"])
    decoder, context = p["decoder"], summary
    if attention == "additive":
        np.testing.assert_allclose(memory["states"][1, :2], states, atol=1e-5)
        np.testing.assert_array_equal(memory["mask"][1], [True, True, False, False])
        w, u, v = (decoder["attend"][name]["kernel"] for name in ("query", "key", "score"))
        e = np.array([(np.tanh(s @ w + h @ u) @ v)[0] for h in states])
        weights = np.exp(e) / np.exp(e).sum()
        context = weights @ states
        np.testing.assert_allclose(model.alignment(sown["intermediates"])[1, 0], [*weights, 0, 0], atol=1e-5)
    else:
        assert set(memory) == {"summary"}
        assert model.alignment(sown.get("intermediates", {})) is None
        assert set(decoder) == {"input", "context", "hidden"}
    word = p["embed"]["embedding"][1] * 2  # the root of 4
    a = word @ decoder["input"]["kernel"] + decoder["input"]["bias"] + context @ decoder["context"]["kernel"]
    s = gru(s, a, decoder["hidden"])
    h = np.tanh(np.concatenate([s, context, word]) @ p["readout"]["kernel"] + p["readout"]["bias"])
    np.testing.assert_allclose(logits[1, 0], p["embed"]["embedding"] @ h + p["bias"], atol=1e-5)
    np.testing.assert_allclose(stepped, logits[:, 0], atol=1e-6)


def test_fields_of_the_network_reach_its_layers():
    half = RecurrentEncoderDecoder(9, None, "none", 3, 4, dtype=jnp.bfloat16)
    variables = jax.eval_shape(half.init, jax.random.key(0), SOURCE, SOURCE)
    kernels = {name: layer["kernel"].shape for name, layer in variables["params"]["decoder"].items()}
    # Three gates for each of the 3 units, of the 4 numbers of a word, the 2 * 3 of the summary, and the 3 of the state.
    assert kernels == {"input": (4, 9), "context": (6, 9), "hidden": (3, 9)}
    program = str(jax.make_jaxpr(half.apply)(variables, SOURCE, SOURCE))
    # No product of matrices is of float32.
    assert "dot_general" in program
    assert not [line for line in program.splitlines() if "= dot_general" in line and ":f32" in line]


@pytest.mark.weekly
def test_the_first_loss_is_log_v():
    model = RecurrentEncoderDecoder(50, None, "additive", 16, 16)
    source = np.random.default_rng(0).integers(4, 50, (8, 6))
    logits, _ = model.init_with_output(jax.random.key(0), source, source)
    loss = -jax.nn.log_softmax(logits)[..., 7].mean()
    assert float(loss) == pytest.approx(np.log(50), rel=1e-5)
