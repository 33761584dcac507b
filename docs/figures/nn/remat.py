"""Figure of dlcore.nn.remat; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.cost.step_flops import step_flops
from dlcore.nn.remat import REMAT_POLICIES
from dlcore.nn.remat import remat as rematerialize
from dlcore.nn.transformer import TransformerEncoderBlock
from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["remat"]


def remat() -> "Figure":
    """A transformer block of 256 channels and 8 heads: what each policy stores, and what it computes.

    Left: with all values or all products, attention's scores grow by the square of the length. Without the scores, or
    with the input alone, memory grows in proportion: 1 in place of 92 MB at 1,024 tokens. Right: this costs at most 27%
    more work.
    """
    figure, (left, right) = new_figure((7.2, 2.8), 1, 2)
    lengths, colors, flops = (64, 128, 256, 512, 1024), (VERMILION, GREEN, GRAY, BLUE), {}
    for policy, color, style in zip(REMAT_POLICIES, colors, ("o-", "o--", "o:", "o-."), strict=True):
        stored, counts = zip(*(_cost(policy, length) for length in lengths), strict=True)
        left.loglog(lengths, stored, style, color=color, markersize=3, label=policy)
        flops[policy] = counts[-1]
    left.set(xlabel="tokens", ylabel="stored values (MB)")
    left.legend(frameon=False, fontsize=8)
    ratios = np.array(list(flops.values())) / flops["none"]
    right.bar_label(right.bar(list(flops), ratios, 0.6, color=colors), fmt="%.2f")
    right.set(ylabel="FLOPs, relative to none")
    return figure


def _cost(policy: str, length: int) -> tuple[float, float]:
    """Megabytes that one block stores of one sequence for its gradient, and the FLOPs of forward and backward pass."""
    block = rematerialize(TransformerEncoderBlock, policy)(8, 1024, pre_norm=True)
    x = jax.ShapeDtypeStruct((1, length, 256), jnp.float32)
    variables = jax.eval_shape(block.init, jax.random.key(0), x)
    stored = jax.eval_shape(lambda *args: jax.vjp(block.apply, *args)[1], variables, x)
    step = jax.value_and_grad(lambda variables, x: block.apply(variables, x).sum(), (0, 1))
    sizes = [leaf.size for leaf in jax.tree.leaves(stored) if leaf.shape[:1] == (1,)]
    return 4e-6 * sum(sizes), step_flops(step, variables, x).flops
