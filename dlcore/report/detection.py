"""Panels of a detector: pictures with predicted and true boxes, masks and keypoints, precision over recall, errors."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from dlcore.data.decoding import stretch_image
from dlcore.data.masks import pasted_masks
from dlcore.ops.checks import check_class_ids, check_counts, check_finite, check_range, check_shapes
from dlcore.report.chart import INK, SERIES, chart_svg, legend_key, new_chart, percent_ticks
from dlcore.report.figure import ORANGE, SKY, VERMILION, YELLOW, rgb
from dlcore.report.panel import Panel
from dlcore.report.pictures import data_uri, to_uint8

__all__ = ["detections", "draw_boxes", "draw_outputs", "error_kinds", "outline", "precision_recall"]

_SIDE = 300
"""About the width in pixels of an enlarged image."""
_RED = ",".join(map(str, rgb(VERMILION)))
COLORS = (rgb(SKY), rgb(ORANGE), (0, 200, 140), (240, 100, 170), rgb(YELLOW), (255, 110, 40))
"""Colors of the classes, repeated: the palette of `dlcore.report.figure` with lighter dark colors for photographs."""


def draw_boxes(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    scores: np.ndarray | None = None,
    target_boxes: np.ndarray | None = None,
    scale: int = 1,
    masks: np.ndarray | None = None,
    keypoints: np.ndarray | None = None,
) -> np.ndarray:
    """Draw boxes on an image, with their masks and keypoints.

    Args:
      image: uint8 [H, W, 3].
      boxes: [N, 4], corners (x0, y0, x1, y1) in pixels, drawn in the class's color with name and score.
      labels: [N] int, classes of the boxes.
      class_names: names by class.
      scores: [N] in [0, 1]; the box with the highest score lies on top. None shows no scores.
      target_boxes: [M, 4], the target boxes, drawn in dashed white below the others; None for none.
      scale: factor by which the image is enlarged.
      masks: [N, H, W] bool, drawn as outlined overlays. Every object then has its own color, even if objects share a
        class.
      keypoints: [N, K, 2 or more], (x, y) in pixels, drawn as dots.

    Returns:
      uint8 [H * scale, W * scale, 3].
    """
    image, n = np.asarray(image), len(boxes)
    check_shapes(image=(image, "H W 3"), masks=(None if masks is None else np.asarray(masks), f"{n} H W or None"))
    check_shapes(
        boxes=(np.reshape(boxes, (-1, 4)) if not n else boxes, "N 4"), target_boxes=(target_boxes, "M 4 or None")
    )
    check_shapes(labels=(np.asarray(labels, None if n else int), f"int {n}"), scores=(scores, f"{n} or None"))
    check_shapes(scale=(scale, "int >= 1"), keypoints=(keypoints, f"{n} K D or None"))
    if image.dtype != np.uint8:
        raise ValueError(f"image={image.dtype}: no bytes; allowed: uint8, such as to_uint8 gives")
    check_finite("boxes", boxes)
    check_class_ids("labels", labels, len(class_names))
    if scores is not None:
        check_range("scores", scores, 0, 1)
    from PIL import Image, ImageDraw

    order = list(range(len(boxes))) if scores is None else np.argsort(scores, kind="stable").tolist()
    numbers = labels if masks is None else dict(zip(order[::-1], range(len(order)), strict=True))
    colors = [COLORS[int(numbers[i]) % len(COLORS)] for i in range(len(boxes))]
    large = np.array(image).repeat(scale, 0).repeat(scale, 1)
    for i in order if masks is not None else ():
        inside = np.asarray(masks[i], bool).repeat(scale, 0).repeat(scale, 1)
        large[inside] = (0.55 * large[inside] + 0.45 * np.array(colors[i])).astype(np.uint8)
        large[outline(inside)] = colors[i]
    picture = Image.fromarray(large)
    draw = ImageDraw.Draw(picture)
    for box in [] if target_boxes is None else target_boxes:
        _dashed(draw, [float(v) * scale for v in box])
    for i in order:
        color = colors[i]
        x0, y0, x1, y1 = (float(v) * scale for v in boxes[i])
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=color, width=2)
        text = str(class_names[int(labels[i])]) + ("" if scores is None else f" {100 * float(scores[i]):.0f}")
        left, top, right, bottom = draw.textbbox((0, 0), text)
        width, height = right - left + 4, bottom - top + 4
        x = min(max(x0, 0), max(0, large.shape[1] - width))
        y = y0 - height if y0 >= height else min(y0, large.shape[0] - height)
        draw.rectangle((x, y, x + width, y + height), fill=color)
        draw.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0))
    for i in order if keypoints is not None else ():
        for u, v in np.asarray(keypoints[i], float)[:, :2] * scale:
            draw.ellipse((u - 3, v - 3, u + 3, v + 3), fill=colors[i], outline=(0, 0, 0))
    return np.asarray(picture)


def outline(mask: np.ndarray) -> np.ndarray:
    """Compute the outline of a mask: pixels with a neighbor outside it, not those at the image's edge.

    Args:
      mask: [H, W] bool.

    Returns:
      [H, W] bool.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype != bool:
        raise ValueError(f"mask={mask.dtype}{list(mask.shape)}: no mask; allowed: bool [H, W]")
    around = np.pad(mask, 1, mode="edge")
    return mask & ~(around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:])


