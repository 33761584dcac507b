"""Figure of dlcore.interpretability.dissection; its docstring is the caption."""

from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter

from dlcore.data.scenes import scenes
from dlcore.interpretability.dissection import activation_thresholds, concept_iou
from dlcore.report.figure import BLUE, GRAY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dissection"]


def dissection() -> "Figure":
    """A channel that responds to one shape in 40 scenes, blurred and with noise, and its IoU with masks of shapes.

    Left: a scene, the channel's map, and where it exceeds the threshold. Right: IoU by the share of places that the
    threshold lets through. The published 0.5 % suits rare concepts; here it cuts all but the strongest places, and
    the concept's own share (dashed) is about right.
    """
    figure, (*axes, right) = new_figure((7.4, 2.5), 1, 4, width_ratios=(1, 1, 1, 1.7))
    scene = scenes(40, masks=True).arrays
    masks = np.unpackbits(scene["masks"], axis=-1).astype(bool)[..., :96]
    by_shape = np.stack([(masks & (scene["labels"] == k)[..., None, None]).any(1) for k in range(3)], -1)
    rng = np.random.default_rng(0)
    maps = gaussian_filter(by_shape[..., 0].astype(float), (0, 4, 4)) + 0.5 * gaussian_filter(
        rng.normal(size=by_shape.shape[:3]), (0, 4, 4)
    )
    maps = jnp.asarray(maps[:, 2::4, 2::4, None], jnp.float32)
    number = int(by_shape[..., 0].sum((1, 2)).argmax())
    passed = maps[number, ..., 0] > activation_thresholds(maps, 0.05)[0]
    for ax, picture, name in zip(
        axes,
        (scene["image"][number], maps[number, ..., 0], passed),
        ("scene", "channel", "above threshold"),
        strict=True,
    ):
        ax.imshow(picture, cmap="Blues")
        ax.set(xticks=[], yticks=[], xlabel=name)
    shares = np.geomspace(0.003, 0.5, 16)
    ious = np.stack(
        [concept_iou(maps, jnp.asarray(by_shape), activation_thresholds(maps, float(s)))[0] for s in shares]
    )
    for k, style, color, name in ((0, "o-", BLUE, "its own shape"), (1, "s--", VERMILION, "another shape")):
        right.semilogx(100 * shares, ious[:, k], style, color=color, markersize=3, label=name)
    right.axvline(100 * by_shape[..., 0].mean(), color=GRAY, linestyle="--")
    right.set(xlabel="share of places above / %", ylabel="IoU")
    right.legend(frameon=False, fontsize=8)
    return figure
