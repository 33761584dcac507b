"""What the classification experiments do with images that stay on disk."""

from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from PIL import Image

from dlcore.data import labeled_images as kit
from dlcore.data.facts import Facts
from dlcore.data.images import Augmentation, Images, Resizing
from dlcore.data.normalization import normalizer
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.data.streaming import streamed_images
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.modes import predict
from dlcore.report import prediction
from experiments.classification.supervised import experiment


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Thirty JPEGs, 20 to 22 high and 24 wide, of two classes; dark on the left and at the top."""
    root = tmp_path_factory.mktemp("pictures")
    for i in range(30):
        pixels = np.full((20 + i % 3, 24, 3), 40 + i, np.uint8)
        pixels[:, 12:] += 120
        pixels += (2 * np.arange(len(pixels), dtype=np.uint8))[:, None, None]
        file = root / ("one", "two")[i % 2] / f"{i:02}.jpg"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(file, quality=95)
    return root


def flags(folder, *more):
    return resolve(
        experiment,
        ["--dataset=folder", f"--data_dir={folder}", "--image_size=12", "--memory_limit=0", *more],
        predict.MODE.settings,
    )


def test_streamed_images_of_several_sizes_are_cropped_and_mirrored_on_the_host(folder):
    settings = flags(folder)
    data = kit.data(settings)
    assert streamed_images(data.train).crop == (0.08, 1.0)
    assert streamed_images(data.valid).crop is streamed_images(data.test).crop is None
    assert data.spec["crop_pct"] == 0.875
    assert any("random crops" in note for note in data.notes)
    assert kit.augmentation(settings, data.spec) is None
    # The right half of every picture is the lighter one; about half of the boxes that hold both are mirrored.
    images = np.concatenate([Pipeline(data.train, 20).batch_at(step)["image"] for step in range(10)]).astype(int)
    rises = images[:, :, -1].mean((1, 2)) - images[:, :, 0].mean((1, 2))
    assert (rises > 50).sum() > 40
    assert (rises < -50).sum() > 40


def test_augmentation_can_be_chosen_or_switched_off(folder):
    for name in ("none", "crop_flip"):
        data = kit.data(flags(folder, f"--augment={name}"))
        assert streamed_images(data.train).crop is None
        batch = Pipeline(data.train, 8).batch_at(0)
        np.testing.assert_array_equal(batch["image"], data.train[batch["index"]]["image"])
    cutout = flags(folder, "--augment=cutout")
    data = kit.data(cutout)
    assert streamed_images(data.train).crop == (0.08, 1.0)
    image = np.ones((24, 24, 3), np.float32)  # twice 12: small images are enlarged
    augmented = np.asarray(kit.augmentation(cutout, data.spec)(jax.random.key(0), image))
    assert set(np.unique(augmented)) == {0.0, 1.0}
    held = kit.data(flags(folder, "--memory_limit=1"))
    assert streamed_images(held.train) is None
    assert "crop_pct" not in held.spec


def test_statistics_are_those_of_the_images(folder):
    data = kit.data(flags(folder))
    pixels = data.train.arrays["image"][:].reshape(-1, 3) / 255
    np.testing.assert_allclose(data.spec["mean"], pixels.mean(0), rtol=1e-4)
    np.testing.assert_allclose(data.spec["std"], pixels.std(0), rtol=1e-4)
    assert f"mean and standard deviation are those of {len(data.train)} training images" in data.notes


def test_images_to_predict_are_cut_as_those_that_were_measured(folder):
    settings = flags(folder, f"--input={folder / 'one' / '04.jpg'}")
    spec = kit.data(settings).spec
    source, names = prediction.images_under(settings.input, Facts.of(spec), settings.get("skip_bad"))
    everything = kit.data(flags(folder, "--augment=none"))
    images = np.concatenate([part.arrays["image"][:] for part in everything[:3]])
    assert (images == source.arrays["image"][0]).all((1, 2, 3)).sum() == 1
    assert names == [str(folder / "one" / "04.jpg")]


def test_the_report_says_and_shows_what_is_done_to_training_images(folder):
    streaming = flags(folder, "--image_size=20")
    data = kit.data(streaming)
    said = kit.preparation(streaming, data.spec)
    assert said == "20 × 20 pixels; augmented by resized_crop_flip, anew in each epoch."
    idx = np.array([3, 5])
    drawn = kit.training_versions(streaming, data.spec, data.train, idx, 4)
    chex.assert_shape(drawn, (4, 2, 20, 20, 3))
    boxes = streamed_images(data.train).sample(idx, streaming.seed, np.full(2, 1))
    np.testing.assert_allclose(drawn[1], boxes / 255, atol=1e-5)  # the second version is that of the second epoch
    plain = flags(folder, "--augment=none", "--memory_limit=1")
    data = kit.data(plain)
    said = kit.preparation(plain, data.spec)
    assert said == "12 × 12 pixels, resized to 24 × 24 (bilinear); not augmented."
    (once,) = kit.training_versions(plain, data.spec, data.train, idx, 4)
    resized = jax.image.resize(data.train.arrays["image"][idx] / np.float32(255), (2, 24, 24, 3), "linear")
    np.testing.assert_allclose(once, resized, atol=1e-5)
    assert not kit.is_augmented(plain, data.spec)
    mixed = flags(folder, "--augment=cutout", "--mixup_alpha=0.2")
    assert kit.is_augmented(mixed, data.spec)
    assert "cutout, anew in each epoch, then mixed in pairs (mixup, not shown)" in kit.preparation(mixed, data.spec)


def test_workers_are_no_part_of_a_runs_identity_but_the_decoder_is(folder):
    one, other = (ResolvedRun(experiment, flags(folder, f"--workers={n}")) for n in (0, 3))
    assert one.identity == other.identity
    assert ResolvedRun(experiment, flags(folder, "--decoder=opencv")).identity != one.identity
    assert streamed_images(kit.data(other.flags).train).workers.count == 3


@pytest.mark.parametrize(
    ("shape", "given", "size", "side"),
    [
        ((12, 48), None, (24, 96), 24),  # both sides doubled, not squashed to 24 x 24
        ((48, 12), None, (96, 24), 24),
        ((8, 8), None, 16, 16),
        ((32, 20), None, None, 20),
        ((16, 40), None, None, 16),
        ((12, 48), 32, 32, 32),
    ],
)
def test_small_images_are_doubled_in_their_shape(shape, given, size, side):
    images, facts = Images(resizing=Resizing(input_size=given)), Facts(image_shape=(*shape, 3))
    assert images.input_size(facts) == size
    assert images.shorter_side(facts) == side
    prepare = normalizer((0.0,) * 3, (1.0,) * 3, size=images.input_size(facts))
    found = jax.eval_shape(prepare, np.zeros((1, *shape, 3), np.uint8)).shape
    assert found == (1, *(shape if size is None else np.broadcast_to(size, 2)), 3)


def test_a_square_is_cut_out_of_images_that_are_higher_than_wide():
    """Half of the shorter side, 8 of 48 x 16: half of the longer one does not fit."""
    settings = Flags({"input_size": None, "augment": "cutout", "dataset": "folder"})
    spec = {"image_shape": [48, 16, 1], "mean": [0.0], "std": [1.0], "dataset": "folder"}
    augment = kit.augmentation(settings, spec)
    chex.assert_shape(jax.eval_shape(augment, jax.random.key(0), np.ones((48, 16, 1), np.float32)), (48, 16, 1))


@pytest.fixture
def loaded(monkeypatch):
    """Make the loader return a training image of the pixels 0 and 255; return its calls."""
    from dlcore.data import image_classification

    asked = []

    def load(*args, **words):
        asked.append((args, words))
        train = Source({"image": np.array([0, 255], np.uint8).reshape(1, 1, 2, 1), "label": np.zeros(1, np.int32)})
        return image_classification.Splits(train, train, train, ("a", "b", "c"), (1, 2, 1), ("note",))

    monkeypatch.setattr(image_classification, "load", load)
    return asked


PLAIN = {"dataset": "folder", "data_dir": "d", "seed": 3, "valid_fraction": 0.2, "image_size": 8, "skip_bad": True}


def test_the_loader_gets_each_flag_and_defaults_of_a_page_without_streaming(loaded):
    """Pixels 0 and 255 have the mean 1/2 and the deviation 1/2."""
    streaming = {"input_size": None, "memory_limit": 0.5, "workers": 2, "decoder": "pillow"}
    data = kit.data(Flags({**PLAIN, **streaming, "columns": ("i", "l")}))
    ((args, words),) = loaded
    assert args == ("folder", "d")
    workers = words.pop("workers")
    assert (workers.count, workers.decoder) == (2, "pillow")
    assert words == {
        "seed": 3, "valid_fraction": 0.2, "image_size": 8, "skip_bad": True, "limit_bytes": 2**29, "min_classes": 2,
        "columns": ("i", "l"),
    }  # fmt: skip
    assert data.spec == {
        "dataset": "folder", "class_names": ["a", "b", "c"], "num_classes": 3, "image_shape": [1, 2, 1],
        "mean": [0.5], "std": [0.5], "batch": {"image": [[1, 2, 1], "float32"], "label": [[], "int32"]},
    }  # fmt: skip
    assert data.notes == ("note",)
    kit.data(Flags({**PLAIN, "run": "runs/a"}))
    kit.data(Flags({**PLAIN, "run": "runs/a"}), labels=False)
    kit.data(Flags({**PLAIN, "run": None}))
    assert [words["min_classes"] for _, words in loaded[1:]] == [1, 0, 2]
    assert [words["limit_bytes"] for _, words in loaded[1:]] == [2**32] * 3
    assert (loaded[1][1]["workers"].decoder, loaded[1][1]["columns"]) == ("pillow", None)


@pytest.mark.parametrize(
    ("augment", "facts", "recipe"),
    [
        ("auto", {"dataset": "digits"}, "affine"),
        ("auto", {"dataset": "mnist"}, "shift"),
        ("auto", {"dataset": "fashion_mnist"}, "shift_flip"),
        ("auto", {"dataset": "imagenet2012"}, "resized_crop_flip"),
        ("auto", {"dataset": "cifar10"}, "crop_flip"),
        ("auto", {"dataset": "folder", "crop_pct": 1.0}, "crop_flip"),
        ("auto", {"dataset": "folder", "crop_pct": 0.875}, "resized_crop_flip"),
        ("none", {"dataset": "digits"}, "none"),
        ("cutout", {"dataset": "digits"}, "affine"),  # a strong one goes on top
    ],
)
def test_each_data_set_has_its_usual_augmentation(augment, facts, recipe):
    assert Augmentation(augment).recipe(Facts(**facts)) == recipe


def test_the_host_crops_and_mirrors_streamed_images():
    facts = {"image_shape": (48, 48, 3), "mean": (0.5,) * 3, "std": (0.25,) * 3, "dataset": "folder"}
    images = Images("folder", resizing=Resizing(), augmentation=Augmentation())
    assert images.augment(Facts(**facts, crop_pct=0.875)) is None
    assert images.augment(Facts(**facts)) is not None


def test_images_are_augmented_or_mixed_by_any_of_the_flags():
    spec = {"image_shape": [16, 16, 1], "dataset": "digits"}
    plain = Flags({"dataset": "digits", "augment": "none"})
    assert not kit.is_augmented(plain, spec)
    for more in ({"augment": "auto"}, {"augment": "cutout"}, {"mixup_alpha": 0.1}, {"cutmix_alpha": 0.1}):
        assert kit.is_augmented(Flags({"dataset": "digits", "augment": "none", **more}), spec), more
    both = Flags({"dataset": "digits", "augment": "none", "mixup_alpha": 1, "cutmix_alpha": 1, "input_size": 24})
    said = kit.preparation(both, {**spec, "image_shape": [16, 20, 1]})
    assert said.startswith("16 × 20 pixels, resized to 24 × 24 (bilinear); not augmented, then mixed in pairs (")
    assert said.endswith("(mixup and cutmix, not shown).")


def test_the_range_of_a_zoom_rises_or_is_one_factor():
    kit.check_zoom(None)
    kit.check_zoom((0.5, 0.5))
    with pytest.raises(ValueError, match=r"^zoom=1,0.5: no range; allowed: the least factor, then the greatest$"):
        kit.check_zoom((1.0, 0.5))


def test_the_most_probable_class_comes_first_and_the_first_of_equal_ones():
    outputs = {"probabilities": np.array([[0.25, 0.5, 0.25], [0.0, 0.0, 1.0]])}
    rows = prediction.describe(outputs, {"class_names": ["a", "b", "c"]})
    assert [row["class"] for row in rows] == ["b", "c"]
    assert list(rows[0]["probabilities"].items()) == [("b", 0.5), ("a", 0.25), ("c", 0.25)]


def test_names_of_files_of_several_folders_are_numbered_where_they_repeat():
    assert prediction.unique_stems(["a/x.png", "b/y.png", "c/x.jpg"]) == ["x_0", "y", "x_2"]
    assert prediction.unique_stems(["a/x.png", "b/x.png", "c/x_0.png"]) == ["x_1", "x_2", "x_0"]


def test_files_that_cannot_be_read_are_named_or_left_out(caplog):
    def read(path):
        if path.name.startswith("bad"):
            raise ValueError("no image")
        return np.zeros((3, 4 if path.name == "b" else 5, 1))

    paths = [Path("a"), Path("bad"), Path("c")]
    images, good = prediction.read_all(paths, read, True)
    assert (images.shape, good) == ((2, 3, 5, 1), [Path("a"), Path("c")])
    assert "1 of 3 files could not be read and were left out" in caplog.text
    for skip_bad, some in ((None, paths), (False, paths), (True, [Path("bad")])):
        with pytest.raises(ValueError, match="bad") as caught:
            prediction.read_all(some, read, skip_bad)
        assert ("skip_bad" in str(caught.value)) is (skip_bad is False)
    with pytest.raises(ValueError, match=r"^b has 3 by 4 pixels, a 3 by 5; allowed: images of one size$"):
        prediction.read_all([Path("a"), Path("b")], read, None)


def test_images_are_read_at_the_size_of_training_or_stretched_to_it(tmp_path):
    Image.fromarray(np.full((6, 12), 100, np.uint8)).save(tmp_path / "a.png")
    spec = {"image_shape": [3, 4, 1]}
    source, names = prediction.images_under(str(tmp_path), Facts.of(spec), None)
    chex.assert_shape(source.arrays["image"], (1, 3, 4, 1))
    assert (source.arrays["label"].tolist(), names, len(source)) == ([0], [str(tmp_path / "a.png")], 1)
    for own_size, shape in ((False, (1, 3, 4, 3)), (True, (1, 6, 12, 3))):
        source, _ = prediction.stretched_images(str(tmp_path), Facts.of(spec), own_size)
        chex.assert_shape(source.arrays["image"], shape)
        assert set(np.unique(source.arrays["image"])) == {100}
