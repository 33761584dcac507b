"""Figure of dlcore.cost.step_flops; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.step_flops import step_flops as count_flops
from dlcore.models.registry import create_model
from dlcore.report.figure import PALETTE, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["step_flops"]


def step_flops() -> "Figure":
    """Left: a loop of n products of 256 x 256 matrices: XLA counts its body once, `step_flops` n times.

    Right: a step of ResNet-18 on one image. The gradient takes nearly three times the forward pass; where that is
    recomputed, nearly four times.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    matrix, turns = jax.ShapeDtypeStruct((256, 256), jnp.float32), [1, 2, 4, 8, 16, 32]
    loops = [lambda a, n=n: jax.lax.scan(lambda x, _: (a @ x, None), a, None, n)[0] for n in turns]
    by_xla = [jax.jit(loop).lower(matrix).cost_analysis()["flops"] for loop in loops]
    by_jaxpr = [count_flops(loop, matrix).flops for loop in loops]
    left.plot(turns, np.array(by_jaxpr) / 1e6, "o-", color=PALETTE[0], label="step_flops")
    left.plot(turns, np.array(by_xla) / 1e6, "o--", color=VERMILION, label="XLA")
    left.set(xlabel="turns of the loop", ylabel="FLOPs (millions)")
    left.legend(frameon=False)
    model, image = create_model("resnet18"), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)

    def loss(variables, image):
        return model.apply(variables, image).sum()

    names = ("forward", "gradient", "gradient,\nrecomputed")
    steps = loss, jax.value_and_grad(loss), jax.value_and_grad(jax.checkpoint(loss))
    counts = [count_flops(step, variables, image).flops / 1e9 for step in steps]
    bars = right.bar(names, counts, 0.6, color=PALETTE[0])
    right.bar_label(bars, fmt="%.2f")
    right.set(ylabel="FLOPs (billions)")
    return figure
