"""Does a controller trained by reinforcement find better networks than random search?

python -m experiments.studies.architecture_search        (52 minutes on one core, beside other jobs)

All 729 cells of `dlcore.classification.architecture_search` are trained on the digits, twice each: the mean validation
accuracy is the truth that searches are compared by. Then, for each seed, a controller trained by REINFORCE and random
search train the same number of children of their own; each proposes the child that did best in its own trials. The
claim holds where the controller's proposals are in the top 5 % on every seed and better on average than the others.

The length of a child's training decides whether there is anything to find. With 80 steps at half the learning rate the
same cell differs by 0.08 from seed to seed, as much as the cells do, and the best trial is the luckiest one (the
controllers' cells had 65.7 %, those of random search 73.9 %). With 200 steps two trainings correlate by 0.94: good and
bad cells are told apart, and the controllers soon train good ones alone. But among the cells above 90 % the spread from
seed to seed, 0.016, is larger than that of the cells, 0.014, so that one training cannot say which of them is in the
top 5 %, whoever searches. The claim does not hold, and random search proposes as good a cell from 100 children: every
twentieth is in the top 5 %.

References: Zoph & Le 2016, arXiv:1611.01578; Dong & Yang 2020, arXiv:2001.00326 (a space small enough to train every
cell).
"""

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
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.report.figure import BLUE, VERMILION, mean_and_range, new_figure
from dlcore.run.progress import say
from experiments.studies.small_runs import shuffled_digits


def digits_for_children(seed: int, limit: int | None = None) -> dict[str, jax.Array]:
    """Load 900 digits to train on; the rest of the training split is for validation."""
    data = shuffled_digits(seed)
    images, labels = jnp.asarray(data.images[:limit]), jnp.asarray(data.labels[:limit])
    first = len(labels) * 900 // 1297
    return {
        "image": images[:first],
        "label": labels[:first],
        "valid_image": images[first:],
        "valid_label": labels[first:],
    }


def architecture_index(architectures: np.ndarray) -> np.ndarray:
    """Find the row [...] of each architecture [..., 6] in `all_architectures()`."""
    return np.ravel_multi_index(tuple(np.moveaxis(architectures, -1, 0)), (len(OPERATIONS),) * len(EDGES))


def judge(accuracy: np.ndarray, proposals: np.ndarray, at_random: np.ndarray) -> tuple[str, bool]:
    """Judge the proposed rows, [seeds] each, by the accuracy of every architecture [K]."""
    rank = lambda rows: np.array([(accuracy > accuracy[row]).mean() for row in rows])  # noqa: E731
    top, other = rank(proposals), rank(at_random)
    in_top = int((top < 0.05).sum())
    better = int((accuracy[proposals] > accuracy[at_random]).sum())
    num_seeds = len(proposals)
    ahead = "ahead" if accuracy[proposals].mean() > accuracy[at_random].mean() else "NOT ahead"
    verdict = (
        f"The controller's cell is in the top 5 % of {len(accuracy)} on {in_top} of {num_seeds} seeds (better than it: "
        f"{', '.join(f'{fraction:.1%}' for fraction in top)}), accuracy {accuracy[proposals].mean():.1%}; random "
        f"search with as many trained children: {accuracy[at_random].mean():.1%}, "
        f"{', '.join(f'{fraction:.1%}' for fraction in other)}. The best of all has {accuracy.max():.1%}, the median "
        f"{np.median(accuracy):.1%}. The controller is ahead on {better} of {num_seeds} seeds and {ahead} in the mean."
    )
    return verdict, in_top == num_seeds and ahead == "ahead"


