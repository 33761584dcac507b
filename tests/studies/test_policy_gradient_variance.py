"""A short run of the study: each estimate of a policy's gradient has less variance, and the same mean."""

import numpy as np
import pytest

from experiments.studies import policy_gradient_variance as study


@pytest.mark.slow
def test_each_estimate_has_less_variance_than_the_one_before():
    result = study.study(num_seeds=1, num_episodes=256, group_size=16, max_steps=40)
    (whole,), (to_go,), (baseline,) = (result.numbers[f"variance {kind}"] for kind in ("return", "to_go", "baseline"))
    assert baseline < 0.6 * to_go < to_go < 0.9 * whole
    np.testing.assert_allclose(result.headline.values, [baseline / whole])
    assert result.holds
    assert set(result.figures) == {"variance"}


def test_each_estimate_weighs_rewards_as_its_name_says():
    """Rewards 1, 2 and 3, 0 of two episodes: their returns are 3 and 3, and the rewards to go 3, 2 and 3, 0.

    The baseline of each is the other's reward to go: 3 - 3, 2 - 0 and 3 - 3, 0 - 2."""
    rewards = np.array([[1.0, 2.0], [3.0, 0.0]], np.float32)
    got = {kind: study.score_weights(rewards, kind) for kind in study.WEIGHTS}
    assert {kind: np.asarray(values).tolist() for kind, values in got.items()} == {
        "return": [[3, 3], [3, 3]],
        "to_go": [[3, 2], [3, 0]],
        "baseline": [[0, 2], [0, -2]],
    }
