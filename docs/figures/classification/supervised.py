"""Figure of dlcore.classification.supervised; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from dlcore.classification.supervised import learner
from dlcore.report.figure import BLUE, GRAY, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["supervised"]


def supervised() -> "Figure":
    """Loss and its gradient by the lead of the right class's score, of ten classes.

    Left: without smoothing (dashed) every larger lead lowers the loss; with 0.1 (blue) it is least at a lead of 4.5, a
    probability of 0.91. Right: the gradient of that score, prediction minus label, is near -1 for confident wrong
    answers; a smoothed label pushes too large scores back.
    """
    figure, axes = new_figure((7, 2.7), 1, 2)
    leads = jnp.linspace(-4, 10, 141)
    batch = {"label": jnp.zeros(1, jnp.int32), "index": jnp.zeros(1, jnp.int32)}
    scores = leads[:, None, None] * jax.nn.one_hot(jnp.zeros(1, jnp.int32), 10)
    for smoothing, color, style in ((0.0, GRAY, "--"), (0.1, BLUE, "-")):
        train = learner(model=Given(), optimizer=optax.sgd(0.1), label_smoothing=smoothing)
        state = train.init(jax.random.key(0), {**batch, "image": scores[0]})
        loss = jax.value_and_grad(
            lambda x, of=train.loss, state=state: of(state.params, state, {**batch, "image": x})[0]
        )
        values, gradients = jax.vmap(loss)(scores)
        for ax, y in zip(axes, (values, gradients[:, 0, 0]), strict=True):
            ax.plot(leads, y, style, color=color, label=f"smoothing {smoothing:g}")
            ax.set(xlabel="score of the right class - others")
    axes[1].axhline(0, color=GRAY, linewidth=0.5)
    axes[0].set(ylabel="loss")
    axes[1].set(ylabel="gradient of the right score")
    axes[0].legend(frameon=False, fontsize=8)
    return figure


class Given(nn.Module):
    """A network whose scores are its input times a parameter, 1."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Scores of the classes."""
        return x * self.param("scale", nn.initializers.ones, ())
