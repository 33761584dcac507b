"""What predict asks of conditioned diffusion: classes, walks and prompts by word; what cannot be drawn; the files."""

import types
from types import SimpleNamespace

import chex
import numpy as np
import pytest

from dlcore.data import images as images_parts
from dlcore.data.captioned_shapes import CaptionedShapes, tokens_of
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.words import vocabulary_from_dict
from dlcore.evaluators import class_conditional, image_generation
from dlcore.evaluators.class_consistency import class_consistency
from dlcore.evaluators.image_generation import Frechet, class_source
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.generative import sample_panels
from dlcore.generative.latent_networks import latent_arguments
from dlcore.generative.prompt_panels import PromptPanels
from dlcore.report import curves, samples
from dlcore.report import generative as report
from dlcore.report.drawn_prompts import DrawPrompts
from dlcore.report.samples import DrawClasses
from dlcore.setting import FlagError
from dlcore.weights import earlier_run
from experiments.generative import latent_diffusion

SPEC = {"class_names": ["0", "1", "2"], "num_classes": 3, "image_shape": [4, 4, 1]}


def flags_of(experiment, *words):
    return ResolvedRun(experiment, resolve(experiment, ["--smoke", *words])).flags


def asked(text):
    return DrawClasses().inputs(text, SimpleNamespace(facts=Facts.of(SPEC)))


def test_classes_are_asked_for_by_name_by_number_and_many_times():
    source, names = asked("2,3x1")
    assert source.arrays["label"].tolist() == [2, 1, 1, 1]
    assert source.arrays["ends"].tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]
    assert names == ["2", "1 0", "1 1", "1 2"]
    assert source.arrays["share"].tolist() == [0] * 4


@pytest.mark.covers("GE-29")
def test_a_walk_goes_from_one_class_to_the_other():
    source, names = asked("0..2")
    assert source.arrays["label"].tolist() == [0] * 4 + [2] * 5
    assert source.arrays["share"][[0, -1]].tolist() == [0, 1]
    assert (source.arrays["ends"] == [0, 1]).all()
    np.testing.assert_allclose(source.arrays["share"], np.linspace(0, 1, 9))
    assert (len(names), names[1], names[8]) == (9, "0..2 0.125", "0..2 1")


def test_a_class_beyond_the_trained_ones_is_named():
    with pytest.raises(FlagError, match="--input=7: not a trained class; allowed: 0, 1, 2"):
        asked("1,7")


def test_samples_are_written_one_by_one_and_together(tmp_path):
    from PIL import Image

    source, names = asked("2x1")
    outputs = {"sample": np.random.default_rng(0).random((2, 4, 4, 1))}
    files = samples.write(tmp_path / "new", outputs, source, names, SPEC)
    assert [file.name for file in files] == ["0_1_0.png", "1_1_1.png", "samples.png"]
    assert Image.open(files[0]).size == (4, 4)
    rows = samples.describe(outputs, SPEC)
    assert rows[0]["text"].startswith("4 x 4 pixels")


@pytest.mark.parametrize(("asked_for", "columns", "told"), [(True, 3, "A column a class: 0, 1, 2."), (False, 8, "")])
def test_samples_of_a_class_stand_in_its_column(asked_for, columns, told, monkeypatch):
    drawn = []
    monkeypatch.setattr(report, "sample_grid", lambda *arguments: drawn.append(arguments))
    monkeypatch.setattr(curves, "curves", lambda history: None)
    shown = class_source(64, 3) if asked_for else Source.indices(64, "samples")
    test = Source({"image": np.zeros((5, 4, 4, 1))}, 5)
    context = SimpleNamespace(
        flags=SimpleNamespace(network=None, network_steps=2, num_samples=64, smoke=False),
        data=SimpleNamespace(test=test, shown=shown),
        outputs={"sample": np.arange(64) % 3},
        spec=SPEC,
        numbers={"frechet_distance": 1.0},
        history=[],
    )
    sample_panels.panels(context)
    samples, _, note, in_a_row = drawn[0]
    assert in_a_row == columns
    assert told in note
    if asked_for:
        assert (samples.reshape(-1, columns) == [0, 1, 2]).all()
    assert f"The first {len(samples)}, unselected." in note


def test_consistency_is_the_share_of_the_classes_asked_for():
    measure = class_consistency(lambda images: np.eye(3)[images], "classes")
    assert (measure.source, measure.names) == ("classes", ("class_consistency",))
    acc = measure.add(None, {"sample": np.array([0, 1])}, {"label": np.array([0, 2])})
    acc = measure.add(acc, {"sample": np.array([2])}, {"label": np.array([2])})
    assert measure.finish(acc) == {"class_consistency": pytest.approx(2 / 3)}
    other = class_consistency(lambda images: np.eye(3)[images], None, "image", "class")
    assert other.finish(other.add(None, {"image": np.array([1])}, {"class": np.array([1])})) == {"class_consistency": 1}


