"""One-hot input and a learned embedding are the same product; the head starts at zero."""

import chex
import jax
import numpy as np
import pytest

from dlcore.sequence.networks import CharRNN


@pytest.mark.slow
@pytest.mark.covers("SQ-08")
def test_an_embedding_is_the_one_hot_vector_times_its_matrix():
    tokens = jax.random.randint(jax.random.key(0), (2, 5), 0, 7)
    embedded, one_hot = CharRNN(7, 4, embedding_dim=3), CharRNN(7, 4)
    params = embedded.init(jax.random.key(1), embedded.start(2), tokens)["params"]
    params["head"]["kernel"] = jax.random.normal(jax.random.key(2), (4, 7))
    table, layer = params["embed"]["embedding"], params["recurrent"]["layer0"]
    # x = onehot E, so W_x x = onehot (E W_x): the one-hot network with the product as its kernel.
    joined = {**layer, "input_kernel": table @ layer["input_kernel"]}
    same = {"head": params["head"], "recurrent": {"layer0": joined}}
    np.testing.assert_allclose(
        embedded.apply({"params": params}, embedded.start(2), tokens)[1],
        one_hot.apply({"params": same}, one_hot.start(2), tokens)[1],
        atol=1e-6,
    )


@pytest.mark.covers("SQ-08")
def test_a_one_hot_vector_picks_a_row_of_the_kernel():
    model = CharRNN(7, 4, cell="rnn")
    run = jax.jit(lambda key, tokens: model.init_with_output(key, model.start(7), tokens))
    (((h,),), _), variables = run(jax.random.key(1), np.arange(7, dtype=np.uint8)[:, None])
    layer = variables["params"]["recurrent"]["layer0"]
    np.testing.assert_allclose(h, np.tanh(layer["input_kernel"] + layer["input_bias"]), atol=1e-6)


@pytest.mark.slow(unless=["lstm"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_the_first_logits_are_zero(cell):
    model = CharRNN(7, 4, 2, cell)
    run = jax.jit(lambda key, tokens: model.init_with_output(key, model.start(3), tokens)[0])
    carry, logits = run(jax.random.key(0), np.ones((3, 5), np.uint8))
    chex.assert_shape(logits, (3, 5, 7))
    np.testing.assert_array_equal(logits, 0)
    assert jax.tree.structure(carry) == jax.tree.structure(model.start(3))
