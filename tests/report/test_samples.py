"""Samples as files: as many as asked for, of a class and of a seed; the same of every page that generates images."""

import dataclasses
from importlib import import_module
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlcore.data.captioned_shapes import CaptionedShapes
from dlcore.data.source import Source
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.generative import diffusion, sample_panels
from dlcore.learner import Learner, State, example_keys
from dlcore.main import run
from dlcore.modes import predict
from dlcore.report import samples
from dlcore.setting import FlagError
from experiments.generative import ddpm, gan, vq_vae_2
from tests.overriding import samples_of, with_run

SPEC = {
    "dataset": "digits",
    "image_shape": [8, 8, 1],
    "class_names": ["0", "1", "2"],
    "num_classes": 3,
    "train_size": 64,
    "batch": {"image": [[8, 8, 1], "float32"], "label": [[], "int32"]},
}


@pytest.fixture
def untrained(monkeypatch):
    """Let predict find the facts of a run, and a state before its first step."""
    spec = dict(SPEC)

    def restore(runs, tta, select, example):
        learner = runs[0].training(spec).build()
        return learner, 0, jax.jit(learner.init)(jax.random.key(0), example)

    monkeypatch.setattr(predict, "config_of", lambda run: {"spec": spec})
    monkeypatch.setattr(predict, "members_of", lambda run: [run])
    monkeypatch.setattr(predict, "restore_members", restore)
    return spec


def build_noise(run):
    """Samples are uniform noise of their key."""

    def predict(state, batch):
        return {"sample": jax.vmap(lambda key: jax.random.uniform(key, (8, 8, 1)))(example_keys(state.rng, batch))}

    def init(rng, batch):
        return State(jnp.zeros((), jnp.int32), rng, {}, {})

    return Learner(init, lambda state, batch: (state, {}), lambda state, batch: {}, predict)


NOISE = with_run(gan.experiment, build=build_noise)


def images_of(folder, experiment, *words):
    """{name: pixels} of the files that predict writes."""
    assert run(experiment, ["--smoke", "--mode=predict", f"--run_dir={folder}.run", f"--output={folder}", *words]) == 0
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.iterdir())}


