"""Volumes: segmentation of scans, the organ of every voxel, of planted organs or of a folder of scans and label maps.

experiment = Experiment(__file__, __doc__, volumes.learner, task=Volumes(), optimizer=AveragedAdamW())
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from dlcore.data.source import Source
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits
from dlcore.experiment.task import Task
from dlcore.kits.images.prediction import unique_stems
from dlcore.learner import Evaluator, Range
from dlcore.modes.report_context import ReportContext
from dlcore.segmentation.unet_3d import UNet3D, pooling_strides

__all__ = ["Volumes", "check_window"]

_SHOWN = 6


@dataclasses.dataclass(frozen=True)
class Volumes(Task):
    """Scans and the organ of every voxel: planted organs, or a folder of scans and label maps.

    Args:
      dataset: planted (drawn bodies with organs), or folder: scans and label maps below data_dir
      data_dir: folder: images/ and labels/ with files of the same names (.nii, .nii.gz or .npz), or train, val and test
        with these two in each
      num_volumes: planted: scans for training; a fifth as many again to validate, a third to test
      spacing: folder: depth, height and width in mm of the voxels that scans are resampled to; by default the median
      valid_fraction: folder: fraction of train held out for validation if there is no validation split
    """

    dataset: Annotated[Literal["planted", "folder"], "essential"] = "planted"
    data_dir: Annotated[str | None, "essential"] = None
    num_volumes: Annotated[int, Range(10), "essential"] = 200
    spacing: Annotated[tuple[float, float, float] | None, Range(0.001)] = None
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1

    modules: ClassVar[dict[str, Any]] = {"unet": partial(UNet3D, widths=(8, 16, 32))}
    external_fields: ClassVar[tuple[str, ...]] = ("unet.spacing",)
    monitor: ClassVar[str] = "dice"
    headline: ClassVar[str] = "dice"
    input_kind: ClassVar[str] = "SCAN_OR_FOLDER"
    loss_tolerance: ClassVar[float] = 0.25
    plain: ClassVar[dict[str, Any]] = {"weight_decay": 0.0, "ema": None}

    def check(self, flags: Flags) -> None:
        """Check that there is a folder, and that windows fit the planted volumes, before data are drawn."""
        if flags.dataset == "folder":
            if flags.data_dir is None:
                raise ValueError("data_dir=None: missing; allowed: a folder of images/ and labels/")
            return
        from dlcore.data.planted_organs import SPACING, planted_organs

        size = planted_organs(1).arrays["image"].shape[1:4]
        check_window(flags, "planted organs", size, SPACING)

    def data(self, flags: Flags) -> Splits:
        """Draw or read the splits, and measure intervals of intensity; `spec["trivial"]` holds their Dice."""
        from dlcore.data.planted_organs import best_intervals, interval_dice

        self.check(flags)
        train, valid, test, spacing, messages = (_planted if flags.dataset == "planted" else _folder)(flags)
        baseline = interval_dice(test, best_intervals(train))
        counts = np.bincount(train.arrays["semantic"].reshape(-1), minlength=256)[: len(train.class_names)]
        spec = {
            "dataset": "planted organs" if flags.dataset == "planted" else Path(flags.data_dir).name,
            "class_names": list(train.class_names),
            "num_classes": len(train.class_names),
            "image_shape": list(train.arrays["image"].shape[1:]),
            "spacing": list(spacing),
            "class_fractions": (counts / max(counts.sum(), 1)).tolist(),
            "trivial": {"dice": (baseline, "the best interval of intensity of each organ")},
        }
        message = f"mean Dice of the best interval of intensity of each organ on the test split: {baseline:.3f}"
        return Splits(train, valid, test, spec, (*messages, message))

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the network for the spacing of the voxels."""
        spec = setup.spec
        fields = {**setup.flags.group("unet"), "spacing": tuple(spec["spacing"])}
        return {"model": self.modules["unet"](spec["num_classes"], dtype=setup.dtype, **fields)}

    def expected_loss(self, setup: Setup) -> float:
        """Compute the loss of equal probabilities 1 / C.

        A class with the fraction f of the voxels has the Dice coefficient 2 (f / C) / (1 / C + f).
        """
        fractions = np.asarray(setup.spec["class_fractions"])
        num_classes = len(fractions)
        dice = 1 - float((2 * fractions / (1 + num_classes * fractions)).mean())
        return float(np.log(num_classes)) + setup.flags.dice_weight * dice

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Measure the distances of surfaces on the test split."""
        from dlcore.evaluators.surfaces import surface_evaluator

        if split == "valid":
            return []
        return [surface_evaluator(setup.spec["num_classes"], setup.spec["spacing"], setup.flags.void_label)]

    def inputs(self, flags: Flags, spec: dict) -> tuple[Source, list[str]]:
        """Read the scans under `--input` at the spacing of the training scans.

        Raises:
          ValueError: a scan cannot be read, has no spacing, other channels, or is smaller than the window.
          MissingPackage: a scan is NIfTI, and nibabel is not installed.
        """
        from dlcore.data.planted_organs import standardize
        from dlcore.data.volume_files import Volume, list_volumes, load_volume, pad_volumes, resample, size_at

        spacing, channels = spec["spacing"], spec["image_shape"][-1]
        paths, volumes = list_volumes(Path(flags.input)), []
        for path in paths:
            scan = load_volume(path)
            values = scan.values.reshape(*scan.values.shape[:3], -1)
            if values.shape[-1] != channels:
                raise ValueError(f"{path}: {values.shape[-1]} channels; allowed: {channels}, as in training")
            size = size_at(Volume(values, scan.spacing), spacing)
            check_window(flags, str(path), size, spacing)
            volumes.append(standardize(resample(values, size)))
        sizes = np.array([volume.shape[:3] for volume in volumes], np.int32)
        return Source({"image": pad_volumes(volumes, 0), "size": sizes}, len(paths)), [str(path) for path in paths]

    def describe(self, outputs: dict, spec: dict) -> list[dict]:
        """Describe each scan by the `volumes` of its organs in cubic mm, in the order of the classes."""
        voxel, names, rows = float(np.prod(spec["spacing"])), spec["class_names"], []
        for i in range(len(outputs["classes"])):
            counts = np.bincount(_cropped(outputs, i).reshape(-1), minlength=len(names))
            sizes = {name: round(float(count * voxel), 3) for name, count in zip(names[1:], counts[1:], strict=True)}
            rows.append({"volumes": sizes, "text": "  ".join(f"{name} {size:g} mm³" for name, size in sizes.items())})
        return rows

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
        """Write the label map of each scan at its own spacing: NAME_labels.nii.gz of NIfTI, else NAME_labels.npy."""
        from dlcore.data.volume_files import load_volume, resample, save_labels, stem

        folder.mkdir(parents=True, exist_ok=True)
        stems = unique_stems([str(Path(name).with_name(stem(name))) for name in names])
        files = []
        for i, (name, base) in enumerate(zip(names, stems, strict=True)):
            labels = resample(_cropped(outputs, i), load_volume(name).values.shape[:3], nearest=True)
            files.append(save_labels(folder / f"{base}_labels", labels.astype(np.uint8), name))
        return files

    def panels(self, context: ReportContext) -> list:
        """Show slices with predictions and truth, the measures by organ beside the baseline, and the curves."""
        from dlcore.report.curves import curves
        from dlcore.report.segmentation import segmentations
        from dlcore.report.triage import triage_panels

        names, test = context.spec["class_names"], context.data.test.arrays
        images, classes, targets = _slices(test["image"][..., 0], context.outputs["classes"], test["semantic"])
        return [
            segmentations(images, classes, targets, names, _SHOWN, "Slices of the worst volumes first"),
            _organ_table(context),
            *triage_panels(context.history, floor=0.0),
            curves(context.history),
        ]


def check_window(flags: Flags, name: str, size: tuple[int, ...], spacing: Any) -> None:
    """Check that the window of `--window` fits a volume, and that the network can halve it.

    Args:
      flags: resolved settings, with `window` and `unet.widths`.
      name: name of the volume, for the message.
      size: (D, H, W) of the volume in voxels.
      spacing: (depth, height, width) of a voxel in mm.
    """
    if len(size) != 3:
        raise ValueError(f"size={size} of {name}: no volume; allowed: (D, H, W)")
    text = ",".join(map(str, flags.window))
    if any(side > whole for side, whole in zip(flags.window, size, strict=True)):
        sides = ", ".join(f"{side:g}" for side in spacing)
        raise ValueError(
            f"window={text}: larger than {name} of {size[0]},{size[1]},{size[2]} voxels of {sides} mm; allowed: sides "
            "up to its own"
        )
    strides = np.asarray(pooling_strides(spacing, len(flags["unet.widths"]) - 1)).reshape(-1, 3)
    multiples = strides.prod(0)
    if any(side % multiple for side, multiple in zip(flags.window, multiples, strict=True)):
        raise ValueError(
            f"window={text}: cannot be halved as often as unet.widths asks; allowed: multiples of "
            f"{','.join(map(str, multiples))}"
        )


def _planted(flags: Flags):
    from dlcore.data.planted_organs import SPACING, planted_organs

    counts = (flags.num_volumes, max(8, flags.num_volumes // 5), max(8, flags.num_volumes // 3))
    # Fixed seeds: every run is tested on the same volumes.
    return *(planted_organs(count, seed) for seed, count in enumerate(counts)), SPACING, ()


def _folder(flags: Flags):
    from dlcore.data.carving import complete_splits
    from dlcore.data.volume_files import volume_splits

    splits, spacing = volume_splits(flags.data_dir, flags.spacing, partial(check_window, flags))
    train, valid, test, messages = complete_splits(splits, flags.valid_fraction, flags.seed)
    sides = ", ".join(f"{side:g}" for side in spacing)
    return train, valid, test, spacing, (f"volumes have voxels of {sides} mm", *messages)


def _cropped(outputs: dict, i: int) -> np.ndarray:
    """The label map of one scan without padding."""
    depth, height, width = np.asarray(outputs["size"][i]).tolist()
    return np.asarray(outputs["classes"][i])[:depth, :height, :width]


def _slices(images: np.ndarray, classes: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of each volume the slice with most voxels of organs: images [N, H, W, 3] uint8, classes and targets [N, H, W]."""
    from dlcore.data.augment.examples import VOID

    index = ((targets > 0) & (targets != VOID)).sum((2, 3)).argmax(1)
    rows = np.arange(len(images))
    # The darkest and brightest percent of each volume become black and white.
    low, high = np.quantile(images, (0.01, 0.99), axis=(1, 2, 3))[..., None, None]
    gray = ((images[rows, index] - low) / np.maximum(high - low, 1e-6)).clip(0, 1)
    pictures = np.rint(255 * gray).astype(np.uint8)[..., None].repeat(3, -1)
    return pictures, np.asarray(classes)[rows, index], targets[rows, index]


def _organ_table(context: ReportContext) -> Any:
    """Dice and surface distance of each organ, and their means beside the baseline."""
    from dlcore.report.tables import table

    def text(value: float | None, digits: int) -> str:
        return "–" if value is None or not np.isfinite(value) else f"{value:.{digits}f}"

    arrays, numbers = context.arrays, context.numbers
    pairs = zip(arrays["dice/by_organ"], arrays["surface_distance_by_organ"], strict=True)
    rows = [
        {"organ": name, "Dice": text(dice, 3), "surface distance, mm": text(distance, 2)}
        for name, (dice, distance) in zip(context.spec["class_names"][1:], pairs, strict=True)
    ]
    rows.append(
        {
            "organ": "mean",
            "Dice": text(numbers["dice"], 3),
            "surface distance, mm": text(numbers["surface_distance"], 2),
        }
    )
    value, rule = context.spec["trivial"]["dice"]
    rows.append({"organ": f"mean, by {rule}", "Dice": text(value, 3)})
    caption = f"Means over the test volumes; {text(numbers['missed_organs'], 3)} of the organs were missed altogether."
    return table(rows, "Organs", caption)._replace(half=True)
