"""Volumes: segmentation of scans, the organ of every voxel, of planted organs or of a folder of scans and label maps.

data=ScansWithLabels("planted", num_volumes=200), measures=[OrganDistances()], use=SegmentScans()
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import field_settings
from dlcore.kits.images.prediction import unique_stems
from dlcore.learner import Evaluator, Range, check_record
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.segmentation.unet_3d import pooling_strides

__all__ = ["OrganDistances", "ScansWithLabels", "SegmentScans", "equal_classes_loss", "panels"]

_SHOWN = 6


@dataclasses.dataclass(frozen=True)
class ScansWithLabels:
    """Scans and the organ of every voxel: planted organs, or a folder of scans and label maps.

    Args:
      dataset: planted (drawn bodies with organs), or folder: scans and label maps below data_dir
      data_dir: folder: images/ and labels/ with files of the same names (.nii, .nii.gz or .npz), or train, val and test
        with these two in each
      num_volumes: planted: scans for training; a fifth as many again to validate, a third to test
      spacing: folder: depth, height and width in mm of the voxels that scans are resampled to; by default the median
      valid_fraction: folder: fraction of train held out for validation if there is no validation split
      window: depth, height and width in voxels of the patches that each scan must hold; a run takes its --window
      levels: how often the network halves a patch; a run takes it of --unet.widths
    """

    dataset: Annotated[Literal["planted", "folder"], "essential"] = "planted"
    data_dir: Annotated[str | None, "essential"] = None
    num_volumes: Annotated[int, Range(10), "essential"] = 200
    spacing: Annotated[tuple[float, float, float] | None, Range(0.001)] = None
    valid_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    window: Annotated[tuple[int, int, int], Range(1), "no flag"] = (1, 1, 1)
    levels: Annotated[int, Range(0), "no flag"] = 0

    def __post_init__(self):
        check_record(self)

    def with_flags(self, flags: Any) -> "ScansWithLabels":
        """Return the data with the values of their flags, and what patches of the run ask of them."""
        fields = {name: flags[name] for name in field_settings(self)}
        return dataclasses.replace(self, **fields, window=flags.window, levels=len(flags["unet.widths"]) - 1)

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset == "folder"

    def check(self, run: Run | None = None) -> None:
        """Check that there is a folder, and that patches fit the planted volumes, before data are drawn."""
        if self.dataset == "folder":
            if self.data_dir is None:
                raise ValueError("data_dir=None: missing; allowed: a folder of images/ and labels/")
            return
        from dlcore.data.planted_organs import SPACING, planted_organs

        self.check_window("planted organs", planted_organs(1).arrays["image"].shape[1:4], SPACING)

    def check_window(self, name: str, size: tuple[int, ...], spacing: Any) -> None:
        """Check that a patch fits a volume, and that the network can halve it.

        Args:
          name: name of the volume, for the message.
          size: (D, H, W) of the volume in voxels.
          spacing: (depth, height, width) of a voxel in mm.
        """
        if len(size) != 3:
            raise ValueError(f"size={size} of {name}: no volume; allowed: (D, H, W)")
        text = ",".join(map(str, self.window))
        if any(side > whole for side, whole in zip(self.window, size, strict=True)):
            sides = ", ".join(f"{side:g}" for side in spacing)
            raise ValueError(
                f"window={text}: larger than {name} of {size[0]},{size[1]},{size[2]} voxels of {sides} mm; allowed: "
                "sides up to its own"
            )
        multiples = np.asarray(pooling_strides(spacing, self.levels)).reshape(-1, 3).prod(0)
        if any(side % multiple for side, multiple in zip(self.window, multiples, strict=True)):
            raise ValueError(
                f"window={text}: cannot be halved as often as unet.widths asks; allowed: multiples of "
                f"{','.join(map(str, multiples))}"
            )

    def load(self, seed: int = 0) -> Splits:
        """Draw or read the splits, and measure intervals of intensity; `spec["trivial"]` holds their Dice.

        Args:
          seed: seed of the held-out validation scans.
        """
        from dlcore.data.planted_organs import best_intervals, interval_dice

        self.check()
        train, valid, test, spacing, messages = self._planted() if self.dataset == "planted" else self._folder(seed)
        baseline = interval_dice(test, best_intervals(train))
        counts = np.bincount(train.arrays["semantic"].reshape(-1), minlength=256)[: len(train.class_names)]
        facts = Facts(
            dataset="planted organs" if self.dataset == "planted" else Path(self.data_dir or "").name,
            class_names=tuple(train.class_names),
            image_shape=train.arrays["image"].shape[1:],
            spacing=tuple(spacing),
            class_fractions=tuple((counts / max(counts.sum(), 1)).tolist()),
        )
        message = f"mean Dice of the best interval of intensity of each organ on the test split: {baseline:.3f}"
        trivial = {"dice": (baseline, "the best interval of intensity of each organ")}
        return Splits(train, valid, test, {**facts.spec(), "trivial": trivial}, (*messages, message))

    def _planted(self):
        from dlcore.data.planted_organs import SPACING, planted_organs

        counts = (self.num_volumes, max(8, self.num_volumes // 5), max(8, self.num_volumes // 3))
        # Fixed seeds: every run is tested on the same volumes.
        return *(planted_organs(count, seed) for seed, count in enumerate(counts)), SPACING, ()

    def _folder(self, seed: int):
        from dlcore.data.carving import complete_splits
        from dlcore.data.volume_files import volume_splits

        splits, spacing = volume_splits(self.data_dir or "", self.spacing, self.check_window)
        train, valid, test, messages = complete_splits(splits, self.valid_fraction, seed)
        sides = ", ".join(f"{side:g}" for side in spacing)
        return train, valid, test, spacing, (f"volumes have voxels of {sides} mm", *messages)


class OrganDistances:
    """Dice of the organs, which a segmenter's `evaluate` measures, and on the test split the distances of surfaces."""

    metric: ClassVar[str] = "dice"
    mode: ClassVar[str] = "max"

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Measure the distances of surfaces on the test split."""
        from dlcore.evaluators.surfaces import surface_evaluator

        if split == "valid":
            return []
        void_label = run.parts.technique.keywords["void_label"]
        return [surface_evaluator(run.facts.num_classes, run.facts.spacing, void_label)]


def equal_classes_loss(run: Run) -> float:
    """Compute the loss of equal probabilities 1 / C.

    A class with the fraction f of the voxels has the Dice coefficient 2 (f / C) / (1 / C + f).

    Returns:
      Cross-entropy in nats plus the weighted Dice loss.
    """
    fractions, num_classes = np.asarray(run.facts.class_fractions), len(run.facts.class_fractions)
    dice = 1 - float((2 * fractions / (1 + num_classes * fractions)).mean())
    return float(np.log(num_classes)) + run.parts.technique.keywords["dice_weight"] * dice


class SegmentScans:
    """Use of a segmenter of volumes: `--mode=predict --input=SCAN_OR_FOLDER` measures organs and writes label maps."""

    input_kind: ClassVar[str] = "SCAN_OR_FOLDER"

    def inputs(self, path: str, run: Run) -> tuple[Source, list[str]]:
        """Read the scans under a path at the spacing of the training scans.

        Raises:
          ValueError: a scan cannot be read, has no spacing, other channels, or is smaller than the window.
          MissingPackage: a scan is NIfTI, and nibabel is not installed.
        """
        from dlcore.data.planted_organs import standardize
        from dlcore.data.volume_files import Volume, list_volumes, load_volume, pad_volumes, resample, size_at

        spacing, channels = run.facts.spacing, run.facts.image_shape[-1]
        paths, volumes = list_volumes(Path(path)), []
        for file in paths:
            scan = load_volume(file)
            values = scan.values.reshape(*scan.values.shape[:3], -1)
            if values.shape[-1] != channels:
                raise ValueError(f"{file}: {values.shape[-1]} channels; allowed: {channels}, as in training")
            size = size_at(Volume(values, scan.spacing), spacing)
            run.parts.data.check_window(str(file), size, spacing)
            volumes.append(standardize(resample(values, size)))
        sizes = np.array([volume.shape[:3] for volume in volumes], np.int32)
        return Source({"image": pad_volumes(volumes, 0), "size": sizes}, len(paths)), [str(file) for file in paths]

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe each scan by the `volumes` of its organs in cubic mm, in the order of the classes."""
        voxel, names, rows = float(np.prod(facts.spacing)), facts.class_names, []
        for i in range(len(outputs["classes"])):
            counts = np.bincount(_cropped(outputs, i).reshape(-1), minlength=len(names))
            sizes = {name: round(float(count * voxel), 3) for name, count in zip(names[1:], counts[1:], strict=True)}
            rows.append({"volumes": sizes, "text": "  ".join(f"{name} {size:g} mm³" for name, size in sizes.items())})
        return rows

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write the label map of each scan at its own spacing: NAME_labels.nii.gz of NIfTI, else NAME_labels.npy."""
        from dlcore.data.volume_files import load_volume, resample, save_labels, stem

        folder.mkdir(parents=True, exist_ok=True)
        stems = unique_stems([str(Path(name).with_name(stem(name))) for name in names])
        files = []
        for i, (name, base) in enumerate(zip(names, stems, strict=True)):
            labels = resample(_cropped(outputs, i), load_volume(name).values.shape[:3], nearest=True)
            files.append(save_labels(folder / f"{base}_labels", labels.astype(np.uint8), name))
        return files


def panels(context: ReportContext) -> list[Panel]:
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
