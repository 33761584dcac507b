"""The shared part of panoptic segmentation's experiments: what is measured, shown and written of segments."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.experiment.experiment import Setup
from dlcore.experiment.origin import Start
from dlcore.experiment.splits import Splits
from dlcore.kits.detection import detectors
from dlcore.kits.images.prediction import unique_stems
from dlcore.kits.training import init_from
from dlcore.learner import Evaluator
from dlcore.modes.report_context import ReportContext

__all__ = ["FIELDS", "class_names", "describe", "evaluators", "panels", "pictures", "start", "write"]

_SHOWN = 8


def class_names(spec: dict) -> list[str]:
    """Name the classes of segments: the stuff, then the things.

    Args:
      spec: of the data.

    Returns:
      The names.
    """
    return [*spec["stuff_names"], *spec["class_names"]]


def evaluators(setup: Setup, data: Splits, split: str) -> list[Evaluator]:
    """Measure panoptic quality, and COCO's mAP of the boxes and masks.

    Args:
      setup: with the names of the classes.
      data: the splits.
      split: "valid" or "test".

    Returns:
      Two evaluators.
    """
    from dlcore.segmentation.panoptic import panoptic_evaluator

    own = panoptic_evaluator(class_names(setup.spec), len(setup.spec["stuff_names"]))
    return [own, *detectors.evaluators(setup, data, split)]


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Describe the segments of each image, the largest first.

    Args:
      outputs: what predict gives.
      spec: of the data.

    Returns:
      {"segments": class and share of the pixels of each, "text"}, one an image.
    """
    names, rows = class_names(spec), []
    for segments, labels in zip(np.asarray(outputs["segments"]), np.asarray(outputs["segment_labels"]), strict=True):
        numbers, pixels = np.unique(segments[segments >= 0], return_counts=True)
        found = [
            {"class": names[labels[numbers[i]]], "share": round(float(pixels[i] / segments.size), 4)}
            for i in np.argsort(-pixels, kind="stable")
        ]
        text = "  ".join(f"{s['class']} {100 * s['share']:.1f} %" for s in found) or "nothing"
        rows.append({"segments": found, "text": text})
    return rows