@pytest.mark.covers("GE-26")
def test_prompts_are_encoded_and_unknown_words_named():
    facts = Facts.of(CaptionedShapes(num_images=16).load().spec)
    run = SimpleNamespace(facts=facts)
    source, names = DrawPrompts().inputs("2x a red circle / a blue square", run)
    assert names == ["a red circle", "a red circle", "a blue square"]
    chex.assert_shape(source.arrays["tokens"], (3, facts.length))
    with pytest.raises(FlagError, match="'pink' is in no caption; allowed: a, above"):
        DrawPrompts().inputs("a pink circle", run)
    with pytest.raises(FlagError, match="words; allowed: at most"):
        tokens_of("a " * 40, facts)
    with pytest.raises(ValueError, match="image_size=17: cells are no whole pixels; allowed: multiples of grid=2"):
        CaptionedShapes(image_size=17).load()


def test_the_first_phase_is_a_run_of_its_page(tmp_path):
    page = flags_of(latent_diffusion.experiment, f"--first_stage={tmp_path}")
    with pytest.raises(
        ValueError, match=r"first_stage=.*no such run; allowed: the folder of a run of generative\.autoenc"
    ):
        earlier_run.origin(page, "first_stage", "generative.autoencoder_kl")
    (tmp_path / "config.json").write_text('{"experiment": "generative.vae"}')
    with pytest.raises(ValueError, match=r"first_stage=.*: a run of generative\.vae; allowed: the folder of a run of"):
        earlier_run.origin(page, "first_stage", "generative.autoencoder_kl")
    assert "--autoencoder.channels=8,8" in earlier_run.words_of(page, "autoencoder")


def test_an_autoencoder_of_another_form_is_named():
    page = flags_of(latent_diffusion.experiment)
    setup = ResolvedRun(latent_diffusion.experiment, resolve(latent_diffusion.experiment, ["--smoke"])).training(
        {**SPEC, "train_size": 8}
    )
    other = page.replace(**{"autoencoder.groups": 4})
    phase = earlier_run.EarlierPhase(setup.replace(flags=other, spec=SPEC), {})
    with pytest.raises(ValueError, match=r"it: trained with autoencoder\.groups=4; allowed: 8, as in this run"):
        earlier_run.check_same("it", phase, setup, "autoencoder")
    with pytest.raises(ValueError, match=r"it: trained with image_shape=\[9\]; allowed: \[4, 4, 1\]"):
        earlier_run.check_same(
            "it", phase._replace(weights=phase.weights.replace(spec={"image_shape": [9]})), setup, "autoencoder"
        )
    run = setup.replace(spec={**setup.spec, "image_shape": [5, 4, 1]})
    with pytest.raises(ValueError, match=r"autoencoder\.channels=\(8, 8\): sides do not divide"):
        latent_arguments(run, None)


def test_the_variety_is_the_mean_distance_of_different_vectors():
    # Distances of 3, 4 and 5 between the corners of a triangle.
    assert class_conditional._spread(np.array([[0.0, 0], [3, 0], [0, 4]])) == pytest.approx(4)


@pytest.mark.parametrize(("num_classes", "measure"), [(2, ["class consistency", "variety within a class"]), (1, None)])
def test_guided_samples_are_measured_by_class(monkeypatch, num_classes, measure, bare_panels):
    calls = []
    features = lambda images: (images, np.eye(2)[[0, 1, 1, 1, 0]])  # noqa: E731
    monkeypatch.setattr(class_conditional, "class_features", lambda flags, spec, page: features)
    monkeypatch.setattr(class_conditional, "guidance_panel", lambda *rest: calls.append(rest) or ["guidance"])
    monkeypatch.setattr(class_conditional.sample_panels, "panels", lambda context: ["samples", "nearest", "curves"])
    context = types.SimpleNamespace(flags=None, spec={"num_classes": num_classes}, history="history")
    run = types.SimpleNamespace(parts=types.SimpleNamespace(measures=[Frechet()]))
    panels = class_conditional.GuidedClassPanels(5).panels(context, run)
    assert panels == ["samples", "guidance", ("history", None), "nearest", "curves"]
    (_, labels, measured) = calls[0]
    assert labels.arrays["label"].tolist() == ([0, 1, 0, 1, 0] if num_classes == 2 else [0] * 5)
    # Class 0 has the vectors 0, 3 and 6: distances of 3, 6 and 3. Class 1 has 1 and 6.
    numbers = measured(np.array([[0.0], [1], [3], [6], [6]]))
    assert list(numbers) == (measure or ["variety within a class"])
    if num_classes == 2:
        # Requested 0 1 0 1 0, recognized 0 1 1 1 0.
        assert numbers == {"class consistency": 0.8, "variety within a class": (4 + 5) / 2}
    assert class_conditional.GuidedClassPanels(0).panels(context, run)[1] == ("history", None)
    assert len(calls) == 1


