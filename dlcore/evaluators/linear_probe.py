"""A linear classifier on frozen features: how much of what the labels say can be read off them.

    min over W, b  of  1/2 |W|^2 + C sum_i -log softmax(W x_i + b)[y_i],    x standardised by the bank's statistics

by scikit-learn's L-BFGS: the problem is convex, so nothing is to be tuned but C.
"""

import warnings
from typing import Any

import numpy as np

from dlcore.evaluators.bank import gather
from dlcore.learner import Evaluator

__all__ = ["linear_probe", "probe_predict"]


def probe_predict(
    bank: np.ndarray, labels: np.ndarray, queries: np.ndarray, c: float = 1.0, max_iterations: int = 300
) -> np.ndarray:
    """Classes [M] of queries [M, D] by a classifier of a bank [N, D] with labels [N].

    Raises: ValueError for a c that is not positive, or a bank of one class.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if c <= 0:
        raise ValueError(f"c is {c}; it must be positive")
    if len(np.unique(labels)) < 2:
        raise ValueError(f"labels hold only the class {labels[0]}; a probe needs two")
    mean, std = bank.mean(0, dtype=np.float64), bank.std(0, dtype=np.float64)
    std = np.where(std > 1e-6 * np.maximum(std.max(), 1e-12), std, 1.0)
    classifier = LogisticRegression(C=c, max_iter=max_iterations)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit((bank - mean) / std, labels)
    return classifier.predict((queries - mean) / std)


def linear_probe(source: Any, *, c: float = 1.0, key: str = "features", name: str = "probe") -> Evaluator:
    """The accuracy `name` of a linear classifier on `outputs[key]`; `source` holds bank and questions, see
    `dlcore.data.bank.with_bank`."""

    def finish(acc) -> dict[str, float]:
        bank, labels, queries, truth = acc.split()
        return {name: float((probe_predict(bank, labels, queries, c) == truth).mean())}

    return Evaluator(gather(key), finish, source)
