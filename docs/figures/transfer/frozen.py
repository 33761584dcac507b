"""Figure of dlcore.transfer.frozen; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.nn import BatchNorm, Conv, Dense
from dlcore.optim.partial import Part
from dlcore.report.figure import BLUE, VERMILION, new_figure
from dlcore.transfer.frozen import PartlyFrozen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["frozen"]


def frozen() -> "Figure":
    """A network of four convolutions and a head, whose first layers are frozen.

    Left: the cost of a gradient falls with each frozen layer, from 1088 to 434 MFLOPs, since the backward pass ends
    above it. Right: training on images of another mean. The stored mean of the first batch normalization drifts if it
    learns (red), and stays if it is frozen (blue).
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    images = jax.random.normal(jax.random.key(0), (32, 16, 16, 3)) + 0.5
    variables = _Net().init(jax.random.key(1), images)
    flops = []
    for frozen in range(5):
        model = PartlyFrozen(_Net(), (Part("head"), *(Part(f"*{i}") for i in range(frozen, 4))))
        gradient = jax.jit(jax.grad(lambda params, m=model: _loss(m, {**variables, "params": params}, images)[0]))
        flops.append(gradient.lower(variables["params"]).cost_analysis()["flops"] / 1e6)
    left.bar(np.arange(5), flops, color=[VERMILION, BLUE, BLUE, BLUE, BLUE])
    left.set(xlabel="frozen convolutions", ylabel="MFLOPs of a gradient", xticks=np.arange(5))
    for frozen, color, style, name in ((0, VERMILION, "--", "all learn"), (4, BLUE, "-", "all frozen but the head")):
        model = PartlyFrozen(_Net(), (Part("head"), *(Part(f"*{i}") for i in range(frozen, 4))))
        step = jax.jit(lambda variables, images, m=model: _loss(m, variables, images)[1]["batch_stats"])
        stats, means = variables["batch_stats"], [0.0]
        for _ in range(40):
            stats = step({**variables, "batch_stats": stats}, images)
            means.append(jnp.linalg.norm(stats["norm0"]["mean"]))
        right.plot(means, style, color=color, label=name)
    right.set(xlabel="step", ylabel="change of the stored mean")
    right.legend(frameon=False, fontsize=8)
    return figure


class _Net(nn.Module):
    """Convolutions with batch normalization, and a linear head."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Scores of ten classes."""
        for i in range(4):
            x = nn.relu(BatchNorm(not train, name=f"norm{i}")(Conv(32, (3, 3), name=f"conv{i}")(x)))
        return Dense(10, name="head")(x.mean((1, 2)))


def _loss(model: PartlyFrozen, variables: dict, images: jax.Array) -> tuple[jax.Array, dict]:
    """A loss in training mode, and the changed statistics."""
    logits, changed = model.apply(variables, images, train=True, mutable=["batch_stats"])
    return jnp.square(logits).mean(), changed
