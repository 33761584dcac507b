"""Figure of dlcore.generative.normalizing_flow; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from dlcore.generative.normalizing_flow import AffineCoupling, flow_log_likelihood
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["normalizing_flow"]


class _Flow(nn.Module):
    """Three couplings that take turns, of points [B, 1, 1, 2]."""

    @nn.compact
    def __call__(self, x, inverse=False):
        layers = [AffineCoupling(16, swap=k % 2 == 0) for k in range(3)]
        log_det = jnp.zeros(len(x))
        for layer in reversed(layers) if inverse else layers:
            x, change = layer(x, inverse)
            log_det += change
        return x.reshape(len(x), 2) if not inverse else x, log_det


def normalizing_flow() -> "Figure":
    """Three affine couplings after 250 steps of maximum likelihood on points of a bent band.

    Left: the points (gray) and their density, which is exact. Middle: the same points as noise. Right: a square grid of
    noise carried back: couplings shift and stretch one coordinate by the other, so the sheet bends without a fold, and
    narrow cells are those of a high density.
    """
    figure, (left, middle, right) = new_figure((7.2, 2.6), 1, 3)
    rng = np.random.default_rng(0)
    u = rng.normal(size=(400, 2))
    points = jnp.asarray(np.stack([u[:, 0], 0.8 * u[:, 0] ** 2 - 0.8 + 0.25 * u[:, 1]], -1), jnp.float32)
    model, tx, batch = _Flow(), optax.adam(1e-2), points[:, None, None]

    @jax.jit
    def train(key):
        params = model.init(key, batch)["params"]

        def step(carry, _):
            params, state = carry
            gradients = jax.grad(lambda p: -flow_log_likelihood(model, p, batch).mean())(params)
            updates, state = tx.update(gradients, state)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, tx.init(params)), length=250)[0][0]

    params = train(jax.random.key(0))
    axis = jnp.linspace(-3, 3, 81)
    plane = jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 1, 1, 2)
    density = jnp.exp(flow_log_likelihood(model, params, plane)).reshape(81, 81)
    left.contourf(axis, axis, density, 12, cmap="Blues")
    left.scatter(*points.T, s=1, color=GRAY)
    middle.scatter(*model.apply({"params": params}, batch)[0].T, s=3, color=VERMILION)
    lines = np.stack(np.meshgrid(np.linspace(-2, 2, 13), np.linspace(-2, 2, 61)), -1)
    for rows in (lines, lines[..., ::-1]):
        x, _ = model.apply({"params": params}, jnp.asarray(rows, jnp.float32).reshape(-1, 1, 1, 2), True)
        right.plot(*x.reshape(61, 13, 2).transpose(2, 0, 1), color=BLUE, linewidth=0.6)
    for ax, name in ((left, "density"), (middle, "as noise"), (right, "grid of noise")):
        ax.set(xlim=(-3, 3), ylim=(-3, 3), xlabel="x1" if ax is not middle else "z1")
        ax.set_title(name, fontsize=10)
    return figure
