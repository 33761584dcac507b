"""Sentences, answers and retrieval by hand: evaluators, what can be guessed, and what the panels get."""

import importlib
import types

import numpy as np
import pytest

from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.words import END, PAD, START, Words
from dlcore.evaluators import image_text as results

WORDS = Words(("a", "cat", "moves", "left", "up"))
SPEC = {"words": WORDS.to_dict()}
TEST = Source({"image": np.zeros((1, 2, 2, 3), np.uint8)})


def tokens(text, length=6):
    ids = [START, *(4 + WORDS.words.index(word) for word in text.split()), END]
    return ids + [PAD] * (length - len(ids))


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Panels are their arguments."""
    monkeypatch.setattr("dlcore.report.tables.table", lambda *rest: Drawn(*rest))
    monkeypatch.setattr("dlcore.report.vision_language.sentences", lambda *rest, **more: Drawn(*rest, **more))
    monkeypatch.setattr("dlcore.report.vision_language.attention_overlay", lambda image, part: image[..., 0] + part)
    monkeypatch.setattr("dlcore.report.triage.triage_panels", lambda history, floor: [(history, floor)])
    monkeypatch.setattr("dlcore.report.curves.curves", lambda history: history)


class Drawn:
    def __init__(self, *rest, **more):
        self.rest, self.more = rest, more

    def _replace(self, **more):
        self.more |= more
        return self


def test_references_are_whole_or_those_that_train():
    arrays = {"captions": np.array([[tokens("a cat"), [PAD] * 6]]), "references": np.array([[[5], [4]]])}
    assert results.references_of({"captions": arrays["captions"]}, SPEC) == [["a cat"]]
    spec = {**SPEC, "reference_words": Words(("x", "y")).to_dict()}
    assert results.references_of(arrays, spec) == [["y", "x"]]


def test_words_before_and_behind_moves_are_compared():
    shares = results.motion_shares(["a moves left", "cat moves up", "a moves up", "a"], ["a moves up"] * 4)
    assert shares == {"thing": 0.75, "direction": 0.5}


def test_clips_are_measured_over_all_batches(monkeypatch):
    setup = types.SimpleNamespace(spec=SPEC)
    monkeypatch.setattr(results, "caption_evaluators", lambda *rest: ["captions"])
    first, evaluator = results.motion_evaluators(setup, None, "test")
    acc = None
    for written, right in (("a moves left", "a moves left"), ("cat moves up", "a moves up")):
        outputs = {"tokens": np.array([tokens(written)[1:]])}
        acc = evaluator.add(acc, outputs, {"captions": np.array([[tokens(right), tokens("cat")]])})
    assert (first, evaluator.finish(acc)) == ("captions", {"thing": 0.5, "direction": 1.0})


def test_sentences_stand_beside_what_can_be_said_without_the_image(monkeypatch):
    """The most frequent caption is y; the random ones are those of NumPy's generator 0."""
    monkeypatch.setattr("dlcore.evaluators.text.bleu", lambda texts, targets, n: n / 7)
    monkeypatch.setattr("dlcore.evaluators.text.cider", lambda texts, targets: np.array([0.25, 0.5001]))
    train = [["x", "y"], ["y", "z"]]
    references = [["y", "w"], ["x", "y"]]
    constant, random, human, model = results.caption_rows(["w", "z"], references, train)
    assert constant == {"sentence": "always “y”", "exact %": 100, "BLEU-1": 14.3, "BLEU-4": 57.1, "CIDEr-D": 0.375}
    idx = np.random.default_rng(0).integers(4, size=2)
    texts = [["x", "y", "y", "z"][i] for i in idx]
    assert random["exact %"] == 50 * sum(text in right for text, right in zip(texts, references, strict=True))
    assert human["exact %"] == 0
    assert (model["sentence"], model["exact %"]) == ("the model", 50)
    assert [row["sentence"] for row in results.caption_rows(["w"], [["y"]], train)][-1] == "the model"
    assert len(results.caption_rows(["w"], [["y"]], train)) == 3
    assert results.caption_rows(["w", "w", "w"], [["w"], ["x"], ["y"]], train)[-1]["exact %"] == 33.3


