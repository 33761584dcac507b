"""Generated text against references: BLEU, ROUGE-L, CIDEr-D and word error rate.

Papineni et al. 2002; Lin 2004; Vedantam, Zitnick & Parikh 2014, arXiv:1411.5726.

    BLEU    = min(1, e^(1 - r / c)) (p_1 ... p_N)^(1/N)         p_n: n-grams matched, each at most as often as in one
                                                               reference; c, r: lengths, r of the closest reference
    ROUGE-L = (1 + b^2) P R / (R + b^2 P),  P = LCS / |hyp|, R = LCS / |ref|, each the best over references, b = 1.2
    CIDEr-D = 10 / (4 |refs|) sum over refs, n of e^(-(l_h - l_r)^2 / 72) min(g_h, g_r) g_r / (|g_h| |g_r|)
              g: n-gram counts times log(images / images whose references hold it)
    WER     = edit distance in words / words of the reference, over the whole set

A text is a string, split at whitespace, or a sequence of tokens; the caller normalizes case, punctuation and stems.
Words are compared in NFC: an accent of its own equals the composed letter (Unicode's canonical equivalence, UAX #15).
Numbers equal those of the COCO caption tools, whose corpus BLEU divides (matched + 1e-15) by (n-grams + 1e-9): it is
tiny if no n-gram of some length matches, and p_n is 1e-6 if all texts are shorter than n. nltk counts one n-gram in a
text shorter than n; otherwise its BLEU is the same.
"""

import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dlcore.learner import Evaluator
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["bleu", "cider", "edit_distance", "rouge_l", "sentence_bleu", "text_evaluator", "word_error_rate"]

Text = str | Sequence[Any]

_COCO_TINY, _COCO_SMALL = 1e-15, 1e-9
"""Constants that the COCO caption tools add to the matched and to all n-grams of BLEU, and to both lengths."""


def bleu(hypotheses: Sequence[Text], references: Sequence[Sequence[Text]], max_n: int = 4) -> float:
    """Compute corpus BLEU as the COCO caption tools do: counts and lengths are summed before the division.

    Args:
      hypotheses: N texts.
      references: references of each text, at least one.
      max_n: longest n-gram.

    Returns:
      BLEU in [0, 1]; tiny, but not 0, if some n has no match.
    """
    check_shapes(max_n=(max_n, "int >= 1"))
    hypotheses, references = _checked(hypotheses, references)
    counts = np.sum([_matches(h, r, max_n) for h, r in zip(hypotheses, references, strict=True)], 0)
    matched, total, (length, closest) = counts[:max_n], counts[max_n : 2 * max_n], counts[2 * max_n :]
    precisions = (matched + _COCO_TINY) / (total + _COCO_SMALL)
    ratio = (length + _COCO_TINY) / (closest + _COCO_SMALL)
    return float(min(1.0, math.exp(1 - 1 / ratio)) * math.exp(np.log(precisions).mean()))


def sentence_bleu(hypothesis: Text, references: Sequence[Text], max_n: int = 4, epsilon: float = 0.0) -> float:
    """Compute BLEU of one text.

    Args:
      hypothesis: the text.
      references: references of the text, at least one.
      max_n: longest n-gram.
      epsilon: replacement of a count of 0 (0.1: the first smoothing of Chen & Cherry 2014); with 0 the BLEU is then 0.

    Returns:
      BLEU in [0, 1].
    """
    check_shapes(max_n=(max_n, "int >= 1"), epsilon=(epsilon, ">= 0"))
    check_finite("epsilon", epsilon)
    (hypothesis,), (references,) = _checked([hypothesis], [references])
    counts = _matches(hypothesis, references, max_n)
    matched, total, (length, closest) = counts[:max_n], counts[max_n : 2 * max_n], counts[2 * max_n :]
    if not matched[0] or (not epsilon and not matched.all()):
        return 0.0
    precisions = np.where(matched > 0, matched, epsilon) / np.maximum(total, 1)
    brevity = min(1.0, math.exp(1 - closest / length))
    return float(brevity * math.exp(np.log(precisions).mean()))


