"""What the captioning page measures and shows, on numbers written by hand."""

import gzip
import importlib
import json
import sys
import zipfile
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from dlcore.data import images_to_describe
from dlcore.data.captions import caption_words
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.words import END, PAD, START, UNKNOWN, vocabulary_from_dict
from dlcore.evaluators import caption_scores
from dlcore.experiment.parts import Run
from dlcore.experiment.resolve import resolve
from dlcore.report import described_images
from dlcore.setting import FlagError
from dlcore.vision_language.caption_rnn import CaptionRNN
from dlcore.vision_language.caption_transformer import CaptionTransformer
from dlcore.vision_language.show_attend_tell import ShowAttendTell
from experiments.vision_language.caption import experiment


@pytest.mark.covers("CP-03")
def test_the_mass_is_what_lies_on_the_cell_of_a_word_that_names_a_shape():
    """Two cells a side on a 4x4 map; of caption "4 5 6", the right one, word 5 names the shape in cell 1."""
    captions = np.array([[[START, 4, 6, END, PAD], [START, 4, 5, 6, END]]])
    cells = np.array([[[-1, -1, 0, -1, -1], [-1, -1, 1, -1, -1]]])
    weights = np.full((1, 4, 4, 4), 1 / 16)
    weights[0, 1] = 0
    weights[0, 1, 0, 2], weights[0, 1, 1, 3], weights[0, 1, 3, 3] = 0.5, 0.2, 0.3  # the third is in cell 3
    evaluator = caption_scores.attention_mass(2)
    rows = {"captions": captions, "cells": cells}
    acc = evaluator.add(None, {"tokens": np.array([[4, 5, 6, END]]), "alignment": weights}, rows)
    assert evaluator.finish(acc) == {"attention_mass": pytest.approx(0.7), "cell_share": 0.25}
    wrong = evaluator.add(None, {"tokens": np.array([[4, 4, 6, END]]), "alignment": weights}, rows)
    assert evaluator.finish(wrong) == {}
    # A caption that two references say counts once, and so does one behind which there is room.
    twice = {"captions": captions[:, [1, 1]], "cells": cells[:, [1, 1]]}
    longer = {
        "tokens": np.array([[4, 5, 6, END, PAD, PAD]]),
        "alignment": np.pad(weights, [(0, 0), (0, 2)] + 2 * [(0, 0)]),
    }
    assert evaluator.add(acc, longer, twice) == pytest.approx([0.7, 0.7])
    # The last word counts too: the third is in cell 3, of even attention.
    last = {"captions": captions[:, 1:, :4], "cells": np.array([[[-1, -1, -1, 3]]])}
    full = {"tokens": np.array([[4, 5, 6]]), "alignment": weights[:, :3]}
    assert evaluator.add(None, full, last) == pytest.approx([0.25])


def test_a_caption_matches_if_it_is_one_of_the_references():
    captions = np.array([[[START, 4, END, PAD], [START, 5, 6, END]]] * 3)
    tokens = np.array([[5, 6, END, PAD], [5, END, PAD, PAD], [4, END, PAD, PAD]])
    evaluator = caption_scores.exact_match()
    assert evaluator.finish(evaluator.add(None, {"tokens": tokens}, {"captions": captions}))["exact_match"] == 2 / 3


@pytest.fixture
def photographs(tmp_path):
    """A folder like Flickr8k's, of three images a split; "zebra" comes in the test alone."""
    for stem, word in (("train", "dog"), ("val", "cat"), ("test", "zebra")):
        texts = {f"{stem}{i}.jpg": [f"A {word} runs, on grass {i}.", f"The {word} runs on grass!"] for i in range(3)}
        (tmp_path / f"captions_{stem}.json.gz").write_bytes(gzip.compress(json.dumps(texts).encode()))
        with zipfile.ZipFile(tmp_path / f"{stem}.zip", "w") as file:
            for name in texts:
                path = tmp_path / name
                Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 24, 3), np.uint8)).save(path)
                file.write(path, name)
    return tmp_path


