"""Which optimizer wins where, each at its own best learning rate: a bowl, a ravine, a saddle, and digits.

python -m experiments.studies.optimizer_race

    bowl:    (x^2 + 100 y^2) / 2 from random starts         ravine:  (1 - x)^2 + 100 (y - x^2)^2, Rosenbrock's
    saddle:  x^2 - y^2 + y^4 / 4, from near its ridge       digits:  a perceptron of two layers, minibatches of 64

Learning rates form a grid of factors of sqrt(10). The best of each optimizer is the one that arrives first, within 1e-3
of the minimum, on the mean over the seeds; where none arrives, and on digits, the one of the lowest final loss. The
result is a table: no claim is tested.

Reference: Choi et al. 2019, arXiv:1910.05446 (an optimizer is as good as its tuning).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.losses import softmax_cross_entropy_loss
from dlcore.main import main
from dlcore.report.figure import BLUE, GRAY, GREEN, ORANGE, PINK, SKY, VERMILION, new_figure
from experiments.studies.small_runs import SmallNet, log_loss_and_accuracy, shuffled_digits, train

OPTIMIZERS = {
    "SGD": optax.sgd,
    "momentum": lambda learning_rate: optax.sgd(learning_rate, 0.9),
    "Nesterov": lambda learning_rate: optax.sgd(learning_rate, 0.9, nesterov=True),
    "AdaGrad": lambda learning_rate: optax.adagrad(learning_rate, initial_accumulator_value=0.0),
    "RMSProp": lambda learning_rate: optax.rmsprop(learning_rate, 0.99),
    "Adam": optax.adam,
    "AdamW": lambda learning_rate: optax.adamw(learning_rate, weight_decay=1e-4),
}
COLORS = dict(zip(OPTIMIZERS, (GRAY, ORANGE, VERMILION, SKY, PINK, BLUE, GREEN), strict=True))


class Surface(NamedTuple):
    """A function of the plane, less its minimum; where starts are drawn; what to show."""

    function: object
    center: tuple[float, float]
    spread: tuple[float, float]
    window: tuple[float, float, float, float]


SURFACES = {
    "bowl": Surface(lambda w: (w[0] ** 2 + 100 * w[1] ** 2) / 2, (-4.0, 1.0), (0.5, 0.2), (-5, 2, -1.5, 1.5)),
    "ravine": Surface(
        lambda w: (1 - w[0]) ** 2 + 100 * (w[1] - w[0] ** 2) ** 2, (-1.2, 1.0), (0.2, 0.2), (-2, 2, -1, 3)
    ),
    "saddle": Surface(lambda w: w[0] ** 2 - w[1] ** 2 + w[1] ** 4 / 4 + 1, (1.5, 0.0), (0.2, 1e-3), (-1, 2, -2, 2)),
}


def descend(optimizer, function, start, steps):
    """Descend from a start: positions [steps + 1, 2]."""

    def step(carry, _):
        w, state = carry
        updates, state = optimizer.update(jax.grad(function)(w), state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), w

    _, path = jax.lax.scan(step, (start, optimizer.init(start)), None, length=steps)
    return jnp.concatenate([start[None], path])


def on_surface(surface: Surface, make, learning_rates, num_seeds: int, steps: int):
    """Descend on a surface: (losses [R, seeds, steps + 1], paths [R, seeds, steps + 1, 2]) at R learning rates."""
    draws = jax.random.normal(jax.random.key(0), (num_seeds, 2))
    starts = jnp.array(surface.center) + draws * jnp.array(surface.spread)

    @jax.jit
    def run(learning_rates):
        def one(learning_rate, start):
            return descend(make(learning_rate), surface.function, start, steps)

        return jax.vmap(lambda learning_rate: jax.vmap(lambda start: one(learning_rate, start))(starts))(learning_rates)

    paths = run(jnp.asarray(learning_rates, jnp.float32))
    return np.asarray(jax.vmap(jax.vmap(jax.vmap(surface.function)))(paths)), np.asarray(paths)


def on_digits(make, learning_rates, num_seeds: int, steps: int, parts: int):
    """Train on digits at R learning rates: (training losses [R, seeds, parts], test accuracies [R, seeds])."""
    data, net = shuffled_digits(), SmallNet((64,))
    images, labels = jnp.asarray(data.images, jnp.float32), jnp.asarray(data.labels)

    @jax.jit
    def run(learning_rates):
        def one(learning_rate, key):
            variables, _ = train(key, net, make(learning_rate), images, labels, steps, snapshots=parts)
            logits = jax.vmap(lambda v: net.apply(v, images, False))(variables)
            losses = jax.vmap(lambda s: softmax_cross_entropy_loss(s, labels).mean())(logits)
            last = jax.tree.map(lambda v: v[-1], variables)
            scores = jax.nn.log_softmax(net.apply(last, data.test_images, False))
            return losses, log_loss_and_accuracy(scores, data.test_labels)[1]

        keys = jax.random.split(jax.random.key(1), num_seeds)
        return jax.vmap(lambda learning_rate: jax.vmap(lambda key: one(learning_rate, key))(keys))(learning_rates)

    return tuple(np.asarray(v) for v in run(jnp.asarray(learning_rates, jnp.float32)))


def arrival(losses: np.ndarray, below: float = 1e-3) -> np.ndarray:
    """Find the step after which losses [..., steps + 1] stay below, or steps + 1 where they never do."""
    there = np.flip(np.logical_and.accumulate(np.flip(losses < below, -1), -1), -1)
    return np.where(there.any(-1), there.argmax(-1), losses.shape[-1])


def best_rate(finals: np.ndarray, arrivals: np.ndarray) -> int:
    """Find the row of [R, seeds] that arrives first, then ends lowest, on the mean; diverged runs count as infinite."""
    means = np.where(np.isfinite(finals), finals, np.inf).mean(1)
    return min(range(len(means)), key=lambda row: (arrivals[row].mean(), means[row]))


def report(learning_rates, finals, arrivals, accuracies) -> StudyResult:
    """Tabulate finals, arrivals {problem: {optimizer: [R, seeds]}} and digits' accuracies {optimizer: [R, seeds]}."""
    numbers, winners, edges = {}, {}, []
    for problem, by_optimizer in finals.items():
        scores = {}
        for name, values in by_optimizer.items():
            row = best_rate(values, arrivals[problem][name])
            scores[name] = (float(arrivals[problem][name][row].mean()), float(values[row].mean()))
            when = f", there at step {scores[name][0]:.0f}" if problem in SURFACES else ""
            numbers[f"{problem}, {name}"] = f"{scores[name][1]:.2g} at rate {learning_rates[row]:.2g}{when}"
            if row in (0, len(learning_rates) - 1):
                edges.append(f"{name} on {problem}")
        winners[problem] = min(scores, key=scores.get)
    for name, values in accuracies.items():
        row = best_rate(finals["digits"][name], arrivals["digits"][name])
        numbers[f"digits, test accuracy, {name}"] = float(values[row].mean())
    first = winners["digits"]
    row = best_rate(finals["digits"][first], arrivals["digits"][first])
    headline = Headline("test accuracy of the optimizer with the lowest loss", accuracies[first][row], "digits")
    numbers["best rate at the end of the grid"] = ", ".join(edges) or "none"
    summary = "; ".join(f"{problem}: {name} ({numbers[f'{problem}, {name}']})" for problem, name in winners.items())
    verdict = f"First, each optimizer at its best learning rate: {summary}."
    return StudyResult(numbers, verdict, headline=headline)


