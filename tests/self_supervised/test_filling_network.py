"""The tasks that fill in images, and those of codes: baselines, what the report shows, phases of a run."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data import images_or_crops
from dlcore.data.facts import Facts
from dlcore.data.images import Images, Resizing
from dlcore.data.images_or_crops import ImagesOrCrops, MeanImage
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.evaluators import image_generation
from dlcore.experiment.resolve import resolve
from dlcore.generative import phased_codes
from dlcore.generative.vq_model import VQModel
from dlcore.generative.vq_vae import VQVAE
from dlcore.models import Zoo
from dlcore.optim import phased_adamw
from dlcore.optim.phased_adamw import PhasedAdamW
from dlcore.self_supervised.fill_in import FillIn
from dlcore.self_supervised.filling_network import FillingNetwork
from dlcore.setting import FlagError
from experiments.generative import vq_vae
from experiments.self_supervised import cross_channel, inpainting

SPEC = {"num_classes": 4, "image_shape": [8, 8, 3], "mean": [0.5] * 3, "std": [0.25] * 3, "train_size": 64}


def two_pixels():
    """Make training images (0, 1) and (1, 1), whose mean is (0.5, 1), and a test image (0, 0)."""
    train = Source({"image": np.array([[0.0, 1], [1, 1]], np.float32).reshape(2, 1, 2, 1)})
    test = Source({"image": np.zeros((1, 1, 2, 1), np.float32)})
    return Splits(train, None, test, {}, ("a note",))


def test_the_note_of_the_mean_image_by_hand():
    """The mean of (0 - 0.5)^2 and (0 - 1)^2 is 0.625."""
    note = "mse of the mean image on the test split: 0.6250"
    assert MeanImage().finish_data(two_pixels(), None).notes == ("a note", note)
    shown = MeanImage(shown=64).finish_data(two_pixels(), None)
    assert shown.notes == ("a note", note)
    np.testing.assert_array_equal(shown.shown.arrays["image"], two_pixels().test.arrays["image"])
    # The first 10,000 images of each split are read: behind them training has a large value, and the test too.
    train = np.zeros((10_001, 1, 1, 1), np.float32)
    train[-1] = 1e4
    many = Splits(Source({"image": train}), None, Source({"image": train}), {})
    note = "mse of the mean image on the test split: 0.0000"
    assert MeanImage().finish_data(many, None).notes == (note,)
    shown = MeanImage(shown=64).finish_data(many, None)
    assert shown.notes == (note,)
    assert len(shown.shown) == 64


def test_crops_of_photographs_have_splits_of_their_own_and_the_statistics_of_training(monkeypatch):
    drawn = []

    def crops(name, count, seed):
        drawn.append((name, count, seed))
        image = np.zeros((2, 4, 6, 3), np.uint8)
        image[1] = 255
        return Source({"image": image, "label": np.arange(2)}, class_names=("a", "b"))

    monkeypatch.setattr(images_or_crops, "photo_crops", crops)
    splits = ImagesOrCrops("photographs").load(seed=3)
    assert drawn == [("train", 4000, 3), ("valid", 480, 3), ("test", 960, 3)]
    assert splits.spec["dataset"] == "photographs"
    assert (splits.spec["class_names"], splits.spec["num_classes"]) == (["a", "b"], 2)
    assert splits.spec["image_shape"] == [4, 6, 3]
    np.testing.assert_allclose([splits.spec["mean"], splits.spec["std"]], 0.5, rtol=1e-6)


def test_the_report_fills_predictions_in_where_something_was_taken(monkeypatch):
    """The left half is taken: the right one is the target's in all pictures; values are clipped to [0, 1]."""
    shown = []
    monkeypatch.setattr(
        "dlcore.report.generative.sample_rows", lambda rows, *texts: shown.append((rows, texts)) or "rows"
    )

    def left_taken(key, image):
        return FillIn(image - 2, jnp.full_like(image, 3.0), image, jnp.zeros((16, 32)).at[:, :16].set(1.0))

    images = Images("digits", resizing=Resizing())
    parts = SimpleNamespace(data=images, technique=partial(inpainting.experiment.parts.technique))
    run = SimpleNamespace(
        facts=Facts(image_shape=(16, 32, 1), mean=(0.5,), std=(0.25,)), parts=parts, dtype=jnp.float32
    )
    image = np.full((12, 16, 32, 1), 51, np.uint8)
    context = SimpleNamespace(
        data=SimpleNamespace(test=Source({"image": image})),
        state=SimpleNamespace(rng=jax.random.key(0)),
        outputs={"answer": np.full((12, 16, 32, 1), 0.75)},
    )
    network = FillingNetwork(Zoo("resnet8_cifar"), lambda: left_taken)
    assert network.pretext_panels(context, run) == ["rows"]
    ((rows, texts),) = shown
    assert texts == ("Filled in", "Test images, the first ones.")
    assert {name: pictures.shape for name, pictures in rows.items()} == dict.fromkeys(rows, (10, 16, 32, 1))
    pixels = {name: np.asarray(pictures)[9, 0, ::16, 0].tolist() for name, pictures in rows.items()}
    assert pixels == {
        "input": [0, 0],
        "baseline": [1, pytest.approx(0.2)],
        "prediction": [0.75, pytest.approx(0.2)],
        "target": pytest.approx([0.2, 0.2]),
    }


