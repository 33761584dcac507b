"""The task, the arms and the verdict of associative recall."""

import chex
import jax
import numpy as np
import pytest

from experiments.studies import fast_weights as study


@pytest.mark.covers("SQ-22")
def test_the_answer_is_the_digit_of_the_asked_letter():
    sequences, answers = jax.jit(study.recall, static_argnums=(1, 2))(jax.random.key(0), 20, 4)
    chex.assert_shape(sequences, (20, 5, 9))
    for rows, answer in zip(np.asarray(sequences), np.asarray(answers), strict=True):
        pairs = dict(zip(rows[:4, :4].argmax(1), rows[:4, 4:8].argmax(1), strict=True))
        assert sorted(pairs) == [0, 1, 2, 3]
        assert pairs[rows[4, :4].argmax()] == answer
        assert rows[4, 4:].tolist() == [0, 0, 0, 0, 1]
    assert len(set(answers.tolist())) > 1


@pytest.mark.covers("SQ-22")
def test_each_arm_is_what_it_is_called_and_both_have_as_many_parameters():
    x = np.zeros((1, 9, 17), np.float32)
    counts = {}
    for arm, name in (("fast weights", "attention"), ("rnn", "recurrent")):
        params = jax.eval_shape(study.Recaller(arm, 32, 8).init, jax.random.key(0), x)["params"]
        assert set(params) == {name, "head"}
        counts[arm] = sum(leaf.size for leaf in jax.tree.leaves(params[name]))
    # Attention: 3 (17 * 32 + 32) = 1728. RNN: (sqrt(17^2 + 12 * 32 * 17) - 17) / 2 = 33 wide, 33 * 33 + 17 * 33 + 33.
    assert counts["fast weights"] == 1728
    assert counts["rnn"] == pytest.approx(1728, rel=0.05)


@pytest.mark.covers("SQ-22")
def test_the_verdict_turns_where_the_arms_are_swapped():
    good = {"fast weights": [0.99, 1.0], "rnn": [0.3, 0.4]}
    assert study.report(good, 8).holds
    assert study.report(good, 8).headline.values == [0.99, 1.0]
    assert not study.report({"fast weights": good["rnn"], "rnn": good["fast weights"]}, 8).holds
    assert not study.report(good | {"rnn": [0.3, 0.71]}, 8).holds


@pytest.mark.weekly
def test_linear_attention_learns_to_recall_three_pairs():
    options = {"symbols": 3, "width": 12, "steps": 300, "batch_size": 32, "learning_rate": 1e-2}
    assert study.accuracies("fast weights", 0, **options) > 0.9
