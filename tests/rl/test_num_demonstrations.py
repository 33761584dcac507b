"""The verdict of the study of demonstrations, and that swapped arms fail it."""

import numpy as np

from experiments.rl.num_demonstrations import Returns, draw, report


def test_the_claim_is_of_the_fewest_episodes_and_swapped_arms_fail():
    cloning, gail = (
        {1: np.array([100.0, 140.0]), 4: np.array([500.0])},
        {1: np.array([480.0, 500.0]), 4: np.array([0.0])},
    )
    held = report(Returns(500.0, 22.0, {"cloning": cloning, "GAIL": gail}))
    assert held.holds
    assert "cloning 120, 500; GAIL 490, 0" in held.verdict
    assert not report(Returns(500.0, 22.0, {"cloning": gail, "GAIL": cloning})).holds
    assert not report(Returns(500.0, 22.0, {"cloning": gail, "GAIL": gail})).holds


def test_every_seed_is_drawn():
    arms = {arm: {1: np.array([1.0, 2.0]), 2: np.array([3.0, 4.0])} for arm in ("cloning", "GAIL")}
    ax = draw(Returns(5.0, 0.0, arms)).axes[0]
    dots = [tuple(line.get_ydata()) for line in ax.lines if line.get_linestyle() == "None"]
    assert dots == [(1.0, 2.0), (3.0, 4.0)] * 2
