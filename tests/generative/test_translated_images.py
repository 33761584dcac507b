"""Pairs, unpaired lists and small images: what is whose partner, bad lists and sides, what predict reads."""

import dataclasses
from importlib import import_module
from types import SimpleNamespace

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data import small_photographs
from dlcore.data.facts import Facts
from dlcore.data.sample_images import sample_image
from dlcore.data.small_photographs import SmallPhotographs, with_small
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.evaluators import image_pairs
from dlcore.evaluators.image_pairs import TargetSimilarity
from dlcore.experiment.resolve import resolve
from dlcore.generative import edge_images
from dlcore.generative.edge_images import EdgeImages, InputSize, UnpairedImages
from dlcore.generative.translated_images import EnlargeImages, TranslateEdges, TranslateUnpaired, panels
from dlcore.setting import FlagError
from experiments.generative import super_resolution


@pytest.mark.covers("GE-20")
def test_no_digit_is_shown_in_both_inks_and_held_out_ones_know_their_partner():
    splits = UnpairedImages(resizing=InputSize(), labels=False).load()
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
        edge_images.unpaired_source(a, b, name="horses")
    assert len(edge_images.unpaired_source(a, b, cut_longer=True)) == 2


def test_folders_of_two_kinds(tmp_path):
    for name, count in (("trainA", 4), ("trainB", 5), ("testA", 2), ("testB", 2)):
        (tmp_path / name).mkdir()
        for k in range(count):
            Image.fromarray(np.full((9, 9, 3), 10 * k, np.uint8)).save(tmp_path / name / f"{k}.png")
    images = UnpairedImages("folder", str(tmp_path), image_size=8)
    cut = dataclasses.replace(images, cut_longer=True)
    with pytest.raises(ValueError, match="train: 4 images of a and 5 of b"):
        images.load()
    splits = cut.load()
    assert [len(s) for s in (splits.train, splits.valid, splits.test)] == [3, 1, 2]
    assert splits.spec["image_shape"] == [8, 8, 3]
    for name in ("trainA", "trainB"):
        for path in sorted((tmp_path / name).iterdir())[1:]:
            path.unlink()
    with pytest.raises(ValueError, match="trainA and trainB hold 1 image of each; allowed: at least 2, one for valid"):
        images.load()
    (tmp_path / "testB").rename(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="has no folder testB; allowed: with trainA, trainB, testA and testB"):
        cut.load()


