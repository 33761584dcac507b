"""Panels of predicted depth and surface normals beside the true ones."""

import jax.numpy as jnp
import numpy as np

from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["panels"]


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