def test_the_blind_caption_is_of_a_network_without_the_image_trained_for_its_own_steps(photographs, monkeypatch):
    words = ["--dataset=flickr8k", f"--data_dir={photographs}", "--image_size=16", "--blind_steps=7", "--batch_size=2"]
    flags = resolve(experiment, [*words, "--ema=0"])
    data, built = experiment.run(flags).load(), []
    monkeypatch.setattr(
        "dlcore.run.fit", lambda learner, *_, steps, **__: SimpleNamespace(state=built.append((steps, learner)))
    )
    monkeypatch.setattr(
        sys.modules["dlcore.run.evaluate"], "predict", lambda *_, **__: {"tokens": np.array([[4, END]])}
    )
    run = experiment.run(flags, data.spec, 100)
    monkeypatch.setattr(Run, "build", lambda self: (self.parts.technique.keywords["blind"], self.steps))
    assert caption_scores._blind_caption(run, data, 7).tolist() == [4, END]
    assert built == [(7, (True, 7))]


def test_photographs_are_scored_against_what_was_written_and_not_against_unknown_words(photographs):
    words = ["--dataset=flickr8k", f"--data_dir={photographs}", "--image_size=16", "--min_count=2", "--smoke"]
    data = experiment.run(resolve(experiment, words)).load()
    chex.assert_shape(data.train.arrays["image"], (3, 16, 16, 3))
    assert "references" not in data.train.arrays
    assert sum("images have the pixels of a training image" in note for note in data.notes) == 2
    vocabulary = vocabulary_from_dict(data.spec["vocabulary"])
    assert vocabulary.decode(data.test.arrays["captions"][0, 1]) == "the <unk> runs on grass !"
    read = images_to_describe.all_references(vocabulary)
    assert read(data.test[[0]]) == [["a zebra runs , on grass 0 .", "the zebra runs on grass !"]]
    assert read(data.train[[0]])[0][1] == "the dog runs on grass !"


def test_photographs_have_sides_of_128_pixels_unless_told_otherwise(monkeypatch):
    asked = []

    def splits(flags, size):
        asked.append((flags.image_size, size))
        raise StopIteration

    monkeypatch.setattr(images_to_describe.captioned_images, "flickr8k_splits", splits)
    with pytest.raises(StopIteration):
        experiment.run(resolve(experiment, ["--dataset=flickr8k", "--data_dir=d"])).load()
    assert asked == [(None, 128)]


def test_photographs_without_a_folder_are_refused():
    with pytest.raises(FlagError, match="--data_dir: missing; allowed: the folder of captions_train"):
        experiment.run(resolve(experiment, ["--dataset=flickr8k"])).load()


@pytest.mark.slow(unless=["32"])
@pytest.mark.parametrize("side", [32, 64, 128])
def test_the_small_backbone_leaves_a_grid_of_eight_by_eight(side):
    flags = resolve(experiment, ["--model=transformer"])
    spec = {"vocabulary": caption_words().to_dict(), "image_shape": [side, side, 3]}
    model = experiment.run(flags, {**spec, "mean": [0.5], "std": [0.25]}, 1, jnp.float32).arguments()["model"]
    images, tokens = jnp.zeros((1, side, side, 3)), jnp.ones((1, 3), jnp.int32)

    def grid():
        return model.apply(model.init(jax.random.key(0), images, tokens), images, method="encode")["grid"]

    chex.assert_shape(jax.eval_shape(grid), (1, 8, 8, 128))


def test_scores_stand_beside_baselines_with_their_signature():
    numbers = {f"{who}bleu{n}": 0.1 * n for who in ("", "blind/", "human/") for n in range(1, 5)} | {"cider": 0.25}
    captions = np.zeros((2, 3, 4), np.int32)
    captions[0, :3, 0], captions[1, :2, 0] = START, START
    context = SimpleNamespace(
        numbers=numbers,
        flags=SimpleNamespace(model="lstm", blind=False),
        data=SimpleNamespace(test=SimpleNamespace(arrays={"captions": captions}, name="photographs (test)")),
    )
    rows = caption_scores._rows(context)
    assert [row["captions by"] for row in rows] == ["lstm", "the same without the image", "another person"]
    assert rows[0]["BLEU-4"] == "40.0"
    assert [row["CIDEr-D"] for row in rows] == ["0.250", None, None]
    text = caption_scores.signature(context)
    assert "no smoothing" in text
    assert "lower case" in text
    assert "photographs (test), 2 images, up to 3 references each; a person's caption, which has 2." in text
    for count, words in (
        (2, "up to 2 references each; a person's caption, which has 1."),
        (1, "up to 1 references each."),
    ):
        context.data.test.arrays["captions"] = captions[:, :count]
        assert words in caption_scores.signature(context)


