"""Predicted depth for the report and the modes: panels beside the true maps, and files of one's own photographs."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from dlcore.data.facts import Facts
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.report.prediction import stretched_images, unique_stems

__all__ = ["DepthOfImages", "affine_panels", "panels"]


class DepthOfImages:
    """Use of a network of depth: `--mode=predict --input=FILE_OR_FOLDER` writes the map of each image.

    The map is disparity up to scale and shift, or depth of a metric network.
    """

    def inputs(self, path: str, run: Any) -> tuple[Any, list[str]]:
        """Read the images under a path, stretched to the size of the training images."""
        return stretched_images(path, run.facts)

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe each image by the least and the greatest number of its map."""
        ((name, maps),) = outputs.items()
        limits = [(float(values.min()), float(values.max())) for values in maps]
        return [{name: [low, high], "text": f"{name} {low:.4g} to {high:.4g}"} for low, high in limits]

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write NAME_depth.npy or NAME_disparity.npy, float32 [H, W], and the same as a gray .png of each image."""
        from PIL import Image

        folder.mkdir(parents=True, exist_ok=True)
        ((kind, maps),) = outputs.items()
        files = []
        for stem, values in zip(unique_stems(names), maps, strict=True):
            values = np.asarray(values, np.float32)
            gray = 255 * (values - values.min()) / max(float(np.ptp(values)), 1e-12)
            files += [folder / f"{stem}_{kind}.npy", folder / f"{stem}_{kind}.png"]
            np.save(files[-2], values)
            Image.fromarray(np.rint(gray).astype(np.uint8)).save(files[-1])
        return files


def affine_panels(context: ReportContext) -> list[Panel]:
    """Draw images, their true depth and the predicted depth, aligned where it is disparity up to scale and shift."""
    from dlcore.metrics.depth import align_scale_and_shift
    from dlcore.report.curves import curves
    from dlcore.report.figure import figure_panel, new_figure, show_image

    test, outputs = context.data.test.arrays, context.outputs
    count = min(6, len(test["image"]))
    figure, axes = new_figure((1.9 * count, 5.7), 3, count, squeeze=False)
    for i in range(count):
        depth = np.asarray(test["depth"][i])
        observed = depth > 0
        low, high = (float(depth[observed].min()), float(depth[observed].max())) if observed.any() else (0.0, 1.0)
        if "depth" in outputs:
            predicted = np.asarray(outputs["depth"][i])
        else:
            targets = 1 / np.where(observed, depth, 1)
            aligned = align_scale_and_shift(
                jnp.asarray(outputs["disparity"][i]), jnp.asarray(targets), jnp.asarray(observed)
            )
            predicted = 1 / np.maximum(np.asarray(aligned), 1 / (2 * high))
        limits = {"vmin": low, "vmax": high, "cmap": "viridis"}
        show_image(axes[0, i], test["image"][i], "" if i else "image")
        show_image(axes[1, i], np.where(observed, depth, np.nan), "" if i else "true depth", **limits)
        show_image(axes[2, i], predicted, "" if i else "predicted depth", **limits)
    caption = "Depth along the camera's axis, dark near and bright far; the colors of a column are those of its truth."
    return [figure_panel("Depth", figure, caption), curves(context.history)]


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
