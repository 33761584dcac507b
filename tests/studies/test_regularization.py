"""The study's measurements on a few steps, and its verdict on numbers that were written for it."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import regularization
from experiments.studies.small_runs import Digits, shuffled_digits


def rows(seen, unseen, accuracy):
    """Two seeds of (training and test log loss, training and test accuracy)."""
    return np.array([[seen, unseen, 1.0, accuracy]] * 2)


def story(gap_of_dropout=0.5, curve=(1.0, 0.8, 0.6, 0.4, 0.3, 0.2), norm=(0.90, 0.88)):
    arms = {"nothing": rows(0, 1, 0.8), "dropout": rows(0.1, 0.1 + gap_of_dropout, 0.85), "both": rows(0.2, 0.5, 0.9)}
    sizes = np.stack([rows(0, gap, 0.9) for gap in curve], 1)
    table = {(False, False): rows(0, 1, 0.8), (False, True): rows(0, 1, 0.85)}
    table |= {(True, False): rows(0, 1, norm[0]), (True, True): rows(0, 1, norm[1])}
    return regularization.judge(arms, sizes, table)


@pytest.mark.covers("RG-21", "RG-29")
def test_the_verdict_follows_the_numbers():
    verdict, holds = story()
    assert holds
    assert "2 of 2 narrow the gap" in verdict
    assert "the best accuracy has both (90.0% against 80.0%)" in verdict
    assert "the gap shrinks, from 1.00 to 0.20" in verdict
    assert "by +5.0 points without batch norm and by -2.0 with it: with batch norm it helps less and hurts" in verdict
    assert not story(gap_of_dropout=1.2)[1]
    verdict, holds = story(curve=(0.2, 0.3, 0.4, 0.6, 0.8, 1.0))
    assert not holds
    assert "does NOT shrink" in verdict
    assert "helps as much" in story(norm=(0.8, 0.9))[0]


@pytest.mark.weekly
@pytest.mark.covers("RG-21", "RG-29")
def test_a_few_steps_are_measured_on_the_named_examples():
    keys = jax.random.split(jax.random.key(0), 2)
    results = regularization.measure(keys, 60, shuffled_digits(), counts=(20, 400), dropout_rate=0.1, batch_norm=True)
    chex.assert_shape(results, (2, 2, 4))
    assert np.isfinite(results).all()
    gap = results[..., 1] - results[..., 0]
    assert (gap[:, 0] > gap[:, 1]).all()  # 20 examples are memorized
    assert (results[:, 1, 3] > results[:, 0, 3]).all()


def test_the_study_measures_every_arm_size_and_cell_of_the_table(monkeypatch):
    calls = []

    def measure(keys, steps, data, *, counts, **settings):
        calls.append((counts, settings))
        return np.full((len(keys), len(counts), 4), 0.5)

    monkeypatch.setattr(regularization, "measure", measure)
    result = regularization.study(num_seeds=2, num_examples=70)
    arms = [((70,), settings) for settings in regularization.ARMS.values()]
    norm = [((70,), {"dropout_rate": rate, "batch_norm": True}) for rate in (0.0, 0.5)]
    assert calls == [*arms, (regularization.SIZES, {}), *norm]
    assert not result.holds
    assert set(result.figures) == {"regularization"}


@pytest.mark.weekly
@pytest.mark.covers("RG-29")
def test_each_setting_reaches_the_run(monkeypatch):
    seen = {}

    def train(key, net, optimizer, images, labels, steps, *, count, dropout_rate, augment, batch_size):
        weights = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
        changes, _ = optimizer.update(jax.tree.map(jnp.zeros_like, weights), optimizer.init(weights), weights)
        seen.update(net=net, dropout_rate=dropout_rate, moves=augment is not None)
        jax.debug.callback(lambda kernel, bias: seen.update(kernel=kernel[0, 0], bias=bias[0]), **changes)
        return jax.tree.map(lambda v: v[None], dict(net.init(key, images[:2], False))), None

    monkeypatch.setattr(regularization, "train", train)
    data = Digits(*(v[:30] for v in shuffled_digits()))
    for name, (rate, decay, moves, norm) in {
        "nothing": (0, 0, False, False),
        "dropout": (0.5, 0, False, True),
        "weight decay": (0, 1.0, False, False),
        "augmentation": (0, 0, True, False),
    }.items():
        settings = regularization.ARMS[name] | ({"batch_norm": True} if norm else {})
        regularization.measure(jax.random.split(jax.random.key(0), 1), 1, data, counts=(20,), **settings)
        jax.effects_barrier()
        assert (seen["dropout_rate"], seen["moves"], seen["net"].batch_norm) == (rate, moves, norm), name
        np.testing.assert_allclose([seen["kernel"], seen["bias"]], [-1e-3 * decay, 0], rtol=1e-5)


@pytest.mark.covers("RG-21", "RG-29")
def test_each_name_stands_for_its_measures(monkeypatch):
    """A run has the gap of its settings: 1, less 0.5 for dropout, 0.3 for decay, 0.2 for augmentation, 0.1 for norm."""

    def measure(keys, steps, data, *, counts, dropout_rate=0.0, weight_decay=0.0, augment=False, batch_norm=False):
        gap = 1 - dropout_rate - 0.3 * weight_decay - 0.2 * augment - 0.1 * batch_norm
        rows = [[0, gap * 10 / count, 1, 0.5 + 0.1 * batch_norm - 0.2 * dropout_rate] for count in counts]
        return np.array([rows] * len(keys))

    monkeypatch.setattr(regularization, "measure", measure)
    result = regularization.study(num_seeds=2, num_examples=10)
    gaps = {name: result.numbers[f"{name}: gap of log loss"][0] for name in regularization.ARMS}
    expected = {"nothing": 1, "dropout": 0.5, "weight decay": 0.7, "augmentation": 0.8, "all three": 0.51}
    assert gaps == pytest.approx(expected)
    assert result.numbers["gap by number of examples"] == pytest.approx([10 / n for n in regularization.SIZES])
    cells = {
        (n, d): result.numbers[f"accuracy, norm {n}, dropout {d}"][0] for n in (False, True) for d in (False, True)
    }
    assert cells == pytest.approx({(0, 0): 0.5, (0, 1): 0.4, (1, 0): 0.6, (1, 1): 0.5})
    assert result.holds
    np.testing.assert_allclose(result.headline.values, [0.49, 0.49])


@pytest.mark.parametrize("augment", [False, True])
def test_one_arm_alone_moves_the_images(monkeypatch, augment):
    runs = []

    def train(*_, **settings):
        runs.append((settings["augment"] is not None, settings["dropout_rate"], settings["batch_size"]))
        raise InterruptedError

    monkeypatch.setattr(regularization, "train", train)
    data = Digits(np.zeros((6, 8, 8, 1)), np.zeros(6, int), np.zeros((2, 8, 8, 1)), np.zeros(2, int))
    keys = jax.random.split(jax.random.key(0), 1)
    with pytest.raises(InterruptedError):
        regularization.measure(keys, 1, data, counts=(3,), dropout_rate=0.25, augment=augment)
    assert runs == [(augment, 0.25, 32)]
