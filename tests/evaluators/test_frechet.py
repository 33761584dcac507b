"""Fréchet distance, kernel distance and inception score against goldens, closed forms and limits."""

import tracemalloc

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.evaluators import frechet
from dlcore.evaluators.frechet import (
    frechet_distance,
    frechet_evaluator,
    frechet_of_features,
    inception_score,
    kid,
    kid_of_subsets,
    kid_with_interval,
)
from dlcore.evaluators.manifold import half_interval, neighborhoods

GOLDEN = "tests/goldens/metrics_image.npz"


def features(n=400, d=6, seed=0, shift=0.0):
    return np.random.default_rng(seed).normal(size=(n, d)) + shift


@pytest.mark.covers("ME-10")
def test_goldens():
    with np.load(GOLDEN) as golden:
        f, g = golden["fid.a/in.f"], golden["fid.a/in.g"]
        assert frechet_of_features(f, g) == pytest.approx(float(golden["fid.a/out"]), abs=1e-6)
        assert kid(f, g) == pytest.approx(float(golden["kid.a/out"]), abs=1e-6)
        assert inception_score(golden["inception_score/in.p"]) == pytest.approx(
            float(golden["inception_score/out"]), abs=1e-6
        )


@pytest.mark.covers("ME-10")
def test_gaussians_by_hand():
    # In one dimension it is (m - n)^2 + (s - t)^2: means 1 and 3, deviations 2 and 5: 4 + 9 = 13.
    assert frechet_distance(np.ones(1), np.array([[4.0]]), 3 * np.ones(1), np.array([[25.0]])) == pytest.approx(13)
    # Diagonal covariances add up over the axes; a zero variance is allowed.
    assert frechet_distance(np.zeros(2), np.diag([4.0, 0.0]), np.ones(2), np.diag([9.0, 1.0])) == pytest.approx(4)


@pytest.mark.covers("ME-10")
def test_a_set_has_no_distance_from_itself_and_noise_adds_to_it():
    f = features()
    assert frechet_of_features(f, f) == pytest.approx(0, abs=1e-9)
    noise = features(seed=1)
    distances = [frechet_of_features(f, f + s * noise) for s in (0.1, 0.3, 1.0, 3.0)]
    kernels = [kid(f, f + s * noise) for s in (0.3, 1.0, 3.0)]
    assert distances == sorted(distances)
    assert kernels == sorted(kernels)
    assert distances[0] > 0


def test_the_kernel_distance_is_unbiased():
    """Two halves of one distribution: the mean over draws is 0 to within its error, and some are negative."""
    found = [kid(features(50, 3, seed), features(50, 3, 1000 + seed)) for seed in range(60)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(60)
    assert min(found) < 0


@pytest.mark.covers("ME-10")
def test_the_kernel_distance_is_added_up_in_blocks(monkeypatch):
    """300 and 500 examples in blocks of 64 hold a block, not 500 x 500 x 8 = 2 MB; an oracle has the whole matrices."""
    f, g = features(300), features(500, seed=1, shift=0.2)

    def kernel(x, y):
        return (x @ y.T / 6 + 1) ** 3

    def within(x):
        return (kernel(x, x).sum() - np.trace(kernel(x, x))) / (len(x) * (len(x) - 1))

    expected = within(f) + within(g) - 2 * kernel(f, g).mean()
    monkeypatch.setattr(frechet, "_BLOCK", 64)
    tracemalloc.start()
    try:
        assert kid(f, g) == pytest.approx(expected, rel=1e-9)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def plain_kid(f, g):
    """The unbiased estimate with whole matrices, term by term."""

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x):
        return (kernel(x, x).sum() - np.trace(kernel(x, x))) / (len(x) * (len(x) - 1))

    return within(f) + within(g) - 2 * kernel(f, g).mean()


@pytest.mark.covers("ME-16")
def test_the_interval_of_the_kernel_distance_is_the_jackknife():
    """Leave out each example and compute the distance anew: (n - 1) / n of the squared deviations, set by set."""
    f, g = features(9, 3), features(7, 3, seed=1, shift=0.4)
    variance = 0.0
    for x, without in ((f, lambda i: (np.delete(f, i, 0), g)), (g, lambda i: (f, np.delete(g, i, 0)))):
        left = np.array([plain_kid(*without(i)) for i in range(len(x))])
        variance += (len(x) - 1) / len(x) * np.square(left - left.mean()).sum()
    assert kid_with_interval(f, g) == pytest.approx((plain_kid(f, g), 1.96 * np.sqrt(variance)), rel=1e-9)
    assert kid_with_interval(f[:2], g)[1] is None


@pytest.mark.covers("ME-16")
def test_the_interval_holds_the_distance_in_most_draws():
    """Means 0 and 0.5, D = 1: E k(x, x') = 1, E k(y, y') and E k(x, y) by (1 + xy)^3 with moments of the normals."""
    # E(1 + xy)^3 = 1 + 3 m^2 + 3 s^2 + t^2 for two draws of moments m, s, t: y has 0.5, 1.25, 0.125 + 1.5 = 1.625.
    # x has 0, 1, 0: E k(x, x') = 4, E k(y, y') = 1 + 0.75 + 4.6875 + 2.640625, E k(x, y) = 1 + 3 * 1.25 = 4.75.
    expected = 4 + 9.078125 - 2 * 4.75
    rng, hits = np.random.default_rng(0), 0
    for _ in range(100):
        distance, half = kid_with_interval(rng.normal(size=(150, 1)), 0.5 + rng.normal(size=(150, 1)))
        hits += abs(distance - expected) < half
    assert hits >= 85


