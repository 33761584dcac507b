"""Images of solids, whose shapes a technique predicts."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.mesh_files import write_mesh
from dlcore.data.solid_images import IMAGE_SOLIDS, solid_images
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.learner import Range
from dlcore.losses import chamfer_loss
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["SMOKE", "PredictMeshes", "SolidImages", "shape_panels"]

SMOKE = {
    "steps": 2,
    "batch_size": 4,
    "eval_every": 2,
    "eval_batch_size": 4,
    "image_size": 16,
    "num_images": 16,
    "surface_points": 16,
}
"""Settings of --smoke."""
SHOWN = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class SolidImages:
    """Images of rendered solids, and points of their surfaces.

    Args:
      image_size: side of the images in pixels, a multiple of 8
      num_images: training images; an eighth as many validate, and as many test
      surface_points: points on the surface of each solid
      cell_size: side of the cells of an occupancy grid in pixels; None for no grid
    """

    image_size: Annotated[int, Range(8), "essential"] = 32
    num_images: Annotated[int, Range(8)] = 1400
    surface_points: Annotated[int, Range(1)] = 256
    cell_size: Annotated[int | None, "no flag"] = None

    reads_files: ClassVar[bool] = False

    def load(self) -> Splits:
        """Render the solids, and measure the retrieval baseline: the points of the most similar training image.

        Returns:
          The splits; `spec["trivial"]` holds the Chamfer distance of retrieval.
        """
        few = max(1, self.num_images // 8)
        grid = 0 if self.cell_size is None else self.image_size // self.cell_size
        train, valid, test = (
            solid_images(count, seed, self.image_size, self.surface_points, grid=grid)
            for seed, count in enumerate((self.num_images, few, few))
        )
        spec = {
            "dataset": "solid images",
            "class_names": list(IMAGE_SOLIDS),
            "trivial": {"chamfer": (_retrieval(train, test), "points of the most similar training image")},
        }
        return Splits(train, valid, test, spec)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictMeshes:
    """Use of a network that predicts meshes: `--mode=predict` writes those of solids that are in no split.

    Args:
      num_drawn: solids that --mode=predict draws
    """

    num_drawn: Annotated[int, Range(1), "no identity"] = 8

    def samples(self, run: Run) -> tuple[Source, list[str]]:
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


def _retrieval(train: Source, test: Source) -> float:
    train_images = train.arrays["image"].reshape(len(train), -1)
    distance = jax.jit(chamfer_loss)
    total = 0.0
    for image, points in zip(test.arrays["image"], test.arrays["points"], strict=True):
        nearest = np.square(train_images - image.reshape(-1)).sum(1).argmin()
        total += float(distance(train.arrays["points"][nearest], points))
    return total / len(test)


def _mesh(outputs: dict, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one predicted mesh without padding and unused vertices."""
    faces = np.asarray(outputs["faces"][i])[np.asarray(outputs["face_mask"][i]) > 0]
    used, faces = np.unique(faces, return_inverse=True)
    return np.asarray(outputs["vertices"][i])[used], faces.reshape(-1, 3).astype(np.int32)