def draw(learning_rates, finals, arrivals, paths, curves, parts, steps):
    figure, panels = new_figure((10, 7.2), 2, 2)
    axes = dict(zip(finals, panels.ravel(), strict=True))
    for problem, surface in SURFACES.items():
        ax, (x0, x1, y0, y1) = axes[problem], surface.window
        x, y = np.meshgrid(np.linspace(x0, x1, 200), np.linspace(y0, y1, 200))
        height = np.asarray(surface.function(np.stack([x, y])))
        ax.contour(x, y, np.log10(height + 1e-3), 14, colors="0.8", linewidths=0.7)
        for name in OPTIMIZERS:
            path = paths[problem][name][best_rate(finals[problem][name], arrivals[problem][name]), 0]
            ax.plot(*path.T, color=COLORS[name], lw=1.4, alpha=0.9, label=name)
            ax.plot(*path[-1], "o", color=COLORS[name], ms=5)
        ax.set(xlim=(x0, x1), ylim=(y0, y1), title=problem)
    ax = axes["digits"]
    for name in OPTIMIZERS:
        row = best_rate(finals["digits"][name], arrivals["digits"][name])
        ax.semilogy(
            np.arange(1, parts + 1) * steps / parts,
            curves[name][row].mean(0),
            "o-",
            ms=3,
            color=COLORS[name],
            label=f"{name}, {learning_rates[row]:.2g}",
        )
    ax.set(title="digits: training loss, best rates", xlabel="step")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, fontsize=8, ncols=2)
    axes["bowl"].legend(frameon=False, fontsize=8, ncols=2, loc="lower right")
    return figure


def study(
    *, num_seeds: PositiveInt = 3, steps: PositiveInt = 200, digits_steps: PositiveInt = 400, decades: float = 4.5
) -> StudyResult:
    """Race the optimizers, each at its best learning rate.

    Args:
      num_seeds: starts of each run.
      steps: steps on the surfaces.
      digits_steps: steps on digits, a multiple of 10.
      decades: powers of ten that the learning rates span, from sqrt(10) down.
    """
    learning_rates = 10 ** np.linspace(0.5 - decades, 0.5, int(2 * decades) + 1)
    problems = (*SURFACES, "digits")
    finals, arrivals, paths = ({name: {} for name in problems} for _ in range(3))
    curves, accuracies = {}, {}
    for problem, surface in SURFACES.items():
        for name, make in OPTIMIZERS.items():
            losses, paths[problem][name] = on_surface(surface, make, learning_rates, num_seeds, steps)
            finals[problem][name], arrivals[problem][name] = losses[:, :, -1], arrival(losses)
    for name, make in OPTIMIZERS.items():
        curves[name], accuracies[name] = on_digits(make, learning_rates, num_seeds, digits_steps, 10)
        finals["digits"][name] = curves[name][:, :, -1]
        arrivals["digits"][name] = np.zeros_like(accuracies[name])
    result = report(learning_rates, finals, arrivals, accuracies)
    return result._replace(figures={"race": draw(learning_rates, finals, arrivals, paths, curves, 10, digits_steps)})


experiment = Study(__file__, __doc__, study, smoke={"num_seeds": 1, "steps": 20, "digits_steps": 10, "decades": 1.0})

if __name__ == "__main__":
    main(experiment)