@pytest.mark.covers("ME-16")
def test_published_kernel_distances_are_means_over_subsets():
    """Subsets by the generator of torch-fidelity, drawn in turn from both sets."""
    f, g, rng, distances = features(12, 3), features(10, 3, seed=1), np.random.RandomState(7), []
    for _ in range(4):
        first = f[rng.choice(12, 5, replace=False)]
        distances.append(plain_kid(first, g[rng.choice(10, 5, replace=False)]))
    assert kid_of_subsets(f, g, 4, 5, seed=7) == pytest.approx((np.mean(distances), np.std(distances)), rel=1e-9)
    with pytest.raises(ValueError, match="subset_size=11: out of range; allowed: 2 to 10"):
        kid_of_subsets(f, g, 4, 11)


def test_the_distance_is_symmetric_and_takes_singular_covariances():
    f = np.pad(features(5, 3), ((0, 0), (0, 20)))  # 5 rows, 23 columns
    g = np.pad(features(7, 3, 1, 0.5), ((0, 0), (0, 20)))
    assert frechet_of_features(f, g) == pytest.approx(frechet_of_features(g, f), rel=1e-6)
    assert frechet_of_features(np.zeros((4, 3)), np.ones((4, 3))) == pytest.approx(3)


def test_inception_score_runs_from_one_to_the_number_of_classes():
    assert inception_score(np.full((8, 4), 0.25)) == pytest.approx(1)
    assert inception_score(np.eye(4)) == pytest.approx(4)
    assert inception_score(np.eye(4)[[0, 0, 0]]) == pytest.approx(1)


def test_the_evaluator_joins_batches():
    reference, drawn = features(100), features(60, seed=3, shift=0.3).astype(np.float32)
    probabilities = np.full((60, 5), 0.2)

    def extract(images):
        return images, probabilities[: len(images)]

    measure = frechet_evaluator(extract, reference, Source.indices(60))
    acc = None
    for first in range(0, 60, 25):
        acc = measure.add(acc, {"sample": drawn[first : first + 25]}, None)
    numbers = measure.finish(acc)
    assert numbers["frechet_distance"] == pytest.approx(frechet_of_features(drawn, reference), rel=1e-6)
    assert numbers["kid"] == pytest.approx(kid(drawn, reference), rel=1e-6)
    assert numbers["inception_score"] == pytest.approx(1)
    spread = frechet_evaluator(lambda images: (images, None), reference, Source.indices(60), intervals=True)
    found = spread.finish(spread.add(None, {"sample": drawn}, None))
    assert set(found) == set(spread.names) - {"inception_score"}
    assert found["kid_interval"] == pytest.approx(kid_with_interval(drawn, reference)[1])
    real = reference[np.linspace(0, 99, 60).round().astype(int)]  # as many as samples
    assert found["coverage"] == neighborhoods(real, drawn).coverage.mean()
    assert found["sample_precision_interval"] == half_interval(neighborhoods(real, drawn).precision)
    plain = frechet_evaluator(lambda images: (images, None), reference, Source.indices(60))
    assert set(plain.finish(plain.add(None, {"sample": drawn}, None))) == {"frechet_distance", "kid"}


def test_moments_that_do_not_fit_are_named():
    mean, cov = np.zeros(2), np.eye(2)
    skew = np.array([[1.0, 0.5], [0.0, 1.0]])
    for moments_of in ((mean, skew, mean, cov), (mean, cov, mean, skew)):
        with pytest.raises(ValueError, match=r"cov_[fg]=\(2, 2\): not symmetric; allowed: a covariance, \[D, D\]"):
            frechet_distance(*moments_of)
    # Rounding of up to a thousandth of the largest entry is no skew.
    rounded = np.array([[1.0, 0.0009], [0.0, 1.0]])
    assert frechet_distance(mean, rounded, mean, cov) == pytest.approx(0, abs=1e-3)
    with pytest.raises(ValueError, match="mean_g"):
        frechet_distance(mean, cov, np.array([0.0, np.inf]), cov)
    with pytest.raises(ValueError, match=r"g.shape=\(4, 2\): another width than f, \(4, 3\)"):
        frechet_of_features(np.zeros((4, 3)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="add up to 1"):
        inception_score(np.array([[1.5, -0.5]]))
    kid(features(2, 3), features(2, 3, 1))
    assert kid_of_subsets(features(2, 3), features(2, 3), 1, 2)[1] == 0


def test_an_evaluator_of_few_samples_leaves_out_what_they_do_not_determine():
    """Two samples have no neighborhoods; a ball of four samples reaches to the third neighbor, the last one."""
    reference, drawn = features(9, 3), features(4, 3, seed=1)
    measure = frechet_evaluator(lambda images: (images, None), reference, Source.indices(2), intervals=True)
    found = measure.finish(measure.add(None, {"sample": drawn[:2]}, None))
    assert set(found) == {"frechet_distance", "kid", "kid_interval"}
    assert found["kid_interval"] is None
    found = measure.finish(measure.add(None, {"sample": drawn}, None))
    real = reference[[0, 3, 5, 8]]  # four of nine, evenly spaced: 0, 2.67, 5.33 and 8, rounded
    for name, values in zip(("sample_precision", "density"), neighborhoods(real, drawn, 3)[::2], strict=True):
        assert (found[name], found[f"{name}_interval"]) == (values.mean(), half_interval(values))
