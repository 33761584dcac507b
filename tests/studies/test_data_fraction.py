"""The line through errors by hand, the verdict, and that more examples help."""

import chex
import numpy as np
import pytest

from experiments.studies import data_fraction as study

SIZES = (10, 100, 1000)


def test_the_line_is_that_of_the_power_law_and_sees_known_sizes_alone():
    sizes = np.array([10, 100, 1000])
    a, b = study.power_law(sizes, 2.0 * sizes**-0.5)
    assert (a, b) == pytest.approx((2, 0.5))
    # through .4 and .04 the law is 4 / n: .004 of 1000, a fifth of what is there
    assert study.extrapolate(sizes, np.array([0.4, 0.04, 0.02]), 100) == pytest.approx((4, 1, 0.004 / 0.02 - 1))


def story(same, other):
    mean = np.stack([np.zeros(3), same, other], -1)
    return study.judge(SIZES, np.stack([mean, mean]), 100)


def test_the_verdict_follows_the_numbers():
    line = np.array([0.4, 0.04, 0.004])
    verdict, holds = story(line, [0.4, 0.2, 0.19])
    assert holds
    assert "On the same writers the error falls with every size, from 40.0% with 10 examples to 0.4%" in verdict
    assert "it is 4 n^-1.00, each doubling 50% less, which predicts 0.4% of 1000, 0% too" in verdict
    assert "On other writers" in verdict
    assert "47% too little" in verdict  # .1 where .19 is
    assert not story([0.4, 0.04, 0.02], line)[1]
    verdict, holds = story(line, [0.4, 0.1, 0.1])
    assert not holds
    assert "does NOT fall" in verdict


@pytest.mark.weekly
def test_more_examples_are_better_on_both():
    result = study.study(num_seeds=2, train_sizes=(20, 100, 600), largest_fitted=100, steps=250, width=32)
    assert result.numbers["training error"][0] <= 0.01  # 20 are memorized
    for who in study.WHO:
        few, many = (np.array(result.numbers[f"error, {who} writers, {n} examples"]) for n in (20, 600))
        chex.assert_shape(few, (2,))
        assert (many < few).all()
    assert len(result.figures["data_fraction"].axes) == 2
