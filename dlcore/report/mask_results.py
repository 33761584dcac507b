"""Results of a segmenter for the report and the modes: color overlays, IoU by class, masks."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np

from dlcore.data.facts import Facts
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.report.prediction import stretched_images, unique_stems

__all__ = ["ClassIoU", "SegmentImages", "panels"]

_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class SegmentImages:
    """Use of a segmenter: `--mode=predict --input=FILE_OR_FOLDER` says the classes of the pixels of images.

    Args:
      own_size: predict: images at their own size, which must be alike, in place of that of the training images
    """

    own_size: Annotated[bool, "no identity"] = False

    def inputs(self, path: str, run: Any) -> tuple[Any, list[str]]:
        """Read the images under a path."""
        return stretched_images(path, run.facts, self.own_size)

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe each image by its class fractions `shares`, the largest first."""
        names, rows = facts.class_names, []
        for classes in outputs["classes"]:
            fractions = np.bincount(classes.reshape(-1), minlength=len(names)) / classes.size
            order = [k for k in np.argsort(-fractions, kind="stable") if fractions[k] > 0]
            rows.append(
                {
                    "shares": {names[k]: round(float(fractions[k]), 4) for k in order},
                    "text": "  ".join(f"{names[k]} {100 * fractions[k]:.1f} %" for k in order[:6]),
                }
            )
        return rows

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write NAME_mask.png, the class of each pixel, and NAME_overlay.png, with colors, of each image.

        Both have the size of the input file. The mask has mode P: its palette shows the colors, its values are the
        classes.
        """
        from PIL import Image

        from dlcore.data.decoding import load_image
        from dlcore.report.segmentation import overlay, palette

        folder.mkdir(parents=True, exist_ok=True)
        colors, files = palette(facts.class_names), []
        for name, stem, classes in zip(names, unique_stems(names), outputs["classes"], strict=True):
            image = load_image(name)
            mask = Image.fromarray(classes.astype(np.uint8)).resize(image.shape[1::-1], Image.Resampling.NEAREST)
            picture = Image.fromarray(overlay(image, np.asarray(mask), colors))
            mask.putpalette(colors.reshape(-1).tolist())
            for kind, image_file in (("mask", mask), ("overlay", picture)):
                files.append(folder / f"{stem}_{kind}.png")
                image_file.save(files[-1])
        return files


def panels(context: ReportContext) -> list[Panel]:
    """Show the worst and typical images, IoU by class beside image-blind baselines, the confusion matrix and curves."""
    from dlcore.report.classification import confusion_matrix
    from dlcore.report.curves import curves
    from dlcore.report.segmentation import class_table, segmentations
    from dlcore.report.triage import triage_panels

    names, test, classes = context.spec["class_names"], context.data.test.arrays, context.outputs["classes"]
    confusion = _confusion(classes, test["semantic"], len(names))
    plain = [{k: v for k, v in row.items() if "/" not in k} for row in context.history]
    arrays = test["image"], classes, test["semantic"], names
    sizes = test.get("original_size")
    more = [segmentations(*arrays, 4, "Images of median IoU", typical=True, num_worst=_SHOWN, sizes=sizes)]
    return [
        segmentations(*arrays, _SHOWN, sizes=sizes),
        *(more if (len(classes) + 4) // 2 > _SHOWN else []),
        class_table(
            context.arrays["mean_iou/by_class"],
            context.arrays["boundary/boundary_iou_by_class"],
            confusion,
            names,
            context.numbers["mean_iou"],
            context.spec["baselines"],
        ),
        confusion_matrix(confusion, names),
        *triage_panels(plain, floor=0.0 if context.flags.overlap == "none" else None),
        curves(plain),
    ]


def _confusion(classes: np.ndarray, targets: np.ndarray, num_classes: int) -> np.ndarray:
    valid = targets != 255
    pairs = num_classes * targets[valid].astype(np.int64) + classes[valid]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


class ClassIoU:
    """The mean IoU of the classes, which a segmenter's `evaluate` measures."""

    metric: ClassVar[str] = "mean_iou"
    mode: ClassVar[str] = "max"

    def pictures(self, context: ReportContext) -> dict[str, np.ndarray]:
        """Draw the first four test images, predictions above targets, for TensorBoard."""
        from dlcore.report.segmentation import overlay, palette

        test, colors = context.data.test.arrays, palette(context.spec["class_names"])
        rows = [
            np.concatenate([overlay(i, m, colors) for i, m in zip(test["image"][:4], maps[:4], strict=True)], 1)
            for maps in (context.outputs["classes"], test["semantic"])
        ]
        return {"segmentations": np.concatenate(rows)}
