"""Spaces from words, the ways to draw trials of them, and where to look next."""

import math

import numpy as np
import pytest
from scipy import stats

from dlcore.search import space as s

RATE = s.LogUniform(1e-5, 1.0)


def test_words_become_axes():
    words = ["learning_rate=log:1e-5:1", "dropout=uniform:0:1", "model.width=int:8:64", "optimizer=sgd,adam"]
    assert s.parse_space(words) == {
        "learning_rate": s.LogUniform(1e-5, 1),
        "dropout": s.Uniform(0, 1),
        "model.width": s.Integers(8, 64),
        "optimizer": s.Choice(("sgd", "adam")),
    }
    options = s.parse_space(["a=1,2.5,1e-3,true,False,none", "mesh=data:4,model:2"])
    assert options["a"].options == (1, 2.5, 0.001, True, False, "none")
    assert [type(v) for v in options["a"].options] == [int, float, float, bool, bool, str]
    assert options["mesh"] == s.Choice(("data:4", "model:2"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dropout"], "dropout: no axis; allowed: NAME=A,B"),
        (["=1,2"], "=1,2: no axis; allowed: NAME="),
        (["a=log:0:1"], r"a=\[0, 1\]: not positive"),
        (["a=uniform:1:0"], r"a=\[1, 0\]: no range; allowed: finite ends, the lower first"),
        (["a=log:1:1"], r"a=\[1, 1\]: no range"),
        (["a=uniform:0:inf"], r"a=\[0, inf\]: no range"),
        (["a=int:1.5:3"], r"a=\[1.5, 3\]: not whole"),
        (["a=log:1e-3"], "a=log:1e-3: no range; allowed: a=log:LOW:HIGH with two numbers"),
        (["a=int:x:3"], "a=int:x:3: no range; allowed: a=int:LOW:HIGH with two numbers"),
        (["a=loguniform:1:3"], "loguniform is unknown; allowed: uniform, log, int"),
        (["a=1,,2"], "a=.*: empty or repeated"),
        (["a=1,1"], "a=.*; allowed: different values"),
        (["a=1,2", "a=log:1:2"], "a=log:1:2: a is given twice"),
        ([], "space: empty"),
    ],
)
def test_bad_words_are_named(words, message):
    with pytest.raises(ValueError, match=message):
        s.parse_space(words)


@pytest.mark.covers("TR-13")
def test_a_grid_is_the_product_and_rates_go_by_factors():
    trials = s.grid({"rate": RATE, "dropout": s.Uniform(0, 1), "net": s.Choice(("a", "b"))}, 6)
    assert len(trials) == 6 * 6 * 2
    assert len({tuple(t.items()) for t in trials}) == 72
    assert sorted({t["rate"] for t in trials}) == pytest.approx([1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1])
    assert sorted({t["dropout"] for t in trials}) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert {t["net"] for t in trials} == {"a", "b"}
    ends = [t["rate"] for t in trials]
    assert (min(ends), max(ends)) == (1e-5, 1.0)


def test_a_grid_of_integers_and_of_one_point():
    assert s.grid({"n": s.Integers(1, 3)}, 9) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert s.grid({"n": s.Integers(8, 64)}, 3) == [{"n": 8}, {"n": 36}, {"n": 64}]
    assert s.grid({"rate": s.LogUniform(1e-4, 1)}, 1)[0]["rate"] == pytest.approx(1e-2)


@pytest.mark.covers("TR-14")
@pytest.mark.parametrize("draw", [s.random, s.latin_hypercube, s.sobol])
def test_the_logarithm_of_a_rate_is_uniform(draw):
    trials = draw({"rate": s.LogUniform(1e-6, 10.0), "dropout": s.Uniform(0, 1)}, 2000, 0)
    exponents = np.log10([t["rate"] for t in trials])
    assert stats.kstest(exponents, stats.uniform(-6, 7).cdf).pvalue > 0.05
    assert stats.kstest([t["dropout"] for t in trials], "uniform").pvalue > 0.05
    assert stats.kstest([t["rate"] for t in trials], stats.uniform(1e-6, 10).cdf).pvalue < 1e-6
    assert abs(np.corrcoef(exponents, [t["dropout"] for t in trials])[0, 1]) < 0.06


@pytest.mark.covers("TR-14")
def test_nine_trials_try_nine_values_of_an_axis_and_a_grid_three():
    space = {"rate": RATE, "dropout": s.Uniform(0, 1)}
    grid = s.grid(space, 3)
    assert len(grid) == 9
    for draw in (s.random, s.latin_hypercube, s.sobol):
        trials = draw(space, 9, 0)
        assert len(trials) == 9
        for name in space:
            assert len({t[name] for t in trials}) == 9
            assert len({t[name] for t in grid}) == 3


def test_a_latin_hypercube_has_one_trial_in_every_slice():
    trials = s.latin_hypercube({"rate": RATE, "n": s.Integers(1, 10), "o": s.Choice(("a", "b"))}, 10, 3)
    assert sorted(math.floor(10 * RATE.position(t["rate"])) for t in trials) == list(range(10))
    assert sorted(t["n"] for t in trials) == list(range(1, 11))
    assert sorted(t["o"] for t in trials) == ["a"] * 5 + ["b"] * 5


def test_sobol_fills_every_square_once():
    """The first 16 points of two axes: one in each cell of 4 x 4, which independent draws do not manage."""
    space = {"x": s.Uniform(0, 1), "y": s.Uniform(0, 1)}

    def cells(trials):
        return len({(math.floor(4 * t["x"]), math.floor(4 * t["y"])) for t in trials})

    assert cells(s.sobol(space, 16, 0)) == 16
    assert cells(s.random(space, 16, 0)) < 16


