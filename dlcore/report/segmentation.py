"""Panels of a segmenter: color overlays with a legend, error maps, and IoU by class."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_class_ids, check_shapes
from dlcore.report.figure import VERMILION, rgb
from dlcore.report.panel import Panel
from dlcore.report.pictures import data_uri, to_uint8
from dlcore.report.tables import table

__all__ = ["class_table", "color_classes", "error_map", "image_iou", "legend", "overlay", "palette", "segmentations"]

VOID = 255
_ERROR_COLOR = np.array(rgb(VERMILION), np.uint8)

CAMVID = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "signsymbol": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}
CITYSCAPES = {
    "road": (128, 64, 128),
    "sidewalk": (244, 35, 232),
    "building": (70, 70, 70),
    "wall": (102, 102, 156),
    "fence": (190, 153, 153),
    "pole": (153, 153, 153),
    "traffic light": (250, 170, 30),
    "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35),
    "terrain": (152, 251, 152),
    "sky": (70, 130, 180),
    "person": (220, 20, 60),
    "rider": (255, 0, 0),
    "car": (0, 0, 142),
    "truck": (0, 0, 70),
    "bus": (0, 60, 100),
    "train": (0, 80, 100),
    "motorcycle": (0, 0, 230),
    "bicycle": (119, 11, 32),
}


def palette(class_names: Sequence[str]) -> np.ndarray:
    """Choose the colors of classes: those of CamVid or Cityscapes if all names match, else PASCAL VOC's.

    VOC's color k has its bits spread from the highest down over red, green and blue; color 0 is black.

    Args:
      class_names: C names.

    Returns:
      [C, 3] uint8.
    """
    for colors_of in (CAMVID, CITYSCAPES):
        if len(class_names) and set(class_names) <= set(colors_of):
            return np.array([colors_of[name] for name in class_names], np.uint8)
    k = np.arange(len(class_names))
    colors = np.zeros((len(class_names), 3), np.int64)
    for bit in range(8):
        for channel in range(3):
            colors[:, channel] |= (k >> (3 * bit + channel) & 1) << (7 - bit)
    return colors.astype(np.uint8)


def color_classes(classes: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Color a map of classes; void is black.

    Args:
      classes: [H, W] int.
      colors: [C, 3] uint8.

    Returns:
      [H, W, 3] uint8.
    """
    classes = np.asarray(classes)
    check_shapes(classes=(classes, "int H W"), colors=(colors, "C 3"))
    if len(colors) > VOID + 1:
        raise ValueError(f"colors={len(colors)}: too many; allowed: at most {VOID + 1}")
    check_class_ids("classes", classes, len(colors), VOID)
    table = np.zeros((256, 3), np.uint8)
    table[: len(colors)] = colors
    return table[classes]


def overlay(image: np.ndarray, classes: np.ndarray, colors: np.ndarray, opacity: float = 0.6) -> np.ndarray:
    """Overlay class colors on the gray image; void stays gray.

    Args:
      image: [H, W, 3] uint8.
      classes: [H, W] int.
      colors: [C, 3] uint8.
      opacity: opacity of the colors, in [0, 1].

    Returns:
      [H, W, 3] uint8.
    """
    check_shapes(image=(image, "H W 3"), classes=(classes, "H W"), opacity=(opacity, "0 to 1"))
    gray = image.mean(-1, keepdims=True).repeat(3, -1)
    mixed = (1 - opacity) * gray + opacity * color_classes(classes, colors)
    return np.rint(np.where((classes == VOID)[..., None], gray, mixed)).astype(np.uint8)