def test_captions_are_described_as_text_and_tokens():
    spec = {"vocabulary": {"kind": "words", "words": ["a", "dog"]}}
    outputs = {"tokens": np.array([[4, 5, END], [END, PAD, PAD]]), "alignment": np.full((2, 3, 2, 2), 0.12345)}
    first, second = described_images.describe_captions(outputs, Facts.of(spec))
    assert (first["text"], first["tokens"]) == ("a dog", ["a", "dog"])
    assert first["alignment"] == [[[0.123] * 2] * 2] * 2
    assert second["text"] == "(nothing)"


def test_shapes_have_a_twentieth_to_validate_and_an_eighth_to_test_but_eight_at_least(monkeypatch):
    counts = []

    def draw(flags, asked):
        counts.append(asked)
        source = Source({"image": np.zeros((2, 8, 8, 3), np.uint8)}, name="captioned shapes (train)")
        return [source] * 3

    monkeypatch.setattr(images_to_describe.captioned_images, "captioned_shapes", draw)
    for asked in (800, 10):
        splits = experiment.run(resolve(experiment, [f"--num_images={asked}"])).load()
    assert counts == [(800, 40, 100), (10, 8, 8)]
    assert splits.spec["dataset"] == "captioned shapes"
    assert splits.spec["image_shape"] == [8, 8, 3]
    assert splits.spec["vocabulary"] == caption_words().to_dict()
    run = SimpleNamespace(facts=Facts.of(splits.spec))
    assert caption_scores.log_words(run) == pytest.approx(np.log(len(caption_words())))


def facts(side=16):
    words = {"kind": "words", "words": ["a", "dog"]}
    return {"vocabulary": words, "image_shape": [side, 3 * side, 3], "mean": [0.5] * 3, "std": [0.25] * 3}


def test_each_kind_of_network_has_its_fields_and_the_sizes_of_the_data():
    def build(*words, side=16):
        return experiment.run(resolve(experiment, [*words]), facts(side), 10, jnp.bfloat16).arguments()["model"]

    for name, kind in (("attention", ShowAttendTell), ("transformer", CaptionTransformer), ("gru", CaptionRNN)):
        group = "recurrent" if name == "gru" else name
        model = build(f"--model={name}", "--small.width=8")
        assert isinstance(model, kind), name
        assert (model.vocab_size, model.dtype, model.backbone.dtype) == (6, jnp.bfloat16, jnp.bfloat16)
        assert model.backbone.width == 8
        assert set(resolve(experiment, []).group(group)) <= set(model.__dataclass_fields__)
    assert build("--model=gru").cell == "gru"
    # 16 / 8 is one halving, 64 / 8 are three, 128 / 8 four; an image of 8 has one all the same.
    assert [build(side=side).backbone.stages for side in (8, 16, 64, 128)] == [(1,), (1,), (1,) * 3, (1,) * 4]
    assert build("--small.stages=2,1").backbone.stages == (2, 1)


def test_images_are_shifted_by_a_sixteenth_and_colors_change_on_request(monkeypatch):
    calls = []
    for name in ("random_shift", "color_jitter", "compose", "on_unit"):
        monkeypatch.setattr(f"dlcore.data.augment.{name}", lambda *args, name=name: calls.append((name, *args)) or name)
    monkeypatch.setattr("dlcore.data.augment.identity", "identity")
    jitter = ("color_jitter", 0.3, 0.3, 0.3)
    for kind, side, expected in (
        ("shift", 32, [("random_shift", 2), ("compose", "random_shift", "identity")]),
        ("color", 8, [("random_shift", 1), jitter, ("compose", "random_shift", "color_jitter")]),
    ):
        del calls[:]
        setup = experiment.run(resolve(experiment, [f"--augment={kind}"]), facts(side), 10, None)
        assert setup.arguments()["augment"] == "on_unit"
        assert calls == [*expected, ("on_unit", "compose", (0.5,) * 3, (0.25,) * 3)]
    plain = experiment.run(resolve(experiment, ["--augment=none"]), facts(), 10, None)
    assert plain.arguments()["augment"] is None


