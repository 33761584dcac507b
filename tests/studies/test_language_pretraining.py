"""A frozen network stays, pretraining learns, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models.gpt2 import GPT2
from experiments.studies import language_pretraining as study

NET = GPT2(5, 4, num_layers=1, num_heads=1, width=4)


@pytest.mark.weekly
@pytest.mark.covers("AT-18")
def test_a_frozen_network_stays_and_the_others_move():
    network = study.initial(NET, jax.random.key(0))
    tokens, labels = jnp.zeros((6, 4), int).at[:, 1].set(jnp.arange(6) % 5), jnp.arange(6)
    for frozen in (True, False):
        learned = study.classify(NET, network, tokens, labels, 3, 6, 0.1, jax.random.key(1), frozen)
        same = jax.tree.map(lambda a, b: bool((a == b).all()), learned["network"], network)
        assert all(jax.tree.leaves(same)) == frozen
        assert (learned["head"]["kernel"] != 0).any()


@pytest.mark.weekly
@pytest.mark.covers("AT-18")
def test_pretraining_learns_what_comes_next():
    """0 1 2 3 4 over and over: the loss falls from log 5 to almost none."""
    text = jnp.arange(200) % 5
    params = jax.jit(lambda key: study.pretrain(NET, text, 150, 16, 3e-2, key))(jax.random.key(0))
    logits = NET.apply({"params": params}, text[None, 10:14])
    assert logits.argmax(-1).tolist() == [[1, 2, 3, 4]]


@pytest.mark.covers("AT-18")
def test_the_verdict_turns_where_arms_are_swapped():
    measured = {"scratch": np.array([0.4, 0.5]), "frozen": np.array([0.5, 0.5]), "fine-tuned": np.array([0.6, 0.6])}
    result = study.report(measured, 0.2)
    assert result.holds
    assert result.verdict.startswith("From scratch 45.0 %, pretrained and frozen 50.0 %, fine-tuned 60.0 %")
    assert "+15.0 points (+10.0 to +20.0)" in result.verdict
    np.testing.assert_allclose(result.headline.values, [0.2, 0.1])
    assert not study.report({**measured, "scratch": measured["fine-tuned"], "fine-tuned": measured["scratch"]}, 0).holds


def test_more_labels_than_lines():
    with pytest.raises(ValueError, match="num_labels=500: out of range; allowed: batch_size=32 to 414"):
        study.study(text="pages", length=32, num_labels=500)