@pytest.mark.covers("GE-19")
def test_edges_are_those_of_the_image_beside_them():
    splits = EdgeImages(resizing=InputSize(), labels=False).load()
    rows = splits.train[:5]
    chex.assert_shape(rows["source"], (5, 16, 16, 1))
    assert 0.05 < rows["source"].mean() < 0.6
    level = np.ones((1, 4, 6, 1), np.uint8) * np.array([0, 0, 0, 200, 200, 200], np.uint8)[:, None]
    assert edge_images.edge_map(level)[0, 0, :, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert "l1 of the mean training image on the test split: 0.1" in splits.notes[-1]


@pytest.mark.covers("GE-21")
def test_small_images_and_pieces_that_no_two_splits_share():
    splits = super_resolution.experiment.run(resolve(super_resolution.experiment, ["--image_size=32"])).load()
    rows = splits.train[:2]
    assert (rows["image"].shape, rows["low"].shape) == ((2, 32, 32, 3), (2, 16, 16, 3))
    small = Image.fromarray(rows["image"][1]).resize((16, 16), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(rows["low"][1], np.asarray(small))
    with pytest.raises(ValueError, match="image_size=31: no multiple of factor=2; allowed: 30"):
        super_resolution.experiment.run(resolve(super_resolution.experiment, ["--image_size=31"])).load()
    with pytest.raises(ValueError, match="image_size=200: larger than the photograph's columns; allowed: at most 128"):
        super_resolution.experiment.run(resolve(super_resolution.experiment, ["--image_size=200"])).load()


def test_predict_reads_images_of_either_kind_and_small_ones(tmp_path):
    file = tmp_path / "one.png"
    Image.fromarray(np.arange(300, dtype=np.uint16).astype(np.uint8).reshape(10, 10, 3)).save(file)
    spec = {"image_shape": [8, 8, 3], "class_names": ["0"]}
    facts = Facts.of(spec)
    run = SimpleNamespace(facts=facts, parts=SimpleNamespace(data=UnpairedImages()))
    source, names = TranslateUnpaired().inputs(f"b:{file}", run)
    assert set(source.arrays) == {"b"}
    chex.assert_shape(source.arrays["b"], (1, 8, 8, 3))
    with pytest.raises(FlagError, match="no kind 'c'; allowed: FILE_OR_FOLDER, b:FILE_OR_FOLDER"):
        TranslateUnpaired().inputs(f"c:{file}", run)
    small, _ = EnlargeImages().inputs(str(file), run)
    chex.assert_shape(small.arrays["low"], (1, 10, 10, 3))
    Image.new("RGB", (6, 4)).save(tmp_path / "two.png")  # not cut to the size of the first
    with pytest.raises(
        ValueError, match=r"two\.png has 4 by 6 pixels, .*one\.png 10 by 10; allowed: images of one size"
    ):
        EnlargeImages().inputs(str(tmp_path), run)
    outputs = {"a_of_b": np.random.default_rng(0).random((1, 8, 8, 3))}
    (written,) = TranslateUnpaired().write(tmp_path / "out", outputs, source, names, facts)
    assert written.name == "one.png"
    assert Image.open(written).size == (8, 8)
    assert TranslateUnpaired().describe(outputs, facts)[0]["text"].startswith("8 x 8 pixels")


@pytest.fixture
def shown(bare_panels):
    """Panels of rows as (rows, title, subtitle), and curves as their history, of (shown arrays, outputs)."""

    def panels_of(arrays, outputs):
        data = SimpleNamespace(shown=SimpleNamespace(arrays=arrays))
        return panels(SimpleNamespace(data=data, outputs=outputs, history="curves"))

    return panels_of


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

    monkeypatch.setattr("dlcore.generative.translated_images.enlarge", enlarge)
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
    run = SimpleNamespace(facts=Facts(image_shape=(4, 6, 1)), parts=SimpleNamespace(data=EdgeImages()))
    source, names = TranslateEdges().inputs(str(tmp_path / "step.png"), run)
    assert source.arrays["source"][0, 0, :, 0].tolist() == [0, 0, 1, 1, 0, 0]
    assert (len(source), names) == (1, [str(tmp_path / "step.png")])
    monkeypatch.setattr(image_pairs, "target_evaluators", lambda *rest: rest)
    measure = TargetSimilarity("l1", {"sample": "image"})
    assert measure.evaluators(run, "splits", "test") == ({"sample": "image"}, "splits", "test")


def test_small_images_of_a_folder_have_three_channels_and_half_the_sides(tmp_path):
    for k in range(20):
        Image.fromarray(np.full((6, 6), 10 * k, np.uint8)).save(tmp_path / f"{k}.png")
    splits = with_small(SmallPhotographs(str(tmp_path), image_size=4).load(), 2)
    parts = (splits.train, splits.valid, splits.test)
    assert sum(len(part) for part in parts) == 20
    for part in parts:
        chex.assert_shape((part.arrays["image"], part.arrays["low"]), [(len(part), 4, 4, 3), (len(part), 2, 2, 3)])
        np.testing.assert_array_equal(part.arrays["low"], part.arrays["image"][:, ::2, ::2])
    assert sorted(int(x[0, 0, 0]) for part in parts for x in part.arrays["image"]) == [10 * k for k in range(20)]
    assert (splits.spec["dataset"], splits.spec["image_shape"]) == ("folder", [4, 4, 3])
    assert splits.spec["batch"]["image"] == [[4, 4, 3], "float32"]
    assert (splits.train.name, len(splits.shown)) == ("folder/train", len(splits.test))


def test_the_photograph_is_cut_by_columns_a_quarter_of_a_side_apart():
    """Of 427 by 640 pixels with sides of 100: rows from 0 to 327 and columns from 0 to 284 every 25 pixels; 28 a split.

    The columns of the other splits are 384 to 512 and 512 to 640: two starts each.
    """
    splits = with_small(SmallPhotographs(image_size=100).load(), 2)
    rows = 14  # 0, 25, ..., 325
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [rows * 12, rows * 2, rows * 2]
    photograph = sample_image("china", 427)
    for part, first, columns in ((splits.train, 0, 12), (splits.valid, 384, 2), (splits.test, 512, 2)):
        images = part.arrays["image"]
        for k, (row, column) in enumerate((row, column) for row in (0, 1, 13) for column in (0, columns - 1)):
            y, x = 25 * row, first + 25 * column
            np.testing.assert_array_equal(images[row * columns + column], photograph[y : y + 100, x : x + 100], str(k))
    assert len(splits.shown) == rows * 2
    assert (splits.spec["dataset"], splits.notes) == ("photograph", ())
    assert len(SmallPhotographs(image_size=60).load().shown) == 64


@pytest.mark.parametrize(("side", "rows", "columns"), [(103, 13, 12), (97, 14, 12)])
def test_pieces_of_the_photograph_end_with_it_and_with_their_split(side, rows, columns):
    """Pieces of 103 are 25 apart: one from row 325 would leave the photograph. One of 97 from column 288 the split."""
    splits = SmallPhotographs(image_size=side).load()
    assert len(splits.train) == rows * columns
    chex.assert_shape(splits.train.arrays["image"], (rows * columns, side, side, 3))


def test_pieces_are_at_most_as_wide_as_the_columns_of_a_split():
    assert len(SmallPhotographs(image_size=128).load().valid) == 10  # 0, 32, ..., 288
    with pytest.raises(ValueError, match="image_size=129: larger than the photograph's columns; allowed: at most 128"):
        SmallPhotographs(image_size=129).load()


def test_small_images_have_a_side_of_their_own_for_each_data_set(tmp_path, monkeypatch):
    """64 of the photograph and of a folder, 128 of Flickr8k, whose splits are searched for images that they share."""
    assert SmallPhotographs().load().spec["image_shape"] == [64, 64, 3]
    for k in range(9):
        Image.fromarray(np.full((6, 6), 10 * k, np.uint8)).save(tmp_path / f"{k}.png")
    photographs = SmallPhotographs(str(tmp_path))
    assert photographs.load().train.arrays["image"].shape[1:] == (64, 64, 3)
    (tmp_path / "captions_train.json").touch()
    asked = []

    def flickr8k(folder, side):
        asked.append((folder, side))
        images = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3), np.uint8)
        return {split: SimpleNamespace(image=images + k) for k, split in enumerate(("train", "valid", "test"))}

    monkeypatch.setattr(import_module("dlcore.data.flickr8k"), "flickr8k", flickr8k)
    monkeypatch.setattr("dlcore.data.carving.shared_images", lambda *sources: tuple(part.name for part in sources))
    found = photographs.load()
    assert asked == [(str(tmp_path), 128)]
    assert found.notes == ("flickr8k/train", "flickr8k/valid", "flickr8k/test")
    dataclasses.replace(photographs, image_size=96).load()
    assert asked[-1][1] == 96


