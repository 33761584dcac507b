"""GrabCut: the cut against all 2^N sides, its prices by hand, and an object on two colors."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal

from dlcore.segmentation.grabcut import SAMPLES, color_model, grabcut, largest_component, minimum_cut, neighbor_weights
from experiments.segmentation import saliency_grabcut


@pytest.mark.covers("SG-10")
@pytest.mark.parametrize("seed", range(4))
def test_the_cut_is_the_best_of_all_sides(seed):
    rng = np.random.default_rng(seed)
    edges, weights = neighbor_weights(rng.uniform(size=(3, 3, 3)), 2.0)
    gain = rng.normal(size=9)

    def value(sides):
        return gain[sides].sum() - weights[sides[edges[:, 0]] != sides[edges[:, 1]]].sum()

    every = [np.array(sides) for sides in itertools.product([False, True], repeat=9)]
    cut = minimum_cut(gain, edges, weights)
    assert value(cut) == pytest.approx(max(map(value, every)), abs=0.02)


def test_prices_of_a_cut_by_hand():
    """Two rows of gray 0 and 1: 2 edges of equal colors, 2 down and 2 diagonal with |x_p - x_q|^2 = 3, their mean 2."""
    colors = np.repeat([0.0, 1.0], 2).reshape(2, 2, 1) * np.ones(3)
    edges, weights = neighbor_weights(colors, 5.0)
    assert edges.tolist() == [[0, 1], [2, 3], [0, 2], [1, 3], [0, 3], [1, 2]]
    far = 5 * np.exp(-3 / 4)
    np.testing.assert_allclose(weights, [5, 5, far, far, far / np.sqrt(2), far / np.sqrt(2)])


@pytest.mark.slow
def test_the_color_model_is_highest_at_the_chosen_colors():
    rng = np.random.default_rng(0)
    pixels = rng.normal([[0.2, 0.2, 0.2]] * 50 + [[0.8, 0.1, 0.1]] * 50 + [[0.1, 0.9, 0.5]] * 50, 0.02)
    pixels = pixels.astype(np.float32)
    density = color_model(pixels, np.arange(150) < 100, 2, rng)
    assert density[:100].min() > density[100:].max() + 10


def test_the_first_color_model_is_a_gaussian_of_the_drawn_pixels():
    """Its covariance has 1e-4 on the diagonal, by SciPy; of pixels that are not chosen nothing is drawn."""
    pixels = np.random.default_rng(1).uniform(size=(63, 3)).astype(np.float32)
    chosen = np.arange(63) < 12
    density = color_model(pixels, chosen, 1, np.random.default_rng(0))
    drawn = pixels[chosen][np.random.default_rng(0).integers(0, 12, SAMPLES)].astype(np.float64)
    covariance = np.cov(drawn.T, bias=True) + 1e-4 * np.eye(3)
    expected = multivariate_normal(drawn.mean(0), covariance).logpdf(pixels)
    np.testing.assert_allclose(density, expected, atol=1e-2)


@pytest.mark.slow
def test_each_of_four_colors_has_a_component_of_its_own():
    """The first color has 28 of 100 pixels: its rank is the first quarter's, too, but not the middle of the second."""
    rng, shares = np.random.default_rng(2), [28, 24, 24, 24]
    pixels = np.repeat([[0.3, green, 0.3] for green in (0.1, 0.35, 0.6, 0.85)], shares, 0) + rng.normal(
        0, 0.01, (100, 3)
    )
    pixels = pixels.astype(np.float32)
    color = np.repeat(np.arange(4), shares)
    density = color_model(pixels, np.ones(100, bool), 4, np.random.default_rng(0))
    drawn = np.random.default_rng(0).integers(0, 100, SAMPLES)
    for k in range(4):
        values = pixels[drawn[color[drawn] == k]].astype(np.float64)
        covariance = np.cov(values.T, bias=True) + 1e-4 * np.eye(3)
        expected = np.log(len(values) / SAMPLES) + multivariate_normal(values.mean(0), covariance).logpdf(pixels)
        np.testing.assert_allclose(density[color == k], expected[color == k], atol=2e-2)


