"""Does L-BFGS paint a style in fewer evaluations than Adam?

python -m experiments.studies.style_optimizers

Both descend on the same pixels from the same noise, on the objective of the style transfer page. An evaluation is one
objective and gradient; L-BFGS pays for those of its line search too. Adam gets the best of several rates.
"""

import jax
import numpy as np
import optax

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.data.source import Source
from dlcore.interpretability import style_transfer
from dlcore.run.lab import Lab, LabResult
from dlcore.run.network import load_network
from dlcore.run.page import main

SETTINGS = {"content_layer": "relu2_2", "style_weight": 50.0, "variation_weight": 0.2}


def descend(optimizer, network, source, seed: int, steps: int, enough: float = -np.inf):
    """(evaluations, losses, terms) after each step, until the loss is below `enough`."""
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
        if found["loss"] < enough:
            break
    return rows


def study(
    *, seeds: int = 3, steps: int = 300, height: int = 96, rates: tuple[float, ...] = (0.01, 0.03, 0.1)
) -> LabResult:
    """Evaluations that L-BFGS needs for the loss that Adam ends with.

    Args:
      seeds: noises to start from.
      steps: of Adam.
      height: of the images, pixels.
      rates: Adam's learning rates; the best by final loss counts.
    """
    from matplotlib.figure import Figure

    network = load_network()
    content = sample_image("china", height)
    style = fit_to(sample_image("flower", height), content.shape[:2])
    source = Source({"content": content[None], "style": style[None]})
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    needed, final, falls = [], [], []
    for seed in range(seeds):
        runs = [descend(optax.adam(r), network, source, seed, steps) for r in rates]
        adam = min(runs, key=lambda rows: rows[-1]["loss"])
        lbfgs = descend(optax.lbfgs(), network, source, seed, steps, adam[-1]["loss"])
        for name, rows, colour in (("Adam", adam, "#D55E00"), ("L-BFGS", lbfgs, "#0072B2")):
            axes.plot(
                [r["evaluations"] for r in rows],
                [r["loss"] for r in rows],
                color=colour,
                label=name if not seed else None,
            )
        needed.append(lbfgs[-1]["evaluations"] if lbfgs[-1]["loss"] < adam[-1]["loss"] else None)
        final.append(adam[-1]["loss"])
        falls.append([lbfgs[0][term] / lbfgs[-1][term] for term in ("content", "style")])
    axes.set_yscale("log")
    axes.set_xlabel("evaluations of objective and gradient")
    axes.set_ylabel("loss")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)
    reached = [n for n in needed if n is not None]
    holds = len(reached) == seeds and max(reached) < steps
    least = np.min(falls, axis=0)
    verdict = (
        f"L-BFGS reached the loss that Adam had after {steps} evaluations on {len(reached)} of {seeds} seeds, after "
        f"{', '.join(str(n) for n in reached) or 'none'} evaluations; there the content loss had fallen {least[0]:.0f} "
        f"times and the style loss {least[1]:.0f} times, at least."
    )
    numbers = {
        "lbfgs evaluations": needed,
        "adam evaluations": steps,
        "adam final loss": final,
        "content, style fall": falls,
    }
    return LabResult(numbers, verdict, {"loss": figure}, holds)


page = Lab(file=__file__, doc=__doc__, function=study, smoke={"seeds": 1, "steps": 3, "height": 24, "rates": (0.03,)})

if __name__ == "__main__":
    main(page)
