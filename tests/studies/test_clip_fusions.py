"""The bars of the figure, and the claim on written accuracies."""

import numpy as np
import pytest

from experiments.studies import clip_fusions as study

ACCURACY = {
    "appearance": {"single": 0.97, "late_pool": 0.92, "late_dense": 0.93, "early": 0.94, "slow": 0.9},
    "motion": {"single": 0.27, "late_pool": 0.61, "late_dense": 0.62, "early": 0.96, "slow": 0.98},
    "order": {"single": 0.47, "late_pool": 0.52, "late_dense": 0.83, "early": 0.99, "slow": 0.95},
}


def test_the_bars_of_a_task_stand_side_by_side_around_its_tick():
    """Five bars of 0.15 at a distance of 0.16, the third on the tick."""
    results = {
        (fusion, task): np.array([accuracy, accuracy - 0.02])
        for task, row in ACCURACY.items()
        for fusion, accuracy in row.items()
    }
    [axes] = study.draw(results).axes
    bars = {round(bar.get_x() + bar.get_width() / 2, 6): bar.get_height() for bar in axes.patches}
    for t, row in enumerate(ACCURACY.values()):
        for offset, accuracy in zip((-0.32, -0.16, 0, 0.16, 0.32), row.values(), strict=True):
            assert bars[round(t + offset, 6)] == pytest.approx(accuracy - 0.01)
    assert len(bars) == 15
    np.testing.assert_allclose(axes.lines[4].get_xydata(), [(0.84, 0.61), (0.84, 0.59)])  # late pool, motion


@pytest.mark.covers("VD-04")
@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({}, True),
        ({("single", "appearance"): 0.94}, False),
        ({("single", "motion"): 0.32}, False),  # chance is 0.25
        ({("late_pool", "order"): 0.57}, False),
        ({("early", "motion"): 0.94}, False),
        ({("slow", "order"): 0.94}, False),
    ],
)
def test_the_claim(changes, holds):
    mean = {(fusion, task): accuracy for task, row in ACCURACY.items() for fusion, accuracy in row.items()}
    assert study.judge(mean | changes, 0.25) is holds
