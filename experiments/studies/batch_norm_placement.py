"""Batch norm before the ReLU or after it: which leaves more units dead, and which learns better?

python -m experiments.studies.batch_norm_placement

A ReLU is dead when it is off for every training example: its weights get no gradient any more. Batch norm before the
ReLU centers each unit again at every step, so that only its learned shift can push all examples below zero. Perceptrons
learn the digits at every learning rate of a ladder, with either placement and without batch norm; the claim is judged
over all learning rates at which both placements end at finite losses.

Reference: Ioffe & Szegedy 2015, arXiv:1502.03167.

Measured in 18 s of one core: no unit is dead with batch norm before the ReLU, 1.6 % with it after. Above those learning
rates, at 16x the best one and more, batch norm before the ReLU loses more and more of its units: a fifth, and two
thirds at the highest.
"""

from typing import Annotated

import numpy as np

from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, ORANGE, VERMILION, mean_and_range, new_figure
from experiments.studies.batch_norm import Net, data, starts, train_all

PLACEMENTS = {"before": ("batch", True), "after": ("batch", False), "none": ("none", True)}
COLORS = {"before": BLUE, "after": ORANGE, "none": VERMILION}
NAMES = {"before": "before the ReLU", "after": "after the ReLU", "none": "no batch norm"}


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 300,
    batch_size: PositiveInt = 64,
    depth: PositiveInt = 4,
    hidden: PositiveInt = 32,
    min_log2_learning_rate: Annotated[int, Range(-32, 32)] = -5,
    max_log2_learning_rate: Annotated[int, Range(-32, 32)] = 5,
) -> StudyResult:
    """Measure dead units, loss and accuracy by placement and learning rate."""
    splits, learning_rates, results = data(), 2.0 ** np.arange(min_log2_learning_rate, max_log2_learning_rate + 1), {}
    for name, (norm, before) in PLACEMENTS.items():
        net = Net(norm, before, hidden, depth)
        runs = train_all(
            net, starts(net, ["Kaiming"], num_seeds), learning_rates, splits["train"], splits["test"], steps, batch_size
        )
        results[name] = {key: np.asarray(values[0], np.float64) for key, values in runs.items()}
    return report(learning_rates, results)


def report(learning_rates: np.ndarray, results: dict) -> StudyResult:
    """Judge `results`: placement -> {"loss", "accuracy", "dead"}: [S, R]."""
    both = np.isfinite(results["before"]["loss"]) & np.isfinite(results["after"]["loss"])
    dead = {name: np.where(both, rows["dead"], 0).sum(1) / both.sum(1).clip(1) for name, rows in results.items()}
    best = {name: int(np.argmin(rows["loss"].mean(0))) for name, rows in results.items()}
    accuracy = {name: rows["accuracy"][:, best[name]] for name, rows in results.items()}
    fewer = bool(both.any(1).all() and (dead["before"] < dead["after"]).all())
    numbers = {}
    for name, label in NAMES.items():
        numbers[f"dead over the rates, {label}"] = dead[name].tolist()
        numbers[f"dead by rate, {label}"] = results[name]["dead"].mean(0).tolist()
        numbers[f"final loss by rate, {label}"] = results[name]["loss"].mean(0).tolist()
        numbers[f"best rate, {label}"] = float(learning_rates[best[name]])
        numbers[f"test accuracy at the best rate, {label}"] = accuracy[name].tolist()
    compared = learning_rates[both.any(0)]
    verdict = (
        f"Over {len(compared)} of {len(learning_rates)} rates, those at which both end at finite losses, "
        f"{dead['before'].mean():.1%} of the ReLUs are dead with batch norm before them and {dead['after'].mean():.1%} "
        f"with it after them: {'fewer' if fewer else 'NOT fewer'} on every one of {len(both)} seeds. At its best rate "
        f"the net has {accuracy['before'].mean():.1%} of the test digits right with it before, "
        f"{accuracy['after'].mean():.1%} after, {accuracy['none'].mean():.1%} without."
    )
    headline = Headline("share of dead ReLUs, batch norm after less before", dead["after"] - dead["before"], "digits")
    return StudyResult(numbers, verdict, {"placement": draw(learning_rates, results)}, fewer, headline)


def draw(learning_rates: np.ndarray, results: dict):
    """Draw dead units and loss by learning rate."""
    figure, (left, right) = new_figure((8, 3.2), 1, 2, grid="both")
    for name, rows in results.items():
        mean_and_range(left, learning_rates, 100 * rows["dead"], COLORS[name], NAMES[name], "o-")
        mean_and_range(right, learning_rates, rows["loss"].clip(max=3), COLORS[name], style="o-")
    left.set_ylabel("dead ReLUs, %")
    right.set_ylabel("final training loss (cut at 3)")
    left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("learning rate")
    return figure


SMOKE = {
    "num_seeds": 1,
    "steps": 30,
    "batch_size": 32,
    "depth": 2,
    "hidden": 16,
    "min_log2_learning_rate": -2,
    "max_log2_learning_rate": -1,
}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