def test_consistency_is_measured_of_two_classes_on(monkeypatch):
    distance = types.SimpleNamespace(_replace=lambda source: ("distance", source))
    monkeypatch.setattr(image_generation, "evaluators", lambda *rest: [distance])
    monkeypatch.setattr(image_generation, "class_features", lambda *rest: lambda images: ("vectors", images))
    monkeypatch.setattr(image_generation, "class_consistency", lambda probabilities, source: (probabilities, source))
    run = types.SimpleNamespace(flags=None, spec=None, facts=Facts(class_names=("a", "b", "c")))
    part = Frechet(num_samples=5, by_class=True)
    first, second = part.evaluators(run, None, "test")
    assert first[1].arrays["label"].tolist() == [0, 1, 2, 0, 1]
    assert (second[0]("images"), second[1]) == ("images", first[1])
    run.facts = Facts(class_names=("a",))
    assert len(part.evaluators(run, None, "test")) == 1
    assert Frechet(num_samples=5).evaluators(run, None, "test") == [distance]


def test_prompts_stand_below_their_samples_and_beside_real_images(monkeypatch, bare_panels):
    """A prompt of 30 is drawn with its edges; the guidance curve takes the first two of three test prompts."""
    monkeypatch.setattr("dlcore.report.pictures.captioned_images", lambda images, texts: (images, texts))
    splits = CaptionedShapes(num_images=10).load()
    words, run = vocabulary_from_dict(splits.spec["vocabulary"]), SimpleNamespace(facts=Facts.of(splits.spec))
    tokens = np.tile(tokens_of("a red circle", run.facts), (30, 1))
    real, sample, hint = (np.full((30, 2, 2, c), v, np.float32) for c, v in ((3, 0.5), (3, 1), (1, 0.2)))
    test = splits.test.take(3)
    shown, measured = Source({"tokens": tokens, "image": real, "hint": hint}), []

    def guidance_panel(context, source, measure):
        measured.append(measure(source.arrays["image"]))
        return [len(source)]

    monkeypatch.setattr("dlcore.generative.prompt_panels.guidance_panel", guidance_panel)
    context = SimpleNamespace(
        data=SimpleNamespace(shown=shown, test=test), outputs={"sample": sample}, history="history"
    )
    samples_panel, (rows, title, _), count, triage, last = PromptPanels(2).panels(context, run)
    images, texts = samples_panel.html
    assert (images.shape, images.dtype, int(images[0, 0, 0, 0])) == ((24, 2, 2, 3), np.uint8, 255)
    assert texts == [words.decode(tokens[0])] * 24
    assert (title, list(rows)) == ("Beside real images", ["edges", "real", "drawn"])
    assert [images.shape for images in rows.values()] == [(10, 2, 2, 3)] * 3
    assert [float(images[0, 0, 0, 2]) for images in rows.values()] == pytest.approx([0.2, 0.5, 1])
    assert (count, triage, last) == (2, ("history", None), "history")
    right = [measured[0][f"{name}_correctness"] for name in ("object", "scene", "shuffled")]
    assert right[:2] == [1, 1], "real images show what their prompts name"
    assert right[2] < 1
    context.data.shown = Source({"tokens": tokens, "image": real})
    _, (rows, *_), *rest = PromptPanels(0).panels(context, run)
    assert (list(rows), rest) == (["real", "drawn"], [("history", None), "history"])


def test_the_report_of_classes_shows_a_sample_of_each_in_turn(monkeypatch):
    loaded = Splits(None, None, None, {"num_classes": 3})
    monkeypatch.setattr(image_generation, "_compared", lambda splits, flags: splits)
    run = SimpleNamespace(flags=None)
    shown = Frechet(by_class=True).finish_data(loaded, run).shown
    assert shown.arrays["label"][:7].tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert len(shown) == images_parts.NUM_SHOWN
    assert Frechet().finish_data(loaded, run) is loaded
