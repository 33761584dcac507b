"""Does the reward with cost find cheaper networks of the same accuracy in MnasNet's space?

python -m experiments.studies.factorized_search

Each of two blocks has an operation, a kernel, a squeeze ratio, a skip, a width and a number of layers
(`dlcore.classification.factorized_search`), 104,976 children in all. On each seed the weights of the largest network
are trained on digits, masked to a random child at each step. A controller then learns by REINFORCE from the accuracy of
children with these weights on 128 images, alone or times (cost / target)^`--exponent`
(`dlcore.models.efficientnet.search_reward`); the cost is in multiply-adds, the target two inverted 3x3 layers a block.
The most likely child of each controller is trained from scratch, and measured on 256 other images. Batch norm takes its
statistics from the 128 images that are measured at a time. The claim holds where on every seed the child chosen
with cost is cheaper, and the mean accuracy is at most two points lower.

Measured over three seeds (3 minutes): it holds. The mean cost falls from 1.04 to 0.48 of the target, at 95.4 % and
95.6 %. The search without cost already chooses a cheap child on one of the seeds, where cost in the reward removes no
more than the squeeze-and-excitation of one layer.

References: Tan et al. 2018, arXiv:1807.11626, sections 3 and 4.1; Guo et al. 2019, arXiv:1904.00420 (shared weights,
one random child a step).
"""

import functools
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.classification.architecture_search import reinforce_search, train_network
from dlcore.classification.factorized_search import (
    FactorizedController,
    MaskedNet,
    child_blocks,
    choice_counts,
    multiply_adds,
)
from dlcore.experiment import PositiveInt, Range, Study, StudyResult
from dlcore.main import main
from dlcore.models.efficientnet import search_reward
from experiments.studies.architecture_search import digits_for_children
from experiments.studies.search_cost import ARMS, result_of

BLOCKS, SIDE, IMAGES = 2, 8, 128
"""Blocks of a child, side of an image, and images that a child is measured on at a time."""
COUNTS = choice_counts(BLOCKS)
TARGET_CHILD = (2, 0, 0, 1, 1, 1) * BLOCKS
LOSS = 0.02
NET = MaskedNet()


def random_children(seed: int, steps: int) -> jax.Array:
    """Draw architectures [steps, 6 B], every option as likely."""
    return jnp.asarray(np.random.default_rng(seed).integers(0, COUNTS, (steps, len(COUNTS))), jnp.int32)


@jax.jit
def trained(key, architectures, data):
    """Train the largest network for a step on each of the architectures [steps, 6 B]."""
    schedule = {"steps": len(architectures), "batch_size": 32, "learning_rate": 0.02}
    return train_network(key, NET, lambda i: architectures[i], data, **schedule)


@jax.jit
def accuracy(variables, architecture, images, labels):
    """Accuracy of a child, with the batch statistics of the images."""
    logits, _ = NET.apply(variables, images, architecture, True, mutable=["batch_stats"])
    return (logits.argmax(-1) == labels).mean()


def relative_cost(architecture):
    """Multiply-adds in units of the target's."""
    return multiply_adds(architecture, SIDE) / multiply_adds(jnp.array(TARGET_CHILD), SIDE)


@functools.partial(jax.jit, static_argnames=("updates", "children"))
def searched(key, exponent, variables, images, labels, updates, children):
    """Search with shared weights; return the most likely architecture [6 B]."""

    def reward(key, architecture):
        score = accuracy(variables, architecture, images, labels)
        return search_reward(score, relative_cost(architecture), 1.0, exponent)

    return reinforce_search(
        key,
        reward,
        updates=updates,
        children=children,
        learning_rate=0.15,
        entropy_weight=0.02,
        controller=FactorizedController(COUNTS),
        length=len(COUNTS),
    ).choice


def searches(exponents: tuple[float, ...], num_seeds: int, updates: int, children: int, steps: int) -> list[dict]:
    """Search with each exponent: {"cost" in units of the target, "accuracy", "child"} of each seed's choice."""
    rows = [{"cost": [], "accuracy": [], "child": []} for _ in exponents]
    for seed in range(num_seeds):
        data, key = digits_for_children(seed), jax.random.key(seed)
        shared = trained(key, random_children(seed, steps), data)
        parts = [(data["valid_image"][k : k + IMAGES], data["valid_label"][k : k + IMAGES]) for k in (0, 128, 256)]
        for row, exponent in zip(rows, exponents, strict=True):
            choice = searched(key, exponent, shared, *parts[0], updates, children)
            child_params = trained(jax.random.fold_in(key, 1), jnp.tile(choice, (steps, 1)), data)
            row["cost"].append(float(relative_cost(choice)))
            row["accuracy"].append(float(np.mean([accuracy(child_params, choice, *part) for part in parts[1:]])))
            row["child"].append("; ".join(" ".join(map(str, block)) for block in child_blocks(np.asarray(choice))))
    return [
        {"cost": np.array(row["cost"]), "accuracy": np.array(row["accuracy"]), "child": row["child"]} for row in rows
    ]


def report(accuracy_only: dict, both: dict) -> StudyResult:
    """Judge {"cost", "accuracy", "child"} of each seed, without and with cost in the reward."""
    loss = accuracy_only["accuracy"].mean() - both["accuracy"].mean()
    holds = bool((both["cost"] < accuracy_only["cost"]).all() and loss <= LOSS)
    verdict = (
        f"The chosen children, trained from scratch: accuracy {accuracy_only['accuracy'].mean():.1%} at "
        f"{accuracy_only['cost'].mean():.2f} of the target cost; with cost in the reward {both['accuracy'].mean():.1%} "
        f"at {both['cost'].mean():.2f}, cheaper on {(both['cost'] < accuracy_only['cost']).sum()} of "
        f"{len(both['cost'])} seeds."
    )
    measured = dict(zip(ARMS, (accuracy_only, both), strict=True))
    return result_of(measured, verdict, holds, "cost of the chosen child, in units of the target")


def study(
    *,
    num_seeds: PositiveInt = 3,
    updates: PositiveInt = 40,
    children: PositiveInt = 4,
    steps: PositiveInt = 200,
    exponent: Annotated[float, Range(-10, 0)] = -0.07,
) -> StudyResult:
    """Search with and without cost in the reward.

    Args:
      num_seeds: shared networks, and searches of either kind.
      updates: updates of the controller; a search measures updates * children children.
      children: children measured for each update of the controller.
      steps: training steps of the shared weights, and of a chosen child.
      exponent: exponent of the cost in the reward; 0 ignores it.
    """
    return report(*searches((0.0, exponent), num_seeds, updates, children, steps))


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "updates": 1, "children": 2, "steps": 2})

if __name__ == "__main__":
    main(experiment)
