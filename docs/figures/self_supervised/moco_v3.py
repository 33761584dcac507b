"""Figure of dlcore.self_supervised.moco_v3; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, GREEN, VERMILION, new_figure
from dlcore.self_supervised.siamese import contrast_batch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["moco_v3"]


def moco_v3() -> "Figure":
    """Why MoCo v3 takes large batches: InfoNCE of a query with the key of its image among the keys of the batch.

    Left: the loss of features whose true cosine is 0, 0.5 and 0.8 in 32 dimensions, and the log of the batch. Right:
    the share of queries whose own key is the nearest. Among few keys a poor feature already finds its own, and
    teaches little; among 1,024 keys a cosine of 0.5 is not enough. The temperature of 0.2 is that of the paper.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2)
    sizes = [8, 16, 32, 64, 128, 256, 512, 1024]
    for cosine, color, marker in ((0.0, GRAY, "o"), (0.5, VERMILION, "s"), (0.8, BLUE, "^")):
        losses, correct = [], []
        for size in sizes:
            key, noise = jax.random.normal(jax.random.key(size), (2, size, 32))
            key, noise = (v / jnp.linalg.norm(v, axis=-1, keepdims=True) for v in (key, noise))
            query = cosine * key + np.sqrt(1 - cosine**2) * noise
            loss, hit = contrast_batch(query, key, 0.2, jnp.ones(size))
            losses.append(float(loss.mean()))
            correct.append(100 * float(hit.mean()))
        left.plot(sizes, losses, marker=marker, markersize=3, color=color, label=f"cosine {cosine}")
        right.plot(sizes, correct, marker=marker, markersize=3, color=color)
    left.plot(sizes, np.log(sizes), "--", color=GREEN, label="log of the batch")
    left.set(xscale="log", xlabel="keys of a batch", ylabel="loss")
    right.set(xscale="log", xlabel="keys of a batch", ylabel="own key is nearest (%)", ylim=(0, 103))
    left.legend(frameon=False, fontsize=8)
    return figure
