"""The pages of autoregressive models: the baseline they print, and a run that draws and completes images as files."""

import json
import types
from functools import partial

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data.facts import Facts
from dlcore.data.images import Images
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.flags import Flags
from dlcore.experiment.resolve import resolve
from dlcore.generative import pixel_sequences
from dlcore.generative.pixel_sequences import (
    NUM_COMPLETIONS,
    BeliefNetworks,
    CompleteOrDraw,
    PixelImages,
    PixelNetwork,
    independent_nats,
)
from dlcore.main import run
from experiments.generative.fvbn import experiment
from tests import overriding

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
    splits = Images("digits").load()
    bad = Source({**splits.train.arrays, "image": 2 * splits.train.arrays["image"] - 1})
    monkeypatch.setattr(Images, "load", lambda *rest: splits._replace(train=bad))
    assert run(experiment, [*SMALL, f"--run_dir={tmp_path}"]) == 1
    assert "train images: values from -1 to 1" in capsys.readouterr().err


def test_images_are_completed_below_their_middle():
    """Of 3 rows the first is known."""
    rows = pixel_sequences._repeated(np.arange(6.0).reshape(2, 3, 1, 1), np.array([7, 8]))
    assert rows["label"].tolist() == [7] * NUM_COMPLETIONS + [8] * NUM_COMPLETIONS
    chex.assert_shape((rows["image"], rows["known"]), (2 * NUM_COMPLETIONS, 3, 1, 1))
    assert rows["image"][NUM_COMPLETIONS - 1 : NUM_COMPLETIONS + 1, :, 0, 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert rows["known"][:, :, 0, 0].tolist() == [[1, 0, 0]] * 2 * NUM_COMPLETIONS
    assert set(pixel_sequences._repeated(np.zeros((1, 2, 1, 1)), None)) == {"image", "known"}


class Net(types.SimpleNamespace):
    """Stands for a network of pixels."""

    features, head_features = 16, 16


def run_of(levels=4, conditional=False, binarization="none", shape=(8, 8, 3)):
    flags = Flags({"binarization": binarization}, {"learner": ("binarization",)})
    spec = {"image_shape": list(shape), "class_names": ["a", "b", "c"]}
    parts = {"data": PixelImages(levels=levels), "network": types.SimpleNamespace(conditional=conditional)}
    return overriding.run_of(flags, spec, dtype="dtype", **parts)


def test_default_features_are_rounded_up_to_blocks_of_the_colors():
    values = {"net.features": 16, "net.head_features": 16, "net.depth": 4, "conditional": False}
    flags = Flags(values, {"net": ("net.features", "net.head_features", "net.depth")}, frozenset({"net.head_features"}))
    network = PixelNetwork(Net).with_flags(flags)
    fields = {"features": 18, "head_features": 16, "depth": 4, "colors": 3}
    observed = {"levels": 4, "num_classes": 0, "dtype": "dtype"}
    assert vars(network.arguments(run_of())["model"]) == fields | observed


def test_independent_pixels_of_several_levels(monkeypatch):
    calls = []

    def independent(train, test, levels):
        calls.append((train.tolist(), test.tolist(), levels))
        return np.array([-2.0, -5.0])

    monkeypatch.setattr(pixel_sequences.likelihood, "independent_log_likelihood", independent)
    monkeypatch.setattr(pixel_sequences.likelihood, "quantize", lambda image, levels: image * levels)
    splits = types.SimpleNamespace(
        **{name: Source({"image": np.full((1, 1), k, np.float32)}) for k, name in enumerate(("train", "valid", "test"))}
    )
    flags = types.SimpleNamespace(levels=4, binarization="none")
    assert independent_nats(flags, splits) == 3.5
    assert calls == [([[0]], [[8]], 4)]
    # Two levels are drawn as the binarization says, by the index of each image.
    monkeypatch.setattr(
        pixel_sequences.likelihood, "binarize", lambda key, image, kind, index: image + 10 * (kind == "dynamic") + index
    )
    assert independent_nats(types.SimpleNamespace(levels=2, binarization="dynamic"), splits) == 3.5
    assert calls[1] == ([[10]], [[12]], 2)


def test_completions_stand_below_the_image_and_its_half(monkeypatch, bare_panels):
    """Each of two images has NUM_COMPLETIONS rows, of which row k is drawn with k / 255."""
    panels = []
    monkeypatch.setattr("dlcore.report.generative.sample_grid", lambda *rest: panels.append(rest) or rest[1])
    monkeypatch.setattr("dlcore.report.generative.sample_rows", lambda rows, *rest: panels.append(rows) or rest[0])
    monkeypatch.setattr(pixel_sequences.sample_panels, "nearest_training", lambda context: "nearest")

    def predict(state, batch):
        assert batch["index"].tolist() == list(range(2 * NUM_COMPLETIONS))
        return {"sample": batch["index"][:, None, None, None] + 0.0 * batch["known"]}

    monkeypatch.setattr("jax.jit", lambda function: function)
    monkeypatch.setattr(pixel_sequences.autoregressive, "likelihood_name", lambda *rest: "x")
    image = np.array([[51, 102], [204, 255]], np.uint8).reshape(2, 2, 1, 1)
    context = types.SimpleNamespace(
        flags=types.SimpleNamespace(binarization="none", levels=4, conditional=False),
        data=types.SimpleNamespace(test=Source({"image": image, "label": np.array([0, 1])})),
        outputs={"sample": np.zeros((5, 2, 1, 1))},
        numbers={"nll_nats_x": 1.234, "bits_per_dim_x": 0.5},
        spec={"independent_nats": 2.0},
        learner=types.SimpleNamespace(predict=predict),
        state=None,
        history="curves",
    )
    titles = pixel_sequences.SamplesAndCompletions().panels(context, None)
    assert titles == ["Samples", "Completions", "nearest", "curves", "Real images"]
    assert panels[0][2] == (
        "The first 5, unselected. Test images: 1.23 nats, 0.500 bits a dimension (x); independent pixels: 2.00 nats."
    )
    rows = panels[1]
    np.testing.assert_allclose(rows["test images"][:, :, 0, 0], [[0.2, 0.4], [0.8, 1]])
    np.testing.assert_allclose(rows["what is given"][:, :, 0, 0], [[0.2, 0], [0.8, 0]])
    assert rows["completion 2"][:, 0, 0, 0].tolist() == [1, NUM_COMPLETIONS + 1]
    assert len(rows) == 2 + NUM_COMPLETIONS


def test_samples_are_described_by_their_nats():
    described = CompleteOrDraw().describe({"nats": np.array([1.236])}, Facts())
    assert described == [{"nats": 1.236, "text": "-log p = 1.24 nats"}]


@pytest.mark.parametrize(
    ("dataset", "size", "read"), [("folder", None, 28), ("digits", None, None), ("folder", 12, 12)]
)
def test_images_of_a_folder_are_small(monkeypatch, dataset, size, read):
    source = Source({"image": np.zeros((2, 2, 3, 1), np.float32)})

    def load(self, seed, min_classes):
        assert (self.dataset, self.image_size) == (dataset, read)
        return Splits(source, source, source, {})

    monkeypatch.setattr(Images, "load", load)
    assert PixelImages(dataset, image_size=size).load().train is source


def test_independent_pixels_are_the_baseline(monkeypatch):
    """6 ln 2 nats of 2 x 3 pixels are a bit a dimension."""
    source = Source({"image": np.zeros((2, 2, 3, 1), np.float32)})
    data = Splits(source, source, source, {"image_shape": [2, 3, 1]}, ("a note",))
    monkeypatch.setattr(pixel_sequences, "independent_nats", lambda flags, splits: 6 * np.log(2))
    splits = pixel_sequences.PixelLikelihood().finish_data(data, run_of())
    assert len(splits.shown) == pixel_sequences.NUM_SHOWN
    assert splits.notes == (
        "a note",
        "independent pixels (4 levels) have 4.16 nats an image on the test split, 1.000 bits a dimension",
    )
    trivial, rule = splits.spec["trivial"], "independent pixels"
    assert trivial == {"nll_nats_4_levels": (6 * np.log(2), rule), "bits_per_dim_4_levels": (pytest.approx(1), rule)}
    binary = pixel_sequences.PixelLikelihood().finish_data(data, run_of(2, binarization="threshold"))
    assert "independent pixels (binarized: threshold) have" in binary.notes[1]
    assert pixel_sequences.uniform_levels(run_of()) == pytest.approx(np.log(4))


def test_samples_and_completions_have_the_class_that_is_asked_for(tmp_path):
    run, use = run_of(conditional=True, shape=(2, 2, 1)), CompleteOrDraw(num_drawn=3, sample_class="b")
    source, names = use.samples(run)
    assert (source.arrays["label"].tolist(), len(source), len(names)) == ([1, 1, 1], 3, 3)
    assert CompleteOrDraw(num_drawn=3).samples(run)[0].arrays == {}
    with pytest.raises(ValueError, match="--sample_class=b: the run has no classes; allowed: of --conditional runs"):
        use.samples(run_of())
    pixels = np.array([[0, 255], [51, 102]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "mine.png")
    Image.fromarray(255 - pixels).save(tmp_path / "other.png")
    source, names = use.inputs(str(tmp_path), run)
    files = [str(tmp_path / "mine.png"), str(tmp_path / "other.png")]
    assert names == [name for name in files for _ in range(NUM_COMPLETIONS)]
    assert source.arrays["label"].tolist() == [1] * 2 * NUM_COMPLETIONS
    # The image, its upper half and four completions stand in a row, a pixel between two.
    drawn = np.arange(32, dtype=np.float32).reshape(8, 2, 2, 1) / 255
    file, other = use.write(tmp_path / "out", {"sample": drawn}, source, names, run.facts)
    assert [path.name for path in (file, other)] == ["mine_completions.png", "other_completions.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(other))[:, :2], 255 - pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(other))[:, 3:5], [[255, 0], [0, 0]])
    np.testing.assert_array_equal(np.asarray(Image.open(other))[:, 6:8], [[16, 17], [18, 19]])
    picture = np.asarray(Image.open(file))
    chex.assert_shape(picture, (2, 6 * 2 + 5))
    np.testing.assert_array_equal(picture[:, :2], pixels)
    np.testing.assert_array_equal(picture[:, 3:5], [[0, 255], [0, 0]])
    for k in range(4):
        np.testing.assert_array_equal(picture[:, 3 * k + 6 : 3 * k + 8], 4 * k + np.array([[0, 1], [2, 3]]))
    files = use.write(tmp_path / "drawn", {"sample": drawn[:2]}, Source.indices(2), ["x", "y"], run.facts)
    assert [path.name for path in files] == ["0_x.png", "1_y.png", "samples.png"]


@pytest.mark.parametrize(("conditional", "classes"), [(True, 3), (False, 0)])
def test_a_network_knows_classes_where_it_is_conditional(conditional, classes):
    network = BeliefNetworks(made=partial(dict, depth=5), conditional=conditional)
    expected = {"levels": 4, "num_classes": classes, "dtype": "dtype", "depth": 5}
    assert network.arguments(run_of()) == {"model": expected}