def detections(
    images: np.ndarray,
    outputs: Mapping[str, Any],
    targets: Mapping[str, Any] | None,
    class_names: Sequence[str],
    count: int = 12,
    min_score: float = 0.3,
    title: str = "Detections",
    captions: Sequence[str] | None = None,
    sizes: np.ndarray | None = None,
) -> Panel:
    """Show images with a detector's boxes, and its masks and keypoints if it has them.

    Args:
      images: [N, H, W, 3] as `dlcore.report.pictures.to_uint8` takes them.
      outputs: the predictions, padded to K boxes: `boxes` [N, K, 4] and `scores`, `labels`, `valid`, each [N, K]; and
        `masks` [N, K, M, M] in box coordinates, `keypoints` [N, K, J, 2 or more].
      targets: `boxes` [N, M, 4] and `box_mask` [N, M], 0 at padding; None for none.
      class_names: names by class.
      count: largest number of images.
      min_score: least score of a drawn box.
      title: title of the panel.
      captions: N plain texts below the box counts; None for none.
      sizes: [N, 2], height and width of the photographs that were stretched to `images`, which are shown in their
        aspect ratio; None for images that were not.

    Returns:
      The panel.
    """
    check_shapes(count=(count, "int >= 1"), min_score=(min_score, "0 to 1"))
    parts = {"outputs": outputs["boxes"], "targets": (targets or {}).get("boxes"), "captions": captions}
    for name, values in parts.items():
        if values is not None and len(values) < len(images[:count]):
            raise ValueError(f"{name}: for {len(values)} images; allowed: for each of {len(images)}")
    images = to_uint8(images[:count])
    scale = max(1, round(_SIDE / images.shape[2])) if len(images) else 1
    cells = []
    for i, image in enumerate(images):
        image_outputs = {name: np.asarray(values[i]) for name, values in outputs.items()}
        target_boxes = (
            None if targets is None else np.asarray(targets["boxes"][i])[np.asarray(targets["box_mask"][i]) > 0]
        )
        if sizes is not None:
            height, width = np.rint(np.asarray(sizes[i]) * max(_SIDE, *image.shape[:2]) / np.max(sizes[i])).astype(int)
            factor = np.array([width, height]) / image.shape[1::-1]
            image, scale = stretch_image(image, (max(height, 1), max(width, 1))), 1
            image_outputs["boxes"] = image_outputs["boxes"] * np.tile(factor, 2)
            if "keypoints" in image_outputs:
                image_outputs["keypoints"] = image_outputs["keypoints"][..., :2] * factor
            target_boxes = None if target_boxes is None else target_boxes * np.tile(factor, 2)
        picture, num_drawn = draw_outputs(image, image_outputs, class_names, min_score, target_boxes, scale)
        caption = f"{num_drawn} predicted" + ("" if target_boxes is None else f", {len(target_boxes)} true")
        caption += "" if captions is None else f"<br>{escape(captions[i])}"
        cells.append(
            f'<figure><img class="smooth" alt="" src="{data_uri(picture)}"><figcaption>{caption}</figcaption></figure>'
        )
    columns = "grid-template-columns: repeat(auto-fill, minmax(min(100%, 260px), 1fr))"
    subtitle = f"Boxes with a score of at least {100 * min_score:.0f} %, by class"
    subtitle += "." if targets is None else "; true boxes dashed, in white."
    return Panel(title, f'<div class="images" style="{columns}">{"".join(cells)}</div>', subtitle)


def draw_outputs(
    image: np.ndarray,
    outputs: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    min_score: float = 0.3,
    target_boxes: np.ndarray | None = None,
    scale: int = 1,
) -> tuple[np.ndarray, int]:
    """Draw a detector's predictions for one image.

    Args:
      image: uint8 [H, W, 3].
      outputs: `boxes` [K, 4] in pixels of the image, `scores`, `labels`, `valid`: [K], and if the detector has them
        `masks` [K, M, M] and `keypoints` [K, J, 2 or more].
      class_names: names by class.
      min_score: least score of a drawn box.
      target_boxes: [M, 4], the target boxes; None for none.
      scale: factor by which the image is enlarged.

    Returns:
      (uint8 [H * scale, W * scale, 3], number of boxes drawn).
    """
    check_shapes(min_score=(min_score, "0 to 1"), boxes=(outputs["boxes"], "K 4"))
    check_shapes(**{name: (outputs[name], f"{len(outputs['boxes'])}") for name in ("scores", "labels", "valid")})
    idx = np.flatnonzero((outputs["valid"] > 0) & (outputs["scores"] >= min_score))
    parts = ("boxes", "labels", "scores", "masks", "keypoints")
    fields = {name: outputs[name][idx] for name in parts if name in outputs}
    if "masks" in fields:
        fields["masks"] = pasted_masks(fields["masks"], fields["boxes"], image.shape[:2])
    boxes, labels, scores = fields["boxes"], fields["labels"], fields["scores"]
    picture = draw_boxes(
        image, boxes, labels, class_names, scores, target_boxes, scale, fields.get("masks"), fields.get("keypoints")
    )
    return picture, len(idx)


