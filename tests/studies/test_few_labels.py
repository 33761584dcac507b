"""The verdict on written numbers, labels bought, and batches of both streams."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import few_labels as study
from experiments.studies.small_runs import Digits

SECONDS = dict.fromkeys(study.WAYS, 2.0)


def written(**changes):
    values = {study.SCRATCH: [0.7, 0.75], study.TUNED: [0.8, 0.85], study.SEMI: [0.9, 0.85], study.ACTIVE: [0.7, 0.8]}
    return {name: np.array(changes.get(name, value)) for name, value in values.items()}


@pytest.mark.covers("TL-14")
def test_the_verdict_turns():
    good = study.report(written(), SECONDS, 40)
    assert good.holds
    assert "With 40 labels: from scratch 72.5% (2 s); semi-supervised 87.5% (+15.0 points, 2 s)" in good.verdict
    assert "The most is bought by: semi-supervised." in good.verdict
    np.testing.assert_allclose(good.headline.values, [20, 10])
    assert not study.report(written(**{study.TUNED: [0.8, 0.74]}), SECONDS, 40).holds
    swapped = written(**{study.SCRATCH: [0.9, 0.85], study.SEMI: [0.7, 0.75]})
    assert not study.report(swapped, SECONDS, 40).holds


class Written:
    """A trainer that is sure of all images but two, and remembers what it was asked."""

    data = Digits(np.zeros((20, 8, 8, 1)), np.arange(20) % 10, np.zeros((1, 8, 8, 1)), np.zeros(1, int))

    def __init__(self):
        self.asked = []

    def train(self, seed, rows, **_):
        self.asked.append((seed, list(rows)))
        probabilities = np.tile([[0.9, 0.1]], (20, 1))
        probabilities[[7, 11]] = [0.55, 0.45]
        return len(rows) / 100, jnp.asarray(probabilities)


@pytest.mark.covers("TL-14")
def test_the_least_sure_are_bought_and_each_round_starts_from_scratch():
    trainer = Written()
    accuracy, rows = study.actively(trainer, 3, np.array([0, 1]), 6, 2)
    assert accuracy == 0.06
    assert {0, 1, 7, 11} <= set(rows)
    assert len(rows) == 6
    assert [(seed, len(known)) for seed, known in trainer.asked] == [(3, 2), (3, 4), (3, 6)]
    assert trainer.asked[1][1] == [0, 1, 7, 11]


def test_a_step_takes_no_more_images_than_there_are():
    with pytest.raises(ValueError, match=r"unlabeled_ratio=100: 1600 unlabeled images a step; allowed: at most 1297"):
        study.study(unlabeled_ratio=100)


@pytest.mark.covers("TL-14")
def test_unlabeled_images_are_drawn_from_all_and_labeled_ones_from_the_few():
    """Of rows 3 and 5 come 4 labeled images; 12 different ones of all 20 come without labels."""
    rows = np.arange(20)
    images = np.broadcast_to(rows[:, None, None, None], (20, 8, 8, 1)).astype(np.float32)
    trainer = study.Trainer(Digits(images, rows % 10, images[:1], rows[:1]), 1, 4, 3, 1e-3)
    batch = jax.jit(trainer._batch)(jax.random.key(0), jnp.array([3, 5] + 18 * [9]), jnp.int32(2))
    few, many = (np.asarray(batch[name]["image"])[:, 0, 0, 0] for name in ("labeled", "unlabeled"))
    assert set(few) <= {3, 5}
    np.testing.assert_array_equal(batch["labeled"]["label"], few)
    assert len(set(many)) == len(many) == 12
    assert "label" not in batch["unlabeled"]
