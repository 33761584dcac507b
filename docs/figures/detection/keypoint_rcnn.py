"""Figure of dlcore.detection.keypoint_rcnn; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore.detection.keypoint_rcnn import image_losses, keypoint_targets
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["keypoint_rcnn"]


def keypoint_rcnn() -> "Figure":
    """Why the map of a keypoint is one choice among its positions, and how exact it can be.

    Left: the share of the first gradient at the right position. With a softmax (blue) it is one half for any map; with
    a decision for each position (red) nearly all of it says "not here". Right: mean error of reading the middle of the
    right cell.
    """
    figure, (left, right) = new_figure((7, 2.7), 1, 2)
    sizes = np.array([7, 14, 28, 56])
    for name, loss, color, style in (("softmax", _choice, BLUE, "o-"), ("sigmoids", _decisions, VERMILION, "s--")):
        shares = [_share_of_target(loss, int(size)) for size in sizes]
        left.loglog(sizes, shares, style, color=color, label=name, markersize=4)
    left.set(xlabel="side of the map", ylabel="gradient at the keypoint (%)", ylim=(0.01, 200))
    left.set_xticks(sizes, [str(size) for size in sizes])
    left.minorticks_off()
    left.legend(frameon=False, fontsize=8)
    sides = np.linspace(20, 600, 30)
    for size, color, style in ((14, GRAY, "--"), (56, BLUE, "-")):
        right.plot(sides, [_error(float(side), size) for side in sides], style, color=color, label=f"{size} x {size}")
    right.set(xlabel="side of the box / pixels", ylabel="error / pixels", ylim=(0, None))
    right.legend(frameon=False, fontsize=8)
    return figure


def _choice(logits: jax.Array, position: jax.Array) -> jax.Array:
    """Loss of the technique for one map [S, S]."""
    once = jnp.ones((1, 1), bool)
    return image_losses(logits[None, ..., None], position.reshape(1, 1), once, once[0])["keypoint"][0]


def _decisions(logits: jax.Array, position: jax.Array) -> jax.Array:
    """Cross-entropies of a decision for each position, as a mask has them."""
    target = jax.nn.one_hot(position, logits.size).reshape(logits.shape)
    return optax.sigmoid_binary_cross_entropy(logits, target).sum()


def _share_of_target(loss, size: int) -> float:
    """Percentage of the gradient's absolute sum at the right position, for logits of 0."""
    slope = jnp.abs(jax.grad(loss)(jnp.zeros((size, size)), jnp.array(size + 1))).reshape(-1)
    return float(100 * slope[size + 1] / slope.sum())


def _error(side: float, size: int) -> float:
    """Mean distance of 1,000 keypoints in a box from the middle of their cells."""
    points = jax.random.uniform(jax.random.key(0), (1, 1000, 2)) * side
    keypoints = jnp.concatenate([points, jnp.ones((1, 1000, 1))], -1)
    position, _ = keypoint_targets(keypoints, jnp.array([[0.0, 0, side, side]]), size)
    middle = (jnp.stack([position % size, position // size], -1) + 0.5) * side / size
    return float(jnp.linalg.norm(points - middle, axis=-1).mean())