def test_an_object_of_its_own_color_is_cut_along_its_edge():
    """A red block of 3 x 4 in blue, of which the most salient pixels are part."""
    disk = np.zeros((7, 9), bool)
    disk[2:5, 3:7] = True
    image = np.where(disk[..., None], [0.8, 0.2, 0.1], [0.1, 0.2, 0.8]) + np.linspace(0, 0.1, 63).reshape(7, 9, 1)
    y, x = np.mgrid[:7, :9]
    saliency = -np.hypot(y - 3, x - 4)
    found = grabcut(image, saliency, foreground_share=0.05, background_share=0.4, components=1)
    np.testing.assert_array_equal(found, disk)


def turns(monkeypatch, cuts, **settings):
    """Run GrabCut on 2 x 5 pixels, with given cuts: return what each model is fitted to, the gains, and the object.

    The least salient pixels are 0 to 4 of 10, which are background, the most salient one is 9.
    """
    fitted, gains, cuts = [], [], iter(cuts)

    def model(pixels, chosen, components, rng):
        fitted.append((np.flatnonzero(chosen).tolist(), components, pixels))
        return np.full(10, 10.0 ** (len(fitted) - 1))

    def cut(gain, edges, weights):
        gains.append(gain.tolist())
        return np.isin(np.arange(10), next(cuts))

    monkeypatch.setattr("dlcore.segmentation.grabcut.color_model", model)
    monkeypatch.setattr("dlcore.segmentation.grabcut.minimum_cut", cut)
    found = grabcut(np.full((2, 5, 3), 51, np.uint8), np.arange(10.0).reshape(2, 5), **settings)
    return fitted, gains, np.flatnonzero(found).tolist()


def test_colors_of_each_side_are_modeled_and_then_those_of_the_cut(monkeypatch):
    """A model of turn t has log-densities 10^(2 t) outside and 10^(2 t + 1) inside, whose difference is the gain."""
    fitted, gains, found = turns(monkeypatch, [[7, 8, 9], [6, 7, 8, 9], [6, 7, 8, 9]])
    assert [pixels for pixels, _, _ in fitted] == [
        [0, 1, 2, 3, 4], [9], [0, 1, 2, 3, 4, 5, 6], [7, 8, 9], [0, 1, 2, 3, 4, 5], [6, 7, 8, 9]
    ]  # fmt: skip
    assert {components for _, components, _ in fitted} == {3}
    np.testing.assert_allclose(fitted[0][2], np.full((10, 3), 51 / 255), rtol=1e-6)
    assert gains == [[-np.inf] * 5 + [9 * 100.0**t] * 5 for t in range(3)]
    assert found == [6, 7, 8, 9]


@pytest.mark.parametrize(
    ("cuts", "settings", "turns_taken", "expected"),
    [
        ([[8, 9], [7, 8, 9], [6, 7, 8, 9], [5, 6, 7, 8, 9]], {}, 4, [5, 6, 7, 8, 9]),  # four turns by default
        ([[8, 9], [9]], {"iterations": 2}, 2, [9]),
        ([[8, 9]], {"iterations": 1}, 1, [8, 9]),
        ([[]], {}, 1, []),  # no object
        ([range(10)], {}, 1, list(range(10))),  # no background
        ([[8, 9], [8, 9]], {}, 2, [8, 9]),  # no change
        ([[8, 9], [7, 9], [7, 9]], {}, 3, [7]),  # as many pixels, but others; the first of two parts
    ],
)
def test_turns_of_cut_and_fit_end(cuts, settings, turns_taken, expected, monkeypatch):
    fitted, gains, found = turns(monkeypatch, cuts, foreground_share=0.26, background_share=0.34, **settings)
    assert [pixels for pixels, _, _ in fitted[:2]] == [[0, 1, 2], [7, 8, 9]]
    assert len(gains) == turns_taken
    assert found == expected


