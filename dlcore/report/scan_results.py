"""Label maps of scans: files of `--mode=predict`, and panels of slices."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.source import Source
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.report.prediction import unique_stems

__all__ = ["SegmentScans", "panels"]

_SHOWN = 6


class SegmentScans:
    """Use of a segmenter of volumes: `--mode=predict --input=SCAN_OR_FOLDER` measures organs and writes label maps."""

    input_kind: ClassVar[str] = "SCAN_OR_FOLDER"

    def inputs(self, path: str, run: Any) -> tuple[Source, list[str]]:
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