def test_translations_are_measured_against_the_targets_that_there_are(monkeypatch):
    """In the maps of the shipped network, which gets images of its own side."""

    def apply(variables, images, train, method):
        return variables, images, train, method

    network = SimpleNamespace(mean=1, std=2, side=4, variables=3, model=SimpleNamespace(apply=apply))
    opened = []
    monkeypatch.setattr(image_pairs, "load_network", lambda path: opened.append(path) or network)
    monkeypatch.setattr(image_pairs, "normalizer", lambda mean, std, size: lambda images: (images, mean, std, size))
    monkeypatch.setattr(image_pairs, "image_pair_evaluator", lambda maps, pairs: (maps("images"), pairs))
    test = Source({"b_of_a": np.zeros((2, 1))})
    splits, pairs = Splits(None, None, test, {}), {"x": "b_of_a", "y": "a_of_b"}
    ((maps, measured),) = image_pairs.target_evaluators(pairs, splits, "test")
    assert maps == (3, ("images", 1, 2, 4), False, "features")
    assert (measured, opened) == ({"x": "b_of_a"}, [image_pairs.PACKED])
    assert image_pairs.target_evaluators(pairs, splits, "valid") == []
    assert image_pairs.target_evaluators({"y": "a_of_b"}, splits, "test") == []
    assert image_pairs.target_evaluators(pairs, splits._replace(test=test.take(1)), "test") == []


def test_low_images_divide_both_sides():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    assert small_photographs.downscale(pixels, 2).shape == (2, 2, 3, 3)
    for shape in ((1, 4, 5, 3), (1, 5, 4, 3)):
        with pytest.raises(ValueError, match=rf"image_size={shape[1]}: no multiple of factor=2; allowed: 4"):
            small_photographs.downscale(np.zeros(shape, np.uint8), 2)


