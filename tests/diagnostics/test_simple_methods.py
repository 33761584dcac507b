"""The strongest simple methods: numbers by hand, and by other libraries."""

import numpy as np
import pytest
from scipy import stats

from dlcore.diagnostics.simple_density import (
    causal_linear_bits,
    choose_kernel_ridge,
    class_gaussian_samples,
    kernel_density_nats,
    mixture_of_gaussians,
    mixture_posterior_mean,
    principal_reconstruction,
)
from dlcore.diagnostics.simple_methods import (
    best_classifier,
    class_gaussians,
    color_histograms,
    discriminant_projection,
    flat,
    normalize_by_moments,
    relabel,
    spread_labels,
    with_shifts,
)


def two_groups(count=20, distance=6.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return rng.normal(0, 1, (count, 3)) + distance * labels[:, None], labels


def test_bytes_become_shares_and_floats_stay():
    assert flat(np.full((2, 1, 1, 3), 51, np.uint8)).tolist() == pytest.approx(np.full((2, 3), 0.2))
    assert flat(np.full((2, 2), 3.0)).max() == 3


def test_the_best_classifier_of_the_validation_split():
    """A class that is one cell of a checkerboard: a line cannot tell it, its nearest neighbor can."""
    x = np.array([[0.0, 0], [1, 1], [0, 1], [1, 0]]).repeat(3, 0) + np.linspace(0, 0.1, 3).tolist()[0]
    y = np.array([0, 0, 1, 1]).repeat(3)
    name, model = best_classifier((x, y), (x, y), ("logistic", "knn"))
    assert name == "1-NN"
    assert model.score(x, y) == 1


def test_shifts_move_one_pixel_by_one():
    image = np.zeros((1, 3, 3, 1))
    image[0, 0, 1] = 1
    shifted, labels = with_shifts(image, np.array([7]))
    where = [np.argwhere(x[..., 0]).tolist() for x in shifted]
    assert where == [[[0, 1]], [], [[1, 1]], [[0, 0]], [[0, 2]]]  # as it was, up (out of the image), down, left, right
    assert labels.tolist() == [7] * 5


def test_labels_spread_over_groups_and_wrong_ones_are_outvoted():
    x, y = two_groups(60)
    model = spread_labels((x[:2], y[:2]), x, (x, y), neighbors=(10,), alphas=(0.9,))[1]
    assert model.score(x, y) == 1
    wrong = y.copy()
    wrong[:4] = 1 - wrong[:4]
    assert (relabel(x, wrong, 11) == y).all()


def test_gaussian_of_each_class_as_scipy_has_it():
    x, y = two_groups(200, distance=1.0)
    _, model = class_gaussians((x, y), (x, y), variances=(0.01,))
    parts = [x[y == c] for c in (0, 1)]
    log_p = [stats.multivariate_normal(p.mean(0), np.cov(p.T, bias=True) + 0.01 * np.eye(3)).logpdf(x) for p in parts]
    assert (model.predict(x) == np.argmax(log_p, 0)).all()


def test_colors_are_counted():
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[0, 0, 0] = 255, 0, 0
    counts = np.square(color_histograms(image, 2))[0]
    assert counts[0] == pytest.approx(0.75)
    assert counts[4] == pytest.approx(0.25)


def test_moments_are_normalized():
    image = np.zeros((1, 32, 32, 1))
    image[0, 3:11, 5:9] = 1
    x = normalize_by_moments(image, 0.2)[0, ..., 0]
    places, ink = np.indices(x.shape).reshape(2, -1), x.ravel() / x.sum()
    assert places @ ink == pytest.approx([15.5, 15.5], abs=0.1)
    spread = np.sqrt((np.square(places - 15.5) @ ink).mean())
    assert spread == pytest.approx(0.2 * 32, rel=0.05)  # linear interpolation blurs the border


def test_fishers_direction_by_hand():
    """Two classes: the direction is the inverse covariance within classes times the difference of the means."""
    x, y = two_groups(400, distance=2.0)
    x = x * (1, 3, 1)
    z = discriminant_projection(x, y, 1, shrinkage=0.0)(x)[:, 0]
    within = sum(np.cov(x[y == c].T, bias=True) for c in (0, 1))
    direction = np.linalg.solve(within, x[y == 1].mean(0) - x[y == 0].mean(0))
    assert abs(np.corrcoef(z, x @ direction)[0, 1]) == pytest.approx(1, abs=1e-6)


def test_kernel_density_by_hand_sums_to_one():
    train = np.array([[1.0, 0.0], [0.5, 0.5]])
    rows = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    p = np.exp(-kernel_density_nats(train, rows, 0.5))
    assert p.sum() == pytest.approx(1)
    # The components are (.875, .125) and (.625, .375).
    assert p[2] == pytest.approx((0.875 * 0.875 + 0.625 * 0.625) / 2)


def test_one_gaussian_is_mean_and_covariance():
    rows = np.random.default_rng(0).normal(0, 1, (50, 2)) @ [[2, 1], [0, 1]]
    mixture = mixture_of_gaussians(rows, 1, 0.01)
    np.testing.assert_allclose(mixture.means_[0], rows.mean(0), atol=1e-9)
    np.testing.assert_allclose(mixture.covariances_[0], np.cov(rows.T, bias=True) + 0.01 * np.eye(2), atol=1e-9)


def test_posterior_mean_of_one_and_of_two_gaussians():
    class One:
        weights_, means_, covariances_ = np.ones(1), np.array([[1.0]]), np.array([[[3.0]]])

    class Two:
        weights_, means_, covariances_ = np.array([0.5, 0.5]), np.array([[-2.0], [2.0]]), np.full((2, 1, 1), 1e-9)

    # 1 + 3 / (3 + 1) (5 - 1); two points: the mean weighted by the odds exp(2 y 2 / noise^2) is 2 tanh(2 y).
    assert mixture_posterior_mean(One, np.array([[5.0]]), 1.0) == pytest.approx(4)
    assert mixture_posterior_mean(Two, np.array([[0.3]]), 1.0) == pytest.approx(2 * np.tanh(0.6))


def test_samples_have_the_moments_of_their_classes():
    x, y = two_groups(300)
    samples = class_gaussian_samples(x, y, 3000)
    upper = samples[samples.mean(1) > 3]
    assert len(upper) == 1500  # as many of each, as the labels
    np.testing.assert_allclose(upper.mean(0), x[y == 1].mean(0), atol=0.1)
    np.testing.assert_allclose(np.cov(upper.T), np.cov(x[y == 1].T), atol=0.15)


def test_principal_components_by_the_singular_value_decomposition():
    rows = np.random.default_rng(0).normal(0, 1, (30, 5)) * (5, 3, 1, 1, 1)
    mean, v = rows.mean(0), np.linalg.svd(rows - rows.mean(0))[2][:2]
    np.testing.assert_allclose(principal_reconstruction(rows, rows, 2), mean + (rows - mean) @ v.T @ v, atol=1e-9)


def test_kernel_ridge_solves_its_equations():
    x, y = np.random.default_rng(0).normal(0, 1, (2, 20, 3))
    model = choose_kernel_ridge((x, y), (x, y), widths=(1.0,), penalties=(0.1,))
    scale = np.var(x, 0).sum()
    kernel = np.exp(-np.square(x[:, None] - x).sum(-1) / (2 * scale))
    np.testing.assert_allclose(model.predict(x), kernel @ np.linalg.solve(kernel + 0.1 * np.eye(20), y), atol=1e-9)


def test_the_linear_predictor_sees_no_pixel_that_it_codes():
    """Independent levels cost log2 4 bits each, and a ramp whose next pixel its neighbors give costs next to none."""
    noise = np.random.default_rng(0).integers(0, 4, (240, 8, 8, 2))
    assert causal_linear_bits(noise[:200], noise[200:], 4).mean() == pytest.approx(2, abs=0.05)
    ramp = (np.arange(8)[:, None] + np.arange(8) + np.arange(40)[:, None, None]) % 4
    bits = causal_linear_bits(ramp[:30, ..., None], ramp[30:, ..., None], 4)
    assert bits.mean() < 0.7
    changed = noise[200:].copy()
    changed[:, -1, -1, -1] = 3 - changed[:, -1, -1, -1]
    cost = 128 * (causal_linear_bits(noise[:200], changed, 4) - causal_linear_bits(noise[:200], noise[200:], 4))
    assert np.abs(cost).max() < 4  # one dimension alone costs another number of bits


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: kernel_density_nats(np.full((2, 2), 0.5), np.full((1, 2), 2.0), 0.5), "x"),
        (lambda: kernel_density_nats(np.full((2, 2), 0.5), np.ones((1, 3)), 0.5), "x"),
        (lambda: class_gaussians((np.full((2, 2), np.nan), np.array([0, 1])), (np.ones((1, 2)), [0])), "train"),
        (lambda: with_shifts(np.ones((2, 3, 3)), np.zeros(2)), "images"),
        (lambda: causal_linear_bits(np.full((1, 2, 2, 1), 4), np.zeros((1, 2, 2, 1), int), 4), "train"),
        (lambda: mixture_posterior_mean(None, np.ones((2, 2)), 0.0), "noise"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
