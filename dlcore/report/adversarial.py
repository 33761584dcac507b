"""Figures of adversarial examples."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from dlcore.ops.checks import check_shapes
from dlcore.report.figure import new_figure

__all__ = ["attacked_images"]


def attacked_images(images: np.ndarray, attacked: np.ndarray, epsilon: float, titles: Sequence[str]) -> Any:
    """Draw images, the attacked ones, and the change between them.

    Args:
      images: [N, H, W, C] in [0, 1]; C is 1 or 3.
      attacked: [N, H, W, C] in [0, 1], the attacked images.
      epsilon: pixel change that is drawn as black or white; gray is no change.
      titles: N texts, above the attacked images.

    Returns:
      A matplotlib Figure.
    """
    check_shapes(images=(images, "N H W C"), attacked=(attacked, "N H W C"), epsilon=(epsilon, ">= 0"))
    if len(titles) != len(images) or not len(images):
        raise ValueError(f"titles={len(titles)} titles: for {len(images)} images; allowed: one each, at least one")
    rows = {
        "image": images,
        "attacked": attacked,
        "change,\ngray is 0": np.clip(0.5 + (attacked - images) / (2 * max(epsilon, 1e-6)), 0, 1),
    }
    count = len(images)
    figure, axes = new_figure((1.25 * count + 0.8, 4.4), 3, count)
    for row, (name, pictures) in zip(np.reshape(axes, (3, count)), rows.items(), strict=True):
        for ax, picture in zip(row, pictures, strict=True):
            ax.imshow(picture[..., 0] if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
            ax.grid(visible=False)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
        if name == "attacked":
            for ax, title in zip(row, titles, strict=True):
                ax.set_title(title, fontsize=8)
    return figure
