"""Each source of randomness changes what it is named after, and the study varies one at a time."""

import types

import jax
import numpy as np
import pytest

from experiments.studies import sources_of_randomness as study
from tests.first_call import first_call


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A perceptron that compiles faster."""
    monkeypatch.setattr(
        study, "create_model", lambda name, num_classes: real(name, num_classes=num_classes, hidden=(8,))
    )


real = study.create_model


@pytest.mark.weekly
def test_each_seed_is_that_of_its_source():
    _, same = study.train(0, 0, 0, 2)
    for seeds in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        _, other = study.train(*seeds, 2)
        assert any(not np.array_equal(a, b) for a, b in zip(same, other, strict=True)), seeds
    _, again = study.train(0, 0, 0, 2)
    jax.tree.map(np.testing.assert_array_equal, same, again)


def test_one_source_varies_at_a_time(monkeypatch):
    def train(weights, order, split, steps):
        return 0.5 + 0.1 * weights + 0.02 * order + 0.003 * split, [np.zeros(2)]

    monkeypatch.setattr(study, "train", train)
    result = study.study(num_seeds=2)
    # the standard deviation of a and a + d is d / sqrt(2)
    for source, distance in (("weights", 0.1), ("order", 0.02), ("split", 0.003), ("all", 0.123)):
        assert result.numbers[f"std {source}"] == pytest.approx(distance / 2**0.5)
    assert result.holds
    np.testing.assert_allclose(result.headline.values, [0.5, 0.623])


def test_other_weights_of_the_same_seeds_are_noticed(monkeypatch):
    draws = iter(range(100))
    monkeypatch.setattr(study, "train", lambda *_, **__: (0.5, [np.full(2, next(draws))]))
    result = study.study(num_seeds=2)
    assert not result.holds
    assert "DIFFERENT weights" in result.verdict


def test_each_seed_reaches_its_source(monkeypatch):
    splits = types.SimpleNamespace(train="train", test="test")
    seeds = {}
    monkeypatch.setattr(study, "load", lambda name, seed: seeds.update(split=seed) or splits)
    monkeypatch.setattr(study, "Pipeline", lambda source, size, seed: seeds.update(order=seed))
    _, options = first_call(study, "fit", study.train, 1, 2, 3, 10)
    assert {"weights": options["seed"], **seeds} == {"weights": 1, "order": 2, "split": 3}