def test_samples_depend_on_their_number_and_the_seed_alone(untrained, tmp_path):
    few, more, again, other = (
        images_of(tmp_path / str(k), NOISE, *words)
        for k, words in enumerate(
            (
                ["--num_drawn=2", "--sample_seed=3"],
                ["--num_drawn=12", "--sample_seed=3", "--eval_batch_size=5"],
                ["--num_drawn=2"],
                ["--num_drawn=2", "--sample_seed=4"],
            )
        )
    )
    assert list(few) == ["0_sample_0.png", "1_sample_1.png", "samples.png"]
    assert list(more)[-2:] == ["11_sample_11.png", "samples.png"]
    for k in range(2):
        chex.assert_shape(few[f"{k}_sample_{k}.png"], (8, 8))
        np.testing.assert_array_equal(few[f"{k}_sample_{k}.png"], more[f"0{k}_sample_{k}.png"])
    kinds = [few["0_sample_0.png"], few["1_sample_1.png"], again["0_sample_0.png"], other["0_sample_0.png"]]
    assert all((a != b).any() for i, a in enumerate(kinds) for b in kinds[:i])
    # The run's own samples, which its report shows, are those of its key.
    own = build_noise(None).predict(State(0, jax.random.key(0), {}, {}), Source.indices(1)[:])["sample"]
    np.testing.assert_allclose(again["0_sample_0.png"], 255 * np.asarray(own[0, ..., 0]), atol=0.51)
    # Two rows of eight and four samples, a gray pixel between two, enlarged to 128 pixels: 8 times 17 by 71.
    chex.assert_shape(more["samples.png"], (8 * 17, 8 * 71))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num_drawn=0"], "--num_drawn=0: out of range; allowed: at least 1"),
        (["--num_drawn=2.5"], "--num_drawn=2.5: not an int"),
        (["--sample_seed=-1"], "--sample_seed=-1: out of range; allowed: 0 to 4294967295"),
        (["--num_drawn=2", "--input=a.png"], "--input=a.png: generative.gan reads no input"),
    ],
)
def test_impossible_samples_are_refused(words, message, untrained, capsys):
    assert run(NOISE, ["--mode=predict", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_number_of_samples_beside_files_is_refused(untrained, capsys):
    experiment = dataclasses.replace(NOISE, use=samples.DrawClasses())
    assert run(experiment, ["--mode=predict", "--num_drawn=2", "--input=a.png"]) == 2
    assert "--num_drawn=2: beside --input=a.png; allowed: one of them" in capsys.readouterr().err


def test_classes_take_turns_or_are_one():
    flags = Flags({"num_drawn": 4, "sample_class": None})
    source, names = samples.class_samples(flags, SPEC)
    assert source.arrays["label"].tolist() == [0, 1, 2, 0]
    assert names == ["0", "1", "2", "0"]
    assert samples.class_samples(flags.replace(sample_class="2"), SPEC)[0].arrays["label"].tolist() == [2] * 4
    named = {"class_names": ["shirt", "3"]}
    assert [samples.class_index("sample_class", word, named) for word in ("shirt", "3", "0")] == [0, 1, 0]
    with pytest.raises(FlagError, match="--sample_class=7: not a trained class; allowed: shirt, 3"):
        samples.class_index("sample_class", "7", named)


@pytest.mark.parametrize(
    ("number", "count", "name", "file"),
    [
        (3, 10, "a red  square!", "3_a_red_square.png"),
        (3, 11, "x", "03_x.png"),
        (100, 101, "--", "100_.png"),
        (0, 1, "a" * 61, f"0_{'a' * 60}.png"),
    ],
)
def test_files_are_named_by_their_number_and_sixty_letters(number, count, name, file):
    assert samples.file_name(number, count, name) == file


def test_each_sample_is_a_file_beside_a_picture_of_all(tmp_path):
    """Samples of 4 x 6 pixels stand a pixel apart; the picture of all is enlarged to a height of 128 or more.

    Nine stand in rows of eight: 2 * 5 - 1 = 9 pixels by 8 * 7 - 1 = 55, fifteen times as large. Nine of a walk stand in
    one row: 4 pixels by 62, 32 times as large. A hint stands left of its sample.
    """

    def read(path):
        with Image.open(path) as image:
            return np.asarray(image)

    sample = np.zeros((9, 4, 6, 1)) + np.arange(9).reshape(9, 1, 1, 1) / 15
    paths = samples.write(tmp_path, {"sample": sample}, Source.indices(9), [f"a/{k}.png" for k in range(9)], {})
    assert [path.name for path in paths] == [f"{k}_{k}.png" for k in range(9)] + ["samples.png"]
    for k, path in enumerate(paths[:9]):
        np.testing.assert_array_equal(read(path), np.full((4, 6), 17 * k))
    chex.assert_shape(read(paths[9]), (135, 825))
    *_, walk = samples.write(tmp_path, {"sample": sample}, Source({"share": np.zeros(9)}), ["x"] * 9, {})
    chex.assert_shape(read(walk), (128, 1984))
    hints = Source({"hint": np.ones((2, 4, 6, 1))})
    first, *_ = samples.write(tmp_path, {"sample": sample[:2]}, hints, ["x", "y"], {})
    np.testing.assert_array_equal(read(first)[:, :6], 255)
    np.testing.assert_array_equal(read(first)[:, 7:], 0)


def test_small_pictures_are_enlarged_to_a_least_height(tmp_path, monkeypatch):
    monkeypatch.setattr("dlcore.report.generative.save_picture", lambda path, picture, scale: scale)
    scales = [samples.save(tmp_path, np.zeros((height, 1, 1))) for height in (32, 100, 128, 300)]
    assert scales == [4, 2, 1, 1]
    assert samples.save(tmp_path, np.zeros((4, 1, 1)), 1) == 1


def test_a_sample_is_described_by_its_size_and_mean():
    (row,) = samples.describe({"sample": np.array([[[[0.25], [0.5], [0.75]]]])}, {})
    assert row == {"mean": 0.5, "text": "1 x 3 pixels, mean 0.500"}
    source, names = samples.number_samples(Flags({"num_drawn": 2}), {})
    assert (len(source), names) == (2, ["sample 0", "sample 1"])


def test_samples_that_are_not_finite_are_not_written(tmp_path):
    outputs = {"sample": np.full((1, 2, 2, 1), np.nan)}
    with pytest.raises(ValueError, match=r"sample\[0, 0, 0, 0\]=nan: not finite"):
        samples.write(tmp_path, outputs, Source.indices(1), ["sample 0"], {})


def test_a_run_without_a_prior_has_no_samples():
    flags = resolve(vq_vae_2.experiment, ["--prior_share=0"])
    with pytest.raises(FlagError, match="--prior_share=0: the run has no prior to sample from; allowed: --input"):
        samples_of(vq_vae_2.experiment, flags, {})


class SampledError(Exception):
    """Carries what a sampler was called with."""


def test_the_report_samples_by_the_schedule_of_the_run(monkeypatch):
    """With zero_terminal_snr abar of the last timestep is 0."""

    def sample(denoise, keys, shape, alphas_cumprod, **options):
        raise SampledError(alphas_cumprod)

    monkeypatch.setattr(diffusion, "sample", sample)
    flags = resolve(ddpm.experiment, ["--smoke", "--zero_terminal_snr", "--prediction=v"]).replace(ema=None)
    state = SimpleNamespace(params={}, rng=jax.random.key(0))
    with pytest.raises(SampledError) as caught:
        sample_panels.diffusion_panels(SimpleNamespace(flags=flags, spec=SPEC, state=state), None)
    assert caught.value.args[0][-1] == 0


PAGES = {
    "gan": [],
    "style_gan": [],
    "ddpm": [],
    "conditional_gan": ["--sample_class=2"],
    "dit": ["--sample_class=2"],
    "latent_diffusion": ["--sample_class=2"],
    "pixel_cnn": ["--conditional", "--sample_class=2"],
    "fvbn": [],
    "vae": [],
    "vq_vae_prior": [],
    "vq_vae_2": [],
    "text_to_image": [],
    "control_net": [],
}


@pytest.mark.slow
@pytest.mark.weekly(unless=["fvbn", "gan", "vae"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_draws_its_samples_to_files(page, untrained, tmp_path):
    experiment = import_module(f"experiments.generative.{page}").experiment
    if page in ("text_to_image", "control_net"):
        untrained |= CaptionedShapes(num_images=16).load().spec
        shapes = {"image": [[16, 16, 3], "uint8"], "tokens": [[untrained["length"]], "int32"]}
        untrained["batch"] = {**shapes, **({"hint": [[16, 16, 1], "float32"]} if page == "control_net" else {})}
    words = ["--num_drawn=2", *PAGES[page]]
    one, other = (images_of(tmp_path / seed, experiment, *words, f"--sample_seed={seed}") for seed in "34")
    assert len(one) == 3
    # The page reads the key that the seed changes.
    assert (one["samples.png"] != other["samples.png"]).any()
