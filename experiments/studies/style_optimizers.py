"""Does L-BFGS paint a style in fewer evaluations than Adam?

python -m experiments.studies.style_optimizers

Both descend on the same pixels from the same noise, on the objective of the style transfer experiment. An evaluation is one
objective and gradient; L-BFGS pays for those of its line search too, and Adam has several rates. The claim holds where
L-BFGS needs fewer evaluations than Adam at its best rate.
"""

import jax
import numpy as np
import optax

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.data.source import Source
from dlcore.experiment import Study, StudyResult
from dlcore.interpretability import style_transfer
from dlcore.kits.trained_network import load_network
from dlcore.main import main

SETTINGS = {"content_layer": "relu2_2", "style_weight": 20.0, "variation_weight": 0.2}


def descend(optimizer, network, source, seed: int, steps: int):
    """Evaluations, loss and terms after each step."""
    learner = style_transfer.learner(
        model=network.model.clone(pooling="avg"), variables=network.variables, optimizer=optimizer, mean=network.mean,
        std=network.std, **SETTINGS,
    )  # fmt: skip
    batch = source[np.arange(1)]
    state = jax.jit(learner.init)(jax.random.key(seed), batch)
    update, measure = jax.jit(learner.update, donate_argnums=0), jax.jit(learner.evaluate)
    rows = []
    for step in range(steps + 1):
        if step:
            state, _ = update(state, batch)
        found = {name: metric.compute() for name, metric in jax.device_get(measure(state, batch)).items()}
        rows.append({"evaluations": int(state.evaluations), **found})
    return rows


def study(
    *, seeds: int = 3, steps: int = 300, height: int = 96, rates: tuple[float, ...] = (0.01, 0.03, 0.1)
) -> StudyResult:
    """Evaluations that L-BFGS needs for the loss that Adam ends with.

    Args:
      seeds: noises to start from.
      steps: of Adam.
      height: of the images, pixels.
      rates: Adam's learning rates, constant.
    """
    from matplotlib.figure import Figure

    network = load_network()
    content = sample_image("china", height)
    style = fit_to(sample_image("flower", height), content.shape[:2])
    source = Source({"content": content[None], "style": style[None]})
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    needed, finals, falls = {rate: [] for rate in rates}, {rate: [] for rate in rates}, []
    for seed in range(seeds):
        lbfgs = descend(optax.lbfgs(), network, source, seed, steps)
        lbfgs = [row for row in lbfgs if row["evaluations"] <= steps]
        plot(axes, lbfgs, "#0072B2", "L-BFGS" if seed == 0 else None)
        falls.append([lbfgs[0][term] / lbfgs[-1][term] for term in ("content", "style")])
        for rate, colour in zip(rates, ("#E69F00", "#D55E00", "#CC79A7", "#009E73"), strict=False):
            adam = descend(optax.adam(rate), network, source, seed, steps)
            plot(axes, adam, colour, f"Adam, rate {rate:g}" if seed == 0 else None)
            finals[rate].append(adam[-1]["loss"])
            below = [row["evaluations"] for row in lbfgs if row["loss"] <= adam[-1]["loss"]]
            needed[rate].append(below[0] if below else None)
    axes.set_yscale("log")
    axes.set_xlabel("evaluations of objective and gradient")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    best = min(rates, key=lambda rate: np.mean(finals[rate]))
    content, style = np.min(falls, axis=0)
    verdict = (
        f"For the loss that Adam has after {steps} evaluations L-BFGS needs "
        + "; ".join(f"at rate {rate:g}: {_told(needed[rate], steps)}" for rate in rates)
        + f". Adam's best rate is {best:g}. L-BFGS lowered the content loss {content:.0f} times and the style loss "
        f"{style:.0f} times, at least."
    )
    holds = all(count is not None for count in needed[best])
    numbers = {f"evaluations for Adam at {rate:g}": needed[rate] for rate in rates}
    numbers |= {f"Adam's final loss at {rate:g}": finals[rate] for rate in rates} | {"content, style fall": falls}
    return StudyResult(numbers, verdict, {"loss": figure}, holds)


def plot(axes, rows, colour, label):
    axes.plot([r["evaluations"] for r in rows], [r["loss"] for r in rows], color=colour, alpha=0.8, label=label)


def _told(counts, steps) -> str:
    return ", ".join("more than that" if count is None else str(count) for count in counts)


experiment = Study(
    file=__file__, doc=__doc__, function=study, smoke={"seeds": 1, "steps": 3, "height": 24, "rates": (0.03,)}
)

if __name__ == "__main__":
    main(experiment)
