"""Simple methods on sequences: counts of n-grams, and linear prediction.

These are what a person would try on text or sound before a network, beside `dlcore.diagnostics.simple_methods`.
"""

from typing import NamedTuple

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_indices, check_shapes

__all__ = ["KneserNey", "best_kneser_ney", "linear_prediction", "word_vectors"]


class _Order(NamedTuple):
    """Counts of one order: of grams of n tokens, and of what follows their first n - 1 tokens."""

    grams: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray
    kinds: np.ndarray
    discount: float


class KneserNey:
    """n-grams with interpolated Kneser-Ney smoothing: what counts see too rarely, shorter n-grams fill in.

    Kneser and Ney, Improved backing-off for m-gram language modeling, ICASSP 1995; interpolated as Chen and Goodman,
    An empirical study of smoothing techniques for language modeling, 1999, section 2.8:

        p_n(w | h) = (max(c(h w) - D_n, 0) + D_n k(h) p_{n-1}(w | h')) / c(h),    D_n = n1 / (n1 + 2 n2)

    c counts the text in the highest order, and in the others the different tokens in front of a gram. k(h) is the
    number of different tokens that follow the context h, h' is h without its first token, n1 and n2 are the numbers of
    grams counted once and twice, and p_0 is uniform.

    Args:
      tokens: [N] int, the text to count.
      order: n, tokens of the longest gram: the token, and n - 1 before it.
      size: V, number of different tokens.
    """

    def __init__(self, tokens: np.ndarray, order: int, size: int):
        check_shapes(tokens=(tokens, "N"))
        check_whole_number("order", order)
        check_indices("tokens", tokens, size, "tokens")
        if not 1 <= order < len(tokens) or (size + 1.0) ** (order + 1) > 2**63:
            raise ValueError(f"order={order}: out of range; allowed: 1 to {_longest(size)}, and below {len(tokens)}")
        self.size, self.order = size, order
        text, windows = np.asarray(tokens, np.int64) + 1, np.lib.stride_tricks.sliding_window_view
        grams, counts = np.unique(self._codes(windows(text, order)), return_counts=True)
        self._orders = [self._counted(grams, counts)]
        for n in range(order - 1, 0, -1):
            longer = np.unique(self._codes(windows(text, n + 1)))
            grams, counts = np.unique(longer % (size + 1) ** n, return_counts=True)
            self._orders.insert(0, self._counted(grams, counts))

    def probabilities(self, contexts: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Compute the probability of tokens after their contexts.

        Args:
          contexts: [M, n - 1] int, the tokens before, the nearest last; -1 before the beginning of a text.
          targets: [M] int.

        Returns:
          [M].
        """
        check_shapes(contexts=(contexts, f"M {self.order - 1}"), targets=(targets, "M"))
        rows = np.concatenate([np.asarray(contexts, np.int64), np.asarray(targets, np.int64)[:, None]], 1) + 1
        value = np.full(len(rows), 1 / self.size)
        for n, order in enumerate(self._orders, 1):
            codes = self._codes(rows[:, self.order - n :])
            count = _look_up(order.grams, order.counts, codes)
            total = _look_up(order.contexts, order.totals, codes // (self.size + 1))
            kinds = _look_up(order.contexts, order.kinds, codes // (self.size + 1))
            mixed = np.maximum(count - order.discount, 0) + order.discount * kinds * value
            value = np.where(total > 0, mixed / np.maximum(total, 1), value)
        return value

    def loss(self, tokens: np.ndarray) -> float:
        """Compute the mean negative log-likelihood of the tokens of a text after its first.

        Args:
          tokens: [M] int.

        Returns:
          Nats a token.
        """
        check_shapes(tokens=(tokens, "M"))
        check_indices("tokens", tokens, self.size, "tokens")
        padded = np.concatenate([np.full(max(self.order - 2, 0), -1), np.asarray(tokens, np.int64)])
        rows = np.lib.stride_tricks.sliding_window_view(padded, self.order)[-(len(tokens) - 1) :]
        return float(-np.log(self.probabilities(rows[:, :-1], rows[:, -1])).mean())

    def _codes(self, rows: np.ndarray) -> np.ndarray:
        """Write each row of tokens from 1 as one number."""
        return rows @ (self.size + 1) ** np.arange(rows.shape[1] - 1, -1, -1, dtype=np.int64)

    def _counted(self, grams: np.ndarray, counts: np.ndarray) -> _Order:
        contexts, start = np.unique(grams // (self.size + 1), return_index=True)
        once, twice = (counts == 1).sum(), (counts == 2).sum()
        discount = once / (once + 2 * twice) if once else 0.0
        kinds = np.diff(np.append(start, len(grams)))
        return _Order(grams, counts, contexts, np.add.reduceat(counts, start), kinds, float(discount))


def _longest(size: int) -> int:
    return int(63 / np.log2(size + 1)) - 1


def _look_up(keys: np.ndarray, values: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Find the values of sorted keys; 0 where there is none."""
    at = np.minimum(np.searchsorted(keys, expected), len(keys) - 1)
    return np.where(keys[at] == expected, values[at], 0)


def best_kneser_ney(train: np.ndarray, valid: np.ndarray, size: int, longest: int = 8) -> KneserNey:
    """Fit Kneser-Ney n-grams, and choose the order that is best on the validation text.

    Args:
      train: [N] int.
      valid: [M] int.
      size: V, number of different tokens.
      longest: the longest grams that are tried.

    Returns:
      The n-grams.
    """
    orders = range(2, min(longest, _longest(size)) + 1)
    return min((KneserNey(train, order, size) for order in orders), key=lambda model: model.loss(valid))


def word_vectors(tokens: np.ndarray, size: int, dimensions: int, window: int = 8) -> np.ndarray:
    """Compute vectors of words from the words near them: a singular value decomposition of their mutual information.

    Levy and Goldberg, Neural word embedding as implicit matrix factorization, NeurIPS 2014: with the positive pointwise
    mutual information M = max(log p(a, b) / (p(a) p(b)), 0) = U S V^T, the vector of a word is its row of U S^(1/2).

    Args:
      tokens: [N] int, a text.
      size: V, number of different words.
      dimensions: D.
      window: words on each side that are near.

    Returns:
      [V, D] float32.
    """
    from scipy.sparse.linalg import svds

    check_shapes(tokens=(tokens, "N"), window=(window, "int >= 1"))
    check_indices("tokens", tokens, size, "words")
    if not 1 <= dimensions < size:
        raise ValueError(f"dimensions={dimensions}: out of range; allowed: 1 to {size - 1}")
    counts = np.zeros((size, size))
    for shift in range(1, min(window, len(tokens) - 1) + 1):
        np.add.at(counts, (tokens[:-shift], tokens[shift:]), 1)
    counts += counts.T
    expected = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    information = np.log(np.where(counts > 0, counts / np.maximum(expected, 1e-12), 1)).clip(0)
    left, singular, _ = svds(information, dimensions, v0=np.ones(size))
    return (left * np.sqrt(singular)).astype(np.float32)


def linear_prediction(
    signals: np.ndarray, taps: int = 32, forgetting: float = 0.998, ridge: float = 1e-2
) -> tuple[np.ndarray, np.ndarray]:
    """Predict each sample of signals by a line through those before, which is fitted again after every sample.

    Recursive least squares (Haykin, Adaptive Filter Theory, 2002, chapter 9), without looking ahead:

        k = P x / (forgetting + x^T P x),    w <- w + k (y - w^T x),    P <- (P - k x^T P) / forgetting

    Args:
      signals: [N, T] float; signals are independent of each other.
      taps: number of samples before that are read.
      forgetting: weight of a sample after each further one, in (0, 1].
      ridge: 1 / P at the start: how much the first weights stay near 0.

    Returns:
      (predictions [N, T] of the samples from those before, their errors' running mean of squares [N, T], also of the
      samples before).
    """
    check_shapes(signals=(signals, "N T"), taps=(taps, "int >= 1"), forgetting=(forgetting, "0 to 1"))
    check_finite("signals", signals)
    if forgetting <= 0 or ridge <= 0:
        raise ValueError(f"{forgetting=}, {ridge=}: out of range; allowed: both above 0")
    count, length = signals.shape
    padded = np.concatenate([np.zeros((count, taps)), np.asarray(signals, np.float64)], 1)
    weights, inverse = np.zeros((count, taps)), np.tile(np.eye(taps) / ridge, (count, 1, 1))
    predictions, squares = np.zeros((count, length)), np.zeros((count, length))
    square = np.ones(count)
    for t in range(length):
        before = padded[:, t : t + taps]
        predictions[:, t], squares[:, t] = (weights * before).sum(1), square
        error = padded[:, t + taps] - predictions[:, t]
        square = square + (error**2 - square) * max(0.05, 1 / (t + 1))
        moved = np.einsum("nij,nj->ni", inverse, before)
        gain = moved / (forgetting + (moved * before).sum(1))[:, None]
        weights += gain * error[:, None]
        inverse = (inverse - gain[:, :, None] * moved[:, None]) / forgetting
        inverse = (inverse + inverse.transpose(0, 2, 1)) / 2
    return predictions, squares