def draw(accuracy, curves, random_curves, proposals, at_random):
    figure, (left, right) = new_figure((10, 3.6), 1, 2)
    trials = np.arange(1, curves.shape[1] + 1)
    for rows, name, color in ((curves, "controller", BLUE), (random_curves, "random", VERMILION)):
        kernel = np.ones(min(10, rows.shape[1])) / min(10, rows.shape[1])
        smooth = np.stack([np.convolve(row, kernel, "valid") for row in rows])
        mean_and_range(left, trials[len(kernel) - 1 :], smooth, color, name)
    left.set(xlabel="children trained", ylabel="validation accuracy of the last ten", title="Children along the search")
    left.legend(frameon=False)
    right.hist(accuracy, bins=160, range=(0, 1), color="0.8")
    for rows, name, color in ((proposals, "controller", BLUE), (at_random, "random", VERMILION)):
        for i, row in enumerate(rows):
            right.axvline(accuracy[row], color=color, label=name if i == 0 else None, alpha=0.7)
    right.set_xlim(min(np.quantile(accuracy, 0.4), accuracy[proposals].min(), accuracy[at_random].min()) - 0.01, 1)
    right.set(xlabel="accuracy of a cell", ylabel="cells", title="The proposed among all cells")
    right.legend(loc="upper left", frameon=False)
    return figure


def study(
    *,
    num_seeds: PositiveInt = 5,
    updates: PositiveInt = 25,
    children: PositiveInt = 4,
    steps: PositiveInt = 200,
    num_repeats: PositiveInt = 2,
    num_cells: int | None = None,
) -> StudyResult:
    """Train every cell, then search by reinforcement and at random.

    Args:
      num_seeds: searches of either kind.
      updates: updates of the controller; a search trains updates * children networks.
      children: networks trained for each update of the controller.
      num_repeats: trainings of every cell, whose mean accuracy is the truth.
      num_cells: train only the first cells, to try the study out; the others count as 0; None trains all 729.
    """
    data = digits_for_children(0)
    everything = jnp.asarray(all_architectures())

    def reward(key, architecture):
        return train_child(key, architecture, data, steps=steps, batch_size=32, learning_rate=0.04)

    @jax.jit
    def rewards_of(key, architectures):
        keys = jax.random.split(key, len(architectures))
        return jax.lax.map(lambda x: reward(*x), (keys, architectures))

    @jax.jit
    def search(key):
        return reinforce_search(key, reward, updates=updates, children=children)

    def at_random(key):
        first, second = jax.random.split(key)
        trials = jax.random.choice(first, everything, (updates * children,))
        return trials, rewards_of(second, trials)

    accuracy = np.mean([rewards_of(jax.random.key(1000 + i), everything[:num_cells]) for i in range(num_repeats)], 0)
    accuracy = np.concatenate([accuracy, np.zeros(len(everything) - len(accuracy))])
    say(f"{len(everything[:num_cells])} cells are trained; the searches follow")
    runs = [search(jax.random.key(seed)) for seed in range(num_seeds)]
    random_runs = [at_random(jax.random.key(500 + seed)) for seed in range(num_seeds)]
    proposals = np.array([architecture_index(np.asarray(run.architectures[run.rewards.argmax()])) for run in runs])
    choices = np.array([architecture_index(np.asarray(run.choice)) for run in runs])
    random_proposals = np.array(
        [architecture_index(np.asarray(trials[rewards.argmax()])) for trials, rewards in random_runs]
    )
    verdict, holds = judge(accuracy, proposals, random_proposals)
    curves, random_curves = np.stack([run.rewards for run in runs]), np.stack([rewards for _, rewards in random_runs])
    last = curves[:, -(curves.shape[1] // 4) :].mean(1)
    verdict += (
        f" The likeliest cell of the controllers has {accuracy[choices].mean():.1%}; their last children have "
        f"{last.mean():.1%} on average, random ones {random_curves.mean():.1%}."
    )
    numbers = {
        "truth": accuracy.tolist(),
        "controller: accuracy of the proposed cell": accuracy[proposals].tolist(),
        "controller: accuracy of its likeliest cell": accuracy[choices].tolist(),
        "random: accuracy of the proposed cell": accuracy[random_proposals].tolist(),
        "controller: mean reward, last quarter": last.tolist(),
        "random: mean reward": random_curves.mean(1).tolist(),
    }
    headline = Headline("validation accuracy of the controller's cell", accuracy[proposals], "digits")
    figures = {"architecture_search": draw(accuracy, curves, random_curves, proposals, random_proposals)}
    return StudyResult(numbers, verdict, figures, holds, headline)


SMOKE = {"num_seeds": 2, "updates": 2, "children": 2, "steps": 2, "num_repeats": 1, "num_cells": 4}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