def precision_recall(precision: np.ndarray, class_names: Sequence[str], title: str = "Precision over recall") -> Panel:
    """Show the precision-recall curves by class, and their mean.

    Args:
      precision: [R, C], at evenly spaced recalls from 0 to 1; negative for a class that does not occur.
      class_names: names by class; of more than six classes, the three best and the three worst by area under the curve
        are drawn.
      title: title of the panel.

    Returns:
      The panel.
    """
    precision = np.asarray(precision, float)
    check_shapes(precision=(precision, f"R {len(class_names)}"))
    check_finite("precision", precision)
    check_range("precision", np.maximum(precision, 0), 0, 1)
    occurs = np.flatnonzero((precision >= 0).all(0))
    if not len(occurs):
        return Panel(title, "<p>No class occurs.</p>", half=True)
    recall = np.linspace(0, 1, len(precision))
    order = occurs[np.argsort(-precision[:, occurs].mean(0), kind="stable")]
    max_classes = len(SERIES)
    classes = order if len(order) <= max_classes else np.r_[order[: max_classes // 2], order[-(max_classes // 2) :]]
    figure, axes = new_chart((6.0, 3.8))
    keys = []
    for number, k in enumerate(classes):
        axes.plot(recall, precision[:, k], color=SERIES[number], linewidth=1.6)
        keys.append(legend_key(f"{class_names[k]} {100 * precision[:, k].mean():.1f}", number + 1))
    mean = precision[:, occurs].mean(1)
    axes.plot(recall, mean, color=INK, linewidth=2, linestyle=(0, (4, 2)))
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(percent_ticks())
    subtitle = f"At IoU 0.5, with the area under each curve; dashed: mean of {len(occurs)} classes, "
    subtitle += f"{100 * mean.mean():.1f}."
    if len(classes) < len(order):
        subtitle += f" Shown: the {max_classes // 2} best and the {max_classes // 2} worst."
    html = f"<figure><figcaption>{''.join(keys)}</figcaption>{chart_svg(figure, title)}</figure>"
    return Panel(title, html, subtitle, half=True)


def error_kinds(
    counts: np.ndarray,
    kinds: Sequence[str],
    class_names: Sequence[str],
    subtitle: str = "",
    title: str = "Kinds of error",
) -> Panel:
    """Show the numbers of correct detections and of each kind of error, by class.

    Args:
      counts: int [C, K], result of `dlcore.evaluators.detection_errors.detection_errors`.
      kinds: K names; the first is no error.
      class_names: names by class.
      subtitle: a line under the title.
      title: title of the panel.

    Returns:
      The panel, with the twenty classes that have the most errors.
    """
    counts = np.asarray(counts)
    check_shapes(counts=(counts, f"{len(class_names)} {len(kinds)}"))
    check_counts("counts", counts)
    order = np.argsort(-counts[:, 1:].sum(1), kind="stable")[:20]
    rows = [("all", counts.sum(0)), *((class_names[k], counts[k]) for k in np.sort(order))]
    head = "".join(f'<th class="number">{escape(kind)}</th>' for kind in kinds)
    body = ""
    for name, row in rows:
        largest = max(int(row[1:].max()), 1)
        cells = f'<td class="number">{row[0]:,}</td>' + "".join(
            f'<td class="number" style="background:rgba({_RED},{0.45 * n / largest:.2f})">{n:,}</td>' for n in row[1:]
        )
        body += f'<tr><th scope="row">{escape(str(name))}</th>{cells}</tr>'
    table = f'<table class="tight"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>'
    # In half of a narrow window the last columns would be cut.
    return Panel(title, f'<div class="scroll">{table}</div>', subtitle, half=len(kinds) < 5)


def _dashed(draw: Any, box: Sequence[float], dash: int = 5) -> None:
    """Draw a rectangle of white dashes on a dark line."""
    x0, y0, x1, y1 = box[0], box[1], box[2] - 1, box[3] - 1
    for a, b in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        draw.line((*a, *b), fill=(0, 0, 0), width=1)
        a, b = np.array(a), np.array(b)
        pieces = max(1, int(np.hypot(*(b - a)) // dash))
        for j in range(0, pieces, 2):
            start, end = a + (b - a) * j / pieces, a + (b - a) * (j + 1) / pieces
            draw.line((*start, *end), fill=(255, 255, 255), width=1)
