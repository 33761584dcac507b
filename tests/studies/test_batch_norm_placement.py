"""Where batch norm stands: the verdict turns with the share of dead units."""

import numpy as np
import pytest

from experiments.studies import batch_norm_placement as study


def placements(before=0.01, after=0.1, diverged=False):
    rows = {name: np.full((2, 5), share) for name, share in (("before", before), ("after", after), ("none", 0.3))}
    results = {
        name: {"loss": np.full((2, 5), 0.1), "accuracy": np.full((2, 5), 0.9), "dead": v} for name, v in rows.items()
    }
    if diverged:
        results["after"]["loss"][:] = np.inf
    return 2.0 ** np.arange(5), results


@pytest.mark.covers("NO-12")
def test_the_verdict_on_placement_turns():
    good = study.report(*placements())
    assert good.holds
    assert "1.0% of the ReLUs are dead with batch norm before them and 10.0% with it after them: fewer" in good.verdict
    assert not study.report(*placements(before=0.2)).holds
    assert not study.report(*placements(diverged=True)).holds  # no rate to judge by


@pytest.mark.weekly
@pytest.mark.covers("NO-12")
def test_the_smoke_version_of_placement():
    result = study.study(**study.experiment.smoke | {"depth": 1, "steps": 60})
    for label in study.NAMES.values():
        dead = result.numbers[f"dead by rate, {label}"]
        assert len(dead) == 2
        assert all(0 <= share <= 1 for share in dead)
        assert result.numbers[f"test accuracy at the best rate, {label}"][0] > 0.5


def test_each_arm_is_reported_by_its_placement():
    assert study.NAMES == {"before": "before the ReLU", "after": "after the ReLU", "none": "no batch norm"}
