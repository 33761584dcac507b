"""Data of images and language by name, what a run keeps of it, and the measures beside it."""

import gzip
import importlib
import io
import json
import math
import zipfile
from types import SimpleNamespace

import chex
import numpy as np
import pytest
from PIL import Image

from dlcore.data import image_text
from dlcore.data.captioned_images import vocabulary
from dlcore.data.facts import Facts
from dlcore.data.image_text import CaptionedClips, ClipsOrImages, ImageQuestions
from dlcore.data.questions import ANSWERS
from dlcore.data.source import Source
from dlcore.data.words import END, START
from dlcore.evaluators import image_text as results
from dlcore.evaluators.image_text import AskImages
from dlcore.setting import FlagError


def test_questions_and_what_a_run_keeps():
    data = ImageQuestions(num_questions=20).load()
    assert (len(data.train), len(data.valid), len(data.test)) == (20, 8, 10)
    assert data.spec["answers"] == list(ANSWERS)
    spec = json.loads(json.dumps(data.spec))
    assert len(vocabulary(spec)) == 29


@pytest.mark.parametrize(
    ("data", "counts"),
    [
        (ImageQuestions(num_questions=9000), [(9000, 0), (900, 1), (2000, 2)]),
        (ImageQuestions(num_questions=1000), [(1000, 0), (100, 1), (500, 2)]),
        (CaptionedClips(num_clips=3000), [(3000, 0), (300, 1), (1000, 2)]),
        (ClipsOrImages("shapes", num_images=3000, grid=2), [3000, 300, 1000]),
    ],
)
def test_a_tenth_validates_and_half_tests_but_no_more_than_a_limit(monkeypatch, data, counts):
    """Questions are tested by 2,000 at most, clips and images by 1,000; clips may have equal sentences."""
    calls, parts = [], Source({"image": np.zeros((1, 2, 3, 3), np.uint8), "clip": np.zeros((1, 2, 2, 3, 3), np.uint8)})
    draw = lambda *counts, **settings: calls.append((counts, settings)) or parts  # noqa: E731
    for name in ("questions", "clips"):
        monkeypatch.setattr(importlib.import_module(f"dlcore.data.{name}"), name, draw)
    monkeypatch.setattr(
        image_text.captioned_images,
        "captioned_shapes",
        lambda flags, counts: calls.extend((n, {}) for n in counts) or [parts] * 3,
    )
    spec = data.load().spec
    assert [found for found, _ in calls] == counts
    if isinstance(data, CaptionedClips):
        assert [settings["distinct"] for _, settings in calls] == [False] * 3
        assert calls[0][1] == {
            "size": 32, "distinct": False, "frames": 8, "path": "hopping", "camera": False, "shuffled": False
        }  # fmt: skip
    elif isinstance(data, ImageQuestions):
        assert calls[0][1] == {"size": 36, "grid": 3}
    else:
        assert spec["grid"] == 2


def test_photographs_have_sides_of_96_pixels_unless_told_otherwise(monkeypatch):
    asked = []

    def splits(flags, size):
        asked.append((flags.image_size, size))
        raise StopIteration

    monkeypatch.setattr(image_text.captioned_images, "flickr8k_splits", splits)
    with pytest.raises(StopIteration):
        ClipsOrImages("flickr8k").load()
    assert asked == [(None, 96)]


