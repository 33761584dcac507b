"""The technique sees both streams, its baseline the labeled one, and the gain is their difference."""

import numpy as np
import pytest

from dlcore.learner import Learner, State, Sum
from dlcore.semi_supervised.twin import add_twin

BATCH = {"labeled": {"image": np.full(2, 3.0)}, "unlabeled": {"image": np.full(2, 50.0), "label": np.zeros(2)}}


def adder(name, images, rate):
    """A learner that adds `rate` times the sum of its images to its parameter; its accuracy is the parameter."""

    def init(rng, batch):
        return State(0, rng, images(batch), rate)

    def update(state, batch):
        params = state.params + rate * images(batch)
        return state.replace(step=state.step + 1, params=params), {name: 1, "accuracy": Sum(params, 4)}

    def evaluate(state, batch):
        return {"accuracy": Sum(state.params, 4)}

    def loss(params, state, batch):
        return params * images(batch), {name: 2, "accuracy": Sum(params, 4)}

    def classes(state, batch):
        return {name: images(batch)}

    return Learner(init, update, evaluate, lambda state, batch: (name, state.params), loss, classes=classes)


def of_both(batch):
    return batch["labeled"]["image"].sum() + batch["unlabeled"]["image"].sum()


def of_one(batch):
    return batch["image"].sum()


def test_each_of_the_two_learns_its_own_stream():
    """Images add up to 6 in the labeled stream, and to 106 in both."""
    twin = add_twin(adder("technique", of_both, 0.1), adder("baseline", of_one, 0.5))
    state = twin.init(7, BATCH)
    assert state.params == {"technique": 106, "supervised": 6}
    after, metrics = twin.update(state, BATCH)
    assert after.params == pytest.approx({"technique": 106 + 10.6, "supervised": 6 + 3})
    assert (after.step, after.rng) == (1, 7)
    assert metrics["technique"] == 1
    assert metrics["accuracy"].total == pytest.approx(116.6)
    assert metrics["accuracy_supervised"].total == pytest.approx(9)
    value, metrics = twin.loss({"technique": 2.0, "supervised": 10.0}, state, BATCH)
    assert value == 2 * 106 + 10 * 6
    assert metrics["accuracy_supervised"].total == 10
    assert twin.classes(state, BATCH) == {"technique": 106, "baseline": 6}
    assert twin.predict(after, BATCH) == ("technique", pytest.approx(116.6))


def test_the_gain_is_the_difference_of_the_accuracies():
    """Evaluation has one stream: 106 - 6 of four examples."""
    twin = add_twin(adder("technique", of_both, 0.1), adder("baseline", of_one, 0.5))
    metrics = twin.evaluate(twin.init(7, BATCH), BATCH)
    assert metrics["gain"].compute() == pytest.approx((106 - 6) / 4)
    assert metrics["accuracy_supervised"].compute() == pytest.approx(6 / 4)
