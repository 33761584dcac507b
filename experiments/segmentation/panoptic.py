"""Panoptic segmentation: Mask R-CNN for objects and a U-Net for background, trained side by side and merged.

python -m experiments.segmentation.panoptic        (PQ 89.0 %; 28 min on one core)
python -m experiments.segmentation.panoptic --run=RUN --mode=predict --input=IMAGES --output=FOLDER    (in COCO's form)

The report shows each semantic map, in which all objects of a class are one color, beside the panoptic one, and the
quality that the semantic map's connected regions would have.
"""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.detection import two_stage
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.evaluators.fine_tuning import Encoder
from dlcore.experiment import Experiment, Setup
from dlcore.experiment.splits import Splits
from dlcore.experiment.weights import Start
from dlcore.kits.images.prediction import unique_stems
from dlcore.kits.self_supervised import encoders
from dlcore.kits.training import init_from, optimizer, pretrained_network
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.learner import Evaluator, Learner
from dlcore.main import main
from dlcore.modes.report_context import ReportContext
from dlcore.segmentation import panoptic, semantic
from dlcore.segmentation.unet import UNet
from dlcore.tasks.boxes import SMOKE, StretchedBoxes
from dlcore.tasks.two_stage_settings import LEARNER, SMALL, SMALLEST

SHOWN = 8
"""Images of the report."""


def class_names(spec: dict) -> list[str]:
    """Name the classes of segments: the stuff, then the things."""
    return [*spec["stuff_names"], *spec["class_names"]]


def describe(outputs: dict, spec: dict) -> list[dict]:
    """Describe the segments of each image, the largest first."""
    names, rows = class_names(spec), []
    for segments, labels in zip(np.asarray(outputs["segments"]), np.asarray(outputs["segment_labels"]), strict=True):
        numbers, pixels = np.unique(segments[segments >= 0], return_counts=True)
        described = [
            {"class": names[labels[numbers[i]]], "share": round(float(pixels[i] / segments.size), 4)}
            for i in np.argsort(-pixels, kind="stable")
        ]
        text = "  ".join(f"{s['class']} {100 * s['share']:.1f} %" for s in described) or "nothing"
        rows.append({"segments": described, "text": text})
    return rows


def write(folder: Path, outputs: dict, source: Any, names: list[str], spec: dict) -> list[Path]:
    """Write of each image NAME_panoptic.png and NAME_overlay.png, and of all panoptic.json, as COCO has them.

    A pixel of the first holds the number of its segment, red + 256 green + 65536 blue, 0 for none; the JSON tells the
    class of each. Pictures are of the size of the file that was read.
    """
    from PIL import Image

    from dlcore.data.decoding import load_image
    from dlcore.report.panoptic import draw_segments

    folder.mkdir(parents=True, exist_ok=True)
    num_stuff = len(spec["stuff_names"])
    categories = [{"id": i, "name": name, "isthing": int(i > num_stuff)} for i, name in enumerate(class_names(spec), 1)]
    images, annotations, paths = [], [], []
    for i, (name, stem) in enumerate(zip(names, unique_stems(names), strict=True)):
        image, labels = load_image(name), np.asarray(outputs["segment_labels"][i])
        height, width = image.shape[:2]
        small = Image.fromarray(np.asarray(outputs["segments"][i], np.int32))
        segments = np.asarray(small.resize((width, height), Image.Resampling.NEAREST))
        number = segments + 1
        encoded = np.stack([number & 255, number >> 8 & 255, number >> 16], -1).astype(np.uint8)
        for kind, picture in (("panoptic", encoded), ("overlay", draw_segments(image, segments, labels, num_stuff))):
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


def panels(context: ReportContext) -> list:
    """Draw the images with the most wrong and missed segments, quality by class, and the learning curves."""
    from dlcore.report.curves import curves
    from dlcore.report.panoptic import panoptic_images, quality_table, semantic_of

    names, num_stuff, outputs = class_names(context.spec), len(context.spec["stuff_names"]), context.outputs
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


def start(setup: Setup) -> Start | None:
    """Start the detector from the weights of `--init_from`, as `init_from.start_modules`; the segmenter starts anew."""
    single = init_from.start_modules(setup, lambda: optimizer.build(setup))
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


def encoder(setup: Setup) -> Encoder:
    """The detector's backbone."""

    def variables(state: Any) -> dict:
        trees = {"params": state.params["instances"], **state.parts["instances"].model_state}
        return pretrained_network.backbone_of(trees)

    return encoders.encoder(setup, variables=variables)


@dataclasses.dataclass(frozen=True)
class ThingsAndStuff(StretchedBoxes):
    """Scenes with the masks of things, and the stuff behind them."""

    stuff = True
    monitor = headline = "pq"
    start = staticmethod(start)
    encoder = staticmethod(encoder)
    describe = staticmethod(describe)
    write = staticmethod(write)
    panels = staticmethod(panels)
    pictures = staticmethod(pictures)

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        """Measure panoptic quality, and COCO's mAP of the boxes and masks."""
        from dlcore.segmentation.panoptic import panoptic_evaluator

        evaluator = panoptic_evaluator(class_names(setup.spec), len(setup.spec["stuff_names"]))
        return [evaluator, *super().evaluators(setup, splits, split)]

    def build(self, technique: Callable, optimizer: AveragedAdamW, setup: Setup, arguments: Any = None) -> Learner:
        """Build the learner of things and that of stuff, each with an optimizer of its own, and join both."""
        num_stuff, shared = len(setup.spec["stuff_names"]), self.arguments(setup)
        unet = UNet(num_stuff + setup.spec["num_classes"], dtype=setup.dtype, **setup.flags.group("unet"))
        parts = {
            "instances": two_stage.learner(
                optimizer=optimizer.build(setup), **{**LEARNER, "detections_per_img": 20}, **shared
            ),
            "semantic": semantic.learner(optimizer=optimizer.build(setup), **{**shared, "model": unet}),
        }
        averaged = {name: optimizer.wrap(part, setup) for name, part in parts.items()}
        return technique(num_stuff=num_stuff, **averaged, **setup.flags.group("learner"))


experiment = Experiment(
    __file__,
    __doc__,
    panoptic.learner,
    task=ThingsAndStuff(
        modules={
            "faster_rcnn": partial(FasterRCNN, **SMALL),
            "mask_head": partial(MaskHead, channels=32, num_convs=2),
            "unet": partial(UNet, widths=(12, 24, 48)),
        }
    ),
    optimizer=AveragedAdamW(),
    defaults={"learning_rate": 2e-3, "steps": 600},
    smoke={**SMOKE, **SMALLEST, "mask_head.channels": 8, "mask_head.num_convs": 1, "unet.widths": (4, 8)},
)

if __name__ == "__main__":
    main(experiment)