def test_the_network_answers_in_the_channels_of_the_task_or_of_the_images():
    run = inpainting.experiment.run(resolve(inpainting.experiment, ["--smoke"]), SPEC, 10, jnp.float32)
    given = run.arguments()
    assert given["model"].channels == 3
    np.testing.assert_allclose(given["normalize"](jnp.full((1, 8, 8, 3), 0.75)), 1, rtol=1e-6)
    run = cross_channel.experiment.run(resolve(cross_channel.experiment, ["--smoke"]), SPEC, 10, jnp.float32)
    assert run.arguments()["model"].channels == 1


def test_the_encoder_sees_images_as_it_has_learned_to_see_them():
    """A red of 1 becomes (1 - 0.5) / 0.25 = 2; hidden, it is the mean of the other channels, 0.5, which becomes 0."""
    images = jnp.full((1, 8, 8, 3), 0.5).at[..., 0].set(1.0)
    for page, expected in ((cross_channel, [0, 0, 0]), (inpainting, [2, 0, 0])):
        setup = page.experiment.run(resolve(page.experiment, ["--smoke"]), SPEC, 10, jnp.float32)
        prepared = setup.encoder().prepare(images)
        np.testing.assert_allclose(prepared, np.broadcast_to(expected, prepared.shape), atol=1e-6)


# Codes, and the phases of a run


@pytest.mark.parametrize(("share", "counts"), [(0.25, (8, 2)), (0.35, (6, 4)), (0.0, (10, 0)), (0.99, (0, 10))])
def test_the_last_share_of_the_steps_trains_the_prior(share, counts):
    """Shares of 2.5 and 3.5 steps are rounded to the even numbers 2 and 4."""
    assert PhasedAdamW(prior_share=share).phases(10) == counts


def test_each_phase_has_a_whole_schedule_of_its_own(monkeypatch):
    """Phases of eight and two steps: a cosine without a warm-up begins at its peak in each."""
    run = SimpleNamespace(steps=10, steps_per_epoch=None)
    optimizer = PhasedAdamW(prior_share=0.2, warmup=0.0, learning_rate=0.5, schedule="cosine")
    rate = optimizer.rate_of_step(10)
    assert [float(rate(step)) for step in (0, 4, 8, 9)] == pytest.approx([0.5, 0.25, 0.5, 0.25])
    is_prior_step = optimizer.arguments(run)["is_prior_step"]
    assert [bool(is_prior_step(step)) for step in (7, 8)] == [False, True]
    lengths = []
    monkeypatch.setattr(phased_adamw.AdamW, "build", lambda self, steps, steps_per_epoch: lengths.append(steps))
    for share in (0.2, 0.0, 0.99):
        PhasedAdamW(prior_share=share).build(10)
        PhasedAdamW(prior_share=share).arguments(run)
    assert lengths == [8, 2, 10, 1, 1, 10]  # an optimizer is built for a step at least


def test_a_run_without_a_prior_has_the_error_as_its_headline_and_no_samples(monkeypatch):
    monkeypatch.setattr(image_generation.FinalFrechet, "evaluators", lambda *args: ["evaluator"])
    monkeypatch.setattr(phased_codes.FilmSamples, "report_hooks", lambda *args: ["film"])
    monkeypatch.setattr(phased_codes.ReconstructOrDraw, "samples", lambda *args: "samples")
    runs = {
        k: SimpleNamespace(steps=10, parts=SimpleNamespace(optimizer=PhasedAdamW(prior_share=k))) for k in (0.25, 0.0)
    }
    for share, run in runs.items():
        assert image_generation.PriorFrechet().evaluators(run, None, "test") == ["evaluator"] * (share > 0)
        assert phased_codes.FilmPrior().report_hooks(run) == ["film"] * (share > 0)
        headline = {} if share else {"headline": "mse"}
        assert phased_codes.PriorBits().finish_data(two_pixels(), run).spec == headline
    assert phased_codes.ReconstructOrDrawPrior().samples(runs[0.25]) == "samples"
    with pytest.raises(FlagError, match="--prior_share=0: the run has no prior to sample from"):
        phased_codes.ReconstructOrDrawPrior().samples(runs[0.0])


@pytest.mark.parametrize(("name", "network"), [("vqvae", VQVAE), ("vqmodel", VQModel)])
def test_the_architecture_of_the_autoencoder_is_that_of_its_flag(name, network):
    flags = resolve(vq_vae.experiment, ["--smoke", f"--architecture={name}"])
    model = vq_vae.experiment.run(flags, SPEC, 10, jnp.bfloat16).arguments()["model"]
    assert type(model) is network
    assert (model.shape, model.dtype) == ((8, 8, 3), jnp.bfloat16)
    assert vq_vae.experiment.run(flags, SPEC, 10).arguments()["model"].dtype is None
