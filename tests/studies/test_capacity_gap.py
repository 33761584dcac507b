"""The verdict on accuracies written for it, and noise that only a wide net memorizes."""

import numpy as np
import pytest

from experiments.studies import capacity_gap as study


def runs(train, valid):
    """Two seeds, ten evaluations, all at these accuracies."""
    return np.broadcast_to([train, valid], (2, 10, 2)).copy()


def story(wide=(1.0, 0.70), middle=(0.82, 0.78), clean=(1.0, 0.98)):
    noisy = {2: runs(0.40, 0.38), 16: runs(*middle), 256: runs(*wide)}
    return study.judge({"clean": {2: runs(0.5, 0.48), 16: runs(0.99, 0.98), 256: runs(*clean)}, "noisy": noisy})


@pytest.mark.covers("TR-12")
def test_the_verdict_follows_the_numbers():
    verdict, holds = story()
    assert holds
    assert "With noisy labels the gap goes from 2.0% at width 2 (more capacity) to 30.0% at 256 (over-fit" in verdict
    assert "validation is best at 16, 78.0%, and 70.0% at 256." in verdict
    assert not story(wide=(1.0, 0.79))[1]  # the widest is the best
    assert not story(wide=(0.75, 0.74))[1]  # no gap
    assert not story(clean=(1.0, 0.9))[1]  # width hurts with clean labels


@pytest.mark.weekly
def test_a_wide_net_memorizes_noise_and_a_narrow_one_cannot():
    result = study.study(num_seeds=1, widths=(2, 128), label_noise=0.4, steps=400, num_examples=100, num_evaluations=2)
    gap, valid = (
        {width: np.array(result.numbers[f"noisy, width {width}, {name}"]) for width in (2, 128)}
        for name in ("gap", "validation")
    )
    assert (gap[128] + valid[128]).min() > 0.95
    assert (gap[2] + valid[2]).max() < 0.75
    assert gap[128].min() > 0.25
    assert "noisy, width 128, triage" in result.numbers
    assert len(result.figures["capacity_gap"].axes) == 2