def rouge_l(hypotheses: Sequence[Text], references: Sequence[Sequence[Text]], beta: float = 1.2) -> np.ndarray:
    """Compute ROUGE-L of each text; report the mean.

    Args:
      hypotheses: N texts.
      references: references of each text, at least one.
      beta: weight of recall against precision.

    Returns:
      [N] float64, 0 to 1.
    """
    check_shapes(beta=(beta, ">= 0"))
    check_finite("beta", beta)
    scores = []
    for hypothesis, texts in zip(*_checked(hypotheses, references), strict=True):
        lcs_lengths = [_common_length(hypothesis, r) for r in texts]
        precision = max(c / max(len(hypothesis), 1) for c in lcs_lengths)
        recall = max(c / max(len(r), 1) for c, r in zip(lcs_lengths, texts, strict=True))
        denominator = recall + beta**2 * precision
        scores.append((1 + beta**2) * precision * recall / denominator if precision * recall > 0 else 0.0)
    return np.array(scores)


def cider(
    hypotheses: Sequence[Text], references: Sequence[Sequence[Text]], max_n: int = 4, sigma: float = 6.0
) -> np.ndarray:
    """Compute CIDEr-D of each text; report the mean. Document frequencies come from these references.

    It needs several images: with one, every weight is log 1 = 0.

    Args:
      hypotheses: N texts.
      references: references of each text, at least one.
      max_n: longest n-gram.
      sigma: width of the penalty on the difference of lengths.

    Returns:
      [N] float64, 0 to 10.
    """
    check_shapes(max_n=(max_n, "int >= 1"), sigma=(sigma, "> 0"))
    hypotheses, references = _checked(hypotheses, references)
    frequency: Counter = Counter()
    for several in references:
        frequency.update(set().union(*(_ngrams(r, max_n) for r in several)))
    total = math.log(max(len(references), 1))

    def weighted(tokens: list) -> tuple[list[dict], list[float], int]:
        vectors: list[dict] = [{} for _ in range(max_n)]
        for gram, count in _ngrams(tokens, max_n).items():
            vectors[len(gram) - 1][gram] = count * (total - math.log(max(1.0, frequency[gram])))
        norms = [math.sqrt(sum(v * v for v in vector.values())) for vector in vectors]
        return vectors, norms, max(len(tokens) - 1, 0)

    scores = []
    for hypothesis, several in zip(hypotheses, references, strict=True):
        vectors_h, norms_h, length_h = weighted(hypothesis)
        score = 0.0
        for reference in several:
            other, norms, length = weighted(reference)
            penalty = math.exp(-((length_h - length) ** 2) / (2 * sigma**2))
            for a, b, norm_a, norm_b in zip(vectors_h, other, norms_h, norms, strict=True):
                if norm_a > 0 and norm_b > 0:
                    score += penalty * sum(min(v, b[g]) * b[g] for g, v in a.items() if g in b) / (norm_a * norm_b)
        scores.append(10 * score / (max_n * len(several)))
    return np.array(scores)


def edit_distance(a: Text, b: Text) -> int:
    """Compute the edit distance of two texts in words: insertions, deletions and substitutions.

    Args:
      a: first text.
      b: second text.

    Returns:
      The least number of edits.

    Raises:
      ValueError: one of the two is no text.
    """
    a, b = _tokens(a), _tokens(b)
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        before, row = row, [i]
        for j, right in enumerate(b, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (left != right)))
    return row[-1]


def word_error_rate(hypotheses: Sequence[Text], references: Sequence[Text]) -> float:
    """Compute the word error rate of a set: edits over words of the references; it can be above 1.

    Args:
      hypotheses: N texts.
      references: N texts, one per hypothesis.

    Returns:
      The rate, at least 0.
    """
    _check_list("hypotheses", hypotheses)
    _check_list("references", references)
    if len(hypotheses) != len(references):
        raise ValueError(f"hypotheses={len(hypotheses)} texts: for {len(references)} references; allowed: one each")
    words = sum(len(_tokens(r)) for r in references)
    if not words:
        raise ValueError("references: no word to be wrong about")
    return sum(edit_distance(r, h) for h, r in zip(hypotheses, references, strict=True)) / words