def test_captions_stand_beside_their_references(monkeypatch):
    monkeypatch.setattr(results, "caption_rows", lambda *rest: rest)
    monkeypatch.setattr(results, "attention_panel", lambda *rest: rest[1:])
    arrays = {"image": np.arange(14), "captions": np.array([[tokens("a"), tokens("cat")]] * 14)}
    context = types.SimpleNamespace(
        spec=SPEC,
        data=types.SimpleNamespace(**{name: types.SimpleNamespace(arrays=arrays) for name in ("train", "test")}),
        outputs={"tokens": np.array([tokens("cat")[1:]] * 14), "attention": "maps"},
        history=["row"],
    )
    sentences, table, attention, triage, history = results.caption_panels(context)
    images, captions, references = sentences.rest
    assert (len(images), captions, references) == (12, ["cat"] * 12, [["a", "cat"]] * 12)
    assert sentences.more["subtitle"].startswith("The first test examples: green where the sentence is one of")
    assert table.rest[2].startswith("Test split, 14 examples, 2 references each; corpus BLEU-4")
    assert table.rest[0] == (["cat"] * 14, [["a", "cat"]] * 14, [["a", "cat"]] * 14)
    assert attention[2:4] == ("maps", 4)
    assert (triage, history) == ((["row"], None), ["row"])
    del context.outputs["attention"]
    assert len(results.caption_panels(context)) == 4


def test_frames_are_shuffled_in_each_clip_alone(monkeypatch):
    clips = np.arange(18).reshape(3, 6, 1, 1, 1)
    predicted = []

    def predict(learner, state, source, batch_size):
        predicted.append((source.arrays["clip"], batch_size))
        return {"tokens": np.array([tokens("a moves up")[1:]] * 3)}

    monkeypatch.setattr(importlib.import_module("dlcore.run.evaluate"), "predict", predict)
    monkeypatch.setattr(results, "caption_panels", lambda context, name: [name, "others"])
    right = np.array([[tokens("a moves left")], [tokens("cat moves left")], [tokens("up moves left")]])
    context = types.SimpleNamespace(
        spec=SPEC,
        data=types.SimpleNamespace(test=types.SimpleNamespace(arrays={"clip": clips, "captions": right})),
        outputs={"tokens": np.array([tokens("a moves left")[1:]] * 3)},
        learner=None,
        state=None,
        flags=types.SimpleNamespace(eval_batch_size=7),
    )
    first, table, others = results.clip_panels(context)
    assert (first, others, table.more) == ("clip", "others", {"half": True})
    assert table.rest[0] == [
        {"frames": "in order", "thing, %": 33.3, "direction, %": 100.0},
        {"frames": "shuffled", "thing, %": 33.3, "direction, %": 0.0},
        {"frames": "chance", "thing, %": 3.3, "direction, %": 25.0},
    ]
    shuffled, batch_size = predicted[0]
    assert batch_size == 7
    np.testing.assert_array_equal(np.sort(shuffled, 1), clips)
    assert (shuffled != clips).any((1, 2, 3, 4)).all()


def test_answers_are_described_the_most_probable_first():
    (row,) = results.describe_answers({"probabilities": np.array([[0.12344, 0.87656]])}, Facts(answers=("no", "yes")))
    assert list(row["probabilities"].items()) == [("yes", 0.8766), ("no", 0.1234)]
    assert row["answer"] == "yes"


def test_guesses_without_an_image_by_hand():
    """Of all training answers 2 is the most frequent; of kind 0 it is 1, of kind 1 it is 2."""
    train = {
        "question": np.array([[7], [7], [8], [8], [9]]),
        "kind": np.array([0, 0, 1, 1, 1]),
        "answer": np.array([1, 1, 2, 2, 2]),
    }
    test = {
        "question": np.array([[7], [9], [5], [8]]),
        "kind": np.array([0, 1, 0, 1]),
        "answer": np.array([1, 2, 2, 0]),
    }
    rows = results.answer_rows({"the model": np.array([1, 2, 2, 2])}, train, test, ["what", "where", "none"])
    assert [tuple(row.values()) for row in rows] == [
        ("always one answer", 50.0, 50.0, 50.0, None),
        ("the most frequent answer of the kind", 50.0, 50.0, 50.0, None),
        ("the most frequent answer to these words (no image)", 50.0, 50.0, 50.0, None),
        ("the model", 75.0, 100.0, 50.0, None),
    ]
    test["answer"] = np.array([1, 2, 1, 2])
    accuracies = [row["all"] for row in results.answer_rows({}, train, test, ["what"])]
    assert accuracies == [50.0, 100.0, 75.0]
    three = {name: values[:3] for name, values in test.items()} | {"kind": np.zeros(3, int)}
    (*_, model) = results.answer_rows({"the model": np.array([1, 2, 0])}, train, three, ["what"])
    assert tuple(model.values()) == ("the model", 66.7, 66.7)


