"""Shared by experiments on voxel grids: analytic solids, ModelNet, report panels."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from dlcore.data.source import Source
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError, Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.images.labeled_images import labeled_batch
from dlcore.learner import Range
from dlcore.modes.report_context import ReportContext

__all__ = [
    "SETTINGS",
    "check",
    "classification_panels",
    "generation_panels",
    "grids",
    "nearest_grid_accuracy",
    "solids",
]

NUM_SHOWN = 12
"""Number of test solids in a row of the report."""

SETTINGS = {
    "num_solids": Setting(
        2000, "solids to train on; a tenth as many validate, a quarter test", limits=Range(10), essential=True
    ),
    "resolution": Setting(16, "voxels along each side, a power of two", limits=Range(8, 128), essential=True),
}


def check(flags: Flags) -> None:
    """Check the resolution, before data are generated.

    Args:
      flags: resolved settings; must contain SETTINGS.

    Raises:
      FlagError: the resolution is no power of two.
    """
    if flags.resolution & (flags.resolution - 1):
        raise FlagError(f"resolution={flags.resolution}: no power of two; allowed: 8, 16, 32, 64, 128")


def solids(flags: Flags) -> Splits:
    """Generate the splits from fixed seeds, so that every run is tested on the same solids.

    Args:
      flags: resolved settings; must contain SETTINGS.

    Returns:
      The splits, with `voxels`, `image` and `label`.
    """
    from dlcore.data.voxel_solids import SOLIDS, voxel_solids

    check(flags)
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


def grids(flags: Flags) -> Splits:
    """Generate solids or read ModelNet as voxel grids, and measure a nearest-neighbor baseline.

    Args:
      flags: resolved settings; must contain SETTINGS, with `data_dir`, None or a folder of ModelNet, and
        `valid_fraction` of its training clouds.

    Returns:
      The splits, with `image: [N, R, R, R, 1] uint8`, whose rows are vertical, and `label`.

    Raises:
      FlagError: the resolution is no power of two.
      ValueError: see `dlcore.data.shapes3d.modelnet`.
      FileNotFoundError: see `dlcore.data.shapes3d.modelnet`.
    """
    if flags.data_dir is None:
        splits = solids(flags)
        train, valid, test = (_with_image(part, part.arrays["voxels"]) for part in splits[:3])
    else:
        from dlcore.data.carving import split_validation
        from dlcore.data.shapes3d import modelnet
        from dlcore.vision3d.voxnet import voxelize

        check(flags)
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


def classification_panels(context: ReportContext) -> list:
    """Show the curves and the panels of a classifier, with a depth map as each grid's picture.

    Args:
      context: the ReportContext, whose test split holds grids as `image: [N, R, R, R, 1]`.

    Returns:
      Report panels.
    """
    from dlcore.data.voxel_solids import depth_map
    from dlcore.report.classifier import classifier_panels
    from dlcore.report.curves import curves

    test, measures = context.data.test.arrays, {**context.numbers, **context.arrays}
    pictures = depth_map(test["image"][..., 0])[..., None]
    names, probabilities = context.spec["class_names"], context.outputs["probabilities"]
    panels = classifier_panels(measures, pictures, test["label"], probabilities, names, {})
    return [curves(context.history), *panels]


def generation_panels(context: ReportContext) -> list:
    """Show images, and depth maps of their solids and of the generated solids, from the camera and from the side.

    Args:
      context: the ReportContext of a learner whose `predict` returns `voxels: [N, R, R, R]`.

    Returns:
      Report panels.
    """
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
