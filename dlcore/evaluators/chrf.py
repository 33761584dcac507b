"""chrF: F-score of the character n-grams that a text shares with its reference.

Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation".

    chrF = (1 + b^2) P R / (b^2 P + R)            P, R: matched fraction of the text's and of the reference's character
                                                  n-grams, summed over the set, the mean over n = 1 .. 6

Whitespace is ignored, and accents are composed (NFC). Of several references each text uses the best match. Recall
counts b = 2 times as much as precision. Numbers are those of sacrebleu over 100, for texts in NFC.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["chrf"]


def chrf(hypotheses: Sequence[str], references: Sequence[Sequence[str]], max_n: int = 6, beta: float = 2.0) -> float:
    """Compute chrF of a whole set.

    Args:
      hypotheses: N texts.
      references: references of each text, at least one.
      max_n: longest character n-gram.
      beta: weight of recall against precision.

    Returns:
      chrF in [0, 1].
    """
    check_shapes(max_n=(max_n, "int >= 1"), beta=(beta, ">= 0"))
    check_finite("beta", beta)
    if isinstance(hypotheses, str) or any(isinstance(several, str) for several in references):
        raise ValueError("hypotheses or references: strings; allowed: a list of texts, and a list of lists of texts")
    if len(hypotheses) != len(references) or not all(len(several) for several in references):
        raise ValueError(
            f"references={len(references)} lists for {len(hypotheses)} texts, or one is empty; allowed: one each"
        )
    total = np.zeros((3, max_n))
    for hypothesis, several in zip(hypotheses, references, strict=True):
        total += max((_counts(hypothesis, r, max_n) for r in several), key=lambda counts: _score(counts, beta))
    return _score(total, beta)


def _counts(hypothesis: str, reference: str, max_n: int) -> np.ndarray:
    """Count the n-grams of the text, of the reference, and of both, [3, max_n]."""
    texts = ["".join(unicodedata.normalize("NFC", text).split()) for text in (hypothesis, reference)]
    counts = np.zeros((3, max_n))
    for n in range(1, max_n + 1):
        hypothesis_ngrams, reference_ngrams = (
            Counter(text[i : i + n] for i in range(len(text) - n + 1)) for text in texts
        )
        # As in sacrebleu, a reference too short for n leaves n out.
        counts[:, n - 1] = (
            hypothesis_ngrams.total() if reference_ngrams else 0,
            reference_ngrams.total(),
            (hypothesis_ngrams & reference_ngrams).total(),
        )
    return counts


def _score(counts: np.ndarray, beta: float) -> float:
    num_hypothesis, num_reference, num_matches = counts[:, (counts[:2] > 0).all(0)]
    if not num_matches.any():
        return 0.0
    precision, recall = (num_matches / num_hypothesis).mean(), (num_matches / num_reference).mean()
    return float((1 + beta**2) * precision * recall / (beta**2 * precision + recall))
