"""Prompts of the command line, and results of a promptable segmenter: masks at the photograph's size, files, panels."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from dlcore.data.facts import Facts
from dlcore.ops.checks import check_indices
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel
from dlcore.report.prediction import read_all, unique_stems

__all__ = ["SegmentByPrompts", "panels", "photograph_masks"]

_SHARP = 6.0
"""Logit of the pixels of a rough mask."""


@dataclasses.dataclass(frozen=True)
class SegmentByPrompts:
    """Use of a promptable segmenter: `--mode=predict --input=FILE_OR_FOLDER` writes masks of what prompts point at.

    Args:
      points: predict: x,y,label of each click on one object in pixels of the photograph; 1 on it, 0 beside it
      boxes: predict: x1,y1,x2,y2 of each object in pixels of the photograph
      mask_prompt: predict: a rough mask of the object, an image of the photograph's size, 0 beside the object
    """

    points: Annotated[tuple[float, ...] | None, "no identity", "essential"] = None
    boxes: Annotated[tuple[float, ...] | None, "no identity", "essential"] = None
    mask_prompt: Annotated[str | None, "no identity"] = None

    def check(self, run: Any) -> None:
        """Check the prompts of the command line."""
        self.prompts()

    def prompts(self) -> dict[str, np.ndarray]:
        """Read the prompts of `points` and `boxes`.

        Returns:
          points [1, P, N, 2], labels [1, P, N] and boxes [1, P, 4] in pixels of the photograph, those that there are.
          Points are of one object; boxes beside points are of the same object, else of one object each.
        """
        prompts = {}
        if self.points is not None:
            points = _rows("points", self.points, 3, "x,y,1 for a point on the object, x,y,0 for one beside it")
            if not np.isin(points[:, 2], (0, 1)).all():
                label = points[~np.isin(points[:, 2], (0, 1))][0, 2]
                raise ValueError(f"points: label {label:g} is unknown; allowed: 1 on the object, 0 beside it")
            prompts |= {"points": points[None, None, :, :2], "labels": points[None, None, :, 2].astype(np.int32)}
        if self.boxes is not None:
            boxes = _rows("boxes", self.boxes, 4, "x1,y1,x2,y2 of each object")
            if self.points is not None and len(boxes) > 1:
                raise ValueError(f"boxes: {len(boxes)} beside points; allowed: one, around the object of the points")
            for box in boxes:
                if not (box[0] < box[2] and box[1] < box[3]):
                    raise ValueError(f"boxes={box.tolist()}: no box; allowed: x1 < x2 and y1 < y2")
            prompts["boxes"] = boxes[None]
        return prompts

    def inputs(self, path: str, run: Any) -> tuple[Any, list[str]]:
        """Read the images under a path, stretched to the network's size, with the prompts of the command line.

        Returns:
          (source with `original_size`, and the prompts in pixels of the network's image; paths).
        """
        from dlcore.data.decoding import load_image, stretch_image
        from dlcore.data.image_folder import list_images
        from dlcore.data.source import Source
        from dlcore.segmentation.prompts import check_boxes, check_points

        side = run.facts.image_shape[0]
        sizes: list[tuple[int, int]] = []

        def read(file: Path) -> np.ndarray:
            image = load_image(file)
            sizes.append(image.shape[:2])
            return stretch_image(image, (side, side))

        images, paths = read_all(list_images(Path(path)), read, None)
        original = np.array(sizes, np.int32)
        limits = original[:, ::-1].astype(np.float32)
        arrays: dict[str, np.ndarray] = {"image": images, "original_size": original}
        prompts = {name: np.repeat(value, len(images), 0) for name, value in self.prompts().items()}
        if "points" in prompts:
            # The last pixel's number is one less than the size.
            check_points(prompts["points"], prompts["labels"], limits - 1)
            prompts["points"] = (prompts["points"] + 0.5) * (side / limits)[:, None, None] - 0.5
        if "boxes" in prompts:
            check_boxes(prompts["boxes"], limits)
            prompts["boxes"] = prompts["boxes"] * np.tile(side / limits, 2)[:, None]
        if self.mask_prompt is not None:
            rows = 4 * (side // run.parts.network.patch_size)
            prompts["mask_prompt"] = np.stack([_rough_mask(self.mask_prompt, size, rows) for size in sizes])
        return Source(arrays | prompts, len(paths)), [str(file) for file in paths]

    def describe(self, outputs: dict, facts: Facts) -> list[dict]:
        """Describe the masks of each photograph, in the order of the prompts, or the best first.

        Returns:
          {"image_size": [height, width], "masks", "text"}, one an image. A mask is {"predicted_iou", "stability",
          "area", "box_xyxy", "segmentation"}, in pixels of the photograph; the segmentation is COCO's run lengths.
        """
        from dlcore.data.masks import masks_to_rles
        from dlcore.ops.boxes import masks_to_boxes

        rows = []
        for i, size in enumerate(np.asarray(outputs["original_size"]).tolist()):
            masks, valid = photograph_masks(outputs, i), np.asarray(outputs["valid"][i])
            boxes = np.asarray(masks_to_boxes(masks)).tolist()
            numbers = zip(np.asarray(outputs["iou"][i])[valid], np.asarray(outputs["stability"][i])[valid], strict=True)
            described = [
                {
                    "predicted_iou": round(float(iou), 4),
                    "stability": round(float(stability), 4),
                    "area": int(mask.sum()),
                    "box_xyxy": box,
                    "segmentation": rle,
                }
                for (iou, stability), mask, box, rle in zip(numbers, masks, boxes, masks_to_rles(masks), strict=True)
            ]
            lines = [
                f"IoU {m['predicted_iou']:.2f}  stability {m['stability']:.2f}  {m['area']} pixels" for m in described
            ]
            count = f"{len(lines)} mask{'' if len(lines) == 1 else 's'} in {size[1]} x {size[0]} pixels"
            rows.append({"image_size": size, "masks": described, "text": "\n  ".join([count, *lines])})
        return rows

    def write(self, folder: Path, outputs: dict, source: Any, names: list[str], facts: Facts) -> list[Path]:
        """Write of each image NAME_mask1.png, ..., 255 on the object, and NAME_overlay.png, and of all masks.json.

        Pictures have the size of the file. The JSON is COCO's, with run lengths; its one category is "object".
        """
        from PIL import Image

        from dlcore.data.decoding import load_image

        folder.mkdir(parents=True, exist_ok=True)
        images, annotations, files = [], [], []
        described = self.describe(outputs, facts)
        for i, (name, stem) in enumerate(zip(names, unique_stems(names), strict=True)):
            image, masks = load_image(name), photograph_masks(outputs, i)
            images.append(
                {"id": i + 1, "file_name": Path(name).name, "width": image.shape[1], "height": image.shape[0]}
            )
            pictures = {f"mask{k}": 255 * mask.astype(np.uint8) for k, mask in enumerate(masks, 1)}
            for kind, picture in (pictures | {"overlay": draw_masks(image, masks)}).items():
                files.append(folder / f"{stem}_{kind}.png")
                Image.fromarray(picture).save(files[-1])
            for mask in described[i]["masks"]:
                x1, y1, x2, y2 = mask["box_xyxy"]
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": i + 1,
                        "category_id": 1,
                        "bbox": [x1, y1, x2 - x1, y2 - y1],
                        "iscrowd": 0,
                        "score": mask["predicted_iou"],
                        **{key: mask[key] for key in ("area", "stability", "segmentation")},
                    }
                )
        files.append(folder / "masks.json")
        content = {"images": images, "categories": [{"id": 1, "name": "object"}], "annotations": annotations}
        files[-1].write_text(json.dumps(content) + "\n", encoding="utf-8")
        return files


def _rows(name: str, values: tuple[float, ...], length: int, allowed: str) -> np.ndarray:
    if not values or len(values) % length:
        raise ValueError(f"{name}={','.join(f'{v:g}' for v in values)}: {len(values)} numbers; allowed: {allowed}")
    return np.array(values, np.float32).reshape(-1, length)


def _rough_mask(file: str, size: tuple[int, int], rows: int) -> np.ndarray:
    """The rough mask as logits [rows, rows, 1] at the decoder's resolution."""
    from PIL import Image

    from dlcore.data.decoding import load_image
    from dlcore.data.image_pixels import open_image
    from dlcore.data.mask_files import lossy_format

    mask = load_image(file)
    if mask.shape[:2] != tuple(size):
        height, width = mask.shape[:2]
        raise ValueError(
            f"mask_prompt={file}: {width} x {height} pixels; allowed: those of the photograph, {size[1]} x {size[0]}"
        )
    content = Path(file).read_bytes()
    if kind := lossy_format(open_image(io.BytesIO(content)), content):
        raise ValueError(f"mask_prompt={file}: {kind}, whose black is not 0; allowed: PNG, or another without loss")
    if not mask.any():
        raise ValueError(f"mask_prompt={file}: all black; allowed: another color on the object")
    sharp = Image.fromarray((mask.max(-1) > 0).astype(np.float32))
    fraction = np.asarray(sharp.resize((rows, rows), Image.Resampling.BOX))
    return (_SHARP * (2 * fraction - 1))[..., None].astype(np.float32)


def photograph_masks(outputs: dict, i: int) -> np.ndarray:
    """Resize the masks of one photograph to its size.

    Args:
      outputs: outputs of `predict`, with `original_size: [B, 2]`, height and width.
      i: index of the photograph.

    Returns:
      [K, H, W] bool, of the valid masks.
    """
    from PIL import Image

    check_indices("i", i, len(outputs["original_size"]), "photographs")

    height, width = np.asarray(outputs["original_size"][i]).tolist()
    logits = np.asarray(outputs["mask_logits"][i], np.float32)[np.asarray(outputs["valid"][i])]
    resized = [np.asarray(Image.fromarray(x).resize((width, height), Image.Resampling.BILINEAR)) > 0 for x in logits]
    return np.stack(resized) if resized else np.zeros((0, height, width), bool)


def draw_masks(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Draw masks in colors over the gray image [H, W, 3], the largest below."""
    from dlcore.report.segmentation import overlay, palette

    numbers = np.full(image.shape[:2], 255)
    for k in np.argsort(-masks.sum((1, 2)), kind="stable"):
        numbers[masks[k]] = 1 + k % 20
    return overlay(image, numbers, palette([str(k) for k in range(21)]))


def panels(context: ReportContext) -> list[Panel]:
    """Show masks of everything, the IoU after clicks beside that of thresholds, and the learning curves."""
    from dlcore.report.curves import curves
    from dlcore.report.pictures import captioned_images
    from dlcore.report.tables import table
    from dlcore.report.triage import triage_panels

    images, baselines = context.data.shown.arrays["image"], context.spec["baselines"]
    outputs = {**context.outputs, "original_size": np.tile(images.shape[1:3], (len(images), 1))}
    pictures = []
    for i, image in enumerate(images):
        pictures.append(np.concatenate([image, draw_masks(image, photograph_masks(outputs, i))], 1))
    captions = [f"{int(np.asarray(valid).sum())} masks" for valid in context.outputs["valid"]]
    rows = []
    for k in range(1, 1 + len(baselines["color"])):
        if (value := context.numbers.get(f"iou_{k}")) is not None:
            rows.append({"clicks": k, "SAM": round(value, 3)} | {name: v[k - 1] for name, v in baselines.items()})
    caption = (
        "Mean over test objects. Columns of thresholds: Otsu's of brightness, and a distance of colors from clicks."
    )
    return [
        Panel(
            "Everything", captioned_images(np.stack(pictures), captions), "Test scenes and masks of a grid of points."
        ),
        table(rows, "IoU after clicks", caption)._replace(half=True),
        *triage_panels(context.history, floor=0.0),
        curves(context.history),
    ]