@pytest.mark.parametrize("draw", [s.random, s.latin_hypercube, s.sobol])
def test_a_seed_fixes_the_trials(draw):
    space = {"n": s.Integers(-2, 2), "o": s.Choice((True, "x"))}
    assert draw(space, 50, 1) == draw(space, 50, 1) != draw(space, 50, 2)
    assert {t["n"] for t in draw(space, 50, 1)} == {-2, -1, 0, 1, 2}
    assert all(type(t["n"]) is int for t in draw(space, 5, 1))


@pytest.mark.parametrize("draw", [s.random, s.latin_hypercube, s.sobol])
def test_no_trial_is_drawn_twice(draw):
    """3 options and 2 numbers make 6 trials, which 16 draws would repeat; without one tried before, 5."""
    space = {"net": s.Choice(("a", "b", True)), "n": s.Integers(1, 2)}

    def keys(trials):
        return {tuple(map(repr, trial.values())) for trial in trials}

    for trials in (5, 6, 16):
        drawn = draw(space, trials, 0)
        assert len(drawn) == len(keys(drawn)) == min(trials, 6)
    rest = draw(space, 16, 0, tried=[{"net": "a", "n": 2}])
    assert len(rest) == 5
    assert {"net": "a", "n": 2} not in rest
    assert draw(space, 2, 0, tried=drawn) == []
    # A rate is never drawn twice: the trials stay the points of the sequence, and 1 is not True.
    assert len(draw(space | {"rate": RATE}, 16, 0)) == 16
    assert len(draw({"o": s.Choice((1, True))}, 9, 0)) == 2


@pytest.mark.covers("TR-15")
def test_narrowing_spans_the_best_quarter_and_half_a_gap():
    """Nine rates, a decade apart in places of 1/8; the best two of 8 + 1 are 1e-4 and 1e-3 (ceil(9 / 4) = 3 with 1e-5).

    Lower end: half way from 1e-5 to 1e-6 in the logarithm, 10^-5.5; upper end: from 1e-3 to 1e-2, 10^-2.5.
    """
    space = {"rate": s.LogUniform(1e-8, 1.0)}
    trials = s.grid(space, 9)
    scores = [0, 0, 0.1, 0.8, 0.9, 0.7, 0.2, math.nan, math.nan]
    finer = s.narrow(space, trials, scores)["rate"]
    assert isinstance(finer, s.LogUniform)
    assert finer == pytest.approx((10**-5.5, 10**-2.5))
    assert s.narrow(space, trials, scores, keep=0.1)["rate"] == pytest.approx((10**-4.5, 10**-3.5))


@pytest.mark.covers("TR-15")
def test_narrowing_never_leaves_the_old_range():
    space = {"x": s.Uniform(0.0, 1.0), "n": s.Integers(1, 9), "o": s.Choice(("a", "b", "c"))}
    trials = [{"x": x, "n": n, "o": o} for x, n, o in ((0, 9, "c"), (0.1, 8, "a"), (0.5, 4, "b"), (0.9, 1, "b"))]
    finer = s.narrow(space, trials, [4, 3, 2, 1], keep=0.5)
    # x: from 0, an end, to half way from .1 to .5; n: from half way between 8 and 4 to 9, an end
    assert finer["x"] == pytest.approx((0, 0.3))
    assert finer["n"] == (6, 9)
    assert finer["o"] == s.Choice(("a", "c"))
    # where nothing was tried beyond, half the way to the old end: (.9 + 1) / 2
    assert s.narrow(space, trials, [1, 2, 3, 4], keep=0.25)["x"] == pytest.approx((0.7, 0.95))


@pytest.mark.covers("TR-15")
def test_two_stages_find_a_narrow_peak_that_one_misses():
    """As many trials in all: 32 at once, or 16 and 16 in the narrowed space."""
    space = {"rate": RATE, "other": s.Uniform(0, 1)}

    def score(trial):
        return -abs(math.log10(trial["rate"]) + 2.3)

    better, width = 0, []
    for seed in range(20):
        coarse = s.random(space, 16, seed)
        finer = s.narrow(space, coarse, [score(t) for t in coarse])
        assert finer["rate"].low <= max(coarse, key=score)["rate"] <= finer["rate"].high
        width.append(math.log10(finer["rate"].high / finer["rate"].low))
        fine = max(score(t) for t in coarse + s.random(finer, 16, seed + 1000))
        better += fine > max(score(t) for t in s.random(space, 32, seed + 2000))
    assert np.mean(width) < 5 / 2
    assert better >= 13


@pytest.mark.covers("TR-16")
def test_a_best_value_at_an_end_is_reported():
    space = {"learning_rate": RATE, "dropout": s.Uniform(0, 1), "width": s.Integers(8, 64), "net": s.Choice(("a", "b"))}
    inner = {"learning_rate": 1e-3, "dropout": 0.5, "width": 30, "net": "a"}
    assert s.edges(space, inner) == []
    assert s.edges(space, {**inner, "learning_rate": 1.0}) == [
        "learning_rate: the best, 1, is at the upper end of [1e-05, 1]: widen it"
    ]
    # 5 % of five decades is a quarter of one: 10^-.24 is inside it, 10^-.26 is not
    assert len(s.edges(space, {**inner, "learning_rate": 10**-0.24})) == 1
    assert s.edges(space, {**inner, "learning_rate": 10**-0.26}) == []
    assert s.edges(space, {**inner, "dropout": 0.04, "width": 64}) == [
        "dropout: the best, 0.04, is at the lower end of [0, 1]: widen it",
        "width: the best, 64, is at the upper end of [8, 64]: widen it",
    ]
    assert s.edges({"n": s.Integers(3, 3)}, {"n": 3}) == []
