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
