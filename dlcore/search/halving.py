"""Successive halving and Hyperband: many short trials, of which the best continue.

Jamieson & Talwalkar, "Non-stochastic best arm identification and hyperparameter optimization" (2016), arXiv:1502.07943;
Li, Jamieson, DeSalvo, Rostamizadeh & Talwalkar, "Hyperband" (2018), arXiv:1603.06560.

    rung k:  n_k = floor(n eta^-k) trials have seen r_k = r eta^k steps; the best n_(k+1) continue
    bracket s of Hyperband:  n = ceil((s_max + 1) / (s + 1) eta^s),  r = R eta^-s,  s_max = floor(log_eta R)
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlcore.choices import check_whole_number

__all__ = ["Rung", "hyperband_brackets", "rungs", "successive_halving"]


class Rung(NamedTuple):
    """A rung of successive halving.

    Args:
      trials: number of trials that reach it.
      steps: number of steps of each trial at the rung's end.
    """

    trials: int
    steps: int


def rungs(trials: int, first: int, last: int, eta: int = 3) -> list[Rung]:
    """Plan successive halving.

    Args:
      trials: number of trials that start.
      first: steps of the first rung.
      last: largest number of steps of a trial.
      eta: reduction factor; one of eta trials continues, for eta times the steps.

    Returns:
      The rungs.
    """
    for name, value, least in (("trials", trials, 1), ("first", first, 1), ("eta", eta, 2), ("last", last, first)):
        check_whole_number(name, value, least)
    plan = []
    for k in range(math.floor(math.log(last / first, eta) + 1e-9) + 1):
        count = trials // eta**k
        if count < 1:
            break
        plan.append(Rung(count, first * eta**k))
    return plan


def hyperband_brackets(last: int, eta: int = 3, first: int = 1) -> list[list[Rung]]:
    """Plan Hyperband.

    Args:
      last: largest number of steps of a trial.
      eta: reduction factor; one of eta trials continues, for eta times the steps.
      first: least number of steps of a rung.

    Returns:
      The rungs of every bracket, the bracket with the most trials first.
    """
    check_whole_number("eta", eta, 2)
    check_whole_number("last", last, 1)
    check_whole_number("first", first)
    if not 1 <= first <= last:
        raise ValueError(f"first={first}: out of range; allowed: 1 to last={last}")
    s_max = math.floor(math.log(last / first, eta) + 1e-9)
    brackets = []
    for s in range(s_max, -1, -1):
        trials = math.ceil((s_max + 1) / (s + 1) * eta**s)
        brackets.append(rungs(trials, max(first, round(last / eta**s)), last, eta))
    return brackets


def successive_halving(
    trials: Sequence[dict], plan: Sequence[Rung], train_rung: Callable[[list[int], int, int], np.ndarray]
) -> dict[str, Any]:
    """Run successive halving.

    Args:
      trials: trials, at least as many as in the first rung; the first ones run.
      plan: the rungs.
      train_rung: (indices, before, after) -> [len(indices)] scores, higher is better: trains those trials from step
        `before` to step `after`. A score that is not finite is worst.

    Returns:
      {"best": index of the best trial, None if no score of the last rung is finite, "scores": [trials], last scores or
        NaN, "steps": [trials], steps trained, "dropped": [trials], number of rungs not reached, "rungs": indices of the
        trials of each rung}.
    """
    if not plan:
        raise ValueError("plan=[]: no rungs; allowed: at least one")
    if bad := [rung for rung in plan if np.shape(rung) != (2,)]:
        raise ValueError(f"plan: {bad[0]!r} is no rung; allowed: Rung(trials, steps)")
    plan = [Rung(*rung) for rung in plan]
    for number, rung in enumerate(plan):
        check_whole_number("trials of a rung", rung.trials, 1)
        check_whole_number("steps of a rung", rung.steps, 1)
        if number and (rung.trials > plan[number - 1].trials or rung.steps <= plan[number - 1].steps):
            raise ValueError(
                f"plan[{number}]={tuple(rung)}: after {tuple(plan[number - 1])}; allowed: fewer trials, more steps"
            )
    if len(trials) < plan[0].trials:
        raise ValueError(
            f"trials={len(trials)} trials: too few; allowed: at least {plan[0].trials}, those of the first rung"
        )
    rows, before = list(range(plan[0].trials)), 0
    scores, steps, history = np.full(len(trials), np.nan), np.zeros(len(trials), int), []
    dropped = np.full(len(trials), len(plan))
    for number, rung in enumerate(plan):
        rows = rows[: rung.trials]
        if not rows:
            break
        history.append(list(rows))
        latest = np.asarray(train_rung(rows, before, rung.steps), float)
        if latest.shape != (len(rows),):
            raise ValueError(f"train_rung={latest.shape}: wrong shape; allowed: {(len(rows),)}, a score a trial")
        scores[rows], steps[rows], before = latest, rung.steps, rung.steps
        dropped[rows] = len(plan) - 1 - number
        order = np.argsort(np.where(np.isfinite(latest), -latest, np.inf), kind="stable")
        rows = [rows[i] for i in order if np.isfinite(latest[i])]
    best = rows[0] if rows else None
    return {"best": best, "scores": scores, "steps": steps, "dropped": dropped, "rungs": history}
