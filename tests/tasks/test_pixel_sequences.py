"""The pages of autoregressive models: the baseline they print, and a run that draws and completes images as files."""

import json

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data.source import Source
from dlcore.experiment.resolve import resolve
from dlcore.experiment.splits import Splits
from dlcore.kits.images import labeled_images
from dlcore.main import run
from dlcore.tasks.pixel_sequences import NUM_COMPLETIONS, independent_nats
from experiments.generative.fvbn import experiment

SMALL = ["--smoke", "--steps=1", "--model=fvbn", "--conditional"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert run(experiment, [*SMALL, f"--run_dir={folder}"]) == 0
    return folder


@pytest.mark.slow
def test_the_baseline_is_the_entropy_of_pixels_by_themselves():
    """Of 98 training images half have a white left pixel, the right one is black: (49 + 1) / 100, and 99 / 100."""
    flags = resolve(experiment, ["--binarization=threshold"])
    image = np.zeros((98, 1, 2, 1), np.float32)
    image[::2, :, 0] = 1
    source = Source({"image": image})
    nats = independent_nats(flags, Splits(source, source, source, {}, ()))
    assert nats == pytest.approx(-np.log(0.5) - np.log(0.99), rel=1e-5)


@pytest.mark.weekly
def test_the_report_has_samples_completions_and_the_baseline(trained):
    html = (trained / "report.html").read_text()
    for words in (
        "Samples",
        "what is given",
        "completion 4",
        "Are samples copies?",
        "independent pixels: 26.87",
        "nll_nats_dynamic",
    ):
        assert words in html, words
    line = json.loads((trained / "result.json").read_text())
    assert line["metric"] == "test nll_nats_dynamic"
    assert 40 < line["value"] < 45  # a step from 64 ln 2 = 44.36


@pytest.mark.weekly
def test_a_run_draws_samples_of_a_class_as_files(trained, tmp_path, capsys):
    words = ["--mode=predict", f"--run={trained}", "--num_drawn=3", "--sample_class=7", f"--output={tmp_path}"]
    assert run(experiment, words) == 0
    assert capsys.readouterr().out.count("-log p = ") == 3
    chex.assert_shape(np.asarray(Image.open(tmp_path / "2_sample_2.png")), (8, 8))
    assert (tmp_path / "samples.png").exists()


@pytest.mark.slow
def test_a_run_completes_the_upper_half_of_a_file(trained, tmp_path, capsys):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:4, ::2] = 255
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    words = ["--mode=predict", f"--run={trained}", f"--input={tmp_path / 'mine.png'}", f"--output={tmp_path / 'out'}"]
    assert run(experiment, [*words, "--format=json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == NUM_COMPLETIONS
    picture = np.asarray(Image.open(tmp_path / "out" / "mine_completions.png"))
    chex.assert_shape(picture, (8, 6 * 8 + 5))
    for k in range(1, 6):
        np.testing.assert_array_equal(picture[:4, 9 * k : 9 * k + 8], pixels[:4])
    assert (picture[4:, 9:17] == 0).all()
    assert (picture[4:, 18:] == 255).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sample_class=seven"], "--sample_class=seven: not a trained class; allowed: 0, 1, 2"),
        (["--num_drawn=0"], "--num_drawn=0"),
    ],
)
def test_unknown_classes_are_refused(trained, capsys, words, said):
    assert run(experiment, ["--mode=predict", f"--run={trained}", *words]) == 2
    assert said in capsys.readouterr().err


def test_images_that_are_no_intensities_are_refused(monkeypatch, capsys, tmp_path):
    splits = labeled_images.data(resolve(experiment, []))
    bad = Source({**splits.train.arrays, "image": 2 * splits.train.arrays["image"] - 1})
    monkeypatch.setattr(labeled_images, "data", lambda flags, labels: splits._replace(train=bad))
    assert run(experiment, [*SMALL, f"--run_dir={tmp_path}"]) == 1
    assert "train images: values from -1 to 1" in capsys.readouterr().err
