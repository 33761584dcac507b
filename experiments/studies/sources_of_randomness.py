"""Where the spread between two runs comes from: initial weights, order of examples, or the validation split.

python -m experiments.studies.sources_of_randomness

A perceptron learns the digits again and again; each time one source of randomness alone gets a new seed, and last all
of them together. The claim holds where the same seed gives the same weights, bit for bit.

Reference: Bouthillier et al. 2021, arXiv:2103.03098.
"""

import jax
import numpy as np

from dlcore.classification import supervised
from dlcore.data.image_classification import load
from dlcore.data.pipeline import Pipeline
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.models import create_model
from dlcore.optim import create_optimizer
from dlcore.report.figure import new_figure, seed_dots
from dlcore.run import Placement, evaluate, fit, make_mesh

SOURCES = ("weights", "order", "split", "all")


def train(weights: int, order: int, split: int, steps: int) -> tuple[float, list[np.ndarray]]:
    """Train with a seed of each source: (test accuracy, final parameters)."""
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    splits = load("digits", seed=split)
    learner = supervised.learner(model=create_model("mlp", num_classes=10), optimizer=create_optimizer("adam", 1e-3))
    result = fit(
        learner,
        Pipeline(splits.train, 64, seed=order),
        steps=steps,
        seed=weights,
        placement=placement,
        progress=False,
        log_every=steps,
    )
    accuracy = evaluate(learner, result.state, splits.test, placement=placement)["accuracy"]
    return accuracy, [np.asarray(leaf) for leaf in jax.tree.leaves(result.state.params)]


def study(*, num_seeds: PositiveInt = 8, steps: PositiveInt = 400) -> StudyResult:
    """Compare the spread of test accuracy by source of randomness.

    Args:
      num_seeds: runs for each source, at least 2.
    """
    accuracies = {}
    for source in SOURCES:
        varied = {name: source in (name, "all") for name in ("weights", "order", "split")}
        accuracies[source] = [
            train(**{name: seed if on else 0 for name, on in varied.items()}, steps=steps)[0]
            for seed in range(num_seeds)
        ]
    again = [train(0, 0, 0, steps)[1] for _ in range(2)]
    identical = all(a.tobytes() == b.tobytes() for a, b in zip(*again, strict=True))
    spread = {source: float(np.std(values, ddof=1)) for source, values in accuracies.items()}
    figure, axes = new_figure((7, 3.2), grid="x")
    seed_dots(axes, accuracies, scale=100, horizontal=True)
    axes.set(xlabel="test accuracy, % (bar: mean)", ylabel="what gets a new seed")
    largest = max(("weights", "order", "split"), key=spread.get)
    verdict = (
        f"The same seeds gave {'bit-identical' if identical else 'DIFFERENT'} weights. Standard deviations over "
        f"{num_seeds} seeds: weights {spread['weights']:.2%}, order {spread['order']:.2%}, split "
        f"{spread['split']:.2%}, all together {spread['all']:.2%}; the largest single source is {largest}."
    )
    numbers = {f"std {source}": value for source, value in spread.items()}
    numbers |= {f"accuracy {source}": values for source, values in accuracies.items()}
    headline = Headline("test accuracy, every source with a new seed", accuracies["all"], "digits")
    return StudyResult(numbers, verdict, {"spread": figure}, identical, headline)


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 2, "steps": 10})

if __name__ == "__main__":
    main(experiment)
