"""The returns of policies that learned nothing."""

import pytest

from dlcore.rl.baseline_policies import trivial_returns
from tests.rl.corridors import constant_reward, target


def test_actions_of_zero_and_uniform_ones_are_measured():
    """The reward is -(a - 0.4)^2: -0.16 of a = 0, and of uniform a in [-1, 1] the mean -(1/3 + 0.16) = -0.49."""
    returns = trivial_returns(target())
    assert returns["zero_return"] == pytest.approx(-0.16, rel=1e-5)
    # The deviation of one return is 0.5, of the mean of a hundred 0.05.
    assert returns["random_return"] == pytest.approx(-0.493, abs=0.15)


def test_episodes_are_played_to_their_end_and_discrete_actions_have_no_zero():
    assert trivial_returns(constant_reward(False, reward=2.0, every=3)) == {"random_return": 6.0}