def test_answers_stand_beside_those_without_an_image(monkeypatch):
    sources = []

    def predict(learner, state, source, batch_size):
        sources.append(source.arrays)
        return {"logits": np.array([[0.0, 1], [0, 1]])}

    monkeypatch.setattr(importlib.import_module("dlcore.run.evaluate"), "predict", predict)
    monkeypatch.setattr(results, "answer_rows", lambda answered, train, test, kinds: answered)
    question = np.array([tokens("a cat")[1:], tokens("cat")[1:]])
    arrays = {"image": np.zeros((2, 2, 2, 3), np.uint8), "question": question, "answer": np.array([0, 1])}
    context = types.SimpleNamespace(
        spec={**SPEC, "answers": ["no", "yes"], "mean": [0.2, 0.4, 1.0], "kinds": ["what"]},
        data=types.SimpleNamespace(test=Source(arrays), train=Source(arrays)),
        outputs={"logits": np.array([[1.0, 0], [1, 0]]), "attention": np.arange(16.0).reshape(2, 2, 2, 2)},
        history=[{"step": 1, "loss/x": 2}],
        flags=types.SimpleNamespace(eval_batch_size=7),
        learner=None,
        state=None,
    )
    first, second, table, triage, history = results.answer_panels(context)
    assert first.rest[1:3] == (["a cat? no", "cat? no"], [["a cat? no"], ["cat? yes"]])
    np.testing.assert_array_equal(second.rest[0], context.outputs["attention"])
    assert (first.more, second.more) == ({"half": True}, {"half": True})
    assert {name: answers.tolist() for name, answers in table.rest[0].items()} == {
        "the model, shown a gray image": [1, 1],
        "the model, asked nothing": [1, 1],
        "the model": [0, 0],
    }
    assert sources[0]["image"][1, 1, 1].tolist() == [51, 102, 255]
    np.testing.assert_array_equal(sources[0]["question"], question)
    assert sources[1]["question"].max() == PAD
    assert table.rest[2].startswith("Test split, 2 questions, in %.")
    assert (triage, history) == (([{"step": 1}], None), [{"step": 1}])


def test_retrieval_counts_the_same_sentence_as_found():
    """Sentence 0 lies at clip 1, which has the same words; sentence 2 lies at clip 0."""
    (evaluator,) = results.recall_evaluators(None, None, "test")
    clips = np.eye(3)
    sentences = np.array([[0.0, 1, 0], [0, 1, 0], [1, 0, 0.5]])
    captions = np.array([[tokens("a")], [tokens("a")], [tokens("cat")]])
    acc = None
    for rows in (slice(0, 2), slice(2, 3)):
        acc = evaluator.add(acc, {"clip": clips[rows], "sentence": sentences[rows]}, {"captions": captions[rows]})
    numbers = evaluator.finish(acc)
    assert numbers == pytest.approx({"r1": 2 / 3, "text_r1": 2 / 3})
    assert evaluator.names == ("r1", "text_r1", "r5", "text_r5", "r10", "text_r10")


def test_recall_stands_beside_chance():
    captions = np.array([[tokens("a")], [tokens("cat")], [tokens("up")]])
    context = types.SimpleNamespace(
        spec=SPEC,
        data=types.SimpleNamespace(test=types.SimpleNamespace(arrays={"image": np.arange(3), "captions": captions})),
        outputs={"sentence": np.eye(3), "clip": np.eye(3)[[1, 2, 0]]},
        numbers={"r1": 0.12345, "text_r1": 0.5},
        history=["row"],
    )
    found, table, triage, history = results.recall_panels(context)
    # Sentence 0 is clip 2's, 1 is clip 0's, 2 is clip 1's.
    assert found.rest[0].tolist() == [2, 0, 1]
    assert found.rest[1:3] == (["up", "a", "cat"], [["a"], ["cat"], ["up"]])
    assert [tuple(row.values()) for row in table.rest[0]] == [
        ("at 1", 12.3, 50.0, 33.3),
        ("at 5", None, None, 100.0),
        ("at 10", None, None, 100.0),
    ]
    assert (table.more, triage, history) == ({"half": True}, (["row"], None), ["row"])


def test_recall_of_a_depth_needs_as_many_clips():
    """Of five sentences each finds its own clip last among four, so that recall at 5 is 1 and at 1 is 0."""
    (evaluator,) = results.recall_evaluators(None, None, "test")
    captions = np.array([[tokens(text)] for text in ("a", "cat", "up", "left", "moves")])
    outputs = {"clip": -np.eye(5), "sentence": np.eye(5)}
    assert evaluator.finish(evaluator.add(None, outputs, {"captions": captions})) == {
        "r1": 0, "text_r1": 0, "r5": 1, "text_r5": 1,
    }  # fmt: skip
