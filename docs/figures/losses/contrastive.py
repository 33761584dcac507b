"""Figure of dlcore.losses.contrastive; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.losses.contrastive import alignment_loss, info_nce_loss, nt_xent_loss
from dlcore.report.figure import BLUE, LIGHT_GRAY, PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["contrastive"]


def contrastive() -> "Figure":
    """Left: how hard InfoNCE pushes a negative away, against its cosine with the query; the partner's cosine is 0.8.

    A low temperature pushes only the most similar of 100 negatives, a high one all alike. Right: ten pairs of
    embeddings on a circle, trained by 400 steps. Attraction alone (inner ring) joins each pair and leaves pairs close
    to each other; NT-Xent (outer ring) spreads them.
    """
    figure, (left, right) = new_figure((7, 2.9), 1, 2, width_ratios=(1.4, 1))
    cosines = jnp.linspace(-1, 1, 100)
    for tau, color, style in zip((0.07, 0.2, 1.0), PALETTE, ("-", "--", "-."), strict=False):
        loss = lambda c, tau=tau: info_nce_loss(jnp.ones(1), jnp.full(1, 0.8), c[:, None], tau)  # noqa: E731
        left.semilogy(cosines, jax.grad(loss)(cosines), style, color=color, label=f"tau = {tau:g}")
    left.set(xlabel="cosine of the negative and the query", ylabel="slope of the loss", ylim=(1e-6, 10))
    left.legend(frameon=False)
    start = jax.random.uniform(jax.random.key(1), (2, 10), maxval=2 * jnp.pi)

    def train(loss):
        def cost(angle):
            return loss(*jnp.stack([jnp.cos(angle), jnp.sin(angle)], -1))

        return jax.lax.fori_loop(0, 400, lambda _, angle: angle - 0.1 * jax.grad(cost)(angle), start)

    circle = jnp.linspace(0, 2 * jnp.pi, 100)
    rules = (
        (lambda a, b: alignment_loss(a, b).sum(), 0.6, VERMILION, "attraction"),
        (lambda a, b: 20 * nt_xent_loss(a, b, 0.5), 1.0, BLUE, "NT-Xent"),
    )
    for loss, radius, color, name in rules:
        angle = train(loss)
        right.plot(radius * jnp.cos(circle), radius * jnp.sin(circle), color=LIGHT_GRAY, linewidth=0.8)
        right.scatter(radius * jnp.cos(angle), radius * jnp.sin(angle), s=18, color=color, label=name, alpha=0.6)
    right.set(aspect="equal", xticks=[], yticks=[])
    right.spines[:].set_visible(False)
    right.legend(frameon=False, loc="center", fontsize=8)
    return figure
