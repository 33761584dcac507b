"""Published counts of the designs, and the verdict."""

import pytest

from experiments.studies import design_costs as study


@pytest.mark.covers("CO-09", "CO-11", "CO-12", "CO-13")
def test_published_counts_and_those_of_the_modules():
    """Module 3a has 192 x 64 + 192 x 96 + 96 x 9 x 128 + 192 x 16 + 16 x 25 x 32 + 192 x 32 = 163,328 weights."""
    costs = study.designs()
    inception = costs["1x1 reductions of an inception module"]
    assert inception.cost == 163_328 * 28 * 28
    assert inception.plain == 192 * (64 + 9 * 128 + 25 * 32) * 28 * 28
    block = costs["bottleneck of a residual block"]
    assert (block.plain, block.cost) == (18 * 256**2, 17 * 64**2)
    assert all(d.counted in (None, (d.plain, d.cost)) for d in costs.values())
    assert costs["patches in place of pixels"][1:3] == (224**4, 196**2)
    windows = costs["windows in place of all tokens"]
    assert windows.cost * 64 == windows.plain  # 49 of 3,136 tokens


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"counted": (10, 5)}, False),
        ({"plain": 4, "cost": 10, "counted": (4, 10)}, False),  # swapped
    ],
)
def test_the_verdict(change, holds):
    name = "1x1 reductions of an inception module"
    design = study.Design("multiply-adds", 10, 4, (10, 4))._replace(**change)
    assert study.report({name: design}).holds is holds
