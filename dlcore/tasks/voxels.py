"""VoxelSolids: solids as voxel grids, by analytic shapes or of ModelNet."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
import numpy as np

from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.kits.images.labeled_images import labeled_batch
from dlcore.learner import Range
from dlcore.modes.report_context import ReportContext
from dlcore.vision3d import voxel_generation
from dlcore.vision3d.voxel_generation import VoxelGenerator
from dlcore.vision3d.voxnet import VoxNet, quarter_turn, voxelize

__all__ = ["VoxelGrids", "VoxelPictures", "VoxelSolids", "nearest_grid_accuracy"]

NUM_SHOWN = 12
"""Number of test solids in a row of the report."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class VoxelSolids(Task):
    """Solids as voxel grids.

    Args:
      num_solids: solids to train on; a tenth as many validate, a quarter test
      resolution: voxels along each side, a power of two
    """

    num_solids: Annotated[int, Range(10), "essential"] = 2000
    resolution: Annotated[int, Range(8, 128), "essential"] = 16

    def check(self, flags: Flags) -> None:
        """Check the resolution, before data are generated."""
        if flags.resolution & (flags.resolution - 1):
            raise FlagError(f"resolution={flags.resolution}: no power of two; allowed: 8, 16, 32, 64, 128")

    def data(self, flags: Flags) -> Splits:
        """Generate `voxels`, `image` and `label` from fixed seeds, so that every run is tested on the same solids."""
        from dlcore.data.voxel_solids import SOLIDS, voxel_solids

        self.check(flags)
        n, resolution = flags.num_solids, flags.resolution
        counts = (n, max(8, n // 10), max(8, n // 4))
        train, valid, test = (voxel_solids(count, seed, resolution) for seed, count in enumerate(counts))
        spec = {
            "dataset": "voxel solids",
            "class_names": list(SOLIDS),
            "num_classes": len(SOLIDS),
            "resolution": resolution,
            "image_shape": list(train.arrays["image"].shape[1:]),
        }
        return Splits(train, valid, test, spec)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VoxelPictures(VoxelSolids):
    """Solids beside an image of each, from which a technique generates the voxels."""

    monitor = headline = "iou"
    plain: ClassVar[dict[str, Any]] = {"weight_decay": 0.0, "ema": None}
    modules: ClassVar[dict[str, Any]] = {"generator": VoxelGenerator}

    def data(self, flags: Flags) -> Splits:
        """Generate the splits, and measure the mean shape and retrieval; `spec["trivial"]` holds the better IoU."""
        splits = super().data(flags)
        train, test = splits.train.arrays, splits.test.arrays
        retrieved = voxel_generation.nearest_image_iou(train, test)
        mean_shape = voxel_generation.mean_shape_iou(train["voxels"], test["voxels"])
        baseline = max((retrieved, "the solid of the nearest training image"), (mean_shape, "the mean shape"))
        messages = (f"IoU of the nearest training image {retrieved:.3f}, of the mean shape {mean_shape:.3f}",)
        return splits._replace(spec={**splits.spec, "trivial": {"iou": baseline}}, notes=messages)

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the generator."""
        fields = setup.flags.group("generator")
        return {"model": VoxelGenerator(setup.spec["resolution"], dtype=setup.dtype, **fields)}

    def panels(self, context: ReportContext) -> list:
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class VoxelGrids(VoxelSolids):
    """Voxel grids with one class each: solids that a program draws, or ModelNet.

    Args:
      valid_fraction: fraction of the training images held out for validation, by seed
      data_dir: folder of ModelNet; by default solids are drawn
      quarter_turns: turn training grids about the vertical axis by 0, 90, 180 or 270 degrees
    """

    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    data_dir: Annotated[str | None, "essential"] = None
    quarter_turns: bool = True

    modules: ClassVar[dict[str, Any]] = {"voxnet": VoxNet}
    plain: ClassVar[dict[str, Any]] = {
        "quarter_turns": False,
        "label_smoothing": 0.0,
        "l2": 0.0,
        "weight_decay": 0.0,
        "voxnet.dropout": 0.0,
    }
    regularizer: ClassVar[str] = "l2"
    overfit: ClassVar[float] = 1e-2

    def data(self, flags: Flags) -> Splits:
        """Generate solids or read ModelNet as grids `image: [N, R, R, R, 1] uint8`, whose rows are vertical.

        A nearest-neighbor baseline is measured.
        """
        if flags.data_dir is None:
            splits = super().data(flags)
            train, valid, test = (_with_image(part, part.arrays["voxels"]) for part in splits[:3])
        else:
            from dlcore.data.carving import split_validation
            from dlcore.data.shapes3d import modelnet

            self.check(flags)
            clouds = (modelnet(flags.data_dir, split) for split in ("train", "test"))
            train, test = (
                _with_image(part, voxelize(part.arrays["points"], flags.resolution).transpose(0, 3, 1, 2)[:, ::-1])
                for part in clouds
            )
            train, valid = split_validation(train, flags.valid_fraction, flags.seed)
        vote = nearest_grid_accuracy(train.arrays, test.arrays)
        spec = {
            "dataset": train.name.partition("/")[0] if flags.data_dir else "voxel solids",
            "class_names": list(train.class_names),
            "num_classes": len(train.class_names),
            "resolution": flags.resolution,
            "image_shape": [*(flags.resolution,) * 3, 1],
            "trivial": {"accuracy": (vote, "the nearest training grid")},
            "batch": labeled_batch((*(flags.resolution,) * 3, 1)),
        }
        return Splits(train, valid, test, spec, (f"accuracy of the nearest training grid {vote:.4f}",))

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the network, the preprocessing and the augmentation."""
        flags = setup.flags
        return {
            "model": VoxNet(setup.spec["num_classes"], dtype=setup.dtype, **flags.group("voxnet")),
            "preprocess": lambda grids: grids.astype(jnp.float32),
            "augment": quarter_turn if flags.quarter_turns else None,
        }

    def expected_loss(self, setup: Setup) -> float:
        """Compute the loss of equal probabilities."""
        return math.log(setup.spec["num_classes"])

    def panels(self, context: ReportContext) -> list:
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
