"""Depth scenes: one image, and the depth and the surface normals of its pixels.

data=DepthScenes(num_scenes=800, image_size=32), measures=[Measure("abs_rel", "min")], report=[depth_scenes.panels]
"""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.splits import Splits
from dlcore.learner import Range, check_record
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["DepthScenes", "panels"]


@dataclasses.dataclass(frozen=True)
class DepthScenes:
    """Rendered scenes with exact depth and normals.

    Args:
      num_scenes: training images; an eighth as many validate, and as many test
      image_size: side of the images in pixels, a multiple of 8
    """

    num_scenes: Annotated[int, Range(4)] = 800
    image_size: Annotated[int, Range(8), "essential"] = 32

    reads_files: ClassVar[bool] = False

    def __post_init__(self):
        check_record(self)

    def load(self) -> Splits:
        """Render the scenes, and measure the mean depth map of the training scenes."""
        from dlcore.data.solids import rgbd_scenes
        from dlcore.metrics.depth import depth_errors

        few = max(4, self.num_scenes // 8)
        counts = (self.num_scenes, few, few)
        train, valid, test = (rgbd_scenes(count, seed, self.image_size) for seed, count in enumerate(counts))
        mean = jnp.asarray(train.arrays["depth"].mean(0))
        errors = jax.jit(jax.vmap(lambda target: depth_errors(mean, target)["abs_rel"]))(test.arrays["depth"])
        spec = {
            "dataset": "rgbd scenes",
            "image_size": self.image_size,
            "trivial": {"abs_rel": (float(errors.mean()), "the mean depth map of the training scenes")},
        }
        return Splits(train, valid, test, spec)


def panels(context: ReportContext) -> list[Panel]:
    """Draw images, depth with a color bar, and normals: true, predicted and of the predicted depth."""
    from dlcore.ops import depth_to_normals
    from dlcore.report.curves import curves
    from dlcore.report.figure import figure_panel, new_figure, show_image

    test, outputs = context.data.test.arrays, context.outputs
    columns = ("image", "true depth", "predicted depth", "true normals", "predicted", "of predicted depth")
    rows = min(4, len(test["image"]))
    figure, axes = new_figure((11.0, 1.9 * rows), rows, len(columns), squeeze=False)
    for i in range(rows):
        low, high = float(test["depth"][i].min()), float(test["depth"][i].max())
        of_depth = depth_to_normals(jnp.asarray(outputs["depth"][i]), jnp.asarray(test["intrinsics"][i]))
        images = [test["image"][i], test["depth"][i], np.asarray(outputs["depth"][i])]
        images += [(np.asarray(n) * (1, -1, -1) + 1) / 2 for n in (test["normals"][i], outputs["normals"][i], of_depth)]
        for k, (name, values) in enumerate(zip(columns, images, strict=True)):
            limits = {"vmin": low, "vmax": high, "cmap": "viridis"} if values.ndim == 2 else {}
            pixels = values if limits else np.clip(values, 0, 1)
            picture = show_image(axes[i, k], pixels, "" if i else name, **limits)
            if k == 2:
                figure.colorbar(picture, ax=list(axes[i, 1:3]), fraction=0.04)
    caption = "Depth along the camera's axis; normals as colors: red to the right, green up, blue toward the camera."
    return [figure_panel("Depth and normals", figure, caption), curves(context.history)]
