"""Figure of dlcore.transfer.gradient_reversal; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.transfer.gradient_reversal import DomainClassifier, domain_losses, reversal_strength

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["gradient_reversal"]


def gradient_reversal() -> "Figure":
    """Features of two domains (colors) while a classifier learns to tell them apart and its gradient is reversed.

    Left: at the start the domains lie apart. Middle: after 300 steps they overlap, and their means have come together.
    Right: the classifier soon tells over 90 % apart; as the strength rises (gray) the share falls, and then swings
    between 26 and 87 %.
    """
    figure, axes = new_figure((7, 2.5), 1, 3)
    noise = jax.random.normal(jax.random.key(0), (2, 60, 2))
    start = noise * 0.5 + jnp.array([[[-1.0, 0]], [[1.0, 0]]])
    model, optimizer = DomainClassifier(16), optax.adam(0.02)

    def loss(parts, strength):
        losses, correct = domain_losses([model.apply(parts["classifier"], x, strength) for x in parts["features"]])
        return losses.mean(), correct.mean()

    def step(carry, t):
        parts, state = carry
        gradients, correct = jax.grad(loss, has_aux=True)(parts, reversal_strength(t / 300))
        updates, state = optimizer.update(gradients, state, parts)
        return (optax.apply_updates(parts, updates), state), correct

    parts = {"features": start, "classifier": model.init(jax.random.key(1), start[0])}
    train = jax.jit(lambda carry: jax.lax.scan(step, carry, jnp.arange(300)))
    (parts, _), correct = train((parts, optimizer.init(parts)))
    for ax, features, title in zip(axes, (start, parts["features"]), ("at the start", "after 300 steps"), strict=False):
        for points, color, marker in zip(features, (BLUE, VERMILION), "o^", strict=True):
            ax.plot(*points.T, marker, color=color, markersize=3)
        ax.set(xlabel="feature 1", ylabel="feature 2", xlim=(-4.5, 4.5), ylim=(-4.5, 4.5))
        ax.set_title(title, fontsize=9)
    axes[2].plot(100 * correct, color=BLUE, label="domains told apart (%)")
    axes[2].plot(100 * jax.vmap(reversal_strength)(jnp.arange(300) / 300), "--", color=GRAY, label="strength (%)")
    axes[2].set(xlabel="step", ylim=(0, 135))
    axes[2].legend(frameon=False, fontsize=8)
    return figure