def test_a_share_below_one_pixel_is_one(monkeypatch):
    fitted, _, _ = turns(monkeypatch, [[]], foreground_share=0.01, background_share=0.01, components=2)
    assert [row[:2] for row in fitted] == [([0], 2), ([9], 2)]


def planted():
    """A yellow disk on a background of two dark colors, with noise, and its mask."""
    rng, (y, x) = np.random.default_rng(0), np.mgrid[:24, :24]
    disk = np.hypot(y - 13, x - 9) < 6.5
    image = np.where(x[..., None] < 14, [0.2, 0.25, 0.4], [0.35, 0.2, 0.3])
    image = np.where(disk[..., None], [0.9, 0.8, 0.2], image)
    return (image + rng.normal(0, 0.02, image.shape)).clip(0, 1), disk


@pytest.mark.slow
@pytest.mark.covers("SG-10")
def test_a_blurred_spot_on_the_object_is_enough():
    image, disk = planted()
    y, x = np.mgrid[:24, :24]
    spot = np.exp(-((y - 11) ** 2 + (x - 11) ** 2) / 18)
    found = grabcut(image, spot)
    assert (found & disk).sum() / (found | disk).sum() > 0.97
    assert (grabcut((255 * image).astype(np.uint8), spot) == found).mean() > 0.99


@pytest.mark.slow
@pytest.mark.covers("SG-10")
def test_the_least_salient_pixels_are_background_in_every_turn(monkeypatch):
    image, _ = planted()
    y, x = np.mgrid[:24, :24]
    saliency, gains = -np.hypot(y - 13, x - 9), []

    def cut(gain, *prices):
        gains.append(gain)
        return minimum_cut(gain, *prices)

    monkeypatch.setattr("dlcore.segmentation.grabcut.minimum_cut", cut)
    grabcut(image, saliency, background_share=0.6)
    least = np.zeros(576, bool)
    least[np.argsort(saliency.ravel())[: round(0.6 * 576)]] = True
    assert len(gains) > 1
    for gain in gains:
        np.testing.assert_array_equal(np.isneginf(gain), least)


def test_only_the_largest_part_stays():
    mask = np.array([[1, 1, 0, 0], [1, 0, 0, 1], [0, 0, 1, 1]], bool)
    assert largest_component(mask).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert not largest_component(np.zeros((2, 2), bool)).any()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"saliency.shape=\(4, 5\)"):
        grabcut(np.zeros((4, 4, 3)), np.zeros((4, 5)))


@pytest.mark.weekly
def test_the_saliency_pages_gradient_compares_no_pixel_for_equality():
    """x == max(x) holds nowhere where XLA computes x twice and rounds it in two ways: the gradient is 0 / 0 then."""
    net, x = saliency_grabcut.Classifier(4, 6), jnp.ones((2, 16, 16, 3))
    variables = net.init(jax.random.key(0), x)
    program = str(jax.make_jaxpr(jax.grad(lambda x: net.apply(variables, x)[0].sum()))(x))
    assert "conv_general_dilated" in program
    assert not re.search(r":bool\S* = eq ", program)


def test_the_claim_of_saliency_needs_grabcut_to_be_the_best_and_good():
    names = (saliency_grabcut.GRABCUT, saliency_grabcut.OTSU, saliency_grabcut.ELLIPSE)

    def result(*means):
        overlaps = [{name: [mean - 0.1, mean + 0.1] for name, mean in zip(names, means, strict=True)}] * 2
        return saliency_grabcut.report(overlaps, {"accuracy of the classifier, seed 0": 0.5}, {})

    good = result(0.85, 0.5, 0.1)
    assert good.holds
    assert np.allclose(good.headline.values, 0.85)
    assert good.headline.baseline[0] == 0.5
    assert not result(0.5, 0.85, 0.1).holds
    assert not result(0.1, 0.5, 0.85).holds
    assert not result(0.75, 0.5, 0.1).holds
    assert not result(0.85, 0.9, 0.1).holds
