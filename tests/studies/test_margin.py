"""The triplets of a batch, the loss of a margin, the steps to a level, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import margin as study

RISING = np.array([0.5, 0.55, 0.6, 0.65, 0.7])[:, None] + [[0.0, 0.05]]
"""Recall by margin, [5, 2 seeds]."""


def curves(steps, final):
    """Recall 0 until `steps` [M, S], and then the final one [M, S]: [M, S, 1 + 8]."""
    times = study.EVERY * np.arange(9)
    return np.where(times >= np.asarray(steps)[..., None], np.asarray(final)[..., None], 0.0)


def judged(recall, steps, final=0.8):
    final = np.broadcast_to(final, np.shape(steps))
    others = {"untrained": np.array([0.3, 0.4]), "pixels": 0.2}
    return study.report({study.UNSEEN: recall, study.TRAINED: 1 - recall}, curves(steps, final), others)


def test_every_triplet_of_a_batch_once():
    rows = study.triplets_of_a_batch()
    labels = np.arange(study.CLASSES).repeat(study.DRAWINGS)
    assert len({tuple(row) for row in rows.tolist()}) == len(rows) == 48 * 2 * 45
    anchor, positive, negative = labels[rows.T]
    assert (anchor == positive).all()
    assert (anchor != negative).all()
    assert (rows[:, 0] != rows[:, 1]).all()


def test_the_loss_is_that_of_the_margin():
    """All embeddings alike: every triplet costs the margin. Classes far apart: none costs anything."""
    far = jnp.eye(study.CLASSES).repeat(study.DRAWINGS, 0)
    loss = jax.jit(study.objective)
    for margin in study.MARGINS:
        assert float(loss(jnp.ones_like(far), margin)) == pytest.approx(margin)
        assert float(loss(far, margin)) == 0  # squared distances 0 and 2
        assert float(loss(far, margin + 2)) == pytest.approx(margin, rel=1e-5)


def test_a_batch_has_different_drawings_and_none_that_is_held_out():
    rows = np.asarray(jax.jit(study.batch_rows, static_argnums=1)(jax.random.key(0), 20))
    assert len(np.unique(rows, axis=0)) == len(rows) == study.CLASSES * study.DRAWINGS
    classes = rows[:, 0].reshape(study.CLASSES, -1)
    assert (classes == classes[:, :1]).all()
    assert len(set(classes[:, 0])) == study.CLASSES
    assert rows.min() >= 0
    assert rows[:, 1].max() < study.PER_CLASS - study.HELD_OUT


def test_steps_to_a_level_by_hand():
    curve = np.array([[[0.1, 0.5, 0.4, 0.9], [0.6, 0.2, 0.6, 0.6]]])
    np.testing.assert_array_equal(study.steps_to(curve, [[0.5, 0.6]]), [[study.EVERY, 0]])
    np.testing.assert_array_equal(study.steps_to(curve, [[0.51, 0.3]]), [[3 * study.EVERY, 0]])


SLOWER = study.EVERY * np.array([[1, 1], [2, 1], [3, 2], [4, 3], [4, 4]])


@pytest.mark.parametrize(
    ("recall", "steps", "better", "slower"),
    [
        (RISING, SLOWER, True, True),
        # The margins swapped.
        (RISING[::-1], SLOWER[::-1], False, False),
        (RISING[::-1], SLOWER, False, True),
        (RISING, SLOWER[::-1], True, False),
        # Two margins in between swapped.
        (RISING[[0, 2, 1, 3, 4]], SLOWER, False, True),
        (RISING, SLOWER[[0, 2, 1, 3, 4]], True, False),
        # One seed that disagrees.
        (np.where(np.arange(2) == 1, 0.6, RISING), SLOWER, False, True),
        (RISING, np.where(np.arange(2) == 1, study.EVERY, SLOWER), True, False),
    ],
)
def test_the_verdict_of_each_half(recall, steps, better, slower):
    result = judged(recall, steps)
    assert (result.numbers["better embeddings"], result.numbers["slower training"]) == (better, slower)
    assert result.holds is (better and slower)
    assert ("embeddings: holds" in result.verdict, "training: holds" in result.verdict) == (better, slower)
    assert result.headline.values.tolist() == recall[-1].tolist()
    assert result.headline.baseline[0] == pytest.approx(recall[0].mean())


def test_all_margins_run_to_one_level_and_each_to_its_own():
    """Two stages: 0.5 after one measurement and, for the largest margin alone, 0.8 after six."""
    steps, final = np.full((5, 2), study.EVERY), np.full((5, 2), 0.5)
    along = curves(steps, final)
    along[-1, :, 6:] = 0.8
    recall = {study.UNSEEN: RISING, study.TRAINED: RISING}
    result = study.report(recall, along, {"untrained": np.zeros(2), "pixels": 0.2})
    for margin in study.MARGINS:
        largest = margin == study.MARGINS[-1]
        assert result.numbers[f"steps to the same recall, margin {margin}"] == [study.EVERY] * 2
        assert (
            result.numbers[f"steps to 95 % of its own recall, margin {margin}"]
            == [(6 if largest else 1) * study.EVERY] * 2
        )


@pytest.mark.weekly
def test_training_beats_the_untrained_network():
    result = study.study(num_seeds=1, steps=4 * study.EVERY, num_classes=100)
    untrained = result.numbers["recall at 1, untrained"][0]
    for margin in study.MARGINS:
        assert result.numbers[f"recall at 1, {study.UNSEEN}, margin {margin}"][0] > untrained + 0.05
