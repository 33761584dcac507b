"""Figure of dlcore.adversarial.queries; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.adversarial.queries import nes, random_signs, simba
from dlcore.classic_ml.logistic import train
from dlcore.data.digits import digits
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["queries"]


def queries() -> "Figure":
    """Attacks on a logistic regression of digits by its scores alone, with pixels that may change by 0.2.

    Left: share of 40 digits that are misread after a number of queries. SimBA tries pixel by pixel; NES pays 50
    queries for each estimate of a gradient; noise of the same size hardly ever succeeds. Right: a digit and the
    results, with their labels.
    """
    figure, (left, *axes) = new_figure((7.4, 2.4), 1, 5, width_ratios=(2.2, 1, 1, 1, 1))
    data, held = digits("train").arrays, digits("test").arrays
    model = train(data["image"][:400], data["label"][:400], l2=1.0)
    weights, bias = (jnp.asarray(x, jnp.float32) for x in (model.weights, model.bias))
    scores = lambda image: weights @ image.ravel() + bias  # noqa: E731
    images, labels = (jnp.asarray(held[k]) for k in ("image", "label"))
    correct = jax.vmap(scores)(images).argmax(-1) == labels
    images, labels = images[correct][:40], labels[correct][:40]
    keys, limits = jax.random.split(jax.random.key(0), 40), np.arange(0, 601, 5)
    attacks = (
        ("SimBA", lambda k, x, y: simba(scores, k, x, y, 0.2, 600), "-", BLUE),
        ("NES", lambda k, x, y: nes(scores, k, x, y, 0.2, max_queries=600), "--", VERMILION),
        ("noise", lambda k, x, y: random_signs(scores, k, x, y, 0.2), ":", GREEN),
    )
    shown = [("original", images[0])]
    for name, attack, style, color in attacks:
        result = jax.jit(jax.vmap(attack))(keys, images, labels)
        share = (np.asarray(result.success) & (np.asarray(result.queries) <= limits[:, None])).mean(1)
        left.plot(limits, share, style, color=color, label=name)
        shown.append((name, result.image[0]))
    for ax, (name, image) in zip(axes, shown, strict=True):
        ax.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[], xlabel=f"{name}: {int(scores(image).argmax())}")
    left.set(xlabel="queries", ylabel="share misread", ylim=(-0.02, 1.02))
    left.legend(frameon=False, fontsize=8)
    return figure
