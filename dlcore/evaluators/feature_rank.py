"""Collapse of features: their effective rank (RankMe) and the slope of their spectrum (alpha-ReQ).

Garrido et al. 2022, arXiv:2210.02885; Agrawal et al. 2022 (NeurIPS). The equations are in `dlcore.metrics.spectrum`.

    collapsed:  RankMe of the trained network < 1/2 RankMe of the untrained one

So have the embeddings of a head, by their own rank: a loss collapses what it sees before it does so to the features.
The untrained network is the measure, since the width of a network and the data limit the rank too.
"""

from typing import Any

import numpy as np

from dlcore.evaluators.feature_memory import collect_features
from dlcore.learner import Evaluator
from dlcore.metrics.spectrum import alpha_req, rank_me

__all__ = ["feature_rank"]

_MOST = 5000


def feature_rank(source: Any, *, key: str = "features", suffix: str = "") -> Evaluator:
    """Build the evaluator of the spectrum of the queries' features; of more than 5,000, of 5,000 evenly spaced ones.

    Args:
      source: bank and queries, from `dlcore.data.bank_and_queries`.
      key: name of the features [B, D] among the outputs of `predict`.
      suffix: end of the metrics' names ("_untrained").

    Returns:
      The evaluator of `rank` and `alpha`; `alpha` is left out where the features have less than two directions.

    Raises:
      ValueError: when used: `predict` has no output `key`.
    """

    def finish(acc) -> dict[str, float]:
        queries = acc.split()[2]
        features = queries[np.linspace(0, len(queries) - 1, min(len(queries), _MOST)).astype(int)]
        alpha = alpha_req(features) if len(features) > 1 else np.inf
        return {f"rank{suffix}": rank_me(features)} | ({f"alpha{suffix}": alpha} if np.isfinite(alpha) else {})

    return Evaluator(collect_features(key), finish, source, (f"rank{suffix}", f"alpha{suffix}"))
