"""The line through errors by hand, the verdict, and that more examples help."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import data_fraction as study
from experiments.studies.small_runs import Digits

SIZES = (10, 100, 1000)


def test_the_line_is_that_of_the_power_law_and_sees_known_sizes_alone():
    sizes = np.array([10, 100, 1000])
    a, b = study.power_law(sizes, 2.0 * sizes**-0.5)
    assert (a, b) == pytest.approx((2, 0.5))
    # through .4 and .04 the law is 4 / n: .004 of 1000, a fifth of what is there
    assert study.extrapolate(sizes, np.array([0.4, 0.04, 0.02]), 100) == pytest.approx((4, 1, 0.004 / 0.02 - 1))


def story(same, other):
    mean = np.stack([np.zeros(3), same, other], -1)
    return study.judge(SIZES, np.stack([mean, mean]), 100)


def test_the_verdict_follows_the_numbers():
    line = np.array([0.4, 0.04, 0.004])
    verdict, holds = story(line, [0.4, 0.2, 0.19])
    assert holds
    assert "On the same writers the error falls with every size, from 40.0% with 10 examples to 0.4%" in verdict
    assert "it is 4 n^-1.00, each doubling 50% less, which predicts 0.4% of 1000, 0% too" in verdict
    assert "On other writers" in verdict
    assert "47% too little" in verdict  # .1 where .19 is
    assert not story([0.4, 0.04, 0.02], line)[1]
    verdict, holds = story(line, [0.4, 0.1, 0.1])
    assert not holds
    assert "does NOT fall" in verdict


@pytest.mark.weekly
def test_more_examples_are_better_on_both():
    result = study.study(num_seeds=2, train_sizes=(20, 100, 600), largest_fitted=100, steps=250, width=32)
    assert result.numbers["training error"][0] <= 0.01  # 20 are memorized
    for who in study.WHO:
        few, many = (np.array(result.numbers[f"error, {who} writers, {n} examples"]) for n in (20, 600))
        chex.assert_shape(few, (2,))
        assert (many < few).all()
    assert len(result.figures["data_fraction"].axes) == 2


class Memory:
    """A network that answers 0 for images that it was trained on, and 1 for others."""

    def __init__(self, hidden):
        pass

    def apply(self, variables, x, train):
        known = (x[:, 0, 0, 0, None] == variables["ids"]) & (jnp.arange(len(variables["ids"])) < variables["count"])
        return jax.nn.one_hot(jnp.where(known.any(1), 0, 1), 10)


@pytest.mark.slow
def test_errors_are_of_training_of_the_same_writers_and_of_others(monkeypatch):
    """All labels are 0 in training, which it knows, and on the same writers, which it does not, but 1 on others."""

    def train(key, net, optimizer, x, y, steps, *, count, batch_size):
        return {"ids": x[None, :, 0, 0, 0], "count": jnp.asarray(count)[None]}, None

    images = np.arange(1005.0, dtype=np.float32)[:, None, None, None]
    data = Digits(images, np.zeros(1005, int), -np.ones((4, 1, 1, 1), np.float32), np.ones(4, int))
    monkeypatch.setattr(study, "shuffled_digits", lambda: data)
    monkeypatch.setattr(study, "SmallNet", Memory)
    monkeypatch.setattr(study, "train", train)
    np.testing.assert_allclose(study.errors((25, 100), 1, 10, 8), [[[0, 1, 0], [0, 1, 0]]], atol=1e-6)
