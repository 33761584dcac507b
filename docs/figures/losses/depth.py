"""Figure of dlcore.losses.depth; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from dlcore.data.sample_images import sample_image
from dlcore.losses.depth import scale_and_shift_invariant_loss, scale_invariant_depth_loss
from dlcore.ops.resize import resize
from dlcore.report.figure import BLUE, GREEN, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["depth"]


def depth() -> "Figure":
    """Left: the scale-invariant error of a noisy depth map whose values are all multiplied by a factor.

    At λ = 0 the wrong scale dominates the error; at λ = 1 it costs nothing and the noise alone remains. Right: MiDaS'
    loss of a map (the brightness of a photograph) that was made smaller and larger again, so its edges are blurred. The
    gradient term makes blurred edges cost more.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    target = jnp.asarray(sample_image("china", 64).mean(-1, keepdims=True), jnp.float32) / 255 + 0.2
    factors = jnp.logspace(-0.6, 0.6, 41, base=10)
    noise = 0.2 * jax.random.normal(jax.random.key(0), target.shape)
    for weight, color, style in ((0.0, VERMILION, "-"), (0.5, GREEN, "--"), (1.0, BLUE, "-.")):
        log_depth = jnp.log(target) + noise + jnp.log(factors)[:, None, None, None]
        truth = jnp.broadcast_to(target[..., 0], log_depth.shape[:-1])
        loss = scale_invariant_depth_loss(log_depth[..., 0], truth, variance_weight=weight)
        left.semilogx(factors, loss, style, color=color, label=f"λ = {weight:g}")
    left.set(xlabel="factor of the predicted depth", ylabel="loss")
    left.set_xticks([0.25, 0.5, 1, 2, 4], ["0.25", "0.5", "1", "2", "4"])
    left.minorticks_off()
    sizes = (64, 48, 32, 24, 16, 12, 8)
    blurred = [resize(resize(target, (n, 3 * n // 2), antialias=True), target.shape[:2])[..., 0] for n in sizes]
    for weight, color, style in ((0.5, VERMILION, "o-"), (0.0, BLUE, "s--")):
        losses = [scale_and_shift_invariant_loss(x, target[..., 0], gradient_weight=weight) for x in blurred]
        right.plot(64 / jnp.array(sizes), losses, style, color=color, markersize=4, label=f"α = {weight:g}")
    right.set(xlabel="reduction before enlargement", ylabel="loss")
    left.legend(frameon=False)
    right.legend(frameon=False)
    return figure
