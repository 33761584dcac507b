"""Importance weights and priors: closed forms of normal distributions, hand-worked matrices, and bad input."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from dlcore.transfer.shift import (
    black_box_priors,
    density_ratio,
    effective_sample_size,
    em_priors,
    reweigh,
    weighted_mean,
)
from experiments.transfer import shift as study


@pytest.mark.covers("TL-11")
def test_weights_are_the_ratio_of_two_normal_densities():
    # log N(x; 1, 1) / N(x; 0, 1) = x - 1/2.
    rng = np.random.default_rng(0)
    source, target = rng.normal(0, 1, (20_000, 1)), rng.normal(1, 1, (10_000, 1))
    weights, exact = density_ratio(source, target), np.exp(source[:, 0] - 0.5)
    middle = np.abs(source[:, 0]) < 2
    np.testing.assert_allclose(weights[middle], exact[middle], rtol=0.15)
    assert weights.mean() == pytest.approx(1)
    # E w² = e, so that N examples are worth N / e.
    assert effective_sample_size(exact) == pytest.approx(20_000 / np.e, rel=0.1)


@pytest.mark.covers("TL-11")
def test_weights_are_the_odds_of_scikit_learn_s_classifier_of_standardized_features():
    """Features of scales 1 and 100, and one that is constant; l2 is 1 / C."""
    rng = np.random.default_rng(0)
    source, target = (rng.normal(size=(n, 3)) * [1, 100, 0] + [shift, 50 * shift, 7] for n, shift in ((30, 0), (20, 1)))
    both = np.concatenate([source, target])
    x = (both - both.mean(0)) / np.where(both.std(0) > 1e-9, both.std(0), 1)
    oracle = LogisticRegression(C=1 / 5, tol=1e-12, solver="newton-cholesky").fit(x, np.arange(50) >= 30)
    odds = np.exp(oracle.decision_function(x[:30]))
    np.testing.assert_allclose(density_ratio(source, target, l2=5.0), odds / odds.mean(), rtol=1e-5)


@pytest.mark.covers("TL-11")
@pytest.mark.parametrize("seed", range(3))
def test_weights_mend_a_mean_that_is_off_by_twice_the_shift(seed):
    numbers, _ = study.covariate_shift(4000, 1.0, seed)
    assert numbers["target mean"] - numbers["unweighted mean"] == pytest.approx(2, abs=0.1)
    assert abs(numbers["weighted mean"] - 3) <= 2 * numbers["standard error, weighted"] < 0.2
    assert numbers["effective sample size"] < 2500
    # The best line for x² about 1 is 2 x; its error is Var(x² - 2 x) = Var((x - 1)²) = 2.
    assert numbers["target error of the line, weighted"] == pytest.approx(2, abs=0.4)
    assert numbers["target error of the line, unweighted"] > 5


def test_weighted_means_by_hand():
    assert effective_sample_size([1, 1, 1, 1]) == 4
    assert effective_sample_size([3, 1]) == pytest.approx(16 / 10)
    # (3 * 2 + 1 * 6) / 4 = 3; sqrt((3 * -1)² + (1 * 3)²) / 4.
    value, error = weighted_mean([2, 6], [3, 1])
    assert (value, error) == (pytest.approx(3), pytest.approx(np.sqrt(18) / 4))
    # Without weights: sqrt(2² + 2²) / 2.
    assert weighted_mean([2, 6]) == (4, pytest.approx(np.sqrt(8) / 2))
    with pytest.raises(ValueError, match=r"weights=\(3,\): wrong shape; allowed: \(2,\), one a value"):
        weighted_mean([2, 6], [1, 1, 1])


@pytest.mark.covers("TL-12")
def test_black_box_priors_by_hand():
    # Of class 0 eight of ten are right, of class 1 18 of 20. A target of 30 and 70 answers 0 in 24 + 7 = 31 of 100
    # cases. The source has the priors 1/3 and 2/3.
    labels = np.repeat([0, 1], [10, 20])
    held_out = np.array([0] * 8 + [1] * 2 + [0] * 2 + [1] * 18)
    found = black_box_priors(held_out, labels, np.repeat([0, 1], [31, 69]), 2)
    booleans = (np.asarray(x) == 1 for x in (held_out, labels, np.repeat([0, 1], [31, 69])))
    np.testing.assert_array_equal(black_box_priors(*booleans, 2).priors, found.priors)
    np.testing.assert_allclose(found.priors, [0.3, 0.7])
    np.testing.assert_allclose(found.ratios, [0.9, 1.05])
    assert found.condition == pytest.approx(np.linalg.cond([[8, 2], [2, 18]]))
    # 5 of 100 answers are 0, fewer than class 1 alone gives: 0.05 = 8 w_0 / 30 + 2 w_1 / 30 asks for w_0 < 0.
    assert black_box_priors(held_out, labels, np.repeat([0, 1], [5, 95]), 2).priors.tolist() == [0, 1]


@pytest.mark.covers("TL-12")
def test_em_finds_priors_and_its_fixed_point_is_the_posterior():
    # Two answers, P(x = 0 | y) = .8 and .1; under even priors P(y = 0 | x) = .8 / .9 and .2 / 1.1. Of a target with
    # priors .3 and .7 the share .3 * .8 + .7 * .1 = .31 has x = 0.
    posterior = np.array([[8 / 9, 1 / 9], [2 / 11, 9 / 11]])
    probabilities = posterior[np.repeat([0, 1], [31, 69])]
    found = em_priors(probabilities, [0.5, 0.5])
    np.testing.assert_allclose(found.priors, [0.3, 0.7], atol=1e-5)
    corrected = reweigh(posterior, [0.5, 0.5], [0.3, 0.7])
    np.testing.assert_allclose(corrected[0], [0.24 / 0.31, 0.07 / 0.31])
    np.testing.assert_allclose(reweigh(posterior, [0.5, 0.5], [0.5, 0.5]), posterior)


@pytest.mark.covers("TL-12")
def test_both_recover_the_priors_of_5000_examples_and_raise_accuracy():
    numbers, priors = study.label_shift(5000, 5, 10.0, 0)
    for name in ("BBSE", "EM"):
        assert np.abs(priors[name] - priors["target"]).sum() == numbers[f"L1 error of the priors, {name}"] < 0.02
        assert numbers[f"accuracy, {name}"] > numbers["accuracy, uncorrected"]
    assert numbers["L1 error of the priors, answers"] > 0.04
    assert priors["target"].max() / priors["target"].min() > 5


def test_the_verdict_turns():
    inputs, labels = study.covariate_shift(2000, 1.0, 0)[0], study.label_shift(2000, 5, 10.0, 0)[0]

    def judged(**changes):
        both = [{name: [changes.get(name, value)] for name, value in part.items()} for part in (inputs, labels)]
        return study.report(*both)

    good = {"L1 error of the priors, BBSE": 0.01, "L1 error of the priors, EM": 0.01}
    assert judged(**good).holds
    assert not judged(**good | {"weighted mean": 2.0}).holds
    assert not judged(**good | {"unweighted mean": 3.0}).holds
    assert not judged(**good | {"L1 error of the priors, EM": 0.03}).holds
    assert not judged(**good | {"accuracy, BBSE": 0.1}).holds


def test_the_figure_shows_the_source_with_its_curve_the_target_and_both_lines():
    numbers, shown = study.covariate_shift(300, 1.0, 0)
    assert np.mean(shown["x"]) == pytest.approx(0, abs=0.2)
    assert np.mean(shown["target"]) == pytest.approx(1, abs=0.2)
    np.testing.assert_allclose(shown["y"], np.square(shown["x"]), atol=1)  # noise of 0.2
    assert float(shown["weights"].max()) == numbers["largest weight"]
    assert list(shown["lines"]) == ["unweighted", "weighted"]
