"""The schedule of the flags, step by step."""

import types

import pytest

from dlcore.experiment.experiment import Setup
from dlcore.kits import optimizer


class SomeFlags(types.SimpleNamespace):
    def get(self, name, default=None):
        return getattr(self, name, default)


@pytest.mark.parametrize(("accumulate", "wanted"), [(1, [0, 0.25, 0.5, 0.25]), (2, [0, 0, 0.5, 0.5])])
def test_the_rate_of_each_step_is_that_of_its_update(accumulate, wanted):
    """Warm-up over half of the updates, of 4 to 0.5 and of 2 at once, then linearly to 0."""
    flags = SomeFlags(schedule="linear", learning_rate=0.5, warmup=0.5, accumulate=accumulate)
    rate = optimizer.schedule(Setup(flags, {}, 4, None, None))
    assert [rate(step) for step in range(4)] == pytest.approx(wanted)
