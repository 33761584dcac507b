"""Meshes and points that a technique predicts of an image: files, and panels."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.mesh_files import write_mesh
from dlcore.data.solid_images import solid_images
from dlcore.data.source import Source
from dlcore.learner import Range
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["PredictMeshes", "shape_panels"]

SHOWN = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictMeshes:
    """Use of a network that predicts meshes: `--mode=predict` writes those of solids that are in no split.

    Args:
      num_drawn: solids that --mode=predict draws
    """

    num_drawn: Annotated[int, Range(1), "no identity"] = 8

    def samples(self, run: Any) -> tuple[Source, list[str]]:
        """Render solids that are in no split."""
        source = solid_images(self.num_drawn, 3, run.parts.data.image_size, run.parts.data.surface_points)
        return source, [f"{run.facts.class_names[k]}_{i}" for i, k in enumerate(source.arrays["label"])]

    def describe(self, outputs: Any, facts: Facts) -> list[dict]:
        """Describe each predicted mesh by its numbers of vertices and faces, and its volume."""
        described = []
        for i in range(len(outputs["faces"])):
            vertices, faces = _mesh(outputs, i)
            a, b, c = (vertices[faces[:, k]] for k in range(3))
            sizes = {"vertices": len(vertices), "faces": len(faces), "volume": float((a * np.cross(b, c)).sum() / 6)}
            text = "{vertices} vertices, {faces} faces, volume {volume:.3f}".format(**sizes)
            described.append({**sizes, "text": text})
        return described

    def write(self, folder: Path, outputs: Any, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write predicted meshes as .obj and .ply."""
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for i, name in enumerate(names):
            vertices, faces = _mesh(outputs, i)
            files += [write_mesh(folder / f"{name}{ending}", vertices, faces) for ending in (".obj", ".ply")]
        return files


def shape_panels(context: ReportContext) -> list[Panel]:
    """Show images, target points and predicted shapes from two views, and the curves."""
    from dlcore.report.curves import curves
    from dlcore.report.figure import ORANGE
    from dlcore.report.shapes import shape_panel, two_views
    from dlcore.report.triage import triage_panels

    test, outputs, names = context.data.test.arrays, context.outputs, context.spec["class_names"]
    images, titles = [], []
    for i in range(min(SHOWN, len(test["image"]))):
        points = test["points"][i]
        extent = (
            (points.max(0) + points.min(0)) / 2,
            1.1 * float(np.linalg.norm(points - points.mean(0), axis=1).max()),
        )

        def upright(x):
            return np.asarray(x) * (1, -1, -1)  # y up, toward the viewer

        center = upright(extent[0])
        options = {"up": "y", "extent": (center, extent[1]), "size": 160}
        target = two_views(upright(points), **options)
        if "vertices" in outputs:
            vertices, faces = _mesh(outputs, i)
            predicted = two_views(upright(vertices), faces, color=ORANGE, **options)
        else:
            predicted = two_views(upright(outputs["points"][i]), color=ORANGE, **options)
        scale = 160 // test["image"].shape[1]
        picture = np.repeat(test["image"][i].repeat(scale, 0).repeat(scale, 1), 3, -1)
        square = np.ones((160, 160, 3))
        square[: len(picture), : picture.shape[1]] = picture
        images.append(np.concatenate([square, target, predicted], 1))
        titles.append(names[test["label"][i]])
    caption = "the image, the true surface from two views (blue), and the prediction from the same views (orange)"
    return [
        shape_panel(images, titles, "Shapes", caption),
        *triage_panels(context.history, floor=None),
        curves(context.history),
    ]


def _mesh(outputs: dict, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one predicted mesh without padding and unused vertices."""
    faces = np.asarray(outputs["faces"][i])[np.asarray(outputs["face_mask"][i]) > 0]
    used, faces = np.unique(faces, return_inverse=True)
    return np.asarray(outputs["vertices"][i])[used], faces.reshape(-1, 3).astype(np.int32)
