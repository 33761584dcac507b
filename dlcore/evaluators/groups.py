"""Fairness audit: a model's rates for each group of people or images, and the differences between groups.

Hardt, Price & Srebro, "Equality of opportunity in supervised learning" (2016), arXiv:1610.02413; the interval is
Wilson's (1927).

    selection rate of group a            P(yhat = 1 | a)
    true and false positive rate         P(yhat = 1 | y = 1, a),   P(yhat = 1 | y = 0, a)
    demographic parity difference        max_a - min_a of the selection rate
    equalized odds difference            the larger of max_a - min_a of the two rates above

These are the definitions of fairlearn. Groups with fewer than 20 members are hidden, because their rates are
uncertain and could identify single members; the result lists them.
"""

import math
from typing import NamedTuple

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["Audit", "GroupRates", "audit_groups", "wilson_interval"]

LEAST = 20
"""Least number of members of a reported group."""


class GroupRates(NamedTuple):
    """Rates of one group.

    Args:
      count: number of members.
      accuracy: fraction of correct predictions.
      interval: 95 % confidence interval of the accuracy.
      selection_rate: fraction of positive predictions.
      true_positive_rate: fraction of positive predictions among positive labels; NaN without any.
      false_positive_rate: fraction of positive predictions among negative labels; NaN without any.
    """

    count: int
    accuracy: float
    interval: tuple[float, float]
    selection_rate: float
    true_positive_rate: float
    false_positive_rate: float


class Audit(NamedTuple):
    """Rates by group, and the differences between groups.

    Args:
      groups: {name of the group: rates}, of groups with at least `least` members.
      hidden: {name: count} of smaller groups.
      worst: name of the group with the lowest accuracy.
      demographic_parity_difference: largest difference of the selection rate.
      equalized_odds_difference: largest difference of the true or the false positive rate, the larger.
    """

    groups: dict[str, GroupRates]
    hidden: dict[str, int]
    worst: str
    demographic_parity_difference: float
    equalized_odds_difference: float


def wilson_interval(right: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Compute Wilson's confidence interval of a proportion.

    Args:
      right: number of successes.
      count: number of trials, at least 1.
      z: quantile of the normal distribution; 1.96 for 95 %.

    Returns:
      (low, high), within [0, 1].
    """
    check_whole_number("right", right)
    check_whole_number("count", count)
    check_shapes(z=(z, "> 0"))
    check_finite("z", z)
    if not 0 <= right <= count or count < 1:
        raise ValueError(f"right={right}: of count={count}; allowed: 0 to count, and at least one trial")
    proportion = right / count
    middle = proportion + z**2 / (2 * count)
    half = z * math.sqrt(proportion * (1 - proportion) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def audit_groups(predicted: np.ndarray, label: np.ndarray, group: np.ndarray, least: int = LEAST) -> Audit:
    """Audit the predictions of a binary classifier by groups.

    Args:
      predicted: [N], 0 or 1.
      label: [N], 0 or 1.
      group: [N], names or numbers of groups.
      least: least number of members of a reported group.

    Returns:
      The audit.
    """
    predicted, label, group = (np.asarray(x) for x in (predicted, label, group))
    for name, values in (("predicted", predicted), ("label", label), ("group", group)):
        if values.ndim != 1 or values.dtype == object:
            kind = "names or numbers" if name == "group" else "numbers"
            raise ValueError(f"{name}={values.dtype}{list(values.shape)}: wrong shape or kind; allowed: [N] {kind}")
    if not len(predicted) == len(label) == len(group):
        raise ValueError(
            f"predicted, label, group: {len(predicted)}, {len(label)}, {len(group)} of them; allowed: as many of each"
        )
    check_shapes(least=(least, "int >= 1"))
    if group.dtype.kind == "f":
        check_finite("group", group)
    for name, values in (("predicted", predicted), ("label", label)):
        if not np.isin(values, (0, 1)).all():
            raise ValueError(f"{name}: has {values[~np.isin(values, (0, 1))][0]}; allowed: 0 and 1")
    groups, hidden = {}, {}
    for name in np.unique(group):
        here = group == name
        count = int(here.sum())
        if count < least:
            hidden[str(name)] = count
            continue
        yhat, y = predicted[here], label[here]
        right = int((yhat == y).sum())
        rates = [float(yhat[y == side].mean()) if (y == side).any() else math.nan for side in (1, 0)]
        groups[str(name)] = GroupRates(
            count, right / count, wilson_interval(right, count), float(yhat.mean()), rates[0], rates[1]
        )
    if not groups:
        raise ValueError(
            f"group: none has {least} members, the largest {max(hidden.values(), default=0)}; allowed: more"
        )

    def spread(field: str) -> float:
        values = [getattr(rates, field) for rates in groups.values()]
        return float(np.nanmax(values) - np.nanmin(values)) if not np.isnan(values).all() else math.nan

    return Audit(
        groups,
        hidden,
        min(groups, key=lambda name: groups[name].accuracy),
        spread("selection_rate"),
        max(spread("true_positive_rate"), spread("false_positive_rate")),
    )
