"""Successive halving and Hyperband: many trials for a short time, the best of them for longer.

Jamieson & Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization" (2016), arXiv:1502.07943;
Li, Jamieson, DeSalvo, Rostamizadeh & Talwalkar, "Hyperband" (2018), arXiv:1603.06560.

    rung k:  n_k = floor(n eta^-k) trials have seen r_k = r eta^k steps; the best n_(k+1) go on
    bracket s of Hyperband:  n = ceil((s_max + 1) / (s + 1) eta^s),  r = R eta^-s,  s_max = floor(log_eta R)
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Rung", "hyperband_brackets", "rungs", "successive_halving"]


class Rung(NamedTuple):
    """trials: how many there are. steps: that each has seen at its end."""

    trials: int
    steps: int


def rungs(trials: int, first: int, last: int, eta: int = 3) -> list[Rung]:
    """The rungs from `trials` trials of `first` steps to the last that does not exceed `last` steps.

    Raises:
      ValueError: a number is below 1, eta below 2, or `last` below `first`.
    """
    for name, value, least in (("trials", trials, 1), ("first", first, 1), ("eta", eta, 2), ("last", last, first)):
        if value < least:
            raise ValueError(f"{name}={value} must be at least {least}")
    found = []
    for k in range(math.floor(math.log(last / first, eta) + 1e-9) + 1):
        count = trials // eta**k
        if count < 1:
            break
        found.append(Rung(count, first * eta**k))
    return found


def hyperband_brackets(last: int, eta: int = 3, first: int = 1) -> list[list[Rung]]:
    """Hyperband's brackets for at most `last` steps a trial, the most exploring first; `first` steps are the unit.

    Raises:
      ValueError: as `rungs`.
    """
    if eta < 2:
        raise ValueError(f"eta={eta} must be at least 2")
    if not 1 <= first <= last:
        raise ValueError(f"first={first} must be in [1, last={last}]")
    most = math.floor(math.log(last / first, eta) + 1e-9)
    found = []
    for s in range(most, -1, -1):
        trials = math.ceil((most + 1) / (s + 1) * eta**s)
        found.append(rungs(trials, max(first, round(last / eta**s)), last, eta))
    return found


def successive_halving(
    trials: Sequence[dict], plan: Sequence[Rung], advance: Callable[[list[int], int, int], np.ndarray]
) -> dict[str, Any]:
    """Run a plan of rungs over the first of `trials`.

    advance(rows, before, after) -> [len(rows)] scores, higher is better: trains the trials of those rows, which have
    seen `before` steps, until they have seen `after`. What is not finite is worst.

    Returns {"best": the winner's row, "scores": [trials] the last of each or NaN, "steps": [trials] seen, "rungs": the
    rows of each}.

    Raises:
      ValueError: there are fewer trials than the first rung has, or all of a rung's scores are not finite.
    """
    if len(trials) < plan[0].trials:
        raise ValueError(f"{len(trials)} trials are fewer than the {plan[0].trials} of the first rung")
    rows, before = list(range(plan[0].trials)), 0
    scores, steps, history = np.full(len(trials), np.nan), np.zeros(len(trials), int), []
    for rung in plan:
        rows = rows[: rung.trials]
        history.append(list(rows))
        found = np.asarray(advance(rows, before, rung.steps), float)
        if not np.isfinite(found).any():
            raise ValueError(f"no trial of the {len(rows)} at step {rung.steps} has a finite score")
        scores[rows], steps[rows], before = found, rung.steps, rung.steps
        order = np.argsort(np.where(np.isfinite(found), -found, np.inf), kind="stable")
        rows = [rows[i] for i in order if np.isfinite(found[i])]
    return {"best": rows[0], "scores": scores, "steps": steps, "rungs": history}
