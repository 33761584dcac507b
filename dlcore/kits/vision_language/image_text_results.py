"""Results of vision-language models for the report and the modes: sentences and answers beside trivial baselines."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlcore.data.source import Source
from dlcore.data.words import PAD, vocabulary_from_dict
from dlcore.experiment.experiment import Setup
from dlcore.experiment.splits import Splits
from dlcore.kits.vision_language.captioned_images import attention_panel, sentence_evaluator, written
from dlcore.kits.vision_language.image_text import vocabulary
from dlcore.learner import Evaluator
from dlcore.modes.report_context import ReportContext

__all__ = [
    "BLEU_SIGNATURE",
    "answer_panels",
    "answer_rows",
    "caption_evaluators",
    "caption_panels",
    "caption_rows",
    "clip_panels",
    "describe_answers",
    "motion_evaluators",
    "motion_shares",
    "recall_evaluators",
    "recall_panels",
    "references_of",
]

BLEU_SIGNATURE = "corpus BLEU-4, not smoothed, lower case, dlcore.data.words.tokenize"
_SHOWN = 12
_MAPS = 4


def references_of(arrays: dict[str, np.ndarray], spec: dict) -> list[list[str]]:
    """Decode the references of examples.

    Args:
      arrays: arrays with `references`, or with `captions` if these are complete.
      spec: facts of the data, `Splits.spec`.

    Returns:
      The texts of each example, tokens separated by spaces.
    """
    is_complete = "references" in arrays
    words = vocabulary_from_dict(spec["reference_words"]) if is_complete else vocabulary(spec)
    return [
        [words.decode(tokens) for tokens in references if (tokens != PAD).any()]
        for references in arrays["references" if is_complete else "captions"]
    ]


def caption_evaluators(setup: Setup, data: Splits, split: str) -> list[Evaluator]:
    """Build the evaluator of generated sentences against all references: BLEU, ROUGE-L, CIDEr-D.

    Args:
      setup: facts of the run; must have the spec.
      data: the splits.
      split: "valid" or "test".

    Returns:
      One evaluator of outputs with `tokens`.
    """
    return [sentence_evaluator(vocabulary(setup.spec), lambda rows: references_of(rows, setup.spec))]


def motion_evaluators(setup: Setup, data: Splits, split: str) -> list[Evaluator]:
    """Build the evaluators of sentences about clips: `caption_evaluators`, and the words before and after "moves".

    Args:
      setup: facts of the run; must have the spec.
      data: the splits.
      split: "valid" or "test".

    Returns:
      Evaluators of outputs with `tokens`; `thing` and `direction` are the accuracies of these words.
    """
    words = vocabulary(setup.spec)

    def add(acc, outputs, rows):
        said = written(words, outputs["tokens"])
        right = [several[0] for several in references_of(rows, setup.spec)]
        return (acc or []) + list(zip(said, right, strict=True))

    def finish(acc):
        return motion_shares(*zip(*acc, strict=True))

    return [*caption_evaluators(setup, data, split), Evaluator(add, finish, None, ("thing", "direction"))]


def motion_shares(predicted: Sequence[str], targets: Sequence[str]) -> dict[str, float]:
    """Compute the accuracies of the words before "moves", and of those after it.

    Args:
      predicted: N sentences.
      targets: N sentences.

    Returns:
      {"thing", "direction"}: fractions of the N.
    """
    parts = [(a.partition(" moves "), b.partition(" moves ")) for a, b in zip(predicted, targets, strict=True)]
    return {
        "thing": float(np.mean([a[0] == b[0] for a, b in parts])),
        "direction": float(np.mean([a[2] == b[2] for a, b in parts])),
    }


def caption_rows(
    predicted: Sequence[str], references: Sequence[Sequence[str]], train: Sequence[Sequence[str]]
) -> list[dict[str, Any]]:
    """Measure a model's sentences beside trivial baselines.

    Args:
      predicted: N sentences of the model.
      references: reference captions of each of the N images.
      train: the references of the training images.

    Returns:
      Rows: the most frequent training caption for every image, random training captions, one person's caption against
      the other references (if there are several), and the model. BLEU in %.
    """
    from dlcore.evaluators.text import bleu, cider

    captions = [text for several in train for text in several]
    constant = Counter(captions).most_common(1)[0][0]
    idx = np.random.default_rng(0).integers(len(captions), size=len(predicted))
    rows: list[tuple[str, Sequence[str], Sequence[Sequence[str]]]] = [
        (f"always “{constant}”", [constant] * len(predicted), references),
        ("a random training caption", [captions[k] for k in idx], references),
    ]
    if min(map(len, references)) > 1:
        rows.append(("a reference against the others", [r[0] for r in references], [list(r[1:]) for r in references]))
    rows.append(("the model", predicted, references))
    table = []
    for name, texts, targets in rows:
        exact = np.mean([text in target for text, target in zip(texts, targets, strict=True)])
        row = {"sentence": name, "exact %": round(100 * float(exact), 1)}
        row |= {f"BLEU-{n}": round(100 * bleu(texts, targets, n), 1) for n in (1, 4)}
        table.append(row | {"CIDEr-D": round(float(cider(texts, targets).mean()), 3)})
    return table


def caption_panels(context: ReportContext, shown: str = "image") -> list:
    """Show examples with their sentences, metrics beside trivial baselines, attention and the curves.

    Args:
      context: the run's ReportContext; its outputs have `tokens`, and with attention also
        `attention` [N, T, h, w], a map per token.
      shown: "image" or "clip".

    Returns:
      The panels.
    """
    from dlcore.report.curves import curves
    from dlcore.report.tables import table
    from dlcore.report.triage import triage_panels
    from dlcore.report.vision_language import sentences

    words, test = vocabulary(context.spec), context.data.test.arrays
    said = written(words, context.outputs["tokens"])
    references = references_of(test, context.spec)
    train = references_of({"captions": context.data.train.arrays["captions"]}, context.spec)
    rows = caption_rows(predicted, references, train)
    caption = f"Test split, {len(predicted):,} examples, {max(map(len, references))} references each; {BLEU_SIGNATURE}."
    examples = (
        "The first test examples: green: the sentence equals a reference; otherwise the references stand below it."
    )
    panels = [
        sentences(test[shown][:_SHOWN], predicted[:_SHOWN], references[:_SHOWN], note=examples),
        table(rows, "Beside trivial sentences", caption),
    ]
    if "attention" in context.outputs:
        looks = words, test[shown], context.outputs["tokens"], context.outputs["attention"]
        panels.append(attention_panel(*looks, _MAPS, "Bright: where the model looks for each word."))
    return [*panels, *triage_panels(context.history, floor=None), curves(context.history)]


def clip_panels(context: ReportContext) -> list:
    """Show the panels of captions for clips, and the accuracy with shuffled frames.

    Args:
      context: the run's ReportContext.

    Returns:
      The panels.
    """
    from dlcore.report.tables import table
    from dlcore.run.evaluate import predict

    words, test = vocabulary(context.spec), context.data.test.arrays
    targets = [references[0] for references in references_of(test, context.spec)]
    rng = np.random.default_rng(0)
    orders = np.argsort(rng.random(test["clip"].shape[:2]), axis=1)
    shuffled = np.take_along_axis(test["clip"], orders[:, :, None, None, None], axis=1)
    outputs = predict(
        context.learner,
        context.state,
        Source({**test, "clip": shuffled}),
        batch_size=context.flags.eval_batch_size,
    )
    rows = []
    for name, tokens in (("in order", context.outputs["tokens"]), ("shuffled", outputs["tokens"])):
        shares = motion_shares(written(words, tokens), right)
        rows.append({"frames": name} | {f"{key}, %": round(100 * share, 1) for key, share in shares.items()})
    rows.append({"frames": "chance", "thing, %": round(100 / 30, 1), "direction, %": 25.0})
    first, *other_panels = caption_panels(context, "clip")
    caption = "Accuracy of the words before and after “moves” on the test clips."
    return [first, table(rows, "Without the order of the frames", caption)._replace(half=True), *other_panels]


def describe_answers(outputs: dict, spec: dict) -> list[dict]:
    """Describe answers for `--mode=predict`.

    Args:
      outputs: outputs of `predict`; must contain `probabilities: [N, A]`.
      spec: facts of the data, `Splits.spec`.

    Returns:
      Each image's `answer`, and `probabilities` by answer, the most probable first.
    """
    rows = []
    for probabilities in outputs["probabilities"]:
        order = np.argsort(-probabilities, kind="stable")
        ranked = {spec["answers"][i]: round(float(probabilities[i]), 4) for i in order}
        rows.append({"answer": next(iter(ranked)), "probabilities": ranked})
    return rows


def answer_rows(
    answered: dict[str, np.ndarray], train: dict[str, np.ndarray], test: dict[str, np.ndarray], kinds: Sequence[str]
) -> list[dict[str, Any]]:
    """Compute accuracies by kind of question, of a model and of image-blind baselines.

    Args:
      answered: name of a row -> answers [N] to the test questions.
      train: `question`, `answer` and `kind` of the training split.
      test: `question`, `answer` and `kind` of the test split.
      kinds: names of the kinds.

    Returns:
      Rows, in %: the most frequent answer to all questions, to those of the kind, and to the same words (the best that
      a model without the image can do); then the rows of `answered`.
    """

    def most_frequent(key: Callable[[dict], np.ndarray]) -> np.ndarray:
        table: dict[Any, Counter] = {}
        for k, answer in zip(key(train), train["answer"], strict=True):
            table.setdefault(k, Counter())[int(answer)] += 1
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
    for name, answers in rows.items():
        is_correct = answers == test["answer"]
        by_kind = {kind: is_correct[test["kind"] == k] for k, kind in enumerate(kinds)}
        table.append(
            {"answers": name, "all": round(100 * float(is_correct.mean()), 1)}
            | {kind: round(100 * float(r.mean()), 1) if len(r) else None for kind, r in by_kind.items()}
        )
    return table


def answer_panels(context: ReportContext) -> list:
    """Show questions with answers and attention, accuracies by kind beside image-blind baselines, and the curves.

    Args:
      context: the run's ReportContext; its outputs have `logits` [N, A] and `attention` [N, 2, h, w].

    Returns:
      The panels.
    """
    from dlcore.report.curves import curves
    from dlcore.report.tables import table
    from dlcore.report.triage import triage_panels
    from dlcore.report.vision_language import attention_overlay, sentences
    from dlcore.run.evaluate import predict

    spec, test = context.spec, context.data.test
    words, answers = vocabulary(spec), spec["answers"]

    def answers_to(source: Source) -> np.ndarray:
        outputs = predict(context.learner, context.state, source, batch_size=context.flags.eval_batch_size)
        return np.asarray(outputs["logits"]).argmax(-1)

    gray = np.rint(255 * np.array(spec["mean"])).astype(np.uint8)
    ablations = {
        "the model, shown a gray image": {"image": np.broadcast_to(gray, test.arrays["image"].shape)},
        "the model, asked nothing": {"question": np.full_like(test.arrays["question"], PAD)},
    }
    answered = {name: answers_to(Source({**test.arrays, **arrays})) for name, arrays in without.items()}
    own = np.asarray(context.outputs["logits"]).argmax(-1)
    rows = answer_rows({**answered, "the model": own}, context.data.train.arrays, test.arrays, spec["kinds"])
    asked = written(words, test.arrays["question"][:_SHOWN])
    said = [f"{q}? {answers[k]}" for q, k in zip(asked, own, strict=False)]
    truth = [[f"{q}? {answers[k]}"] for q, k in zip(asked, test.arrays["answer"], strict=False)]
    images = test.arrays["image"][:_SHOWN]
    maps = np.asarray(context.outputs["attention"])[:_SHOWN]
    overlays = [
        np.stack([attention_overlay(image, part) for part in pair]) for image, pair in zip(images, maps, strict=True)
    ]
    plain = [{k: v for k, v in row.items() if "/" not in k} for row in context.history]
    caption = f"Test split, {len(test):,} questions, in %. In each kind, every answer is as frequent as another."
    return [
        sentences(
            images, texts, target_texts, "Questions and answers", "The first test questions; red: wrong."
        )._replace(half=True),
        sentences(
            np.stack(overlays),
            texts,
            target_texts,
            "Where the answer comes from",
            "Left: attention to the objects that the question names; right: attention of the answer.",
        )._replace(half=True),
        table(rows, "Beside image-blind baselines", caption),
        *triage_panels(plain, floor=None),
        curves(plain),
    ]


def recall_evaluators(setup: Setup, data: Splits, split: str) -> list[Evaluator]:
    """Build the evaluator of retrieval recall over a split, in both directions; equal sentences count as correct.

    Args:
      setup: facts of the run.
      data: the splits.
      split: "valid" or "test".

    Returns:
      One evaluator of outputs with `clip` and `sentence`: `r1`, `r5`, `r10` from text to clip, `text_r1`, ... back.
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


def recall_panels(context: ReportContext) -> list:
    """Show the retrieved clips of sentences, recall beside chance, and the curves.

    Args:
      context: the run's ReportContext; its outputs have `clip` and `sentence` [N, D].

    Returns:
      The panels.
    """
    from dlcore.report.curves import curves
    from dlcore.report.tables import table
    from dlcore.report.triage import triage_panels
    from dlcore.report.vision_language import sentences

    words, test = vocabulary(context.spec), context.data.test.arrays
    pictures = test["clip" if "clip" in test else "image"]
    texts = written(words, test["captions"][:, 0])
    found = (np.asarray(context.outputs["sentence"]) @ np.asarray(context.outputs["clip"]).T).argmax(1)[:_SHOWN]
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
            pictures[retrieved],
            [texts[k] for k in retrieved],
            [[text] for text in texts[:_SHOWN]],
            "Retrieval",
            "The nearest neighbor of each of the first test sentences. In bold: its caption, red if it is another; the "
            "query stands last.",
        ),
        table(rows, "Recall", f"Over the {len(texts):,} pairs of the test split.")._replace(half=True),
        *triage_panels(context.history, floor=None),
        curves(context.history),
    ]


def _percent(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 1)