def test_clips_to_retrieve_differ():
    data = CaptionedClips(num_clips=12, frames=2, num_sentences=15).load()
    assert (len(data.train), len(data.valid), len(data.test)) == (12, 15, 15)
    assert len({tokens.tobytes() for tokens in data.test.arrays["captions"]}) == 15
    assert data.spec["image_shape"] == [32, 32, 3]


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((6, 8, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def test_photographs_keep_all_words_of_their_references(tmp_path):
    texts = {"train": ["a dog runs", "a dog"], "val": ["a zebra sleeps on the grass"], "test": ["a dog", "a cat sits"]}
    for stem, captions in texts.items():
        content = json.dumps({"x.png": captions}).encode()
        (tmp_path / f"captions_{stem}.json.gz").write_bytes(gzip.compress(content))
        with zipfile.ZipFile(tmp_path / f"{stem}.zip", "w") as file:
            file.writestr("x.png", png(90))
    data = ClipsOrImages("flickr8k", str(tmp_path), 16, min_count=1, caption_length=6).load()
    assert results.references_of(data.test.arrays, data.spec) == [["a dog", "a cat sits"]]
    assert vocabulary(data.spec).decode(data.test.arrays["captions"][0, 1]) == "a <unk> <unk>"
    assert "references" not in data.train.arrays
    assert [note.partition(" have")[0] for note in data.notes] == [
        f"1 of the 1 {split} images" for split in ("validation", "test")
    ]
    with pytest.raises(FlagError, match="--data_dir: missing"):
        ClipsOrImages("flickr8k").load()


def test_files_are_asked_the_question(tmp_path):
    for name in "xy":
        (tmp_path / f"{name}.png").write_bytes(png(90))
    spec = ImageQuestions(num_questions=10).load().facts
    run, question = SimpleNamespace(facts=Facts.of(spec)), "what shape is the red thing"
    source, names = AskImages(question).inputs(str(tmp_path), run)
    assert names == [str(tmp_path / "x.png"), str(tmp_path / "y.png")]
    chex.assert_shape(source.arrays["image"], (2, 36, 36, 3))
    assert [vocabulary(spec).decode(tokens) for tokens in source.arrays["question"]] == [question] * 2
    for text, message in (("what is a zebra", "--question='what is a zebra': 'a' is unknown"), ("", "0 words")):
        with pytest.raises(FlagError, match=message):
            AskImages(text).inputs(str(tmp_path), run)


def test_trivial_sentences_by_hand():
    train = [["a dog", "a dog runs"], ["a dog", "a cat"]]
    references = [["a dog", "the dog"], ["a cat", "one cat"]]
    rows = {row["sentence"]: row for row in results.caption_rows(["a dog", "<unk>"], references, train)}
    assert rows["always “a dog”"]["exact %"] == 50.0
    assert rows["the model"]["exact %"] == 50.0
    # "a dog" and "<unk>": 2 of 3 words, and length 3 beside references of 4: e^(1 - 4/3) * 2/3 = .478.
    assert rows["the model"]["BLEU-1"] == 47.8
    # Longer n-grams, smoothed as the COCO caption tools do: 1 of 1, then twice 1e-15 of 1e-9 for 0 of 0.
    assert rows["the model"]["BLEU-4"] == pytest.approx(100 * math.exp(1 - 4 / 3) * (2 / 3 * 1e-12) ** 0.25, abs=0.05)
    # "a dog" against "the dog", "a cat" against "one cat": 2 of 4 words.
    assert rows["a reference against the others"]["BLEU-1"] == 50.0
    (*_, nothing) = results.caption_rows(["", "<unk>"], references, train)
    assert nothing == {"sentence": "the model", "exact %": 0.0, "BLEU-1": 0.0, "BLEU-4": 0.0, "CIDEr-D": 0.0}
    assert "a reference against the others" not in {
        row["sentence"] for row in results.caption_rows(["a"], [["a"]], [["a"]])
    }


def test_shares_of_things_and_directions():
    said = ["the red ring moves up", "the red ring moves up", "the red", "the red ring moves left"]
    right = ["the red ring moves up", "the blue ring moves up", "the red ring moves up", "the red ring moves up"]
    assert results.motion_shares(said, right) == {"thing": 0.5, "direction": 0.5}


def test_blind_guesses_by_hand():
    train = {
        "question": np.array([[5], [5], [5], [6], [6]]),
        "answer": np.array([0, 0, 1, 1, 1]),
        "kind": np.array([0, 0, 0, 0, 1]),
    }
    test = {
        "question": np.array([[5], [6], [6], [7]]),
        "answer": np.array([0, 1, 0, 1]),
        "kind": np.array([0, 0, 1, 1]),
    }
    rows = {row["answers"]: row for row in results.answer_rows({"own": np.zeros(4, int)}, train, test, ("x", "y"))}
    # Answer 1 comes three times of five; of kind 0 both come twice (0 first), of kind 1 only 1.
    assert [row["all"] for row in rows.values()] == [50.0, 50.0, 50.0, 50.0]
    assert rows["always one answer"]["x"] == 50.0
    assert rows["the most frequent answer of the kind"]["y"] == 50.0
    assert rows["the most frequent answer to these words (no image)"]["x"] == 100.0
    assert rows["own"]["y"] == 50.0


def test_answers_and_sentences_in_words():
    facts = Facts(answers=("red", "green"))
    (row,) = results.describe_answers({"probabilities": np.array([[0.25, 0.75]])}, facts)
    assert row == {"answer": "green", "probabilities": {"green": 0.75, "red": 0.25}}


@pytest.mark.covers("CP-10")
def test_recall_counts_what_has_the_same_sentence():
    """Sentence 2 is nearest to clip 0, which has another sentence; sentences 0 and 1 are one."""
    (evaluator,) = results.recall_evaluators(None, None, "test")
    captions = np.array([[[START, 4, END]], [[START, 4, END]], [[START, 5, END]]])
    clips = np.array([[1.0, 0], [0, 1], [-1, 0]])
    sentences = np.array([[0.1, 1], [1, 0.1], [1, 0]])
    acc = evaluator.add(None, {"clip": clips[:2], "sentence": sentences[:2]}, {"captions": captions[:2]})
    acc = evaluator.add(acc, {"clip": clips[2:], "sentence": sentences[2:]}, {"captions": captions[2:]})
    found = evaluator.finish(acc)
    assert found["r1"] == pytest.approx(2 / 3)
    assert set(found) == {"r1", "text_r1"}