def error_map(image: np.ndarray, classes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Draw an error map: errors in vermilion, void targets in black, the rest as the pale gray image.

    Args:
      image: [H, W, 3] uint8.
      classes: [H, W] int.
      targets: [H, W] int, the true classes.

    Returns:
      [H, W, 3] uint8.
    """
    check_shapes(image=(image, "H W 3"), classes=(classes, "H W"), targets=(targets, "H W"))
    pale = (160 + 0.35 * image.mean(-1, keepdims=True)).astype(np.uint8).repeat(3, -1)
    picture = np.where((classes != targets)[..., None], _ERROR_COLOR, pale)
    return np.where((targets == VOID)[..., None], np.uint8(0), picture)


def image_iou(classes: np.ndarray, targets: np.ndarray, num_classes: int) -> np.ndarray:
    """Compute the mean IoU of each image, over the classes in its target or prediction.

    Args:
      classes: [N, H, W] int.
      targets: [N, H, W] int, the true classes; 255 is ignored.
      num_classes: C.

    Returns:
      [N] float; 1 for an image of void only.
    """
    classes, targets = np.asarray(classes), np.asarray(targets)
    check_whole_number("num_classes", num_classes, 1)
    check_shapes(classes=(classes, "int N H W"), targets=(targets, "int N H W"))
    check_class_ids("targets", targets, num_classes, VOID)
    check_class_ids("classes", classes[targets != VOID], num_classes)
    values = np.ones(len(classes))
    for i, (predicted, target) in enumerate(zip(classes, targets, strict=True)):
        valid = target != VOID
        pairs = np.bincount(num_classes * target[valid].astype(np.int64) + predicted[valid], minlength=num_classes**2)
        counts = pairs.reshape(num_classes, num_classes)
        intersection = np.diag(counts)
        union = counts.sum(0) + counts.sum(1) - intersection
        if union.any():
            values[i] = (intersection[union > 0] / union[union > 0]).mean()
    return values


def legend(class_names: Sequence[str], colors: np.ndarray) -> str:
    """List the classes beside their colors.

    Args:
      class_names: C names.
      colors: [C, 3] uint8.

    Returns:
      HTML.
    """
    check_shapes(colors=(colors, f"{len(class_names)} 3"))
    square = "display:inline-block;width:0.9em;height:0.9em;margin-right:0.35em;vertical-align:-0.1em"
    keys = (
        f'<span style="white-space:nowrap;margin-right:1em"><span style="{square};background:rgb'
        f'({red},{green},{blue})"></span>{escape(str(name))}</span>'
        for name, (red, green, blue) in zip(class_names, colors.tolist(), strict=True)
    )
    return f'<p class="legend">{" ".join(keys)}</p>'


def segmentations(
    images: np.ndarray,
    classes: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    count: int = 8,
    title: str = "Worst images first",
    typical: bool = False,
    num_worst: int = 0,
    sizes: np.ndarray | None = None,
) -> Panel:
    """Show images with predictions, targets and error maps, lowest IoU first.

    Args:
      images: [N, H, W, 3] as `dlcore.report.pictures.to_uint8` takes them.
      classes: [N, H, W] int, the predictions.
      targets: [N, H, W] int, the true classes.
      class_names: C names.
      count: largest number of images.
      title: title of the panel.
      typical: whether to show the images around the median IoU in place of the lowest.
      num_worst: number of images of the lowest IoU that another panel shows, and this one leaves out.
      sizes: [N, 2], height and width of the photographs that were stretched to `images`, whose aspect ratio is shown;
        None for images that were not.

    Returns:
      The panel.
    """
    check_whole_number("count", count, 1)
    check_whole_number("num_worst", num_worst, 0)
    check_shapes(classes=(classes, f"{len(images)} H W"))
    colors, values = palette(class_names), image_iou(classes, targets, len(class_names))
    first = max(0, (len(values) - count) // 2) if typical else 0
    order = np.argsort(values, kind="stable")[max(first, num_worst) : first + count]
    scale = max(1, round(240 / images.shape[2])) if len(images) else 1
    rows = []
    for i, image in zip(order, to_uint8(images[order]), strict=True):
        pictures = (
            (f"image {i}, IoU {100 * values[i]:.1f}", image),
            ("predicted", overlay(image, classes[i], colors)),
            ("true", overlay(image, targets[i], colors)),
            ("wrong", error_map(image, classes[i], targets[i])),
        )
        shape = "" if sizes is None else f' style="width: 100%; aspect-ratio: {sizes[i][1]} / {sizes[i][0]}"'
        rows += [
            f'<figure><img class="smooth"{shape} alt="" src="{data_uri(picture.repeat(scale, 0).repeat(scale, 1))}">'
            f"<figcaption>{name}</figcaption></figure>"
            for name, picture in pictures
        ]
    grid = "grid-template-columns: repeat(4, minmax(0, 1fr))"
    subtitle = "IoU: mean over the classes in an image's target or prediction; void is not colored."
    return Panel(
        title, f'{legend(class_names, colors)}<div class="images" style="{grid}">{"".join(rows)}</div>', subtitle
    )


def class_table(
    iou: np.ndarray,
    boundary: np.ndarray,
    confusion: np.ndarray,
    class_names: Sequence[str],
    mean_iou: float,
    baselines: Mapping[str, float],
    title: str = "IoU by class",
) -> Panel:
    """Show each class's IoU, recall and fraction of pixels, and the mean beside image-blind baselines.

    Args:
      iou: [C], NaN for a class that does not occur.
      boundary: [C], IoU of the bands along the classes' outlines; NaN likewise.
      confusion: [C, C] int, rows are true classes.
      class_names: C names.
      mean_iou: mean IoU of the classes that occur.
      baselines: mean IoU of image-blind predictions, by name.
      title: title of the panel.

    Returns:
      The panel, classes with the lowest IoU first.
    """
    count = len(class_names)
    check_shapes(iou=(iou, f"{count}"), boundary=(boundary, f"{count}"), confusion=(confusion, f"{count} {count}"))
    num_target, intersection = confusion.sum(1), np.diag(confusion)

    def percent(value: float) -> str:
        return f"{100 * value:.1f}" if np.isfinite(value) else "–"

    rows = [
        {
            "class": class_names[k],
            "IoU": percent(iou[k]),
            "boundary IoU": percent(boundary[k]),
            "recall": percent(intersection[k] / num_target[k]) if num_target[k] else "–",
            "fraction of pixels": percent(num_target[k] / max(num_target.sum(), 1)),
        }
        for k in np.argsort(np.nan_to_num(iou, nan=2.0), kind="stable")
    ]
    rows.append({"class": "mean", "IoU": percent(mean_iou), "boundary IoU": percent(_mean(boundary))})
    rows += [{"class": name, "IoU": percent(value)} for name, value in baselines.items()]
    absent = int(np.isnan(iou).sum())
    subtitle = "Over the test split, in %; boundary IoU within 3 pixels of the outlines."
    if absent:
        subtitle += (
            f" {absent} class{'es do' if absent > 1 else ' does'} not occur there, and the mean leaves them out."
        )
    return table(rows, title, subtitle)._replace(half=True)


def _mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else float("nan")
