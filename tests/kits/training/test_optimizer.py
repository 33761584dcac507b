"""The schedule of the flags, step by step."""

import types

import numpy as np
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


GIVEN = {
    "optimizer": "nesterov", "learning_rate": 0.5, "schedule": "constant", "warmup": 0.0, "momentum": 0.8,
    "weight_decay": 0.2, "clip_norm": 3.0,
}  # fmt: skip
"""The flags that every page has."""


@pytest.fixture
def built(monkeypatch):
    """Return what `build` asks `create_optimizer` for, of flags: its name and numbers, and the rates of 4 updates."""

    def call(**flags):
        monkeypatch.setattr(optimizer, "create_optimizer", lambda name, rate, **rest: (name, rate, rest))
        name, rate, rest = optimizer.build(Setup(SomeFlags(**GIVEN | flags), {}, 4, None))
        return name, [float(rate(k)) for k in range(4)], rest

    return call


def test_each_flag_of_an_optimizer_reaches_its_builder(built):
    """With two steps an update, the linear fall to 0 takes 2 updates."""
    flags = {"second_momentum": 0.7, "ema": 0.6, "accumulate": 2, "clip_value": 4.0, "l1": 0.3, "max_norm": 5.0}
    name, rates, rest = built(schedule="linear", **flags)
    assert (name, rates) == ("nesterov", [0.5, 0.25, 0, 0])
    assert rest == {"momentum": 0.8, "weight_decay": 0.2, "clip_norm": 3.0, "plateau": False, **flags}


def test_flags_that_a_page_lacks_leave_their_parts_out(built):
    missing = {"second_momentum": 0.999, "ema": None, "accumulate": 1, "clip_value": None, "l1": 0, "max_norm": None}
    name, rates, rest = built(schedule="linear")
    assert (name, rates) == ("nesterov", [0.5, 0.375, 0.25, 0.125])  # to 0 over 4 updates of a step each
    assert rest == {"momentum": 0.8, "weight_decay": 0.2, "clip_norm": 3.0, "plateau": False, **missing}


def test_only_the_schedule_plateau_without_milestones_has_a_scale_that_falls(built):
    _, rates, rest = built(schedule="plateau")
    assert (rates, rest["plateau"]) == ([0.5] * 4, True)
    flags = {**GIVEN, "schedule": "plateau", "milestones": (1.0,), "batch_size": 2}
    by_update = optimizer.learning_rate_schedule(Setup(SomeFlags(**flags), {"train_size": 4}, 4, None), 0.5)
    np.testing.assert_allclose([float(by_update(k)) for k in range(4)], [0.5, 0.5, 0.05, 0.05])  # epochs of 2 steps


def test_an_average_is_evaluated_only_under_ema(monkeypatch):
    monkeypatch.setattr(optimizer, "use_ema", lambda learner: f"average of {learner}")
    for ema, wanted in ((0.9, "average of learner"), (None, "learner"), (0.0, "learner")):
        assert optimizer.EMAAdamW().wrap("learner", Setup(SomeFlags(ema=ema), {}, 4, None)) == wanted
