"""A linear classifier on frozen features.

    min over W, b  of  1/2 |W|^2 + C sum_i -log softmax(W x_i + b)[y_i],    x standardized by the bank's statistics

by scikit-learn's L-BFGS: the problem is convex, so that only C needs tuning.
"""

from typing import Any

from dlcore.classic_ml.logistic_probe import probe_predict
from dlcore.evaluators.feature_memory import collect_features
from dlcore.learner import Evaluator
from dlcore.ops.checks import check_shapes

__all__ = ["linear_probe"]


def linear_probe(source: Any, *, c: float = 1.0, key: str = "features", name: str = "probe") -> Evaluator:
    """Build the evaluator of a linear classifier's accuracy on features.

    Args:
      source: bank and queries, from `dlcore.data.bank_and_queries`.
      c: weight of the loss against the penalty on the classifier's weights.
      key: name of the features [B, D] among the outputs of `predict`.
      name: name of the metric.

    Returns:
      The evaluator of the accuracy on the queries.
    """
    check_shapes(c=(c, "> 0"))

    def finish(acc) -> dict[str, float]:
        bank, labels, queries, targets = acc.split()
        return {name: float((probe_predict(bank, labels, queries, c) == targets).mean())}

    return Evaluator(collect_features(key), finish, source, (name,))
