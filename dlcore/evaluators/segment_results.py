"""Results of a panoptic segmenter: descriptions of segments, files in COCO's form, and the panels of its report."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.data.facts import Facts
from dlcore.evaluators import box_results
from dlcore.experiment.parts import Run
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.report.prediction import unique_stems
from dlcore.weights.segment_networks import class_names

__all__ = ["FindSegments", "panels", "pictures"]

SHOWN = 8
"""Images of the report."""


class FindSegments:
    """Use of a panoptic segmenter: `--mode=predict --input=FILE_OR_FOLDER` draws segments, in COCO's form too."""

    def inputs(self, path: str, run: Run) -> tuple[Any, list[str]]:
        """Read the images under a path."""
        return box_results.inputs(run.flags, run.spec)

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe the segments of each image, the largest first."""
        names, rows = class_names(facts), []
        for segments, labels in zip(
            np.asarray(outputs["segments"]), np.asarray(outputs["segment_labels"]), strict=True
        ):
            numbers, pixels = np.unique(segments[segments >= 0], return_counts=True)
            described = [
                {"class": names[labels[numbers[i]]], "share": round(float(pixels[i] / segments.size), 4)}
                for i in np.argsort(-pixels, kind="stable")
            ]
            text = "  ".join(f"{s['class']} {100 * s['share']:.1f} %" for s in described) or "nothing"
            rows.append({"segments": described, "text": text})
        return rows

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write of each image NAME_panoptic.png and NAME_overlay.png, and of all panoptic.json, as COCO has them.

        A pixel of the first holds the number of its segment, red + 256 green + 65536 blue, 0 for none; the JSON tells
        the class of each. Pictures are of the size of the file that was read.
        """
        from PIL import Image

        from dlcore.data.decoding import load_image
        from dlcore.report.panoptic import draw_segments

        folder.mkdir(parents=True, exist_ok=True)
        num_stuff = len(facts.stuff_names)
        categories = [
            {"id": i, "name": name, "isthing": int(i > num_stuff)} for i, name in enumerate(class_names(facts), 1)
        ]
        images, annotations, paths = [], [], []
        for i, (name, stem) in enumerate(zip(names, unique_stems(names), strict=True)):
            image, labels = load_image(name), np.asarray(outputs["segment_labels"][i])
            height, width = image.shape[:2]
            small = Image.fromarray(np.asarray(outputs["segments"][i], np.int32))
            segments = np.asarray(small.resize((width, height), Image.Resampling.NEAREST))
            number = segments + 1
            encoded = np.stack([number & 255, number >> 8 & 255, number >> 16], -1).astype(np.uint8)
            for kind, picture in (
                ("panoptic", encoded),
                ("overlay", draw_segments(image, segments, labels, num_stuff)),
            ):
                paths.append(folder / f"{stem}_{kind}.png")
                Image.fromarray(picture).save(paths[-1])
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
        paths.append(folder / "panoptic.json")
        content = {"images": images, "categories": categories, "annotations": annotations}
        paths[-1].write_text(json.dumps(content) + "\n", encoding="utf-8")
        return paths


def panels(context: ReportContext) -> list[Panel]:
    """Draw the images with the most wrong and missed segments, quality by class, and the learning curves."""
    from dlcore.report.curves import curves
    from dlcore.report.panoptic import panoptic_images, quality_table, semantic_of

    facts, outputs = Facts.of(context.spec), context.outputs
    names, num_stuff = class_names(facts), len(facts.stuff_names)
    test = context.data.test.arrays
    real, errors = _truth(test, outputs, num_stuff, len(names))
    worst = np.argsort(-errors, kind="stable")[:SHOWN]
    columns = {
        "panoptic": [(outputs["segments"][i], outputs["segment_labels"][i]) for i in worst],
        "semantic": [semantic_of(np.asarray(outputs["classes"][i]), num_stuff) for i in worst],
        "true": [(real[0][i], real[1][i]) for i in worst],
    }
    captions = [f"{errors[i]} wrong or missed" for i in worst]
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
    predicted = (np.asarray(outputs["segments"]), np.asarray(outputs["segment_labels"]))
    errors = [count(*(x[i : i + 1] for x in (*predicted, *real)), num_classes) for i in range(len(masks))]
    return real, np.array([int((metric.wrong + metric.missed).sum()) for metric in errors])


def pictures(context: ReportContext) -> dict[str, np.ndarray]:
    """Draw the first four test images, side by side, for TensorBoard."""
    from dlcore.report.panoptic import draw_segments

    outputs, num_stuff = context.outputs, len(context.spec["stuff_names"])
    images = [
        draw_segments(image, np.asarray(outputs["segments"][i]), np.asarray(outputs["segment_labels"][i]), num_stuff)
        for i, image in enumerate(context.data.test.arrays["image"][:4])
    ]
    return {"panoptic": np.concatenate(images, 1)}
