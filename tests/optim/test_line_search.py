"""Line searches: the conditions hold at every accepted step, and the values of small cases."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore.optim import armijo_backtracking, strong_wolfe


def along(kind, stretch):
    """(φ, φ') of a smooth function that falls at 0 and is bounded below."""
    if kind == "parabola":
        return lambda a: (stretch * a - 1) ** 2, lambda a: 2 * stretch * (stretch * a - 1)
    if kind == "quartic":
        return lambda a: (stretch * a - 1) ** 4, lambda a: 4 * stretch * (stretch * a - 1) ** 3
    return (
        lambda a: np.cos(stretch * a) - 0.5 * np.cos(stretch * a / 3) - 0.3 * stretch * a + 0.01 * (stretch * a) ** 2,
        lambda a: stretch * (-np.sin(stretch * a) + 0.5 / 3 * np.sin(stretch * a / 3) - 0.3 + 0.02 * stretch * a),
    )


@pytest.mark.covers("OP-21")
@pytest.mark.parametrize("kind", ["parabola", "quartic", "waves"])
@given(stretch=st.floats(-3, 3).map(lambda e: 10.0**e), first=st.floats(-2, 2).map(lambda e: 10.0**e))
def test_the_conditions_hold_at_the_accepted_step(kind, stretch, first):
    f, slope = along(kind, stretch)
    for c2 in (0.9, 0.1):
        a = strong_wolfe(lambda a: (f(a), slope(a)), f(0), slope(0), first=first, c1=1e-4, c2=c2)
        assert a > 0
        assert f(a) <= f(0) + 1e-4 * a * slope(0)
        assert abs(slope(a)) <= -c2 * slope(0)
    a = armijo_backtracking(f, f(0), slope(0), first=first, c1=0.1)
    assert a > 0
    assert f(a) <= f(0) + 0.1 * a * slope(0)
    assert a == first or f(2 * a) > f(0) + 0.1 * 2 * a * slope(0), "no shorter than it must be"


@pytest.mark.covers("OP-21")
def test_by_hand():
    # φ = (a - 1)², φ'(0) = -2, c1 = .6: enough where (a - 1)² <= 1 - 1.2 a, that is a <= .8: 4, 2, 1 fail, .5 passes.
    seen = []

    def phi(a):
        seen.append(a)
        return (a - 1) ** 2

    assert armijo_backtracking(phi, 1.0, -2.0, first=4.0, c1=0.6) == 0.5
    assert seen == [4.0, 2.0, 1.0, 0.5]
    # From .01 the slope is too steep still (-1.98 against -.2), so the search has to grow before it may stop.
    a = strong_wolfe(lambda a: ((a - 1) ** 2, 2 * (a - 1)), 1.0, -2.0, first=0.01, c2=0.1)
    assert 0.9 <= a <= 1.1


@pytest.mark.covers("OP-21")
@pytest.mark.parametrize(
    ("phi", "settings", "tried"),
    [
        # (a - 1)^2 at 4 is 9: of the parabola through 1, slope -2, and 9 the lowest point is a quarter of the way.
        (lambda a: ((a - 1) ** 2, 2 * (a - 1)), {"first": 4.0}, [4, 1]),
        # At 1 the slope is too steep still, so twice as far; at 2 it is 0.
        (lambda a: ((a / 2 - 1) ** 2, a / 2 - 1), {"first": 1.0, "c2": 0.1}, [1, 2]),
        # (a - 1)^4 at 8 is 7^4: the lowest point, at 1.3 %, is less than a tenth of the way.
        (lambda a: ((a - 1) ** 4, 4 * (a - 1) ** 3), {"first": 8.0}, [8, 0.8]),
        # -.85 is less than .9 of the slope: the lowest point, 3.3 times as far, is cut to nine tenths.
        (lambda a: (-0.85, 0.0) if a == 1 else (-2.0, 0.0), {"c1": 0.9, "c2": 0.95}, [1, 0.9]),
        # Undefined values halve the way.
        (lambda a: (np.nan, np.nan) if a > 2 else (-a, 0.0), {"first": 8.0}, [8, 4, 2]),
        # Uphill at 1, beyond the valley: from there back to 0, a parabola through -.5, slope 1, and 0.
        (lambda a: (-0.5, 1.0) if a == 1 else (-1.0, 0.0), {"c2": 0.5}, [1, 1 - 1 / 3]),
    ],
)
def test_steps_that_a_search_tries_by_hand(phi, settings, tried):
    """The slope at 0 is -1 or that of the function."""
    value, slope = phi(0.0) if phi(0.0)[1] < 0 else (0.0, -1.0)
    seen = []

    def recorded(a):
        seen.append(a)
        return phi(a)

    found = strong_wolfe(recorded, value, slope, **settings)
    np.testing.assert_allclose(seen, tried)
    assert found == seen[-1]


def test_searches_end_where_no_step_meets_the_conditions():
    # Falls for ever: there is enough decrease anywhere and nowhere a flat point.
    assert strong_wolfe(lambda a: (-a, -1.0), 0.0, -1.0, c2=0.5) > 1
    # Rises at once although the slope says not: a wrong gradient.
    assert armijo_backtracking(lambda a: a, 0.0, -1.0) == 0.0
    assert strong_wolfe(lambda a: (a, 1.0), 0.0, -1.0) == 0.0
    # Undefined far out: NaN counts as no decrease.
    near = strong_wolfe(lambda a: ((a - 1) ** 2, 2 * (a - 1)) if a < 2 else (np.nan, np.nan), 1.0, -2.0, first=8.0)
    assert 0 < near < 2


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"slope=0.5: the direction does not lead downhill; allowed: below 0"):
        armijo_backtracking(lambda a: a, 0.0, 0.5)
    with pytest.raises(ValueError, match=r"c1=0.9, c2=0.1: out of range; allowed: 0 < c1 <= c2 < 1"):
        strong_wolfe(lambda a: (a, 1.0), 0.0, -1.0, c1=0.9, c2=0.1)
    for bad in ({"c1": 0.0}, {"c2": 1.0}, {"first": 0.0}, {"first": np.inf}, {"max_steps": 0}):
        with pytest.raises(ValueError, match="allowed"):
            strong_wolfe(lambda a: (a, 1.0), 0.0, -1.0, **bad)
    assert strong_wolfe(lambda a: (-a, 0.0), 0.0, -1.0, c1=0.5, c2=0.5, max_steps=1) == 1
    with pytest.raises(ValueError, match=r"shrink=0.0: out of range"):
        armijo_backtracking(lambda a: a, 0.0, -1.0, shrink=0.0)
    with pytest.raises(ValueError, match=r"shrink=1.5: out of range; allowed: above 0 and below 1"):
        armijo_backtracking(lambda a: a, 0.0, -1.0, shrink=1.5)
