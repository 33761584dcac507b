"""Figure of dlcore.sequence.neural_ode; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.data.spirals import spirals
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.sequence.neural_ode import VectorField, learner

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["neural_ode"]


def neural_ode() -> "Figure":
    """A velocity learned from 16 spirals of 21 points each, and a new path that the solver follows.

    Left: arrows are the learned velocity; from the first point on, the solver's path (blue) follows a spiral that was
    not shown (dots). Right: distance between the two by time, at most 0.1. Red: the same network before training, which
    soon leaves the picture on the left.
    """
    figure, (left, right) = new_figure((7, 3.0), 1, 2)
    batch = {**spirals(17, length=21).arrays, "index": np.arange(17)}
    shown, new = (jax.tree.map(lambda x, r=r: jnp.asarray(x[r]), batch) for r in (slice(16), slice(16, 17)))
    train = learner(model=VectorField(32), optimizer=optax.adam(1e-2), gradient="direct")
    first = train.init(jax.random.key(0), shown)
    last = jax.jit(lambda s: jax.lax.scan(lambda s, _: (train.update(s, shown)[0], None), s, length=300)[0])(first)
    left.plot(*new["state"][0].T, ".", color=GRAY, label="true")
    for state, color, style, label in ((first, VERMILION, "--", "untrained"), (last, BLUE, "-", "trained")):
        path = train.predict(state, new)["state"][0]
        left.plot(*path.T, style, color=color)
        right.plot(new["time"][0], jnp.linalg.norm(path - new["state"][0], axis=-1), style, color=color, label=label)
    grid = np.stack(np.meshgrid(*[np.linspace(-2, 2, 11)] * 2), -1)
    velocity = VectorField(32).apply({"params": last.params}, 0.0, jnp.asarray(grid))
    left.quiver(*np.moveaxis(grid, -1, 0), *np.moveaxis(np.asarray(velocity), -1, 0), color=GRAY, width=0.004)
    left.set(aspect="equal", xlabel="y1", ylabel="y2")
    right.set(xlabel="time", ylabel="distance to the true path")
    right.legend(frameon=False, fontsize=8)
    return figure
