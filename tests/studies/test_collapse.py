"""The rule, the verdict, and runs that collapse."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.self_supervised.dino import updated_center
from experiments.studies import collapse as study


def test_a_center_of_momentum_one_stays_at_zero():
    logits = jnp.ones((2, 3, 4))
    np.testing.assert_array_equal(updated_center(jnp.zeros(4), logits, jnp.ones(3), 1.0), 0)
    assert (updated_center(jnp.zeros(4), logits, jnp.ones(3), 0.9) > 0).all()


def measured(rank=8.0, spread=1.0, knn=0.9):
    return study.Measure((10.0, rank), (1.0, spread), (0.8, knn))


def test_rank_or_spread_below_half_is_collapse():
    assert [measured(rank=r).is_collapsed() for r in (4.9, 5.0)] == [True, False]
    assert [measured(spread=s).is_collapsed() for s in (0.49, 0.5)] == [True, False]
    # Standard deviations 3 and 4: the root of their squares' sum is 5.
    assert study.spread_of(np.array([[3.0, 4], [-3, -4]])) == pytest.approx(5)


@pytest.mark.covers("SS-40")
def test_the_verdict_turns():
    good = {loss: ([measured()] * 2, [measured(rank=1.5, knn=0.3)] * 2) for loss in study.ARMS}
    result = study.report(good)
    assert result.holds
    assert "BYOL: rank 8.0, k-NN 90.0%; without predictor 1.5, 30.0%" in result.verdict
    assert "Collapsed are 8 of 8 runs without the part, and 0 of 8 with it." in result.verdict
    assert list(result.headline.values) == [6.5, 6.5]
    assert not study.report(good | {"DINO": ([measured()], [measured()])}).holds
    assert not study.report(good | {"DINO": ([measured(rank=1.0)], [measured(rank=1.0)])}).holds


@pytest.mark.weekly
@pytest.mark.covers("SS-28", "SS-29", "SS-31")
@pytest.mark.parametrize("loss", ["BYOL", "SimSiam", "VICReg"])
def test_without_its_part_a_loss_collapses(loss):
    whole, without = (study.measure(arm, 300, 64, 3e-3, 0) for arm in study.ARMS[loss][:2])
    assert without.is_collapsed()
    assert not whole.is_collapsed()
