"""Deeper plain networks are worse on their own training data; residual ones are not.

python -m experiments.studies.depth

Networks of 20 and 56 layers for CIFAR, plain and residual, at a quarter of the width, on the digits at twice their
size. Training loss is measured on all training examples at the end (with running statistics), for several seeds. The
second figure is the loss of both 56-layer networks on a plane of random, filter-normalized directions (Li et al. 2018).
The claim holds where at 56 layers the plain network is worse than at 20 and worse than the residual one, on every seed,
and the residual one is no worse on average than the plain one of 20 layers.

References: He et al. 2015, "Deep residual learning for image recognition", arXiv:1512.03385, figure 6; Li et al. 2018,
arXiv:1712.09913 (filter-normalized directions).

Measured on two CPU cores in 20 minutes of one, 3 seeds: the claim holds. Training loss: plain 20 layers 0.0020, plain
56 layers 0.53, residual 20 layers 0.0007, residual 56 layers 0.0003; in this order on every seed.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.diagnostics.loss_landscape import filter_normalized_direction, loss_surface
from dlcore.experiment import Headline, PositiveInt, Study, StudyResult
from dlcore.main import main
from dlcore.models.resnet_cifar import CifarResNet
from dlcore.report.figure import BLUE, VERMILION, mean_and_range, new_figure
from experiments.studies.small_runs import ZooNet, log_loss_and_accuracy, shuffled_digits, train

KINDS = {"plain": False, "residual": True}


def network(depth: int, skip: bool, width: int) -> ZooNet:
    """Make a CIFAR network of 6 n + 2 layers, plain or residual."""
    return ZooNet(CifarResNet(10, ((depth - 2) // 6,) * 3, width, skip=skip))


def judge(loss: dict[str, np.ndarray]) -> tuple[str, bool]:
    """Judge the training losses [seeds] of "plain 20", "plain 56", "residual 20" and "residual 56"."""
    names = list(loss)
    summary = ", ".join(f"{name} layers {loss[name].mean():.4f}" for name in names)
    shallow, deep = names[0].split()[1], names[1].split()[1]
    plain = int((loss[f"plain {deep}"] > loss[f"plain {shallow}"]).sum())
    residual = int((loss[f"residual {deep}"] > loss[f"residual {shallow}"]).sum())
    below = int((loss[f"residual {deep}"] < loss[f"plain {deep}"]).sum())
    num_seeds = len(loss[names[0]])
    verdict = (
        f"Training loss: {summary}. The deeper plain network is worse on {plain} of {num_seeds} seeds, the deeper "
        f"residual one on {residual}; at {deep} layers the residual one is better on {below}."
    )
    degraded = loss[f"residual {deep}"].mean() > loss[f"plain {shallow}"].mean()
    return verdict, plain == num_seeds and below == num_seeds and not degraded


def draw(curves, loss):
    figure, panels = new_figure((9.5, 3.6), 1, 2, sharey=True, grid="both")
    for axes, kind in zip(panels, KINDS, strict=True):
        for color, name in zip((BLUE, VERMILION), [n for n in loss if n.startswith(kind)], strict=True):
            steps, values = curves[name]
            mean_and_range(axes, steps, values, color, f"{name.split()[1]} layers")
        axes.set(title=kind, xlabel="step", yscale="log")
        axes.legend(frameon=False)
    panels[0].set_ylabel("training loss")
    return figure


def draw_landscapes(surfaces, offsets):
    figure, panels = new_figure((9.5, 4.0), 1, 2)
    top = np.log10(max(float(s.max()) for s in surfaces.values()))
    bottom = np.log10(max(min(float(s.min()) for s in surfaces.values()), 1e-6))
    for axes, (name, surface) in zip(panels, surfaces.items(), strict=True):
        levels = np.linspace(bottom, top, 25)
        filled = axes.contourf(offsets, offsets, np.log10(np.maximum(surface, 1e-6)), levels=levels, cmap="viridis")
        axes.plot(0, 0, "x", color="white")
        axes.set(title=f"{name} layers", xlabel="along e", ylabel="along d", aspect="equal")
    figure.colorbar(filled, ax=panels, label="log10 of the training loss", format="%.1f")
    return figure


def study(
    *,
    num_seeds: PositiveInt = 3,
    depths: tuple[PositiveInt, ...] = (20, 56),
    width: PositiveInt = 4,
    steps: PositiveInt = 800,
    snapshots: PositiveInt = 8,
    grid_size: PositiveInt = 21,
    num_examples: PositiveInt = 1297,
) -> StudyResult:
    """Train plain and residual networks of two depths, and draw the loss around the deeper ones.

    Args:
      depths: layers of the networks, 6 n + 2, the shallower first.
      width: channels of the first stage, 16 in the paper.
      steps: training steps of each run, of 64 examples.
      snapshots: number of measurements of the training loss in a run; divides steps.
      grid_size: points along each side of the loss surface.
    """
    data = shuffled_digits()
    images, labels = jnp.asarray(data.images[:num_examples]), jnp.asarray(data.labels[:num_examples])
    images = jax.image.resize(images, (len(images), 16, 16, 1), "linear")
    optimizer = optax.sgd(optax.cosine_decay_schedule(0.05, steps), momentum=0.9)

    @functools.partial(jax.jit, static_argnums=0)
    def run(net, key):
        variables, _ = train(key, net, optimizer, images, labels, steps, snapshots=snapshots)

        def loss_of(variables):
            return log_loss_and_accuracy(jax.nn.log_softmax(net.apply(variables, images, False)), labels)[0]

        return jax.lax.map(loss_of, variables), jax.tree.map(lambda v: v[-1], variables)

    @functools.partial(jax.jit, static_argnums=0)
    def surface(net, variables, offsets):
        directions = tuple(filter_normalized_direction(jax.random.key(k), variables["params"]) for k in (0, 1))

        def loss(params):
            logits = net.apply({**variables, "params": params}, images[:256], False)
            return log_loss_and_accuracy(jax.nn.log_softmax(logits), labels[:256])[0]

        return loss_surface(loss, variables["params"], directions, offsets)

    curves, last, surfaces = {}, {}, {}
    offsets = jnp.linspace(-1, 1, grid_size)
    times = (np.arange(snapshots) + 1) * (steps // snapshots)
    for kind, skip in KINDS.items():
        for depth in depths:
            net, name = network(depth, skip, width), f"{kind} {depth}"
            results = [run(net, jax.random.key(seed)) for seed in range(num_seeds)]
            values = np.stack([np.asarray(losses, np.float64) for losses, _ in results])
            curves[name], last[name] = (times, values), values[:, -1]
            if depth == depths[-1]:
                surfaces[name] = np.asarray(surface(net, results[0][1], offsets), np.float64)
    verdict, holds = judge(last)
    rough = {
        name: float((np.nan_to_num(s, nan=1e9) < 2 * max(s[grid_size // 2, grid_size // 2], 0.05)).mean())
        for name, s in surfaces.items()
    }
    verdict += (
        " Share of the plane at less than twice the loss of its center (or 0.1): "
        + ", ".join(f"{name} {fraction:.0%}" for name, fraction in rough.items())
        + "."
    )
    numbers = {f"{name}: training loss": values.tolist() for name, values in last.items()}
    numbers |= {f"{name}: share of the plane near its center": fraction for name, fraction in rough.items()}
    figures = {"depth": draw(curves, last), "landscape": draw_landscapes(surfaces, np.asarray(offsets))}
    headline = Headline(f"training loss, plain network of {depths[-1]} layers", last[f"plain {depths[-1]}"], "digits")
    return StudyResult(numbers, verdict, figures, holds, headline)


SMOKE = {"num_seeds": 1, "depths": (8, 14), "steps": 2, "snapshots": 2, "grid_size": 3, "num_examples": 16}
experiment = Study(__file__, __doc__, study, SMOKE)

if __name__ == "__main__":
    main(experiment)
