"""HOG: as scikit-image, a bar that turns, and digits."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.classical_vision.feature_classifier import fit_classifier
from dlcore.classical_vision.hog import cell_histograms, hog, image_gradients
from dlcore.data.digits import digits

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "classical_vision.npz")
GREY = GOLDENS["data/grey"]


@pytest.mark.slow
@pytest.mark.covers("FE-02")
def test_hog_is_scikit_images():
    """The case `hog` of classical_vision: 9 orientations, cells of 8, blocks of 2, L2-Hys."""
    with jax.enable_x64(True):
        got = hog(GREY[None, :, :, None].astype(np.float64), 9, 8, 2)[0]
    np.testing.assert_allclose(got, GOLDENS["hog/out"], atol=1e-6)
    np.testing.assert_allclose(hog(GREY[None, :, :, None], 9, 8, 2)[0], GOLDENS["hog/out"], atol=2e-4)


@pytest.mark.covers("FE-02")
@pytest.mark.parametrize(
    ("orientations", "cell", "block", "norm"),
    [
        (8, (5, 7), (2, 3), "L2"),
        (12, (6, 6), (1, 1), "L1"),
        (6, (4, 4), (3, 3), "L1-sqrt"),
        (9, (9, 9), (2, 2), "L2-Hys"),
    ],
)
def test_other_settings_are_those_of_loops(orientations, cell, block, norm):
    images = np.random.default_rng(0).uniform(size=(3, 37, 45, 3))
    with jax.enable_x64(True):
        found = hog(images, orientations, cell, block, norm=norm, batch_size=2)
    for image, got in zip(images, found, strict=True):
        np.testing.assert_allclose(got, by_loops(image, orientations, cell, block, norm), atol=1e-7)


def by_loops(image, orientations, cell, block, norm):
    """skimage.feature.hog, cell by cell; the two agreed in these settings to 3e-8."""
    g = np.zeros((2, *image.shape))
    g[0, 1:-1], g[1, :, 1:-1] = image[2:] - image[:-2], image[:, 2:] - image[:, :-2]
    best = np.hypot(*g).argmax(-1)[None, ..., None]
    down, right = np.take_along_axis(g, np.broadcast_to(best, (2, *best.shape[1:])), -1)[..., 0]
    size, angle = np.hypot(down, right), np.rad2deg(np.arctan2(down, right)) % 180
    cells = np.zeros((image.shape[0] // cell[0], image.shape[1] // cell[1], orientations))
    for r, c, o in np.ndindex(cells.shape):
        part = np.s_[r * cell[0] : (r + 1) * cell[0], c * cell[1] : (c + 1) * cell[1]]
        inside = (angle[part] >= 180 / orientations * o) & (angle[part] < 180 / orientations * (o + 1))
        cells[r, c, o] = size[part][inside].sum() / np.prod(cell)
    found = []
    for r, c in np.ndindex(cells.shape[0] - block[0] + 1, cells.shape[1] - block[1] + 1):
        v = cells[r : r + block[0], c : c + block[1]].ravel()
        if norm in ("L1", "L1-sqrt"):
            v = v / (v.sum() + 1e-5)
            v = np.sqrt(v) if norm == "L1-sqrt" else v
        else:
            v = v / np.sqrt((v**2).sum() + 1e-10)
            v = np.minimum(v, 0.2) if norm == "L2-Hys" else v
            v = v / np.sqrt((v**2).sum() + 1e-10) if norm == "L2-Hys" else v
        found.append(v)
    return np.concatenate(found)


def bar(angle, side=33):
    """A soft bar along the direction `angle`, in degrees from the right, clockwise as rows go down."""
    r, c = np.mgrid[:side, :side] - side // 2
    across = -np.sin(np.deg2rad(angle)) * c + np.cos(np.deg2rad(angle)) * r
    return np.exp(-np.square(across / 3))[None, :, :, None].astype(np.float32)


@pytest.mark.slow(unless=["55", "135"])
@pytest.mark.covers("FE-02")
@pytest.mark.parametrize("angle", [15, 55, 95, 135, 175])
def test_a_rotated_bar_peaks_in_its_bin(angle):
    """The gradient stands across the bar: angle + 90 of 180 degrees, in bins of 20."""
    votes = np.asarray(cell_histograms(bar(angle), 9, 33)[0, 0, 0])
    assert votes.argmax() == (angle + 90) % 180 // 20
    # of the signed gradient each side of the bar gives one half
    both = np.asarray(cell_histograms(bar(angle), 18, 33, signed=True)[0, 0, 0])
    np.testing.assert_allclose(both[:9] + both[9:], votes, atol=1e-5)
    assert both.argsort()[-2:].min() + 9 == both.argsort()[-2:].max()


@pytest.mark.covers("FE-02")
def test_a_ramp_by_hand():
    # I = c / 10: differences of .2 to the right inside, 0 at the two border columns; angle 0, bin 0
    image = jnp.broadcast_to(jnp.arange(8.0) / 10, (8, 8))[None, :, :, None]
    down, right = image_gradients(image)
    np.testing.assert_allclose(right[0, 3], [0, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0], rtol=1e-5)
    np.testing.assert_array_equal(down, 0)
    votes = cell_histograms(image, 4, 4)
    np.testing.assert_allclose(votes[0, :, :, 0], 0.2 * 3 / 4, rtol=1e-5)
    np.testing.assert_array_equal(votes[..., 1:], 0)
    # one block of four cells with one vote each: .5 is cut at .2, and all are .5 again
    got = hog(image, 4, 4, 2).reshape(4, 4)
    np.testing.assert_allclose(got[:, 0], 0.5, rtol=1e-4)


@pytest.mark.weekly
@pytest.mark.covers("FE-02")
def test_a_linear_classifier_on_hog_beats_one_on_pixels():
    train, test = digits("train").arrays, digits("test").arrays
    accuracy = {}
    for name, of in {"pixels": lambda x: x.reshape(len(x), -1), "HOG": lambda x: hog(doubled(x), 9, 4, 2)}.items():
        found = fit_classifier(of(train["image"]), train["label"], 10, l2=1e-2, steps=60)
        accuracy[name] = (found.predict(of(test["image"])) == test["label"]).mean()
    assert accuracy["HOG"] > accuracy["pixels"] + 0.01
    assert accuracy["HOG"] > 0.93


def doubled(images):
    """Digits of 8x8 have too few pixels for cells: 16x16."""
    return jax.image.resize(images, (len(images), 16, 16, 1), "bilinear")


def test_brightness_and_contrast_hardly_matter():
    image = GREY[None, :, :, None]
    np.testing.assert_allclose(hog(image * 0.5 + 0.3, 9, 8, 2), hog(image, 9, 8, 2), atol=5e-3)


def test_bad_arguments():
    images = np.zeros((1, 16, 16, 1), np.float32)
    with pytest.raises(ValueError, match=r"images=uint8\[.*: wrong type; allowed: floating \[N, H, W, C\]"):
        hog(np.zeros((1, 8, 8, 1), np.uint8), block=(2, 2))
    with pytest.raises(ValueError, match=r"block=\(3, 3\): larger than .* allowed: at most \(2, 2\) cells of \(8, 8\)"):
        hog(images)
    assert jax.eval_shape(lambda x: cell_histograms(x, 1, 4), images).shape == (1, 4, 4, 1)
    with pytest.raises(ValueError, match="cell=0"):
        hog(images, cell=0)


@pytest.mark.slow(unless=["False-12", "True-8"])
@pytest.mark.parametrize("orientations", [2, 4, 6, 8, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_float32_bins_angles_on_a_border_as_exact_arithmetic_does(orientations, signed):
    # Slopes of whole numbers: 45, 90, ..., 315 degrees are borders of bins. Each pixel is a cell.
    down, right = np.mgrid[-2:3, -2:3]
    crosses = [[[0, -r, 0], [-c, 0, c], [0, r, 0]] for r, c in zip(down.flat, right.flat, strict=True)]
    images = np.array(crosses, np.float32)[..., None]
    angle = np.rad2deg(np.arctan2(down, right)).ravel() % (360 if signed else 180)
    want = np.floor(angle * orientations / (360 if signed else 180) + 1e-9).astype(int) % orientations
    got = cell_histograms(images, orientations, 1, signed)[:, 1, 1]
    steep = np.hypot(down, right).ravel() > 0
    np.testing.assert_array_equal(got.argmax(-1)[steep], want[steep])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, bool])
def test_gradients_are_those_of_the_same_numbers_as_float32(dtype):
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 7, 3)).astype(dtype)
    for got, expected in zip(image_gradients(images), image_gradients(images.astype(np.float32)), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_descriptors_of_half_precision_are_near_those_of_float32():
    """Sums of squares and their floor are computed in float32: a flat image has no NaN."""
    images = np.stack([GREY[:32, :32, None], np.full((32, 32, 1), 0.5)]).astype(np.float16)
    got = hog(images, block=2)
    assert got.dtype == np.float16
    np.testing.assert_allclose(got, hog(images.astype(np.float32), block=2), atol=1e-3)
