"""A short run learns, and the verdict follows numbers that were written for it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import consistency
from experiments.studies.small_runs import Digits, shuffled_digits
from tests.first_call import first_call


@pytest.mark.covers("RG-25")
def test_the_verdict_follows_the_numbers():
    arms = dict(zip(consistency.ARMS, (np.array([[0.5, a], [0.5, a]]) for a in (0.8, 0.82, 0.9)), strict=True))
    verdict, holds = consistency.judge(arms, 100)
    assert holds
    assert "80.0% without unlabeled digits, 82.0% with heavy" in verdict
    assert "beats the first on 2 of 2 seeds, by 10.0 points" in verdict
    arms[consistency.ARMS[2]] = np.array([[0.5, 0.9], [0.5, 0.8]])
    verdict, holds = consistency.judge(arms, 100)
    assert not holds
    assert "on 1 of 2 seeds" in verdict


@pytest.mark.weekly
@pytest.mark.covers("RG-25")
def test_a_run_on_both_kinds_of_digits_learns():
    keys = jax.random.split(jax.random.key(0), 1)
    results = consistency.measure(keys, shuffled_digits(), consistency.ARMS[2], 100, 25, 1.0, 0.8)
    chex.assert_shape(results, (1, 2))
    assert np.isfinite(results).all()
    assert results[0, 1] > 0.3  # chance is .1


def test_the_study_reports_every_arm(monkeypatch):
    accuracy = dict(zip(consistency.ARMS, (0.8, 0.82, 0.9), strict=True))
    monkeypatch.setattr(
        consistency, "measure", lambda keys, data, arm, *_: np.array([[0.5, accuracy[arm]]] * len(keys))
    )
    result = consistency.study(num_seeds=2)
    assert result.holds
    assert result.numbers["with consistency: accuracy"] == [0.9, 0.9]
    assert set(result.figures) == {"consistency"}


@pytest.mark.weekly
@pytest.mark.covers("RG-25")
def test_each_arm_trains_on_its_own_augmentations(monkeypatch):
    """All pixels are 1. Heavy augmentation adds noise, so that some end above; light augmentation keeps them below."""
    heavy = {}

    def train(key, net, optimizer, images, labels, steps, *, batch_size, count, augment, extra):
        given = {"labeled": jax.vmap(augment)(jax.random.split(key, 4), images[:4])}

        def apply(x, key):
            given["teacher" if "student" in given else "student"] = x
            return jnp.zeros((len(x), 10))

        if extra is not None:
            extra(apply, key)
        jax.debug.callback(lambda **above: heavy.update(above), **{k: (v > 1).mean() for k, v in given.items()})
        return jax.tree.map(lambda v: v[None], dict(net.init(key, images[:2], False))), None

    monkeypatch.setattr(consistency, "train", train)
    ones, labels = np.ones((150, 8, 8, 1), np.float32), np.zeros(150, np.int32)
    expected = {
        consistency.ARMS[0]: {"labeled": False},
        consistency.ARMS[1]: {"labeled": True},
        consistency.ARMS[2]: {"labeled": False, "student": True, "teacher": False},
    }
    for arm, names in expected.items():
        heavy.clear()
        data = consistency.shuffled_digits()._replace(images=ones, labels=labels)
        consistency.measure(jax.random.split(jax.random.key(0), 1), data, arm, 100, 1, 1.0, 0.8)
        jax.effects_barrier()
        assert {name: bool(share > 0.1) for name, share in heavy.items()} == names


@pytest.mark.covers("RG-25")
@pytest.mark.parametrize(
    ("arm", "labeled", "log_loss"),
    [
        ("labels only", 1, np.log(10)),
        ("labels only, heavy augmentation", 10, np.log(10)),
        ("with consistency", 1, 110),
    ],
)
def test_each_arm_has_its_views_and_one_has_the_unlabeled_loss(monkeypatch, arm, labeled, log_loss):
    """Light views add 1 to images of zeros, heavy ones 10; the unlabeled loss is the student's plus 100 teacher's."""
    seen = []

    class Net:
        def __init__(self, hidden):
            pass

        def apply(self, variables, x, train):
            return variables["loss"] * jnp.broadcast_to(jax.nn.one_hot(0, 10), (len(x), 10))

    def train(key, net, optimizer, images, labels, steps, *, batch_size, count, augment, extra):
        seen.append((float(augment(None, 0.0)), count))
        value = jnp.zeros(()) if extra is None else extra(lambda x, key: x.max(), key)
        return {"loss": value[None]}, None

    monkeypatch.setattr(consistency, "SmallNet", Net)
    monkeypatch.setattr(consistency, "train", train)
    monkeypatch.setattr(consistency, "random_affine", lambda **ranges: lambda key, x: x + 1)
    monkeypatch.setattr(consistency, "compose", lambda *_: lambda key, x: x + 10)
    monkeypatch.setattr(consistency, "consistency_loss", lambda student, teacher, *_: student + 100 * teacher)
    zeros, ones = np.zeros((150, 2, 2, 1), np.float32), np.ones(150, int)
    data = consistency.shuffled_digits()._replace(images=zeros, labels=ones, test_images=zeros, test_labels=ones)
    found = consistency.measure(jax.random.split(jax.random.key(0), 1), data, arm, 100, 1, 1.0, 0.8)
    assert seen == [(labeled, 100)]
    assert found[0, 0] == pytest.approx(log_loss, rel=1e-5)


@pytest.mark.covers("RG-25")
@pytest.mark.parametrize("arm", consistency.ARMS)
def test_each_arm_trains_with_its_augmentation_and_loss(monkeypatch, arm):
    """Only the last has a loss on the unlabeled ones; only the second augments the labeled ones heavily."""
    monkeypatch.setattr(consistency, "random_affine", lambda **ranges: ranges)
    monkeypatch.setattr(consistency, "compose", lambda *parts: parts[0])
    digits = Digits(np.zeros((9, 8, 8, 1)), np.zeros(9, int), np.zeros((9, 8, 8, 1)), np.zeros(9, int))
    keys = jax.random.split(jax.random.key(0), 1)
    _, options = first_call(consistency, "train", consistency.measure, keys, digits, arm, 5, 1, 1.0, 0.8)
    light = {"degrees": 5, "translate": 0.06}
    heavy = {"degrees": 20, "translate": 0.15, "scale": (0.8, 1.2), "shear": 15}
    assert options["augment"] == (heavy if arm == consistency.ARMS[1] else light)
    assert (options["extra"] is not None) == (arm == consistency.ARMS[2])
    assert options["count"] == 5
