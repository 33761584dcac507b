"""Figure of dlcore.vision3d.pointnet; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure
from dlcore.vision3d.pointnet import PointNet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["pointnet"]


def pointnet() -> "Figure":
    """The critical points of a cloud in an untrained PointNet, and what removing points does.

    Left: 36 of 400 points (blue) hold the maxima of the 64 features, most of them at rims and ends. Right: without
    other points the logits stay exactly as they are. Without critical points they move, since other points take over
    the maxima.
    """
    figure, (left, right) = new_figure((7.2, 2.9), 1, 2)
    model = PointNet(10, (16,), (32, 64), (32,), (16, 32), (16,))
    rng = np.random.default_rng(0)
    angle, height = rng.uniform(0, 2 * np.pi, 400), rng.uniform(-1, 1, 400)
    radius = 0.35 + 0.65 * (height > 0.3)
    cloud = jnp.asarray(np.stack([radius * np.cos(angle), radius * np.sin(angle), height], -1), jnp.float32)

    @jax.jit
    def measure(masks):
        variables = model.init(jax.random.key(0), cloud[None], False)
        clouds = jnp.broadcast_to(cloud, (len(masks), *cloud.shape))
        logits, seen = model.apply(variables, clouds, False, masks)
        return jnp.linalg.norm(logits - logits[0], axis=1), seen["critical"][0]

    _, critical = measure(jnp.ones((1, 400)))
    critical = np.unique(critical)
    others = np.setdiff1d(np.arange(400), critical)
    left.plot(*cloud[others][:, [0, 2]].T, ".", color=GRAY, markersize=4)
    left.plot(*cloud[critical][:, [0, 2]].T, "o", color=BLUE, markersize=5)
    left.set(xlabel="x", ylabel="z", aspect="equal")
    counts = np.arange(0, len(critical) + 1, 4)
    for pool, color, style, name in ((others, BLUE, "o-", "others"), (critical, VERMILION, "s--", "critical points")):
        order = rng.permutation(pool)
        masks = np.ones((len(counts), 400), np.float32)
        for row, count in zip(masks, counts, strict=True):
            row[order[:count]] = 0
        moved, _ = measure(masks)
        right.plot(counts, moved, style, color=color, markersize=4, label=name)
    right.set(xlabel="removed points", ylabel="change of the logits")
    right.legend(frameon=False, fontsize=8)
    return figure
