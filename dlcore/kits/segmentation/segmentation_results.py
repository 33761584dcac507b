"""What the report and the modes show of a segmenter: images under the colors of their classes, IoU by class, masks."""

from pathlib import Path
from typing import Any

import numpy as np

from dlcore.kits.images.prediction import unique_stems
from dlcore.modes.report_context import ReportContext

__all__ = ["describe", "panels", "pictures", "write"]


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Describe each image by the shares of its classes, the largest first.

    Args:
      outputs: outputs of `predict`.
      spec: facts of the data, `Splits.spec`.

    Returns:
      {"shares": share of the pixels by class name, "text"}, one an image.
    """
    names, rows = spec["class_names"], []
    for classes in outputs["classes"]:
        shares = np.bincount(classes.reshape(-1), minlength=len(names)) / classes.size
        order = [k for k in np.argsort(-shares, kind="stable") if shares[k] > 0]
        rows.append(
            {
                "shares": {names[k]: round(float(shares[k]), 4) for k in order},
                "text": "  ".join(f"{names[k]} {100 * shares[k]:.1f} %" for k in order[:6]),
            }
        )
    return rows


def write(folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
    """Write of each image NAME_mask.png, the number of each pixel's class, and NAME_overlay.png, with colors.

    Both are of the size of the file that was read. The mask is of mode P: its palette shows the colors, its values are
    the classes.

    Args:
      folder: output folder; created if it is missing.
      outputs: outputs of `predict`.
      source: the images.
      names: paths of the files.
      spec: facts of the data, `Splits.spec`.

    Returns:
      The files.
    """
    from PIL import Image

    from dlcore.data.decoding import load_image
    from dlcore.report.segmentation import overlay, palette

    folder.mkdir(parents=True, exist_ok=True)
    colors, written = palette(spec["class_names"]), []
    for name, stem, classes in zip(names, unique_stems(names), outputs["classes"], strict=True):
        image = load_image(name)
        mask = Image.fromarray(classes.astype(np.uint8)).resize(image.shape[1::-1], Image.Resampling.NEAREST)
        picture = Image.fromarray(overlay(image, np.asarray(mask), colors))
        mask.putpalette(colors.reshape(-1).tolist())
        for kind, drawn in (("mask", mask), ("overlay", picture)):
            written.append(folder / f"{stem}_{kind}.png")
            drawn.save(written[-1])
    return written


def panels(context: ReportContext) -> list:
    """Show the worst images, IoU by class beside what knows no image, confusions and the learning curves.

    Args:
      context: the run's ReportContext.

    Returns:
      The panels.
    """
    from dlcore.report.classification import confusion_matrix
    from dlcore.report.curves import curves
    from dlcore.report.segmentation import class_table, segmentations
    from dlcore.report.triage import triage_panels

    names, test, classes = context.spec["class_names"], context.data.test.arrays, context.outputs["classes"]
    confusion = _confusion(classes, test["semantic"], len(names))
    plain = [{k: v for k, v in row.items() if "/" not in k} for row in context.history]
    return [
        segmentations(test["image"], classes, test["semantic"], names),
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


def _confusion(classes: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    keep = truth != 255
    pairs = num_classes * truth[keep].astype(np.int64) + classes[keep]
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def pictures(context: ReportContext) -> dict[str, np.ndarray]:
    """Draw the first four test images, predicted above true, for TensorBoard.

    Args:
      context: the run's ReportContext.

    Returns:
      {"segmentations": [H, W, 3] uint8}.
    """
    from dlcore.report.segmentation import overlay, palette

    test, colors = context.data.test.arrays, palette(context.spec["class_names"])
    rows = [
        np.concatenate([overlay(i, m, colors) for i, m in zip(test["image"][:4], maps[:4], strict=True)], 1)
        for maps in (context.outputs["classes"], test["semantic"])
    ]
    return {"segmentations": np.concatenate(rows)}
