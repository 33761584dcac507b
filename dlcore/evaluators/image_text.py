"""Measures, panels and predictions of models that see and read: sentences and answers beside trivial baselines."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np

from dlcore.data.captioned_images import decode_sentences, vocabulary
from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.words import PAD, BytePairs, Words, vocabulary_from_dict
from dlcore.experiment.parts import Run
from dlcore.learner import Evaluator
from dlcore.report import prediction
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.report.vision_language import attention_panel
from dlcore.setting import FlagError

__all__ = [
    "AskImages",
    "ClipSentences",
    "Recall",
    "answer_panels",
    "answer_rows",
    "caption_evaluators",
    "caption_panels",
    "caption_rows",
    "clip_panels",
    "describe_answers",
    "log_answers",
    "log_words",
    "motion_evaluators",
    "motion_shares",
    "num_words",
    "num_words_and_answers",
    "recall_evaluators",
    "recall_panels",
    "references_of",
    "sentence_evaluator",
]


def sentence_evaluator(
    words: Words | BytePairs, references: Callable[[dict], list[list[str]]], source: Source | None = None
) -> Evaluator:
    """Measure written sentences against all references: BLEU, ROUGE-L, CIDEr-D.

    Args:
      words: the vocabulary.
      references: rows -> the references of each.
      source: source to measure; None measures the split.

    Returns:
      The evaluator of outputs with `tokens`.
    """
    from dlcore.evaluators.text import text_evaluator

    return text_evaluator(lambda outputs, rows: decode_sentences(words, outputs["tokens"]), references, source)


_BLEU_SIGNATURE = "corpus BLEU-4, not smoothed, lower case, dlcore.data.words.tokenize"


_SHOWN = 12


_MAPS = 4


def references_of(arrays: dict[str, np.ndarray], spec: dict) -> list[list[str]]:
    """Write the references of examples out.

    Args:
      arrays: arrays with `references`, or `captions` where these are whole.

    Returns:
      The texts of each example, their tokens with blanks between.
    """
    whole = "references" in arrays
    words = vocabulary_from_dict(spec["reference_words"]) if whole else vocabulary(spec)
    return [
        [words.decode(tokens) for tokens in several if (tokens != PAD).any()]
        for several in arrays["references" if whole else "captions"]
    ]


def caption_evaluators(run: Run, data: Splits, split: str) -> list[Evaluator]:
    """Measure written sentences against all references: BLEU, ROUGE-L, CIDEr-D.

    Args:
      split: "valid" or "test".

    Returns:
      One evaluator of outputs with `tokens`.
    """
    return [sentence_evaluator(vocabulary(run.spec), lambda rows: references_of(rows, run.spec))]


def motion_evaluators(run: Run, data: Splits, split: str) -> list[Evaluator]:
    """Measure sentences of clips: those of `caption_evaluators`, and what stands before and behind "moves".

    Args:
      split: "valid" or "test".

    Returns:
      Evaluators of outputs with `tokens`; `thing` and `direction` are the shares that name these right.
    """
    words = vocabulary(run.spec)

    def add(acc, outputs, rows):
        captions = decode_sentences(words, outputs["tokens"])
        right = [several[0] for several in references_of(rows, run.spec)]
        return (acc or []) + list(zip(captions, right, strict=True))

    def finish(acc):
        return motion_shares(*zip(*acc, strict=True))

    return [*caption_evaluators(run, data, split), Evaluator(add, finish, None, ("thing", "direction"))]


def motion_shares(captions: Sequence[str], right: Sequence[str]) -> dict[str, float]:
    """Compare what stands before "moves", and what stands behind it.

    Args:
      captions: N sentences.
      right: N sentences.

    Returns:
      {"thing", "direction"}: shares of the N.
    """
    parts = [(a.partition(" moves "), b.partition(" moves ")) for a, b in zip(captions, right, strict=True)]
    return {
        "thing": float(np.mean([a[0] == b[0] for a, b in parts])),
        "direction": float(np.mean([a[2] == b[2] for a, b in parts])),
    }


def caption_rows(
    captions: Sequence[str], references: Sequence[Sequence[str]], train: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """Measure a model's sentences beside what can be said without it.

    Args:
      captions: N sentences of the model.
      references: references of each of the N images.
      train: the references of the training images.

    Returns:
      Rows: the most frequent training caption for every image, random training captions, one person's caption against
      the other references (where there are several), and the model. BLEU in %.
    """
    from dlcore.evaluators.text import bleu, cider

    train_captions = [text for several in train for text in several]
    constant = Counter(train_captions).most_common(1)[0][0]
    random_idx = np.random.default_rng(0).integers(len(train_captions), size=len(captions))
    rows: list[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = [
        (f"always “{constant}”", [constant] * len(captions), references),
        ("a random training caption", [train_captions[k] for k in random_idx], references),
    ]
    if min(map(len, references)) > 1:
        rows.append(("a reference against the others", [r[0] for r in references], [list(r[1:]) for r in references]))
    rows.append(("the model", captions, references))
    table = []
    for name, texts, targets in rows:
        exact = np.mean([text in right for text, right in zip(texts, targets, strict=True)])
        row = {"sentence": name, "exact %": round(100 * float(exact), 1)}
        row |= {f"BLEU-{n}": round(100 * bleu(texts, targets, n), 1) for n in (1, 4)}
        table.append(row | {"CIDEr-D": round(float(cider(texts, targets).mean()), 3)})
    return table


def caption_panels(context: ReportContext, input_name: str = "image") -> list[Panel]:
    """Show examples with their sentences, the measures beside trivial baselines, attention and the curves.

    Args:
      context: the run's ReportContext; its outputs have `tokens`, and where there is attention `attention`
        [N, T, h, w], a map a token.
      input_name: "image" or "clip".
    """
    from dlcore.report.curves import curves
    from dlcore.report.tables import table
    from dlcore.report.triage import triage_panels
    from dlcore.report.vision_language import sentences

    words, test = vocabulary(context.spec), context.data.test.arrays
    captions = decode_sentences(words, context.outputs["tokens"])
    references = references_of(test, context.spec)
    train = references_of({"captions": context.data.train.arrays["captions"]}, context.spec)
    rows = caption_rows(captions, references, train)
    subtitle = (
        f"Test split, {len(captions):,} examples, {max(map(len, references))} references each; {_BLEU_SIGNATURE}."
    )
    examples = "The first test examples: green where the sentence is one of the references, which else stand below."
    panels = [
        sentences(test[input_name][:_SHOWN], captions[:_SHOWN], references[:_SHOWN], subtitle=examples),
        table(rows, "Beside trivial sentences", subtitle),
    ]
    if "attention" in context.outputs:
        looks = words, test[input_name], context.outputs["tokens"], context.outputs["attention"]
        panels.append(attention_panel(*looks, _MAPS, "Bright: where the model looks for each word."))
    return [*panels, *triage_panels(context.history, floor=None), curves(context.history)]


def clip_panels(context: ReportContext) -> list[Panel]:
    """Show the panels of captions for clips, and what is left of the sentences when the frames are shuffled."""
    from dlcore.report.tables import table
    from dlcore.run.evaluate import predict

    words, test = vocabulary(context.spec), context.data.test.arrays
    right = [several[0] for several in references_of(test, context.spec)]
    rng = np.random.default_rng(0)
    orders = np.argsort(rng.random(test["clip"].shape[:2]), axis=1)
    shuffled = np.take_along_axis(test["clip"], orders[:, :, None, None, None], axis=1)
    outputs = predict(
        context.learner, context.state, Source({**test, "clip": shuffled}), batch_size=context.flags.eval_batch_size
    )
    rows = []
    for name, tokens in (("in order", context.outputs["tokens"]), ("shuffled", outputs["tokens"])):
        fractions = motion_shares(decode_sentences(words, tokens), right)
        rows.append({"frames": name} | {f"{key}, %": round(100 * fraction, 1) for key, fraction in fractions.items()})
    rows.append({"frames": "chance", "thing, %": round(100 / 30, 1), "direction, %": 25.0})
    first, *panels = caption_panels(context, "clip")
    subtitle = "Words before and behind “moves” that are right, over the test clips."
    return [first, table(rows, "Without the order of the frames", subtitle)._replace(half=True), *panels]


def describe_answers(outputs: dict, facts: Facts) -> list[dict]:
    """Describe answers for `--mode=predict`.

    Args:
      outputs: outputs with `probabilities: [N, A]`.
      facts: facts of the data, with `answers`.

    Returns:
      Each image's `answer`, and `probabilities` by answer, the most probable first.
    """
    rows = []
    for probabilities in outputs["probabilities"]:
        order = np.argsort(-probabilities, kind="stable")
        ranked = {facts.answers[i]: round(float(probabilities[i]), 4) for i in order}
        rows.append({"answer": next(iter(ranked)), "probabilities": ranked})
    return rows


def answer_rows(
    answered: dict[str, np.ndarray], train: dict[str, np.ndarray], test: dict[str, np.ndarray], kinds: Sequence[str]
) -> list[dict[str, Any]]:
    """Measure a model's answers, by kind, beside what can be guessed.

    Args:
      answered: name of a row -> [N] answers to the test questions.
      train: `question`, `answer` and `kind` of the training split.
      test: the same of the test split.
      kinds: names of the kinds.

    Returns:
      Rows, in %: the most frequent answer to all questions, to those of the kind, and to the same words (the best that
      a model without the image can do); then the given rows.
    """

    def most_frequent(key: Callable[[dict], np.ndarray]) -> np.ndarray:
        table: dict[Any, Counter] = {}
        for k, label in zip(key(train), train["answer"], strict=True):
            table.setdefault(k, Counter()).update([int(label)])
        best = {k: counter.most_common(1)[0][0] for k, counter in table.items()}
        return np.array([best.get(k, -1) for k in key(test)])

    rows = {
        "always one answer": most_frequent(lambda arrays: np.zeros(len(arrays["answer"]), int)),
        "the most frequent answer of the kind": most_frequent(lambda arrays: arrays["kind"]),
        "the most frequent answer to these words (no image)": most_frequent(
            lambda arrays: [row.tobytes() for row in arrays["question"]]
        ),
        **answered,
    }
    table = []
    for name, predictions in rows.items():
        right = predictions == test["answer"]
        by_kind = {kind: right[test["kind"] == k] for k, kind in enumerate(kinds)}
        table.append(
            {"answers": name, "all": round(100 * float(right.mean()), 1)}
            | {kind: round(100 * float(r.mean()), 1) if len(r) else None for kind, r in by_kind.items()}
        )
    return table


def answer_panels(context: ReportContext) -> list[Panel]:
    """Show questions with answers and attention, accuracies by kind beside blind guesses, and the curves.

    Args:
      context: the run's ReportContext; its outputs have `logits` [N, A] and `attention` [N, 2, h, w].
    """
    from dlcore.report.curves import curves
    from dlcore.report.tables import table
    from dlcore.report.triage import triage_panels
    from dlcore.report.vision_language import attention_overlay, sentences
    from dlcore.run.evaluate import predict

    spec, test = context.spec, context.data.test
    words, answer_names = vocabulary(spec), spec["answers"]

    def answers_to(source: Source) -> np.ndarray:
        outputs = predict(context.learner, context.state, source, batch_size=context.flags.eval_batch_size)
        return np.asarray(outputs["logits"]).argmax(-1)

    gray = np.rint(255 * np.array(spec["mean"])).astype(np.uint8)
    without = {
        "the model, shown a gray image": {"image": np.broadcast_to(gray, test.arrays["image"].shape)},
        "the model, asked nothing": {"question": np.full_like(test.arrays["question"], PAD)},
    }
    answered = {name: answers_to(Source({**test.arrays, **arrays})) for name, arrays in without.items()}
    predictions = np.asarray(context.outputs["logits"]).argmax(-1)
    rows = answer_rows({**answered, "the model": predictions}, context.data.train.arrays, test.arrays, spec["kinds"])
    asked = decode_sentences(words, test.arrays["question"][:_SHOWN])
    texts = [f"{q}? {answer_names[k]}" for q, k in zip(asked, predictions[:_SHOWN], strict=True)]
    references = [[f"{q}? {answer_names[k]}"] for q, k in zip(asked, test.arrays["answer"][:_SHOWN], strict=True)]
    images = test.arrays["image"][:_SHOWN]
    maps = np.asarray(context.outputs["attention"])[:_SHOWN]
    looks = [
        np.stack([attention_overlay(image, part) for part in pair]) for image, pair in zip(images, maps, strict=True)
    ]
    plain = [{k: v for k, v in row.items() if "/" not in k} for row in context.history]
    subtitle = f"Test split, {len(test):,} questions, in %. In each kind, every answer is as frequent as another."
    return [
        sentences(images, texts, references, "Questions and answers", "The first test questions; red: wrong.")._replace(
            half=True
        ),
        sentences(
            np.stack(looks),
            texts,
            references,
            "Where the answer comes from",
            "Bright on the left: what the question names; on the right: what it asks for besides.",
        )._replace(half=True),
        table(rows, "Beside blind guesses", subtitle),
        *triage_panels(plain, floor=None),
        curves(plain),
    ]


def recall_evaluators(run: Run, data: Splits, split: str) -> list[Evaluator]:
    """Measure retrieval over a whole split, both ways; what has the same sentence counts as found.

    Args:
      split: "valid" or "test".

    Returns:
      One evaluator of outputs with `clip` and `sentence`: `r1`, `r5`, `r10` find by text, `text_r1`, ... the text.
    """
    from dlcore.metrics.retrieval import recall_at_k

    depths = (1, 5, 10)

    def add(acc, outputs, rows):
        part = [outputs["clip"], outputs["sentence"], rows["captions"][:, 0]]
        return part if acc is None else [np.concatenate(pair) for pair in zip(acc, part, strict=True)]

    def finish(acc):
        clips, sentences, tokens = acc
        labels = np.unique(tokens, axis=0, return_inverse=True)[1].ravel()
        recalls = {}
        for k in depths:
            if k <= len(clips):
                recalls[f"r{k}"] = recall_at_k(sentences, labels, k, clips, labels)
                recalls[f"text_r{k}"] = recall_at_k(clips, labels, k, sentences, labels)
        return recalls

    return [Evaluator(add, finish, None, tuple(f"{p}r{k}" for k in depths for p in ("", "text_")))]


def recall_panels(context: ReportContext) -> list[Panel]:
    """Show what is found for sentences, recall beside chance, and the curves.

    Args:
      context: the run's ReportContext; its outputs have `clip` and `sentence` [N, D].
    """
    from dlcore.report.curves import curves
    from dlcore.report.tables import table
    from dlcore.report.triage import triage_panels
    from dlcore.report.vision_language import sentences

    words, test = vocabulary(context.spec), context.data.test.arrays
    pictures = test["clip" if "clip" in test else "image"]
    texts = decode_sentences(words, test["captions"][:, 0])
    best = (np.asarray(context.outputs["sentence"]) @ np.asarray(context.outputs["clip"]).T).argmax(1)[:_SHOWN]
    rows = [
        {
            "recall": f"at {k}",
            "by text, %": _percent(context.numbers.get(f"r{k}")),
            "of the text, %": _percent(context.numbers.get(f"text_r{k}")),
            "chance, %": round(100 * min(1.0, k / len(texts)), 1),
        }
        for k in (1, 5, 10)
    ]
    return [
        sentences(
            pictures[best],
            [texts[k] for k in best],
            [[text] for text in texts[:_SHOWN]],
            "What is found",
            "What lies nearest to each of the first test sentences, which stands last. In bold: the caption of what "
            "was found, red where that is another.",
        ),
        table(rows, "Recall", f"Over the {len(texts):,} pairs of the test split.")._replace(half=True),
        *triage_panels(context.history, floor=None),
        curves(context.history),
    ]


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 1)


@dataclasses.dataclass(frozen=True)
class AskImages:
    """Use of a model that answers: `--mode=predict --input=FILE_OR_FOLDER` asks each image a question.

    Args:
      question: question about the images of --input
    """

    question: Annotated[str, "no identity"] = "what color is the circle"

    def inputs(self, path: str, run: Run) -> tuple[Source, list[str]]:
        """Read the images under a path, each with the question."""
        from dlcore.data.questions import question_tokens

        facts = run.facts
        assert facts.batch is not None
        try:
            words = vocabulary_from_dict(facts.words)
            tokens = question_tokens([self.question], words, facts.batch["question"][0][0])
        except ValueError as error:
            raise FlagError(f"--{error}") from None
        source, names = prediction.stretched_images(path, facts)
        return Source({**source.arrays, "question": np.repeat(tokens, len(names), 0)}, len(names)), names

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe the answers, the most probable first."""
        return describe_answers(outputs, facts)


class ClipSentences:
    """Share of the clips whose sentence is right, and BLEU and its kin."""

    metric = "exact_match"
    mode = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure sentences, and what stands before and behind "moves"."""
        return motion_evaluators(run, splits, split)


class Recall:
    """Recall of retrieval, by text and of the text."""

    metric = "r1"
    mode = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure the recall over a whole split."""
        return recall_evaluators(run, splits, split)


def num_words(run: Run) -> dict[str, int]:
    """Read the field `vocab_size` of a network from the data.

    Returns:
      `vocab_size`.
    """
    return {"vocab_size": len(vocabulary_from_dict(run.facts.words))}


def num_words_and_answers(run: Run) -> dict[str, int]:
    """Read the fields of a network that answers from the data.

    Returns:
      `vocab_size` and `num_answers`.
    """
    return {**num_words(run), "num_answers": len(run.facts.answers)}


def log_words(run: Run) -> float:
    """Compute the initial loss of equally probable words.

    Returns:
      Nats.
    """
    return math.log(len(vocabulary_from_dict(run.facts.words)))


def log_answers(run: Run) -> float:
    """Compute the initial loss of equally probable answers.

    Returns:
      Nats.
    """
    return math.log(len(run.facts.answers))
