"""Baselines of captions: the best single caption for all images, and human captions against each other.

A score needs baselines: on Flickr8k one sentence for all images has a BLEU-4 above 8. Compare a model with the best
constant caption, with an image-blind language model, and with a human caption scored against the other captions.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlcore.evaluators.text import bleu, cider
from dlcore.learner import Evaluator

__all__ = ["baselines_evaluator", "best_constant", "text_scores"]

SCORES = ("bleu1", "bleu2", "bleu3", "bleu4", "cider")
_CANDIDATES = 100


def text_scores(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Compute corpus BLEU-1 to BLEU-4 and the mean CIDEr-D.

    Args:
      hypotheses: N texts.
      references: references of each text.

    Returns:
      {"bleu1", ..., "bleu4", "cider"}.
    """
    numbers = {f"bleu{n}": bleu(hypotheses, references, n) for n in range(1, 5)}
    return numbers | {"cider": float(cider(hypotheses, references).mean())}


def best_constant(captions: Sequence[str], references: Sequence[Sequence[str]]) -> str:
    """Find the caption with the largest BLEU-4 as the constant caption of all images.

    The candidates are the hundred captions of at least the median length with the most frequent n-grams, n = 1 to 4.

    Args:
      captions: candidate captions, from the training split.
      references: references of the validation images that select it, never those of the test split.

    Returns:
      The caption.
    """
    if isinstance(captions, str):
        raise ValueError("captions=str: one string; allowed: a list of captions")
    if not captions or not references:
        raise ValueError(f"captions={len(captions)}, references={len(references)}: empty; allowed: at least one")
    words = [text.split() for text in dict.fromkeys(captions)]
    grams = [[tuple(w[i : i + n]) for n in range(1, 5) for i in range(len(w) - n + 1)] for w in words]
    counts = Counter(gram for several in grams for gram in several)
    middle = float(np.median([len(text.split()) for text in captions]))
    candidates = [k for k, w in enumerate(words) if len(w) >= middle]
    candidates.sort(key=lambda k: -float(np.mean([np.log(counts[gram]) for gram in grams[k]])))
    tried = [" ".join(words[k]) for k in candidates[:_CANDIDATES]]
    return max(tried, key=lambda text: bleu([text] * len(references), references))


def baselines_evaluator(references: Callable[[Any], Sequence[Sequence[str]]], texts: dict[str, str]) -> Evaluator:
    """Build the evaluator of constant captions, and of human captions against each other.

    Args:
      references: rows -> references of each.
      texts: {name: text}, such as {"constant": "a man in a red shirt"}.

    Returns:
      The evaluator of `NAME/bleu1` to `NAME/cider` for each name, and of `human/...`: the first reference of each image
      against its others, if all images have several.
    """

    def add(acc: list | None, outputs: Any, rows: Any) -> list:
        return [*(acc or []), *references(rows)]

    def finish(acc: list) -> dict[str, float]:
        scored = {name: text_scores([text] * len(acc), acc) for name, text in texts.items()}
        if min(map(len, acc)) > 1:
            scored["human"] = text_scores([several[0] for several in acc], [several[1:] for several in acc])
        return {f"{name}/{score}": value for name, scores in scored.items() for score, value in scores.items()}

    return Evaluator(add, finish, None, tuple(f"{name}/{score}" for name in (*texts, "human") for score in SCORES))
