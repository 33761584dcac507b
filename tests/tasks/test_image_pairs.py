"""Pairs, unpaired lists and small images: what is whose partner, bad lists and sides, what predict reads."""

from types import SimpleNamespace

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.experiment.setting import FlagError
from dlcore.kits.generative import image_pairs
from dlcore.tasks.image_pairs import EdgesToImages, ImageToImage, SmallToLarge, UnpairedImages
from experiments.generative import cycle_gan, pix2pix, super_resolution


@pytest.mark.covers("GE-20")
def test_no_digit_is_shown_in_both_inks_and_held_out_ones_know_their_partner():
    splits = image_pairs.unpaired_images(resolve(cycle_gan.experiment, []))
    train, test = splits.train.arrays, splits.test.arrays
    assert set(train) == {"a", "b"}
    assert train["a"].shape[1:] == (16, 16, 3)
    ink = {name: np.abs(train[name].astype(int) - train[name][:, :1, :1]).sum(-1) for name in "ab"}
    shares = {name: np.rint(100 * v / v.max()).reshape(len(v), -1) for name, v in ink.items()}
    nearest = [np.abs(shares["b"] - row).max(1).min() for row in shares["a"][:50]]
    assert min(nearest) > 5
    assert tuple(test["a"].max((0, 1, 2))) == (255, 255, 255)
    np.testing.assert_array_equal(test["b_of_a"].min((0, 1, 2)) <= [26, 51, 153], True)
    dark = test["a"][..., 1] < 40
    assert dark.any()
    np.testing.assert_array_equal(test["b_of_a"][dark][:, 2] > 195, True)


def test_lists_of_different_length_are_an_error_or_cut():
    a, b = np.zeros((3, 2, 2, 3), np.uint8), np.zeros((2, 2, 2, 3), np.uint8)
    with pytest.raises(ValueError, match="horses: 3 images of a and 2 of b; allowed: as many of each, or --cut_longer"):
        image_pairs.unpaired_source(a, b, name="horses")
    assert len(image_pairs.unpaired_source(a, b, cut_longer=True)) == 2


def test_folders_of_two_kinds(tmp_path):
    for name, count in (("trainA", 4), ("trainB", 5), ("testA", 2), ("testB", 2)):
        (tmp_path / name).mkdir()
        for k in range(count):
            Image.fromarray(np.full((9, 9, 3), 10 * k, np.uint8)).save(tmp_path / name / f"{k}.png")
    words = ["--dataset=folder", f"--data_dir={tmp_path}", "--image_size=8"]
    with pytest.raises(ValueError, match="train: 4 images of a and 5 of b"):
        image_pairs.unpaired_images(resolve(cycle_gan.experiment, words))
    splits = image_pairs.unpaired_images(resolve(cycle_gan.experiment, [*words, "--cut_longer"]))
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [3, 1, 2]
    assert splits.spec["image_shape"] == [8, 8, 3]
    for name in ("trainA", "trainB"):
        for path in sorted((tmp_path / name).iterdir())[1:]:
            path.unlink()
    with pytest.raises(ValueError, match="trainA and trainB hold 1 image of each; allowed: at least 2, one for valid"):
        image_pairs.unpaired_images(resolve(cycle_gan.experiment, words))
    (tmp_path / "testB").rename(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="has no folder testB; allowed: with trainA, trainB, testA and testB"):
        image_pairs.unpaired_images(resolve(cycle_gan.experiment, [*words, "--cut_longer"]))


