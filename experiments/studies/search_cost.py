"""Does a search for architectures find cheaper networks where their cost is part of the reward?

python -m experiments.studies.search_cost

The controller of `dlcore.classification.architecture_search` chooses an operation for each of six edges of a cell, and
learns by REINFORCE from the validation accuracy of each child on digits, alone or times (cost / target)^`--exponent`
(`dlcore.models.efficientnet.search_reward`). The cost is the multiply-adds of the stem and of the 3x3 convolutions on
the paths from a cell's input to its output, the target that of two convolutions a cell. Measured are the children of
the last quarter of each search: their mean cost in units of the target, and their mean accuracy. The claim holds where
on every seed the search with cost ends with a lower cost, and loses at most ten points of accuracy.

Measured over three seeds (150 s of one core): it does not hold. The last children cost 0.38 of the target in place of
1.61, but their accuracy is 26.1 % in place of 34.5 %, and on one seed 13 points lower: children of 40 steps learn
little, and with an exponent of -0.3 a quarter of the cost makes up for a third of the accuracy.

References: Tan et al. 2018, arXiv:1807.11626, section 3 (the reward); Zoph & Le 2016, arXiv:1611.01578.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classification.architecture_search import (
    EDGES,
    OPERATIONS,
    all_architectures,
    reinforce_search,
    train_child,
)
from dlcore.experiment import Headline, PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.models.efficientnet import search_reward
from dlcore.report.figure import BLUE, VERMILION, new_figure
from experiments.studies.architecture_search import architecture_index, digits_for_children

WIDTH, SIDES = 8, (8, 4)
"""Channels of every map, and sides of the maps of both cells."""
ARMS = ("accuracy", "accuracy and cost")
LOSS = 0.1


def used_convolutions(architecture: np.ndarray) -> int:
    """Count the convolutions [6] on paths without `none` from the cell's input to its output."""
    edges = {edge: OPERATIONS[k] for edge, k in zip(EDGES, architecture, strict=True) if OPERATIONS[k] != "none"}
    from_input, to_output = {0}, {3}
    for i, j in sorted(edges):
        from_input |= {j} if i in from_input else set()
    for i, j in sorted(edges, reverse=True):
        to_output |= {i} if j in to_output else set()
    return sum(name == "conv" and i in from_input and j in to_output for (i, j), name in edges.items())


def macs(architecture: np.ndarray) -> int:
    """Multiply-adds of an image's forward pass: the stem on one channel, and the used convolutions of both cells."""
    stem = 9 * WIDTH * SIDES[0] ** 2
    return stem + used_convolutions(architecture) * sum(9 * WIDTH * WIDTH * side**2 for side in SIDES)


TARGET = macs(np.array([0, 2, 0, 0, 0, 2]))
"""Multiply-adds of two convolutions a cell, one after the other: on the edges (0, 2) and (2, 3)."""


def searches(exponent: float, num_seeds: int, updates: int, children: int, steps: int) -> dict[str, np.ndarray]:
    """Search on each seed: {"cost" in units of the target, "accuracy"} of the last quarter's children, [seeds]."""
    data, costs = digits_for_children(0), np.array([macs(a) for a in all_architectures()], np.float64) / TARGET
    sides = jnp.array([len(OPERATIONS) ** k for k in reversed(range(len(EDGES)))])

    def reward(key, architecture):
        accuracy = train_child(key, architecture, data, steps=steps, batch_size=32, learning_rate=0.04, width=WIDTH)
        return search_reward(accuracy, jnp.asarray(costs, jnp.float32)[(architecture * sides).sum()], 1.0, exponent)

    @jax.jit
    def search(key):
        return reinforce_search(key, reward, updates=updates, children=children)

    rows = {"cost": [], "accuracy": []}
    for seed in range(num_seeds):
        history = search(jax.random.key(seed))
        last = slice(-max(1, updates * children // 4), None)
        cost = costs[architecture_index(np.asarray(history.architectures[last]))]
        rows["cost"].append(cost.mean())
        rows["accuracy"].append((np.asarray(history.rewards[last]) / cost**exponent).mean())
    return {name: np.array(values) for name, values in rows.items()}


def report(measured: dict[str, dict[str, np.ndarray]]) -> StudyResult:
    """Judge {arm: {"cost", "accuracy"} of each seed}."""
    accuracy_only, both = (measured[arm] for arm in ARMS)
    holds = bool(
        (both["cost"] < accuracy_only["cost"]).all() and (both["accuracy"] > accuracy_only["accuracy"] - LOSS).all()
    )
    verdict = (
        f"Children of the last quarter: accuracy {accuracy_only['accuracy'].mean():.1%} at "
        f"{accuracy_only['cost'].mean():.2f} of the target cost; with cost in the reward {both['accuracy'].mean():.1%} "
        f"at {both['cost'].mean():.2f}."
    )
    return result_of(measured, verdict, holds, "cost of the last children, in units of the target")


def result_of(measured: dict[str, dict], verdict: str, holds: bool, metric: str) -> StudyResult:
    """Draw accuracy by cost, and compare the costs, of {arm: {"cost", "accuracy", ...} of each seed}."""
    figure, axes = new_figure((4, 3))
    for arm, color in zip(ARMS, (VERMILION, BLUE), strict=True):
        axes.plot(measured[arm]["cost"], 100 * measured[arm]["accuracy"], "o", color=color, label=arm)
    axes.set(xlabel="cost, in units of the target", ylabel="validation accuracy, %")
    axes.legend(frameon=False, title="reward")
    numbers = {f"{name}, {arm}": list(values) for arm in ARMS for name, values in measured[arm].items()}
    accuracy_only, both = (measured[arm]["cost"] for arm in ARMS)
    baseline = (float(accuracy_only.mean()), "a reward of accuracy alone", "lower")
    headline = Headline(metric, both, "digits", 0.2, baseline)
    return StudyResult(numbers, verdict, {"accuracy and cost": figure}, holds, headline)


def study(
    *,
    num_seeds: PositiveInt = 3,
    updates: PositiveInt = 16,
    children: PositiveInt = 4,
    steps: PositiveInt = 40,
    exponent: Annotated[float, Range(-10, 0)] = -0.3,
) -> StudyResult:
    """Search with and without cost in the reward.

    Args:
      num_seeds: searches of either kind.
      updates: updates of the controller; a search trains updates * children networks.
      children: networks trained for each update of the controller.
      exponent: exponent of the cost in the reward; 0 ignores it.
    """
    rest = (num_seeds, updates, children, steps)
    return report({arm: searches(weight, *rest) for arm, weight in zip(ARMS, (0.0, exponent), strict=True)})


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "updates": 2, "children": 2, "steps": 2})

if __name__ == "__main__":
    main(experiment)