def text_evaluator(
    hypotheses: Callable[[Any, Any], Sequence[Text]],
    references: Callable[[Any], Sequence[Sequence[Text]]],
    source: Any = None,
) -> Evaluator:
    """Build the evaluator of bleu1 to bleu4, rouge_l, cider and word_error_rate (against the first reference).

    Args:
      hypotheses: (outputs, rows) -> texts of a batch.
      references: rows -> references of each.
      source: source to measure; None measures the split.

    Returns:
      The evaluator.
    """

    def add(acc, outputs, rows):
        texts, targets = acc or ([], [])
        return [*texts, *hypotheses(outputs, rows)], [*targets, *references(rows)]

    def finish(acc):
        texts, targets = acc
        numbers = {f"bleu{n}": bleu(texts, targets, n) for n in range(1, 5)}
        numbers |= {"rouge_l": float(rouge_l(texts, targets).mean()), "cider": float(cider(texts, targets).mean())}
        return numbers | {"word_error_rate": word_error_rate(texts, [several[0] for several in targets])}

    bleus = tuple(f"bleu{n}" for n in range(1, 5))
    return Evaluator(add, finish, source, (*bleus, "rouge_l", "cider", "word_error_rate"))


def _check_list(name: str, texts: Any) -> None:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise ValueError(f"{name}={type(texts).__name__}: no texts; allowed: a list of texts")


def _tokens(text: Text) -> list:
    if not isinstance(text, str | Sequence | np.ndarray):
        raise ValueError(f"text={text!r}: no text; allowed: a string, or a sequence of tokens")
    if isinstance(text, str):
        return unicodedata.normalize("NFC", text).split()
    return [unicodedata.normalize("NFC", token) if isinstance(token, str) else token for token in text]


def _checked(hypotheses: Sequence[Text], references: Sequence[Sequence[Text]]) -> tuple[list[list], list[list[list]]]:
    for name, texts in (("hypotheses", hypotheses), ("references", references)):
        if not isinstance(texts, Sequence | np.ndarray):
            raise ValueError(f"{name}={type(texts).__name__}: no texts; allowed: a list")
    if isinstance(hypotheses, str) or any(isinstance(several, str) for several in references):
        raise ValueError("hypotheses or references: strings; allowed: a list of texts, and a list of lists of texts")
    if len(hypotheses) != len(references) or not len(hypotheses):
        raise ValueError(
            f"hypotheses={len(hypotheses)} texts: for {len(references)} lists; allowed: one list of references each, "
            "and at least one text"
        )
    if not all(len(several) for several in references):
        raise ValueError("references: an empty list; every hypothesis needs at least one reference")
    return [_tokens(h) for h in hypotheses], [[_tokens(r) for r in several] for several in references]


def _ngrams(tokens: list, max_n: int) -> Counter:
    return Counter(tuple(tokens[i : i + n]) for n in range(1, max_n + 1) for i in range(len(tokens) - n + 1))


def _matches(hypothesis: list, references: list[list], max_n: int) -> np.ndarray:
    """Count matched and all n-grams for each n, and the lengths c and r, [2 max_n + 2]."""
    allowed: Counter = Counter()
    for reference in references:
        allowed |= _ngrams(reference, max_n)
    hypothesis_ngrams = _ngrams(hypothesis, max_n)
    counts = np.zeros((2, max_n))
    for gram, count in hypothesis_ngrams.items():
        counts[:, len(gram) - 1] += min(count, allowed[gram]), count
    closest = min((abs(len(r) - len(hypothesis)), len(r)) for r in references)[1]
    return np.concatenate([*counts, [len(hypothesis), closest]])


def _common_length(a: list, b: list) -> int:
    """Compute the length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for left in a:
        before, row = row, [0]
        for j, right in enumerate(b, 1):
            row.append(before[j - 1] + 1 if left == right else max(before[j], row[j - 1]))
    return row[-1]
