"""Figure of dlcore.segmentation.volumes; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.data.planted_organs import ORGANS, planted_organs
from dlcore.report.figure import BLUE, GRAY, new_figure
from dlcore.segmentation.volumes import patch_start

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["volumes"]


def volumes() -> "Figure":
    """Patches of a scan of drawn organs: anywhere in it (gray), or half of them around an organ (blue).

    Left: the organs along the depth, and the centers of 60 patches of each kind. Right: the share of patches that meet
    each organ, whose share of the voxels stands below. Organs are drawn with equal chance, so the smallest gains most:
    fivefold.
    """
    figure, (left, right) = new_figure((7, 2.8), 1, 2, width_ratios=(1, 1.3))
    labels = planted_organs(1, 3, (24, 48, 48)).arrays["semantic"][0]
    keys, window = jax.random.split(jax.random.key(0), 1000), np.array([4, 6, 6])
    left.imshow(labels.max(0), cmap="Greys", vmax=6)
    for shift, share, color, marker in ((-0.2, 0.0, GRAY, "s"), (0.2, 0.5, BLUE, "o")):
        start = np.asarray(starts(keys, labels, share))
        met = [np.mean([organ in labels[tuple(map(slice, a, a + window))] for a in start]) for organ in (1, 2, 3)]
        left.plot(*(start[:60, 2:0:-1] + 3).T, marker, color=color, markersize=3)
        right.bar(np.arange(3) + shift, met, 0.38, color=color, label=f"{share:.0%} around organs")
    names = [f"{name}\n{(labels == organ).mean():.1%}" for organ, name in enumerate(ORGANS[1:], 1)]
    right.set(xticks=range(3), xticklabels=names, ylabel="patches that meet it")
    right.legend(frameon=False, fontsize=8)
    left.set(xlabel="column", ylabel="row")
    return figure


@jax.jit
def starts(keys: jax.Array, labels: jax.Array, share: float) -> jax.Array:
    """First voxels [N, 3] of patches of 4 x 6 x 6 voxels."""
    return jax.vmap(lambda key: patch_start(key, labels, (4, 6, 6), len(ORGANS), share))(keys)
