"""The schedule of the flags, step by step."""

import types

import pytest

from dlcore.experiment.experiment import Setup
from dlcore.kits.training import optimizer


class SomeFlags(types.SimpleNamespace):
    def get(self, name, default=None):
        return getattr(self, name, default)


@pytest.mark.parametrize(("accumulate", "wanted"), [(1, [0, 0.25, 0.5, 0.25]), (2, [0, 0, 0.5, 0.5])])
def test_the_rate_of_each_step_is_that_of_its_update(accumulate, wanted):
    """Warm-up over half of the updates, of 4 to 0.5 and of 2 at once, then linearly to 0."""
    flags = SomeFlags(schedule="linear", learning_rate=0.5, warmup=0.5, accumulate=accumulate)
    rate = optimizer.schedule(Setup(flags, {}, 4, None))
    assert [rate(step) for step in range(4)] == pytest.approx(wanted)


def test_milestones_are_epochs_and_replace_the_schedule():
    """Epochs of 8 / 2 = 4 steps: the rate falls to a half at steps 4 and 12, or at updates 2 and 6 of two steps."""
    flags = {"schedule": "cosine", "learning_rate": 1.0, "warmup": 0.0, "batch_size": 2}
    flags |= {"milestones": (1.0, 3.0), "decay_factor": 0.5}
    setup = Setup(SomeFlags(**flags), {"train_size": 8}, 16, None)
    rate = optimizer.schedule(setup)
    assert [rate(step) for step in range(16)] == pytest.approx([1] * 4 + [0.5] * 8 + [0.25] * 4)
    setup = Setup(SomeFlags(**flags, accumulate=2), {"train_size": 8}, 16, None)
    by_update = optimizer.learning_rate_schedule(setup, 1.0)
    assert [float(by_update(k)) for k in range(8)] == pytest.approx([1] * 2 + [0.5] * 4 + [0.25] * 2)


def test_milestones_count_from_the_start_of_a_warm_up():
    """Epochs of 4 steps, warm-up over 2 of 8: 0 and half the peak, then the peak until step 4."""
    flags = {"schedule": "cosine", "learning_rate": 1.0, "warmup": 0.25, "batch_size": 2}
    flags |= {"milestones": (1.0,), "decay_factor": 0.1}
    rate = optimizer.schedule(Setup(SomeFlags(**flags), {"train_size": 8}, 8, None))
    assert [rate(step) for step in range(8)] == pytest.approx([0, 0.5, 1, 1, 0.1, 0.1, 0.1, 0.1])
