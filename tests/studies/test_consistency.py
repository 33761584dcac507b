"""The study in smoke settings, and its verdict on numbers that were written for it."""

import numpy as np
import pytest

from experiments.studies import consistency


@pytest.mark.covers("RG-25")
def test_the_verdict_follows_the_numbers():
    arms = dict(zip(consistency.ARMS, (np.array([[0.5, a], [0.5, a]]) for a in (0.8, 0.82, 0.9)), strict=True))
    verdict, holds = consistency.judge(arms, 100)
    assert holds
    assert "80.0% without unlabelled digits, 82.0% with heavy" in verdict
    assert "beats the first on 2 of 2 seeds, by 10.0 points" in verdict
    arms[consistency.ARMS[2]] = np.array([[0.5, 0.9], [0.5, 0.8]])
    verdict, holds = consistency.judge(arms, 100)
    assert not holds
    assert "on 1 of 2 seeds" in verdict


@pytest.mark.covers("RG-25")
def test_smoke():
    result = consistency.page.function(**consistency.page.smoke)
    plain, _, consistent = (result.numbers[f"{arm}: log loss"] for arm in consistency.ARMS)
    assert np.isfinite(plain + consistent).all()
    assert len(plain) == 2
    assert set(result.figures) == {"consistency"}
