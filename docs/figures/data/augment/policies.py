"""Figure of dlcore.data.augment.policies; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.augment.policies import OPERATIONS, apply_operation
from dlcore.data.sample_images import sample_image
from dlcore.report.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["policies"]


def policies() -> "Figure":
    """Eight operations of the policies on one photograph, at strengths of 0.3 (upper row) and 1 (lower row).

    RandAugment draws from such a list and applies a few of one strength. Operations differ in what they leave: a shift
    keeps all colors, posterize keeps all places, solarize turns only bright pixels around. At full strength a shift
    hides almost half the image.
    """
    figure, axes = new_figure((7.5, 2.2), 2, 8)
    image = jnp.asarray(sample_image("china", 48)[:, 12:60], jnp.float32) / 255
    names, apply = list(OPERATIONS), jax.jit(apply_operation)
    chosen = [
        name
        for name in ("rotate", "shear_x", "translate_x", "posterize", "solarize", "color", "contrast", "sharpness")
        if name in names
    ]
    for column, name in enumerate(chosen):
        for row, strength in enumerate((0.3, 1.0)):
            ax = axes[row, column]
            ax.imshow(np.clip(apply(names.index(name), image, strength), 0, 1))
            ax.set(xticks=[], yticks=[])
        axes[1, column].set_xlabel(name.replace("_", " "), fontsize=8)
    return figure
