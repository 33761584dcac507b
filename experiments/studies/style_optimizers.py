"""Does L-BFGS paint a style in fewer evaluations than Adam?

python -m experiments.studies.style_optimizers

Both descend on the same pixels from the same noise, on the objective of the style transfer experiment. An evaluation is
one objective and gradient; L-BFGS pays for those of its line search too, and Adam runs at several learning rates. The
claim holds where L-BFGS needs fewer evaluations than Adam at its best learning rate.

Reference: Gatys, Ecker & Bethge 2015, arXiv:1508.06576.
"""

import itertools

import jax
import numpy as np
import optax

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.data.source import Source
from dlcore.experiment import Headline, NonNegativeFloat, PositiveInt, Study, StudyResult
from dlcore.interpretability import style_transfer
from dlcore.main import main
from dlcore.report.figure import BLUE, GREEN, ORANGE, PINK, VERMILION, new_figure
from dlcore.weights.network import load_network

SETTINGS = {"content_layer": "relu2_2", "style_weight": 20.0, "variation_weight": 0.2}


def descend(optimizer, network, source, seed: int, steps: int):
    """Descend: evaluations, loss and its terms after each step."""
    learner = style_transfer.learner(
        model=network.model.clone(pooling="avg"),
        variables=network.variables,
        optimizer=optimizer,
        mean=network.mean,
        std=network.std,
        **SETTINGS,
    )
    batch = source[np.arange(1)]
    state = jax.jit(learner.init)(jax.random.key(seed), batch)
    update, measure = jax.jit(learner.update, donate_argnums=0), jax.jit(learner.evaluate)
    rows = []
    for step in range(steps + 1):
        if step:
            state, _ = update(state, batch)
        results = {name: metric.compute() for name, metric in jax.device_get(measure(state, batch)).items()}
        rows.append({"evaluations": int(state.evaluations), **results})
    return rows


def evaluations_to(rows: list[dict], loss: float) -> int | None:
    """Evaluations of the first row whose loss is not above `loss`."""
    return next((row["evaluations"] for row in rows if row["loss"] <= loss), None)


def study(
    *,
    num_seeds: PositiveInt = 3,
    steps: PositiveInt = 300,
    height: PositiveInt = 96,
    learning_rates: tuple[NonNegativeFloat, ...] = (0.01, 0.03, 0.1),
) -> StudyResult:
    """Count the evaluations that L-BFGS needs for the loss that Adam ends with.

    Args:
      num_seeds: noise images to start from.
      steps: steps of Adam, and most evaluations of L-BFGS.
      learning_rates: constant learning rates of Adam.
    """
    network = load_network()
    content = sample_image("china", height)
    style = fit_to(sample_image("flower", height), content.shape[:2])
    source = Source({"content": content[None], "style": style[None]})
    figure, axes = new_figure((7, 3.6), grid="both")
    needed, finals, falls = (
        {learning_rate: [] for learning_rate in learning_rates},
        {learning_rate: [] for learning_rate in learning_rates},
        [],
    )
    for seed in range(num_seeds):
        lbfgs = descend(optax.lbfgs(), network, source, seed, steps)
        lbfgs = [row for row in lbfgs if row["evaluations"] <= steps]
        plot(axes, lbfgs, BLUE, "L-BFGS" if seed == 0 else None)
        falls.append([lbfgs[0][term] / lbfgs[-1][term] for term in ("content", "style")])
        for learning_rate, color in zip(
            learning_rates, itertools.cycle((ORANGE, VERMILION, PINK, GREEN)), strict=False
        ):
            adam = descend(optax.adam(learning_rate), network, source, seed, steps)
            plot(axes, adam, color, f"Adam, rate {learning_rate:g}" if seed == 0 else None)
            finals[learning_rate].append(adam[-1]["loss"])
            needed[learning_rate].append(evaluations_to(lbfgs, adam[-1]["loss"]))
    axes.set(yscale="log", xlabel="evaluations of objective and gradient", ylabel="loss")
    axes.legend(frameon=False)
    best = min(learning_rates, key=lambda learning_rate: np.mean(finals[learning_rate]))
    content, style = np.min(falls, axis=0)
    verdict = (
        f"For the loss that Adam has after {steps} evaluations L-BFGS needs "
        + "; ".join(
            f"at rate {learning_rate:g}: {_counts_text(needed[learning_rate], steps)}"
            for learning_rate in learning_rates
        )
        + f". Adam's best rate is {best:g}. L-BFGS lowered the content loss {content:.0f} times and the style loss "
        f"{style:.0f} times, at least."
    )
    holds = all(count is not None for count in needed[best])
    numbers = {f"evaluations for Adam at {learning_rate:g}": needed[learning_rate] for learning_rate in learning_rates}
    numbers |= {
        f"Adam's final loss at {learning_rate:g}": finals[learning_rate] for learning_rate in learning_rates
    } | {"content, style fall": falls}
    headline = Headline(
        "style loss before L-BFGS over after",
        [style for _, style in falls],
        "china in the style of flower",
        tolerance=0.2,
    )
    return StudyResult(numbers, verdict, {"loss": figure}, holds, headline)


def plot(axes, rows, color, label):
    axes.plot([r["evaluations"] for r in rows], [r["loss"] for r in rows], color=color, alpha=0.8, label=label)


def _counts_text(counts, steps) -> str:
    return ", ".join("more than that" if count is None else str(count) for count in counts)


experiment = Study(
    __file__, __doc__, study, smoke={"num_seeds": 1, "steps": 3, "height": 24, "learning_rates": (0.03,)}
)

if __name__ == "__main__":
    main(experiment)
