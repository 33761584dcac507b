"""Figure of dlcore.transfer.prototypical; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLACK, BLUE, GREEN, VERMILION, new_figure
from dlcore.transfer.prototypical import prototype_logits
from experiments.figure_parts import embedded_digits

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["prototypical"]


def prototypical() -> "Figure":
    """Prototypes of three classes, and how much a mean helps against noise.

    Left: a class is the mean (star) of its supports (dots), and a new point belongs to the nearest star. Right:
    accuracy of five classes of noisy digits by raw pixels. With one support both rules are the same; with 20 the
    nearest prototype has 76 %, the nearest single support 56 %.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2)
    centers = jnp.array([[-1.0, 0.5], [1.0, 0.8], [0.2, -1.0]])
    supports = centers[:, None] + 0.5 * jax.random.normal(jax.random.key(3), (3, 5, 2))
    prototypes = supports.mean(1)
    a, b = np.meshgrid(np.linspace(-2.5, 2.5, 120), np.linspace(-2.2, 2.2, 120))
    regions = prototype_logits(jnp.stack([a.ravel(), b.ravel()], -1), prototypes).argmax(-1).reshape(a.shape)
    colors = (BLUE, VERMILION, GREEN)
    left.contourf(a, b, regions, [-0.5, 0.5, 1.5, 2.5], colors=colors, alpha=0.15)
    for points, mean, color in zip(supports, prototypes, colors, strict=True):
        left.plot(*np.stack([points, np.broadcast_to(mean, points.shape)], 1).T, color=color, linewidth=0.6)
        left.plot(*points.T, "o", color=color, markersize=4)
        left.plot(*mean, "*", color=color, markersize=13, markeredgecolor=BLACK)
    left.set(xlabel="embedding 1", ylabel="embedding 2")
    images, labels = embedded_digits()
    shots = (1, 2, 5, 10, 20)
    rows = np.array([_accuracies(images, labels, count) for count in shots])
    lines = ((BLUE, "o-", "nearest prototype"), (VERMILION, "s--", "nearest support"))
    for values, (color, style, name) in zip(rows.T, lines, strict=True):
        right.plot(shots, values, style, color=color, label=name)
    right.set(xlabel="supports of a class", ylabel="accuracy of 5 classes (%)", xscale="log", xticks=shots)
    right.set_xticklabels([str(count) for count in shots])
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8)
    return figure


def _accuracies(images: np.ndarray, labels: np.ndarray, count: int) -> tuple[float, float]:
    """Accuracies (%) of prototypes and of single supports over 60 episodes of noisy digits."""
    rng, correct = np.random.default_rng(0), []
    truth = np.arange(5).repeat(10)
    for _ in range(60):
        classes = rng.permutation(10)[:5]
        rows = np.stack([rng.permutation(np.flatnonzero(labels == c))[: count + 10] for c in classes])
        x = images[rows].reshape(5, count + 10, -1)
        x = x + rng.normal(0, 0.5, x.shape)
        supports, queries = x[:, :count], x[:, count:].reshape(50, -1)
        near = np.asarray(prototype_logits(queries, supports.mean(1))).argmax(1)
        nearest = np.asarray(prototype_logits(queries, supports.reshape(5 * count, -1))).argmax(1) // count
        correct.append([(near == truth).mean(), (nearest == truth).mean()])
    return tuple(100 * np.mean(correct, 0))
