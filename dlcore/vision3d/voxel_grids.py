"""Solids as voxel grids, by analytic shapes or of ModelNet."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
import numpy as np

from dlcore.data.images import labeled_batch
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.learner import Range
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.setting import FlagError
from dlcore.vision3d import voxel_generation
from dlcore.vision3d.voxnet import quarter_turn, voxelize

__all__ = [
    "VoxelGrids",
    "VoxelImages",
    "check_resolution",
    "drawn_solids",
    "generated_panels",
    "grid_panels",
    "nearest_grid_accuracy",
]

NUM_SHOWN = 12
"""Number of test solids in a row of the report."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VoxelImages:
    """Solids as voxel grids, with an image of each.

    Args:
      num_solids: solids to train on; a tenth as many validate, a quarter test
      resolution: voxels along each side, a power of two
    """

    num_solids: Annotated[int, Range(10), "essential"] = 2000
    resolution: Annotated[int, Range(8, 128), "essential"] = 16

    reads_files: ClassVar[bool] = False

    def check(self, run: Any) -> None:
        """Check the resolution, before data are generated."""
        check_resolution(self.resolution)

    def load(self) -> Splits:
        """Generate the splits, and measure the mean shape and retrieval.

        Returns:
          `voxels [N, R, R, R]`, `image` and `label` from fixed seeds, so that every run is tested on the same solids;
          `spec["trivial"]` holds the better IoU.
        """
        splits = drawn_solids(self.num_solids, self.resolution)
        train, test = splits.train.arrays, splits.test.arrays
        retrieved = voxel_generation.nearest_image_iou(train, test)
        mean_shape = voxel_generation.mean_shape_iou(train["voxels"], test["voxels"])
        baseline = max((retrieved, "the solid of the nearest training image"), (mean_shape, "the mean shape"))
        messages = (f"IoU of the nearest training image {retrieved:.3f}, of the mean shape {mean_shape:.3f}",)
        return splits._replace(spec={**splits.spec, "trivial": {"iou": baseline}}, notes=messages)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VoxelGrids:
    """Voxel grids with one class each: solids that a program draws, or ModelNet.

    Args:
      num_solids: solids to train on; a tenth as many validate, a quarter test
      resolution: voxels along each side, a power of two
      valid_fraction: fraction of the training images held out for validation, by seed
      data_dir: folder of ModelNet; by default solids are drawn
      quarter_turns: turn training grids about the vertical axis by 0, 90, 180 or 270 degrees
    """

    num_solids: Annotated[int, Range(10), "essential"] = 2000
    resolution: Annotated[int, Range(8, 128), "essential"] = 16
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    data_dir: Annotated[str | None, "essential"] = None
    quarter_turns: bool = True

    reads_files: ClassVar[bool] = True

    def check(self, run: Any) -> None:
        """Check the resolution, before data are generated."""
        check_resolution(self.resolution)

    def load(self, seed: int = 0) -> Splits:
        """Generate solids or read ModelNet, and measure a nearest-neighbor baseline.

        Args:
          seed: seed of the held-out validation grids of ModelNet.

        Returns:
          `image: [N, R, R, R, 1] uint8`, whose rows are vertical, and `label: [N]`.
        """
        if self.data_dir is None:
            splits = drawn_solids(self.num_solids, self.resolution)
            train, valid, test = (_with_image(part, part.arrays["voxels"]) for part in splits[:3])
        else:
            from dlcore.data.carving import split_validation
            from dlcore.data.shapes3d import modelnet

            clouds = (modelnet(self.data_dir, split) for split in ("train", "test"))
            train, test = (
                _with_image(part, voxelize(part.arrays["points"], self.resolution).transpose(0, 3, 1, 2)[:, ::-1])
                for part in clouds
            )
            train, valid = split_validation(train, self.valid_fraction, seed)
        vote = nearest_grid_accuracy(train.arrays, test.arrays)
        spec = {
            "dataset": train.name.partition("/")[0] if self.data_dir else "voxel solids",
            "class_names": list(train.class_names),
            "num_classes": len(train.class_names),
            "resolution": self.resolution,
            "image_shape": [*(self.resolution,) * 3, 1],
            "trivial": {"accuracy": (vote, "the nearest training grid")},
            "batch": labeled_batch((*(self.resolution,) * 3, 1)),
        }
        return Splits(train, valid, test, spec, (f"accuracy of the nearest training grid {vote:.4f}",))

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `preprocess` and `augment`."""
        augment = quarter_turn if self.quarter_turns else None
        return {"preprocess": lambda grids: grids.astype(jnp.float32), "augment": augment}


def check_resolution(resolution: int) -> None:
    """Check that a resolution is a power of two.

    Args:
      resolution: voxels along each side.

    Raises:
      FlagError: it is none.
    """
    if resolution & (resolution - 1):
        raise FlagError(f"resolution={resolution}: no power of two; allowed: 8, 16, 32, 64, 128")


def drawn_solids(num_solids: int, resolution: int) -> Splits:
    """Draw solids as voxel grids, from fixed seeds.

    Args:
      num_solids: solids to train on; a tenth as many validate, a quarter test.
      resolution: voxels along each side.

    Returns:
      The splits with `voxels`, `image` and `label`.
    """
    from dlcore.data.voxel_solids import SOLIDS, voxel_solids

    counts = (num_solids, max(8, num_solids // 10), max(8, num_solids // 4))
    train, valid, test = (voxel_solids(count, seed, resolution) for seed, count in enumerate(counts))
    spec = {
        "dataset": "voxel solids",
        "class_names": list(SOLIDS),
        "num_classes": len(SOLIDS),
        "resolution": resolution,
        "image_shape": list(train.arrays["image"].shape[1:]),
    }
    return Splits(train, valid, test, spec)


def generated_panels(context: ReportContext) -> list[Panel]:
    """Show images, and depth maps of their solids and of the generated `voxels: [N, R, R, R]`, from two sides."""
    from dlcore.data.voxel_solids import depth_map
    from dlcore.report.curves import curves
    from dlcore.report.generative import sample_rows

    test, generated = context.data.test.arrays, context.outputs["voxels"]
    rows = {"test images": test["image"][:NUM_SHOWN]}
    for view, axes in (("from the camera", (0, 1, 2, 3)), ("from the left side", (0, 1, 3, 2))):
        for name, voxels in (("solids", test["voxels"]), ("generated", generated)):
            rows[f"{name}, {view}"] = depth_map(np.transpose(voxels[:NUM_SHOWN], axes))[..., None]
    caption = "The first test solids, unselected; brighter is nearer."
    return [sample_rows(rows, "Generated solids", caption), curves(context.history)]


def grid_panels(context: ReportContext) -> list[Panel]:
    """Show the curves and the panels of a classifier, with a depth map as each grid's picture."""
    from dlcore.data.voxel_solids import depth_map
    from dlcore.report.classifier import classifier_panels
    from dlcore.report.curves import curves

    test, measures = context.data.test.arrays, {**context.numbers, **context.arrays}
    pictures = depth_map(test["image"][..., 0])[..., None]
    names, probabilities = context.spec["class_names"], context.outputs["probabilities"]
    panels = classifier_panels(measures, pictures, test["label"], probabilities, names, {})
    return [curves(context.history), *panels]


def _with_image(source: Source, voxels: np.ndarray) -> Source:
    arrays = {"image": np.ascontiguousarray(voxels)[..., None], "label": source.arrays["label"]}
    return dataclasses.replace(source, arrays=arrays)


def nearest_grid_accuracy(train: Mapping[str, np.ndarray], test: Mapping[str, np.ndarray]) -> float:
    """Compute the accuracy of the nearest neighbor: the training grid that differs in the fewest voxels.

    Args:
      train: `image [N, R, R, R, 1]` of 0 and 1, and `label [N]`.
      test: `image [M, R, R, R, 1]` and `label [M]`.

    Returns:
      The accuracy on the test grids.
    """
    differing = np.zeros((len(test["image"]), len(train["image"])), np.float32)
    for row in range(train["image"].shape[1]):  # plane by plane, to save memory
        a, b = (part["image"][:, row].reshape(len(part["image"]), -1).astype(np.float32) for part in (test, train))
        differing += b.sum(1) - 2 * a @ b.T  # a.sum(1) is the same for all training grids
    return float((train["label"][differing.argmin(1)] == test["label"]).mean())