@pytest.mark.covers("GE-19")
def test_edges_are_those_of_the_image_beside_them():
    splits = image_pairs.edges(resolve(pix2pix.experiment, []))
    rows = splits.train[:5]
    chex.assert_shape(rows["source"], (5, 16, 16, 1))
    assert 0.05 < rows["source"].mean() < 0.6
    level = np.ones((1, 4, 6, 1), np.uint8) * np.array([0, 0, 0, 200, 200, 200], np.uint8)[:, None]
    assert image_pairs.edge_map(level)[0, 0, :, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert "l1 of the mean training image on the test split: 0.1" in splits.notes[-1]


@pytest.mark.covers("GE-21")
def test_small_images_and_pieces_that_no_two_splits_share():
    splits = super_resolution.experiment.task.data(resolve(super_resolution.experiment, ["--image_size=32"]))
    rows = splits.train[:2]
    assert (rows["image"].shape, rows["low"].shape) == ((2, 32, 32, 3), (2, 16, 16, 3))
    small = Image.fromarray(rows["image"][1]).resize((16, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(rows["low"][1], np.asarray(small))
    with pytest.raises(ValueError, match="image_size=31: no multiple of factor=2; allowed: 30"):
        super_resolution.experiment.task.data(resolve(super_resolution.experiment, ["--image_size=31"]))
    with pytest.raises(ValueError, match="image_size=200: larger than the photograph's columns; allowed: at most 128"):
        super_resolution.experiment.task.data(resolve(super_resolution.experiment, ["--image_size=200"]))


def test_predict_reads_images_of_either_kind_and_small_ones(tmp_path):
    file = tmp_path / "one.png"
    Image.fromarray(np.arange(300, dtype=np.uint16).astype(np.uint8).reshape(10, 10, 3)).save(file)
    spec = {"image_shape": [8, 8, 3], "class_names": ["0"]}
    flags = Flags({"input": f"b:{file}", "skip_bad": False})
    source, names = UnpairedImages().inputs(flags, spec)
    assert set(source.arrays) == {"b"}
    chex.assert_shape(source.arrays["b"], (1, 8, 8, 3))
    with pytest.raises(FlagError, match="no kind 'c'; allowed: FILE_OR_FOLDER, b:FILE_OR_FOLDER"):
        UnpairedImages().inputs(flags.replace(input=f"c:{file}"), spec)
    small, _ = SmallToLarge().inputs(SimpleNamespace(input=str(file)), spec)
    chex.assert_shape(small.arrays["low"], (1, 10, 10, 3))
    Image.new("RGB", (6, 4)).save(tmp_path / "two.png")  # not cut to the size of the first
    with pytest.raises(
        ValueError, match=r"two\.png has 4 by 6 pixels, .*one\.png 10 by 10; allowed: images of one size"
    ):
        SmallToLarge().inputs(SimpleNamespace(input=str(tmp_path)), spec)
    outputs = {"a_of_b": np.random.default_rng(0).random((1, 8, 8, 3))}
    (written,) = UnpairedImages().write(tmp_path / "out", outputs, source, names, spec)
    assert written.name == "one.png"
    assert Image.open(written).size == (8, 8)
    assert UnpairedImages().describe(outputs, spec)[0]["text"].startswith("8 x 8 pixels")


@pytest.fixture
def shown(bare_panels):
    """Panels of rows as (rows, title, subtitle), and curves as their history, of (shown arrays, outputs)."""

    def panels(arrays, outputs):
        data = SimpleNamespace(shown=SimpleNamespace(arrays=arrays))
        return ImageToImage().panels(SimpleNamespace(data=data, outputs=outputs, history="curves"))

    return panels


def test_translations_of_evenly_spaced_images_stand_between_input_and_target(shown):
    """Twelve of fourteen: 13/11 = 1.18 apart, so that the fourth and the eleventh are left out."""
    numbers = np.arange(14).reshape(14, 1, 1, 1)
    arrays = {"source": numbers.astype(np.uint8), "image": (2 * numbers).astype(np.float32)}
    (rows, title, caption), curves = shown(arrays, {"sample": numbers / 10})
    assert (title, caption, curves) == ("Translations", "Evenly spaced test images, unselected.", "curves")
    chosen = np.array([0, 1, 2, 4, 5, 6, 7, 8, 9, 11, 12, 13])
    np.testing.assert_allclose(rows["given"].ravel(), chosen / 255, rtol=1e-6)
    np.testing.assert_allclose(rows["translated"].ravel(), chosen / 10)
    np.testing.assert_allclose(rows["true"].ravel(), 2 * chosen)  # floats stay as they are


def test_unpaired_images_go_there_and_back(shown):
    """Images of a have a true partner."""
    arrays = {name: np.full((1, 1, 1, 3), value) for name, value in (("a", 0.1), ("b", 0.2), ("b_of_a", 0.3))}
    names = ("b_of_a", "a_of_b", "cycle_a", "cycle_b")
    outputs = {name: np.full((1, 1, 1, 3), value) for name, value in zip(names, (0.4, 0.5, 0.6, 0.7), strict=True)}
    first, second, _ = shown(arrays, outputs)
    assert [panel[1] for panel in (first, second)] == ["From a to b and back", "From b to a and back"]
    values = [{name: float(images[0, 0, 0, 0]) for name, images in rows.items()} for rows, _, _ in (first, second)]
    assert values == [
        {"images of a": 0.1, "as b": 0.4, "true partner": 0.3, "and back": 0.6},
        {"images of b": 0.2, "as a": 0.5, "and back": 0.7},
    ]


def test_enlarged_images_are_cut_to_their_middle(shown, monkeypatch):
    """Of 4 x 6 pixels, enlarged to 8 x 12, rows 2 to 5 and columns 3 to 8 are shown; bicubic overshoots."""

    def enlarge(low, factor, method):
        assert factor == 2
        return low.repeat(2, 1).repeat(2, 2) + (method == "bicubic")

    monkeypatch.setattr("dlcore.tasks.image_pairs.enlarge", enlarge)
    low = np.arange(24, dtype=np.uint8).reshape(1, 4, 6, 1)
    large = np.arange(96, dtype=np.uint8).reshape(1, 8, 12, 1)
    (rows, title, _), _ = shown({"low": low, "image": large}, {"sample": 2 * large / np.float32(255)})
    assert (title, list(rows)) == ("Enlarged", ["nearest", "bicubic", "this run", "true"])
    true = np.arange(96).reshape(8, 12)[2:6, 3:9]
    np.testing.assert_allclose(255 * rows["true"][0, ..., 0], true, rtol=1e-5)
    np.testing.assert_allclose(255 * rows["this run"][0, ..., 0], 2 * true, rtol=1e-5)
    near = np.arange(24).reshape(4, 6).repeat(2, 0).repeat(2, 1)[2:6, 3:9]
    np.testing.assert_allclose(255 * rows["nearest"][0, ..., 0], near, rtol=1e-5)
    np.testing.assert_array_equal(rows["bicubic"], 1)


def test_predict_translates_the_edges_of_own_images_and_each_kind_is_measured(tmp_path, monkeypatch):
    pixels = np.repeat(np.array([[0, 0, 0, 200, 200, 200]], np.uint8), 4, 0)
    Image.fromarray(pixels).save(tmp_path / "step.png")
    flags = Flags({"input": str(tmp_path / "step.png"), "skip_bad": False})
    source, names = EdgesToImages().inputs(flags, {"image_shape": [4, 6, 1]})
    assert source.arrays["source"][0, 0, :, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert (len(source), names) == (1, [str(tmp_path / "step.png")])
    monkeypatch.setattr(image_pairs, "target_evaluators", lambda *rest: rest)
    assert EdgesToImages().evaluators(None, "splits", "test") == ({"sample": "image"}, "splits", "test")
    pairs, *_ = UnpairedImages().evaluators(None, "splits", "test")
    assert pairs == {"b_of_a": "b_of_a", "a_of_b": "a_of_b"}


def test_small_images_of_a_folder_have_three_channels_and_half_the_sides(tmp_path):
    for k in range(20):
        Image.fromarray(np.full((6, 6), 10 * k, np.uint8)).save(tmp_path / f"{k}.png")
    flags = Flags({"data_dir": str(tmp_path), "image_size": 4, "seed": 0})
    splits = image_pairs.small_images(flags, 2)
    parts = (splits.train, splits.valid, splits.test)
    assert sum(len(part) for part in parts) == 20
    for part in parts:
        chex.assert_shape((part.arrays["image"], part.arrays["low"]), [(len(part), 4, 4, 3), (len(part), 2, 2, 3)])
        np.testing.assert_array_equal(part.arrays["low"], part.arrays["image"][:, ::2, ::2])
    assert sorted(int(x[0, 0, 0]) for part in parts for x in part.arrays["image"]) == [10 * k for k in range(20)]
    assert (splits.spec["dataset"], splits.spec["image_shape"]) == ("folder", [4, 4, 3])
    assert splits.spec["batch"]["image"] == [[4, 4, 3], "float32"]
    assert (splits.train.name, len(splits.shown)) == ("folder/train", len(splits.test))
