"""Figure of dlcore.detection.owl_vit; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np
from matplotlib.patches import Rectangle

from dlcore.detection.owl_vit import patch_logits
from dlcore.report.figure import BLUE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["owl_vit"]


def owl_vit() -> "Figure":
    """The boxes that OWL-ViT's head starts from: each patch of a grid of 6 x 6 has one of its own.

    A box has the size of a patch, and its center is at the lower right corner of the patch, as in the published
    network. The head predicts logits of center and size, and these initial ones are added to its outputs. A patch
    therefore only learns how far the box of an object differs from its own place.
    """
    figure, ax = new_figure((3.2, 3.2), 1, 1)
    x, y, width, height = np.asarray(jax.nn.sigmoid(patch_logits(6, 6))).reshape(-1, 4).T
    ax.plot(x, y, "o", color=BLUE, markersize=3)
    for box in zip(x - width / 2, y - height / 2, width, height, strict=True):
        ax.add_patch(Rectangle(box[:2], *box[2:], fill=False, edgecolor=BLUE))
    ax.set(xlim=(0, 1), ylim=(1, 0), aspect="equal", xlabel="x (share of the width)", ylabel="y (share of the height)")
    return figure
