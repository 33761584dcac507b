"""The study in smoke settings, its verdict on written numbers, and the work of its variants."""

import numpy as np
import pytest

from experiments.studies import model_scaling


@pytest.mark.covers("ZO-22")
def test_every_variant_has_about_four_times_the_work_of_the_base():
    base = model_scaling.work(model_scaling.VARIANTS["base"])
    shares = {n: model_scaling.work(v) / base for n, v in model_scaling.VARIANTS.items() if n != "base"}
    assert all(3.8 < share < 4.6 for share in shares.values()), shares


@pytest.mark.covers("ZO-22")
def test_the_verdict_follows_the_numbers():
    flops = {"base": 1.0, "wider": 4.0, "deeper": 4.2, "larger images": 4.0, "all three": 3.9}
    accuracy = {name: np.array([0.5, 0.6]) for name in flops}
    accuracy["larger images"] = np.array([0.7, 0.8])
    accuracy["all three"] = np.array([0.72, 0.79])
    verdict, holds = model_scaling.judge(accuracy, flops)
    assert holds
    assert "base 55.0% (50.0% to 60.0%) at 1.0 times the work" in verdict
    assert "+0.5 points from the best single one (larger images), ahead on 1 of 2 seeds" in verdict
    accuracy["wider"] = np.array([0.9, 0.9])
    verdict, holds = model_scaling.judge(accuracy, flops)
    assert not holds
    assert "-14.5 points from the best single one (wider), ahead on 0 of 2" in verdict


@pytest.mark.covers("ZO-22")
def test_smoke():
    result = model_scaling.experiment.function(**model_scaling.experiment.smoke)
    assert set(result.figures) == {"model_scaling"}
    assert all(np.isfinite(v).all() for v in result.numbers.values())
