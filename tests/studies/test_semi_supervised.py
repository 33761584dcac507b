"""A short run, the draw of the labels, and the verdict on written numbers."""

import chex
import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.semi_supervised.two_streams import supervised_only, two_stream_learner
from experiments.studies import semi_supervised as study
from experiments.studies.small_runs import Digits


class Layer(nn.Module):
    """Two logits, equal at first."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(2, kernel_init=nn.initializers.zeros)(x.reshape(len(x), -1))


def written(**changes):
    values = {name: np.array([0.8, 0.82, 0.81]) for name in study.TECHNIQUES}
    return {study.SUPERVISED: np.array([0.7, 0.75, 0.72]), **values, **changes}


def test_the_verdict_turns():
    good = study.report(written(**{"FixMatch": np.array([0.9, 0.9, 0.9]), "mean teacher": np.array([0.85] * 3)}), 4)
    assert good.holds
    assert "With 4 labels of each digit: supervised only 72.3%; FixMatch 90.0%, mean teacher 85.0%" in good.verdict
    assert "FixMatch gains +17.7 points, with every seed. MixMatch is not at least as good" in good.verdict
    np.testing.assert_allclose(good.headline.values, [20, 15, 18], atol=1e-9)
    some = {name: v for name, v in written(ICT=np.array([1, 1, 0.7])).items() if name != "MixMatch"}
    bad = study.report(some, 4)
    assert not bad.holds, "one seed of the best is below"
    assert "ICT gains +17.7 points, with NOT every seed." in bad.verdict
    assert "MixMatch" not in bad.verdict


def test_each_name_has_a_learner_and_each_seed_its_labels():
    made = study.learners(10, 4, 20, 1e-3)
    assert tuple(made) == (study.SUPERVISED, *study.TECHNIQUES)
    assert all(callable(make().update) for make in made.values())
    labels = np.arange(60) % 10
    data = Digits(np.zeros((60, 8, 8, 1)), labels, np.zeros((4, 8, 8, 1)), labels[:4])
    rows = study.drawn_rows(data, 2, 3)
    chex.assert_shape(rows, (3, 20))
    assert all((np.bincount(labels[row]) == 2).all() for row in rows)
    assert (np.sort(rows[0]) != np.sort(rows[1])).any()
    with pytest.raises(ValueError, match="techniques=ladder: unknown; allowed: pseudo-labels"):
        study.study(techniques=("ladder",))
    with pytest.raises(ValueError, match=r"batch_size=50: .* allowed: at most 40 labeled and 1,297 unlabeled images"):
        study.study(batch_size=50)


@pytest.mark.slow
def test_a_short_run_learns():
    """Two kinds of images, all black and all white: a few steps tell them apart."""
    labels = np.arange(40) % 2
    images = np.broadcast_to(labels[:, None, None, None], (40, 8, 8, 1)).astype(np.float32)
    data = Digits(images, labels, images[:10], labels[:10])
    learner = two_stream_learner(Layer(), optax.adam(0.1), supervised_only)
    first, second = (study.accuracies(learner, data, np.array([[0, 1, 2, 3]]), steps, 4, 1)[0] for steps in (0, 15))
    assert first <= 0.5
    assert second == 1


def test_labels_come_with_the_few_and_unlabeled_images_from_all():
    """What a learner gets in its first batch: 4 images of rows 0 to 3 with labels, 8 of all rows without."""
    labels = np.arange(40) % 10
    images = np.broadcast_to(np.arange(40.0)[:, None, None, None], (40, 2, 2, 1)).astype(np.float32)
    seen = {}

    class Recorded:
        def init(self, key, batch):
            seen.update(jax.tree.map(lambda x: x.shape, batch))
            jax.debug.callback(
                lambda few, many: seen.update(few=few, many=many),
                *(batch[name]["image"][:, 0, 0, 0] for name in ("labeled", "unlabeled")),
            )
            return 0

        def update(self, state, batch):
            return state, {}

        def predict(self, state, batch):
            return {"logits": jax.nn.one_hot(jax.numpy.zeros(len(batch["image"]), int), 10)}

    data = Digits(images, labels, images[:5], labels[:5])
    assert study.accuracies(Recorded(), data, np.array([[0, 1, 2, 3]]), 1, 4, 2).tolist() == [pytest.approx(0.2)]
    jax.effects_barrier()
    assert sorted(seen["few"]) == [0, 1, 2, 3]
    assert len(set(seen["many"].tolist())) == 8
    assert set(seen["many"].tolist()) - {0, 1, 2, 3}
    assert seen["labeled"]["label"] == (4,)
    assert "label" not in seen["unlabeled"]