def write(folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
    """Write of each image NAME_panoptic.png and NAME_overlay.png, and of all panoptic.json, as COCO has them.

    A pixel of the first holds the number of its segment, red + 256 green + 65536 blue, 0 for none; the JSON tells the
    class of each. Pictures are of the size of the file that was read.

    Args:
      folder: made where it is missing.
      outputs: what predict gives.
      source: the images.
      names: paths of the files.
      spec: of the data.

    Returns:
      The files.
    """
    from PIL import Image

    from dlcore.data.decoding import load_image
    from dlcore.report.panoptic import painted

    folder.mkdir(parents=True, exist_ok=True)
    num_stuff = len(spec["stuff_names"])
    categories = [{"id": i, "name": name, "isthing": int(i > num_stuff)} for i, name in enumerate(class_names(spec), 1)]
    images, annotations, written = [], [], []
    for i, (name, stem) in enumerate(zip(names, unique_stems(names), strict=True)):
        image, labels = load_image(name), np.asarray(outputs["segment_labels"][i])
        height, width = image.shape[:2]
        small = Image.fromarray(np.asarray(outputs["segments"][i], np.int32))
        segments = np.asarray(small.resize((width, height), Image.Resampling.NEAREST))
        number = segments + 1
        encoded = np.stack([number & 255, number >> 8 & 255, number >> 16], -1).astype(np.uint8)
        for kind, drawn in (("panoptic", encoded), ("overlay", painted(image, segments, labels, num_stuff))):
            written.append(folder / f"{stem}_{kind}.png")
            Image.fromarray(drawn).save(written[-1])
        images.append({"id": i + 1, "file_name": Path(name).name, "width": width, "height": height})
        info = []
        for k in np.unique(segments[segments >= 0]):
            rows, columns = np.nonzero(segments == k)
            corner = [int(columns.min()), int(rows.min())]
            info.append(
                {
                    "id": int(k) + 1,
                    "category_id": int(labels[k]) + 1,
                    "area": len(rows),
                    "bbox": [*corner, int(columns.max()) + 1 - corner[0], int(rows.max()) + 1 - corner[1]],
                    "iscrowd": 0,
                }
            )
        annotations.append({"image_id": i + 1, "file_name": f"{stem}_panoptic.png", "segments_info": info})
    written.append(folder / "panoptic.json")
    content = {"images": images, "categories": categories, "annotations": annotations}
    written[-1].write_text(json.dumps(content) + "\n", encoding="utf-8")
    return written


def panels(context: ReportContext) -> list:
    """Draw the images with the most wrong and missed segments, quality by class, and the learning curves.

    Args:
      context: the run's ReportContext.

    Returns:
      The panels.
    """
    from dlcore.report.curves import curves
    from dlcore.report.panoptic import panoptic_images, quality_table, semantic_of

    names, num_stuff, outputs = class_names(context.spec), len(context.spec["stuff_names"]), context.outputs
    test = context.data.test.arrays
    real, wrong = _truth(test, outputs, num_stuff, len(names))
    worst = np.argsort(-wrong, kind="stable")[:_SHOWN]
    columns = {
        "panoptic": [(outputs["segments"][i], outputs["segment_labels"][i]) for i in worst],
        "semantic": [semantic_of(np.asarray(outputs["classes"][i]), num_stuff) for i in worst],
        "true": [(real[0][i], real[1][i]) for i in worst],
    }
    captions = [f"{wrong[i]} wrong or missed" for i in worst]
    plain = [{k: v for k, v in row.items() if "/" not in k} for row in context.history if row]
    return [
        panoptic_images(test["image"][worst], columns, captions, num_stuff),
        quality_table(context.numbers, names, num_stuff),
        curves(plain),
    ]


def _truth(test: dict, outputs: dict, num_stuff: int, num_classes: int) -> tuple[tuple[Any, Any], np.ndarray]:
    """The true segments with their classes, and of each image the number of wrong and missed segments."""
    import jax

    from dlcore.data.masks import unpack_masks
    from dlcore.metrics.panoptic import PanopticQuality
    from dlcore.segmentation.panoptic import target_segments

    masks = unpack_masks(test["masks"], test["image"].shape[2])
    number = jax.jit(target_segments, static_argnums=4)
    pairs = [
        jax.device_get(number(*image, num_stuff))
        for image in zip(masks, test["labels"], test["box_mask"], test["semantic"], strict=True)
    ]
    real = tuple(np.stack(part) for part in zip(*pairs, strict=True))
    count = jax.jit(PanopticQuality.of, static_argnums=4)
    found = (np.asarray(outputs["segments"]), np.asarray(outputs["segment_labels"]))
    wrong = [count(*(x[i : i + 1] for x in (*found, *real)), num_classes) for i in range(len(masks))]
    return real, np.array([int((metric.wrong + metric.missed).sum()) for metric in wrong])


def pictures(context: ReportContext) -> dict[str, np.ndarray]:
    """Draw the first four test images, side by side, for TensorBoard.

    Args:
      context: the run's ReportContext.

    Returns:
      {"panoptic": [H, W, 3] uint8}.
    """
    from dlcore.report.panoptic import painted

    outputs, num_stuff = context.outputs, len(context.spec["stuff_names"])
    drawn = [
        painted(image, np.asarray(outputs["segments"][i]), np.asarray(outputs["segment_labels"][i]), num_stuff)
        for i, image in enumerate(context.data.test.arrays["image"][:4])
    ]
    return {"panoptic": np.concatenate(drawn, 1)}


def start(setup: Setup) -> Start | None:
    """Start the detector from the weights of `--init_from`, as `init_from.start`; the segmenter starts anew.

    Args:
      setup: with the flags of the page.

    Returns:
      State -> State; None without `--init_from`.

    Raises:
      ValueError: when applied or checked: there are no such weights, or they do not fit.
    """
    single = init_from.start(setup)
    if single is None:
        return None

    def detector(state: Any) -> Any:
        part = {name: getattr(state, name)["instances"] for name in ("params", "opt_state")}
        return state.parts["instances"].replace(**part)

    def replace(state: Any) -> Any:
        one = single.replace(detector(state))
        parts = state.parts | {"instances": one.replace(params=None, opt_state=None)}
        params, opt_state = (
            getattr(state, name) | {"instances": getattr(one, name)} for name in ("params", "opt_state")
        )
        return state.replace(params=params, opt_state=opt_state, parts=parts)

    return Start(replace, lambda state: single.check(detector(state)))


FIELDS = {
    **detectors.fields(masks=True, stuff=True),
    "settings": detectors.SETTINGS,
    "start": start,
    "monitor": "pq",
    "headline": "pq",
    "describe": describe,
    "write": write,
    "panels": panels,
    "pictures": pictures,
    "evaluators": evaluators,
}
"""Fields of Experiment of a panoptic segmenter of scenes."""
