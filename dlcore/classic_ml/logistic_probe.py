"""Logistic regression on frozen features."""

import warnings

import numpy as np

from dlcore.activity import activity
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["probe_predict"]


def probe_predict(
    bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, c: float = 1.0, max_iterations: int = 300
) -> np.ndarray:
    """Classify by logistic regression on a bank of features.

    Args:
      bank: [N, D] features with known classes.
      labels: [N] int, their classes.
      queries: [M, D] features to classify.
      c: C, weight of the loss against the penalty on W.
      max_iterations: largest number of L-BFGS iterations.

    Returns:
      [M] int classes.
    """
    bank, labels, queries = np.asarray(bank), np.asarray(labels), np.asarray(queries)
    if labels.dtype.kind not in "iufb":
        raise ValueError(f"labels={labels.dtype}{list(labels.shape)}: no classes; allowed: int [N]")
    check_shapes(bank=(bank, "N D"), labels=(labels, "int N"), queries=(queries, "M W"))
    check_shapes(c=(c, "> 0"), max_iterations=(max_iterations, "int >= 1"))
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if bank.shape[1] != queries.shape[1]:
        raise ValueError(f"queries={queries.shape}: another width than the bank; allowed: [M, {bank.shape[1]}]")
    check_finite("bank", bank)
    check_finite("queries", queries)
    if len(np.unique(labels)) < 2:
        raise ValueError(f"labels={labels[:1].tolist()}: the only class; allowed: at least two classes")
    if not len(queries):
        raise ValueError("queries=[0]: none; allowed: at least 1")
    mean, std = bank.mean(0, dtype=np.float64), bank.std(0, dtype=np.float64)
    std = np.where(std > 1e-6 * np.maximum(std.max(), 1e-12), std, 1.0)
    classifier = LogisticRegression(C=c, max_iter=max_iterations)
    with warnings.catch_warnings(), activity(f"linear probe of {len(bank):,} features"):
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit((bank - mean) / std, labels)
    return classifier.predict((queries - mean) / std)
