"""SolidImages: images of solids, whose shapes a technique predicts."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import numpy as np
from flax import linen as nn

from dlcore.data.mesh_files import write_mesh
from dlcore.data.solid_images import IMAGE_SOLIDS, solid_images
from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.learner import Range
from dlcore.losses import chamfer_loss
from dlcore.modes.report_context import ReportContext

__all__ = ["SMOKE", "SolidImages", "SolidMeshes"]

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
class SolidImages(Task):
    """Images of rendered solids, and points of their surfaces.

    Args:
      modules: the network, by the prefix of its flags
      image_size: side of the images in pixels, a multiple of 8
      num_images: training images; an eighth as many validate, and as many test
      surface_points: points on the surface of each solid
    """

    modules: dict[str, Callable[..., nn.Module]]
    image_size: Annotated[int, Range(8), "essential"] = 32
    num_images: Annotated[int, Range(8)] = 1400
    surface_points: Annotated[int, Range(1)] = 256

    monitor = headline = "chamfer"
    monitor_mode: ClassVar[str] = "min"

    def data(self, flags: Flags, grid: int = 0) -> Splits:
        """Render the solids, and measure the retrieval baseline: the points of the most similar training image.

        Args:
          grid: cells along each side of the occupancy grid; 0 for none.

        Returns:
          The splits; `spec["trivial"]` holds the Chamfer distance of retrieval.
        """
        few = max(1, flags.num_images // 8)
        counts = {"train": flags.num_images, "valid": few, "test": few}
        train, valid, test = (
            solid_images(count, seed, flags.image_size, flags.surface_points, grid=grid)
            for seed, count in enumerate(counts.values())
        )
        spec = {
            "dataset": "solid images",
            "class_names": list(IMAGE_SOLIDS),
            "trivial": {"chamfer": (_retrieval(train, test), "points of the most similar training image")},
        }
        return Splits(train, valid, test, spec)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the network."""
        ((prefix, network),) = self.modules.items()
        return {"model": network(dtype=setup.dtype, **setup.flags.group(prefix))}

    def panels(self, context: ReportContext) -> list:
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SolidMeshes(SolidImages):
    """Images of rendered solids, whose meshes a technique predicts and --mode=predict writes.

    Args:
      num_drawn: solids that --mode=predict draws
    """

    num_drawn: Annotated[int, Range(1), "no identity"] = 8

    def drawn(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        """Generate solids that are in no split, for `--mode=predict`."""
        source = solid_images(flags.num_drawn, 3, flags.image_size, flags.surface_points)
        return source, [f"{spec['class_names'][k]}_{i}" for i, k in enumerate(source.arrays["label"])]

    def describe(self, outputs: Any, spec: dict) -> list[dict]:
        """Describe each predicted mesh by its numbers of vertices and faces, and its volume."""
        del spec
        described = []
        for i in range(len(outputs["faces"])):
            vertices, faces = _mesh(outputs, i)
            a, b, c = (vertices[faces[:, k]] for k in range(3))
            sizes = {"vertices": len(vertices), "faces": len(faces), "volume": float((a * np.cross(b, c)).sum() / 6)}
            text = "{vertices} vertices, {faces} faces, volume {volume:.3f}".format(**sizes)
            described.append({**sizes, "text": text})
        return described

    def write(self, folder: Path, outputs: Any, source: Any, names: list[str], spec: dict) -> list[Path]:
        """Write predicted meshes as .obj and .ply."""
        del source, spec
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for i, name in enumerate(names):
            vertices, faces = _mesh(outputs, i)
            files += [write_mesh(folder / f"{name}{ending}", vertices, faces) for ending in (".obj", ".ply")]
        return files


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
