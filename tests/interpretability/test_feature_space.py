"""The pages of feature space and of DeepDream, on images whose class one pixel tells."""

import numpy as np
import pytest
from flax import linen as nn
from PIL import Image

from dlcore.report.filters import GAP, filter_grid
from dlcore.weights.network import PACKED, TrainedNetwork, load_network
from experiments.interpretability import deep_dream as dream
from experiments.interpretability import feature_space as page

SETTINGS = {
    "dataset": "folder",
    "network": str(PACKED),
    "perplexity": 3.0,
    "tsne_steps": 50,
    "channels": 2,
    "patches": 3,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Noise of 32 x 32 pixels; the upper left one is 25 times the class."""
    path, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for split, count in (("train", 4), ("test", 2)):
        for k, name in enumerate(load_network().class_names):
            (path / split / name).mkdir(parents=True)
            for i in range(count):
                image = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
                image[0, 0] = 25 * k
                Image.fromarray(image).save(path / split / name / f"{i}.png")
    return str(path)


def oracle(network):
    return lambda images: (np.eye(10)[images[:, 0, 0, 0] // 25], None)


def blind(network):
    return lambda images: (np.random.default_rng(len(images)).normal(size=(len(images), 10)), None)


@pytest.mark.covers("VI-02")
def test_the_nearest_in_feature_space_is_of_the_class_and_the_nearest_in_pixels_is_not():
    """The first pixel is the class; the others, which outweigh it, are those of the image of the other class."""
    kept = np.array([[0, 9, 9, 9], [1, 0, 0, 0]], np.float32)
    asked = np.array([[0, 0, 0, 0], [1, 9, 9, 9]], np.float32)
    np.testing.assert_array_equal(page.nearest(kept[:, :1], asked[:, :1], 1)[1][:, 0], [0, 1])
    np.testing.assert_array_equal(page.nearest(kept, asked, 1)[1][:, 0], [1, 0])


@pytest.mark.covers("VI-01")
def test_a_first_layers_filter_is_a_tile_between_its_least_and_greatest_weight():
    kernel = np.zeros((2, 2, 3, 2), np.float32)
    kernel[0, 1, :, 0] = [1.0, 0.5, -1.0]  # the least weight, -1, is black and the greatest, 1, full: 191 = 255 3/4
    grid = filter_grid(kernel, 2, 1)
    tile = grid[GAP : GAP + 2, GAP : GAP + 2]
    np.testing.assert_array_equal(tile[0, 1], [255, 191, 0, 255])
    np.testing.assert_array_equal(tile[1, 1], [128, 128, 128, 255])


@pytest.mark.weekly
@pytest.mark.covers("VI-01", "VI-02", "VI-03")
def test_features_that_know_the_class_have_neighbors_of_it(folder, monkeypatch):
    monkeypatch.setattr(page, "feature_extractor", oracle)
    result = page.study(data_dir=folder, **SETTINGS)
    assert result.holds
    assert result.numbers["nearest is of the same class, features"] == 1
    assert result.numbers["silhouette, features"] == pytest.approx(1)
    assert result.numbers["nearest is of the same class, pixels"] < 0.5
    assert abs(result.numbers["silhouette, pixels"]) < 0.2
    assert set(result.figures) == {"neighbors", "map", "patches", "filters"}
    assert [ax.get_title() for ax in result.figures["map"].axes] == ["features by PCA", "features by t-SNE"]
    points = result.figures["map"].axes[0].collections[3].get_offsets()
    np.testing.assert_allclose(
        points, np.broadcast_to(points[:1], points.shape), atol=1e-6, err_msg="a class is a point"
    )
    shown = result.figures["filters"].axes[0].images[0].get_array()
    kernel = load_network().variables["params"]["conv1_1"]["kernel"]
    np.testing.assert_array_equal(shown, filter_grid(np.asarray(kernel), 64, 8))
    assert result.verdict.startswith("The nearest of 36 training images is of the test image's class for 100.0%")


@pytest.mark.slow
def test_features_that_know_nothing_do_not_hold(folder, monkeypatch):
    monkeypatch.setattr(page, "feature_extractor", blind)
    result = page.study(data_dir=folder, **SETTINGS)
    numbers = result.numbers
    same = [numbers[f"nearest is of the same class, {name}"] for name in ("features", "pixels")]
    assert result.holds == (same[0] > same[1])
    assert same[0] < 0.5


@pytest.mark.weekly(unless=["settings1-network=None"])
@pytest.mark.slow(unless=["settings1-network=None"])
@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"layer": "relu9_9"}, "layer='relu9_9': unknown, or sees whole images; allowed: relu1_1"),
        ({"network": None}, "network=None"),
    ],
)
def test_bad_settings_are_named(folder, settings, text):
    with pytest.raises(ValueError, match=text):
        page.study(data_dir=folder, **{**SETTINGS, **settings})


@pytest.mark.slow
@pytest.mark.covers("VI-14")
def test_the_page_of_deep_dream_grows_its_layer():
    result = dream.study(height=40, octaves=2, steps=3, layer="relu2_1")
    assert result.numbers["mean square after"] > 1.2 * result.numbers["mean square before"]
    assert result.numbers["share of steps taken"] > 0.5
    assert set(result.figures) == {"dream", "mean square"}
    with pytest.raises(ValueError, match="layer='relu9': unknown; allowed: "):
        dream.study(height=40, layer="relu9")


class Stages(nn.Module):
    """Two stages whose names are not in the order of the alphabet."""

    def features(self, x, train=False):
        return {"stem": x, "deep": 10 * x + 1}

    def __call__(self, x, train=False):
        return x.mean((1, 2))


@pytest.mark.covers("VI-02")
def test_features_are_the_means_of_the_last_stage():
    """The last stage is 10 x + 1: its mean over the image is 10 times the mean of the image and 1."""
    image = np.arange(2 * 4 * 4 * 2, dtype=np.float32).reshape(2, 4, 4, 2) / 64
    network = TrainedNetwork("stages", {}, Stages(), {}, np.zeros(2), np.ones(2), ("a", "b"), 4)
    features, probabilities = page.feature_extractor(network)(image)
    mean = image.mean((1, 2))
    np.testing.assert_allclose(features, 10 * mean + 1, rtol=1e-5)
    np.testing.assert_allclose(probabilities, np.exp(mean) / np.exp(mean).sum(-1, keepdims=True), rtol=1e-5)