def test_images_of_edges_are_resized_to_bytes_and_shown(monkeypatch):
    """Two training images of gray levels 0 and 51: their mean is 25.5, a tenth of 255 from the test image of 51."""
    levels = {"train": [0.0, 0.2], "valid": [0.0], "test": [0.2] * 70}
    splits = {
        name: Source({"image": np.array(values, np.float32)[:, None, None, None] * np.ones((1, 2, 2, 1))}, name=name)
        for name, values in levels.items()
    }
    data = Splits(splits["train"], splits["valid"], splits["test"], {"image_shape": [2, 2, 1]}, ("first",))
    monkeypatch.setattr(edge_images.Images, "load", lambda *rest: data)
    monkeypatch.setattr(edge_images.Images, "input_size", lambda self, facts: (3, 5))
    found = EdgeImages().load()
    assert found.notes == ("first", "l1 of the mean training image on the test split: 0.1000")
    assert found.spec["image_shape"] == [3, 5, 1]
    assert found.spec["batch"]["source"] == [[3, 5, 1], "float32"]
    np.testing.assert_array_equal(found.train.arrays["image"], np.full((2, 3, 5, 1), [[[[0]]], [[[51]]]]))
    assert (len(found.shown), found.test.name) == (64, "test")
    colored = Source({"image": np.zeros((1, 2, 2, 3), np.uint8)})
    data = Splits(colored, colored, colored, {"image_shape": [2, 2, 3]})
    chex.assert_shape(EdgeImages().load().valid.arrays["image"], (1, 3, 5, 3))
    data = data._replace(train=SimpleNamespace(arrays={"image": "files"}, name="train"))
    with pytest.raises(ValueError, match="train: too many images to hold in memory; allowed: at most 4 GiB"):
        EdgeImages().load()


def test_halves_of_the_digits_are_colored_by_their_coverage(monkeypatch):
    """Levels 0, 51 and 255 of ink: the paper, a fifth of the way, the ink. Of 141 images one is left over."""
    digits = np.resize(np.array([0, 51, 255, 102, 204], np.uint8), (141, 1, 1, 1))
    data = Splits(*(Source({"image": digits}, name=name) for name in ("train", "valid", "test")), {})
    monkeypatch.setattr(edge_images.Images, "load", lambda *rest: data)
    splits = UnpairedImages("digits").load()
    orders = [np.random.default_rng(seed).permutation(140) for seed in (0, 1)]
    inks = {"a": ([255] * 3, [217, 26, 26]), "b": ([153] * 3, [26, 51, 204])}

    def inked(rows, kind):
        paper, ink = (np.array(color) for color in inks[kind])
        coverage = digits[rows, 0, 0] / 255
        return np.rint(paper + coverage * (ink - paper))[:, None, None]

    for part, order in ((splits.train, orders[0]), (splits.test, orders[1])):
        np.testing.assert_array_equal(part.arrays["a"], inked(order[::2], "a"))
        np.testing.assert_array_equal(part.arrays["b"], inked(order[1::2], "b"))
    np.testing.assert_array_equal(splits.test.arrays["b_of_a"], inked(orders[1][::2], "b"))
    np.testing.assert_array_equal(splits.valid.arrays["a_of_b"], inked(orders[1][1::2], "a"))
    assert (splits.spec["dataset"], splits.train.name, len(splits.shown)) == ("digits", "train", 64)
    data = data._replace(train=Source({"image": np.zeros((2, 1, 1, 3), np.uint8)}))
    with pytest.raises(ValueError, match="dataset=digits: color images; allowed: gray images"):
        UnpairedImages("digits").load()


def test_a_share_of_the_unpaired_training_images_is_for_validation(tmp_path):
    """A quarter of ten is 2.5, rounded to even; of two images one, whatever the share. Sides are 64 by default."""

    def load(count, **more):
        folder = tmp_path / str(count)
        for name in ("trainA", "trainB", "testA", "testB"):
            if not (folder / name).exists():
                (folder / name).mkdir(parents=True)
                for k in range(count):
                    Image.fromarray(np.full((5, 7), 10 * k, np.uint8)).save(folder / name / f"{k}.png")
        fields = {"data_dir": str(folder), "valid_fraction": 0.25, **more}
        return UnpairedImages("folder", **fields).load(seed=1)

    splits = load(10)
    order = np.random.default_rng(1).permutation(10)
    assert [int(x) for x in splits.valid.arrays["a"][:, 0, 0, 0]] == sorted(10 * order[:2])
    assert [int(x) for x in splits.train.arrays["b"][:, 0, 0, 0]] == sorted(10 * order[2:])
    assert splits.spec["image_shape"] == [64, 64, 3]
    assert splits.notes == ("10 unpaired training images of each kind, 2 of them for validation",)
    assert splits.test.name == "test"
    few = load(2, valid_fraction=0.1, image_size=8)
    assert (len(few.train), len(few.valid), few.spec["image_shape"]) == (1, 1, [8, 8, 3])
    with pytest.raises(ValueError, match="data_dir=None: dataset 'folder' needs a folder of trainA"):
        load(2, data_dir=None)
