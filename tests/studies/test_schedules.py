"""Each schedule's rates by hand."""

import numpy as np
import pytest

from experiments.studies import schedules as study

PEAK, STEPS = 0.1, 80


@pytest.mark.parametrize(
    ("name", "at", "rates"),
    [
        ("constant", (0, 79), (0.1, 0.1)),
        ("cosine", (0, 40, 60), (0.1, 0.05, 0.05 * (1 - 0.5**0.5))),
        ("linear", (0, 20, 60), (0.1, 0.075, 0.025)),
        ("polynomial", (0, 40, 60), (0.1, 0.025, 0.00625)),  # (1 - t / 80)^2
        ("step decay", (25, 26, 52), (0.1, 0.01, 0.001)),  # a tenth every 26 steps
        ("one cycle", (0, 23, 79), (0.004, 0.1, 4e-7)),  # from a 25th, to the peak at .3 of the steps, to 1e-4 of it
        ("cyclic", (0, 10, 20, 30), (0.01, 0.1, 0.01, 0.1)),
        ("cyclic, halving", (0, 10, 20, 30), (0.01, 0.1, 0.01, 0.055)),
        ("cosine restarts", (0, 10, 20), (0.1, 0.05, 0.1)),
        ("exponential", (0, 16), (0.1, 0.1 / np.e)),  # exp(-5 t / 80)
        ("inverse time", (0, 4, 12), (0.1, 0.05, 0.025)),  # 1 / (1 + t / 4)
        ("warm-up, cosine", (0, 2, 4), (0.0, 0.05, 0.1)),
    ],
)
def test_each_name_has_the_rates_of_its_schedule(name, at, rates):
    schedule = study.all_schedules(PEAK, STEPS)[name]
    np.testing.assert_allclose([schedule(t) for t in at], rates, atol=1e-6)


def test_no_schedule_is_left_out():
    assert len(study.all_schedules(PEAK, STEPS)) == 12
