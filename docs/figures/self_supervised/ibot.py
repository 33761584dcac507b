"""Figure of dlcore.self_supervised.ibot; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from dlcore.data.sample_images import sample_image
from dlcore.report.figure import new_figure, show_image
from dlcore.self_supervised.patch_masks import random_mask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ibot"]


def ibot() -> "Figure":
    """What the networks of iBOT see: the teacher the whole crop (left), and the student the crop with masked patches.

    Masked patches become one learned token. At the gray places the student predicts the teacher's distribution over
    prototypes, which the teacher gets from the patch and its surroundings. Cells of 2 x 2 patches (right) hide whole
    parts of an object; single patches (middle) can be guessed from their neighbors.
    """
    figure, axes = new_figure((7, 2.6), 1, 3)
    photo = sample_image("china", 256)[:224, 40:264]
    show_image(axes[0], photo, "teacher")
    for ax, cell in zip(axes[1:], (1, 2), strict=True):
        masked = np.asarray(random_mask(jax.random.key(1), (14, 14), 0.3, cell)).reshape(14, 14)
        hidden = np.kron(masked, np.ones((16, 16), bool))[..., None]
        show_image(ax, np.where(hidden, 160, photo).astype(np.uint8), f"student, cells of {cell} x {cell}")
    return figure
