"""Figure of dlcore.self_supervised.ijepa; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.report.figure import PALETTE, new_figure, rgb, show_image
from dlcore.self_supervised.patch_masks import context_and_targets

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ijepa"]


def ijepa() -> "Figure":
    """I-JEPA's masks on a grid of 14 x 14 patches: the image, the context that the encoder sees, and the target blocks.

    The four target blocks (colors, right) are large enough to hold parts of objects, and they may overlap. The
    context (middle) is one large block without the patches of all targets. From the context and a target's place the
    predictor gives the teacher's features of that target; no pixel is ever predicted.
    """
    figure, axes = new_figure((7, 2.6), 1, 3)
    photo = sample_image("flower", 256)[:224, 60:284]
    context, targets = context_and_targets(jax.random.key(2), (14, 14))
    large = [np.kron(np.asarray(m).reshape(14, 14), np.ones((16, 16), bool))[..., None] for m in (context, *targets)]
    show_image(axes[0], photo, "image")
    show_image(axes[1], np.where(large[0], photo, 200).astype(np.uint8), "context")
    colored = 0.35 * photo + 0.65 * 220
    for block, color in zip(large[1:], PALETTE, strict=False):
        colored = np.where(block, 0.5 * photo + 0.5 * np.asarray(rgb(color)), colored)
    show_image(axes[2], colored.astype(np.uint8), "targets")
    return figure
