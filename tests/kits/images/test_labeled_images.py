"""What the classification experiments do with images that stay on disk."""

import chex
import jax
import numpy as np
import pytest
from PIL import Image

from dlcore.data.normalization import normalizer
from dlcore.data.pipeline import Pipeline
from dlcore.data.streaming import streamed_images
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.kits.images import labeled_images as kit
from dlcore.kits.images import prediction
from dlcore.modes import predict
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
    source, names = prediction.inputs(settings, spec)
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
        ((12, 48), 32, 32, 32),
    ],
)
def test_small_images_are_doubled_in_their_shape(shape, given, size, side):
    settings, spec = Flags({"input_size": given}), {"image_shape": [*shape, 3]}
    assert kit.input_size(settings, spec) == size
    assert kit.shorter_side(settings, spec) == side
    prepare = normalizer((0.0,) * 3, (1.0,) * 3, size=kit.input_size(settings, spec))
    found = jax.eval_shape(prepare, np.zeros((1, *shape, 3), np.uint8)).shape
    assert found == (1, *(shape if size is None else np.broadcast_to(size, 2)), 3)


def test_a_square_is_cut_out_of_images_that_are_higher_than_wide():
    """Half of the shorter side, 8 of 48 x 16: half of the longer one does not fit."""
    settings = Flags({"input_size": None, "augment": "cutout", "dataset": "folder"})
    spec = {"image_shape": [48, 16, 1], "mean": [0.0], "std": [1.0], "dataset": "folder"}
    augment = kit.augmentation(settings, spec)
    chex.assert_shape(jax.eval_shape(augment, jax.random.key(0), np.ones((48, 16, 1), np.float32)), (48, 16, 1))