def test_baselines_stand_beside_the_captions_of_the_test_split_alone(monkeypatch):
    """A training caption with an unknown word is no candidate; validation reads the first `--monitor_images` images."""
    made, vocabulary = [], vocabulary_from_dict(facts()["vocabulary"])
    known, unknown = [START, 4, 5, END], [START, UNKNOWN, 5, END]
    train = Source({"captions": np.array([[known, unknown]])})
    valid = Source({"captions": np.array([[known]] * 3)})
    texts = caption_scores.image_text
    monkeypatch.setattr(texts, "sentence_evaluator", lambda words, read, source: ("sentences", source and len(source)))
    monkeypatch.setattr(caption_scores, "exact_match", lambda source: ("exact", source and len(source)))
    monkeypatch.setattr(caption_scores, "attention_mass", lambda grid, source: ("mass", grid, source and len(source)))
    monkeypatch.setattr(caption_scores, "_blind_caption", lambda *args: np.array([4, END]))
    module = importlib.import_module("dlcore.evaluators.captions")
    monkeypatch.setattr(module, "best_constant", lambda texts, references: made.append((texts, references)) or "best")
    monkeypatch.setattr(module, "baselines_evaluator", lambda read, texts: texts)
    assert vocabulary.decode(np.array(known[1:])) == "a dog"

    def measures(split, model, blind_steps, has_cells=True):
        test = SimpleNamespace(arrays={"cells": 1} if has_cells else {})
        splits = SimpleNamespace(train=train, valid=valid, test=test)
        words = [f"--model={model}", f"--blind_steps={blind_steps}", "--monitor_images=2", "--grid=2"]
        return experiment.run(resolve(experiment, words), facts(), 10, None).evaluators(splits, split)

    assert measures("valid", "attention", 5) == [("sentences", 2), ("exact", 2), ("mass", 2, 2)]
    assert measures("valid", "gru", 5) == [("sentences", 2), ("exact", 2)]
    assert measures("valid", "transformer", 5, has_cells=False) == [("sentences", 2), ("exact", 2)]
    plain = [("sentences", None), ("exact", None)]
    assert measures("test", "gru", 0) == [*plain, {"constant": "best"}]
    assert measures("test", "gru", 5) == [*plain, {"constant": "best", "blind": "a"}]
    assert made[0] == (["a dog"], [["a dog"], ["a dog"]])


@pytest.mark.parametrize(("model", "words"), [("attention", "wrote the word."), ("transformer", "the mean over heads")])
def test_the_first_captions_stand_with_scores_and_what_three_of_them_looked_at(monkeypatch, model, words):
    monkeypatch.setattr("dlcore.report.vision_language.sentences", lambda *rest: rest)
    monkeypatch.setattr("dlcore.report.tables.table", lambda *rest: rest)
    monkeypatch.setattr("dlcore.report.curves.curves", lambda history: ("curves", history))
    monkeypatch.setattr("dlcore.report.triage.triage_panels", lambda history, floor: [("triage", history, floor)])
    monkeypatch.setattr(caption_scores.vision_language, "attention_panel", lambda *rest: rest)
    spec = {"vocabulary": caption_words().to_dict()}
    tokens = np.tile([4, END, PAD], (14, 1))
    captions = np.tile([START, 5, END], (14, 1, 1))
    test = Source({"image": np.arange(14), "captions": captions}, name="shapes (test)")
    outputs = {"tokens": tokens, "alignment": "maps"}
    context = SimpleNamespace(
        spec=spec, data=SimpleNamespace(test=test), outputs=outputs, numbers={"bleu4": 0.25, "cider": 0.5},
        flags=SimpleNamespace(model=model, blind=False), history=[{"loss": 1, "valid/loss": 2}],
    )  # fmt: skip
    (images, said, references, title, _), (rows, scores, caption), attention, triage, curves = (
        caption_scores.caption_panels(context)
    )
    assert (images.tolist(), title) == ([*range(12)], "Captions")
    known = vocabulary_from_dict(spec["vocabulary"])
    assert said == [known.decode([4])] * 12
    assert references == [[known.decode([5])]] * 12
    assert (scores, len(rows), rows[0]["BLEU-4"]) == ("Scores", 1, "25.0")
    assert caption.startswith("In %, CIDEr-D as it is. BLEU of the corpus")
    assert (attention[1].tolist(), attention[3:5]) == ([*range(14)], ("maps", 3))
    assert attention[5].startswith("Bright where the model looked before it wrote the word")
    assert words in attention[5]
    assert (triage, curves) == (("triage", [{"loss": 1}], None), ("curves", [{"loss": 1}]))
    context.outputs = {"tokens": tokens}
    assert len(caption_scores.caption_panels(context)) == 4
