"""The four differences to supervised learning, small, and that no verdict survives a swap of agent and twin."""

import numpy as np
import pytest

from experiments.rl import supervised_differences as study


@pytest.mark.weekly
@pytest.mark.covers("RL-11")
def test_each_difference_is_measured_and_swapped_arms_fail():
    noises, missing = study.noise(30), study.derivatives(4000)
    delays = {length: study.delay(length, 4, 20_000) for length in (4, 12)}
    shifts, maps = study.shift(8000)
    assert noises["agent"].std() > 0.05 > noises["twin"].std() == 0
    assert missing["agent"] == pytest.approx(1), "no derivative passes a drawn action"
    assert missing["agent, score function"] < 0.2
    assert missing["twin"] < 1e-5
    assert (delays[12]["agent"] > 4 * delays[4]["agent"].mean()).all()
    assert shifts["agent"] > 0.2 > shifts["twin"]
    for values in maps.values():
        np.testing.assert_allclose(np.nansum(values), 1, rtol=1e-5)
    assert study.report(noises, delays, missing, shifts).holds

    def swapped(arms):
        return arms | {"agent": arms["twin"], "twin": arms["agent"]}

    assert not study.report(swapped(noises), delays, missing, shifts).holds
    assert not study.report(noises, {n: swapped(d) for n, d in delays.items()}, missing, shifts).holds
    assert not study.report(noises, delays, swapped(missing), shifts).holds
    assert not study.report(noises, delays, missing | {"agent, score function": 1.0}, shifts).holds
    assert not study.report(noises, delays, missing, swapped(shifts)).holds


@pytest.mark.covers("RL-11")
def test_a_return_is_random_under_one_policy_and_a_loss_on_fixed_examples_is_not():
    noises = study.noise(4)
    assert noises["agent"].std() > 0.05
    assert noises["twin"].std() == 0


def test_the_power_of_a_length_by_hand():
    assert study.power([2, 4, 8], [[4, 4], [16, 16], [64, 64]]) == pytest.approx(2)


@pytest.mark.slow
def test_the_maps_of_steps_are_those_of_their_policies():
    """The trained policy is the more concentrated one; half the moved distribution is the agent's number."""
    numbers, maps = study.shift(800)
    before, after = (np.nan_to_num(maps[f"{name} policy"]) for name in ("untrained", "trained"))
    assert [before.sum(), after.sum(), np.nansum(maps["the twin's examples"])] == pytest.approx([1, 1, 1])
    assert np.square(after).sum() > 1.2 * np.square(before).sum()
    assert numbers["agent"] == pytest.approx(0.5 * np.abs(after - before).sum())
    assert numbers["twin"] < numbers["agent"]
