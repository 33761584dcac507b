"""The n-gram model: what followed each context of the training text, counted. The baseline of every language model.

    p(x | context) = (count(context, x) + smoothing) / (count(context) + smoothing V)

Shannon 1948, "A mathematical theory of communication".
"""

import numpy as np

from dlcore.ops.checks import check_indices, check_shapes

__all__ = ["ngram_loss"]


def ngram_loss(train: np.ndarray, test: np.ndarray, order: int, size: int, smoothing: float = 0.05) -> float:
    """Measure the model that counts what followed each `order` tokens of the training text.

    p(x | context) = (count(context, x) + smoothing) / (count(context) + smoothing size)

    Args:
      train: [M] int tokens that are counted.
      test: [N] int tokens that are predicted, from the first that has a whole context.
      order: tokens of context; 0 counts single tokens.
      size: different tokens.
      smoothing: added to every count; at 0 what never followed costs infinity.

    Returns:
      Mean nats a token.
    """
    check_shapes(order=(order, "int >= 0"), size=(size, "int >= 1"), smoothing=(smoothing, ">= 0"))
    check_shapes(train=(train, "int M"))
    check_shapes(test=(test, "int N"))
    check_indices("train", train, size, "tokens")
    check_indices("test", test, size, "tokens")
    if len(train) <= order:
        raise ValueError(f"train: {len(train)} tokens; allowed: above order={order}")
    if len(test) <= order or size ** (order + 1) >= 2**63:
        raise ValueError(f"order={order}: does not fit; allowed: below {len(test)} tokens, contexts within 64 bits")

    def contexts(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of each context and of each context with what follows it."""
        rows = np.lib.stride_tricks.sliding_window_view(tokens.astype(np.int64), order + 1)
        whole = rows @ size ** np.arange(order, -1, -1)
        return whole // size, whole

    def counts(corpus: np.ndarray, asked: np.ndarray) -> np.ndarray:
        values, times = np.unique(corpus, return_counts=True)
        index = np.minimum(np.searchsorted(values, asked), len(values) - 1)
        return np.where(values[index] == asked, times[index], 0)

    (before, whole), (test_before, test_whole) = contexts(train), contexts(test)
    # Additive smoothing.
    p = (counts(whole, test_whole) + smoothing) / (counts(before, test_before) + smoothing * size)
    return float(-np.log(p).mean())
