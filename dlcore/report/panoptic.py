"""Panels of a panoptic segmenter: semantic and panoptic maps, and quality by class."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_indices, check_shapes
from dlcore.report.detection import COLORS, outline
from dlcore.report.panel import Panel
from dlcore.report.pictures import data_uri, to_uint8
from dlcore.report.tables import table

__all__ = ["draw_segments", "panoptic_images", "quality_table", "semantic_of"]


def draw_segments(image: np.ndarray, segments: np.ndarray, labels: np.ndarray, num_stuff: int) -> np.ndarray:
    """Overlay segments on an image: a gray for each stuff class, an outlined color for each object.

    Args:
      image: [H, W, 3] uint8.
      segments: [H, W] int, -1 for none, which is not colored.
      labels: [S] int, classes of the segments, stuff classes first.
      num_stuff: number of stuff classes.

    Returns:
      [H, W, 3] uint8.
    """
    check_shapes(image=(image, "H W 3"), segments=(segments, "H W"), labels=(labels, "S"))
    check_whole_number("num_stuff", num_stuff, 0)
    check_indices("segments", segments, len(labels), "segments", -1)
    picture, objects = np.array(image), 0
    for k in np.unique(segments[segments >= 0]):
        inside = segments == k
        if labels[k] < num_stuff:
            color = np.full(3, 40 + 180 * (labels[k] + 1) / (num_stuff + 1))
        else:
            color, objects = np.array(COLORS[objects % len(COLORS)]), objects + 1
        picture[inside] = np.rint(0.35 * image[inside] + 0.65 * color)
        if labels[k] >= num_stuff:
            picture[outline(inside)] = color
    return picture


def semantic_of(classes: np.ndarray, num_stuff: int) -> tuple[np.ndarray, np.ndarray]:
    """Convert a semantic map to segments, one per class.

    Args:
      classes: [H, W] int, 255 for void.
      num_stuff: number of stuff classes.

    Returns:
      (segments [H, W] int, labels).
    """
    check_shapes(classes=(classes, "int H W"))
    check_whole_number("num_stuff", num_stuff, 0)
    segments = np.where(classes == 255, -1, classes.astype(int))
    return segments, np.arange(max(num_stuff, segments.max(initial=-1) + 1))


def panoptic_images(
    images: np.ndarray,
    columns: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
    captions: Sequence[str],
    num_stuff: int,
    title: str = "Panoptic maps, the worst first",
) -> Panel:
    """Show images with color overlays of their segments, one column for each kind of map.

    Args:
      images: [N, H, W, 3] as `dlcore.report.pictures.to_uint8` takes them.
      columns: name -> N pairs of (segments [H, W], labels [S]).
      captions: N plain texts.
      num_stuff: number of stuff classes.
      title: title of the panel.

    Returns:
      The panel.
    """
    for name, several in {**columns, "captions": captions}.items():
        if len(several) != len(images):
            raise ValueError(f"{name}={len(several)} entries: for {len(images)} images; allowed: one each")
    scale = max(1, round(240 / images.shape[2])) if len(images) else 1
    cells = []
    for i, image in enumerate(to_uint8(images)):
        for number, (name, maps) in enumerate(columns.items()):
            pixels = draw_segments(image, *map(np.asarray, maps[i]), num_stuff).repeat(scale, 0).repeat(scale, 1)
            caption = name if number else f"{name}, {captions[i]}"
            picture = f'<img class="smooth" alt="" src="{data_uri(pixels)}">'
            cells.append(f"<figure>{picture}<figcaption>{escape(caption)}</figcaption></figure>")
    grid = f"grid-template-columns: repeat({max(len(columns), 1)}, minmax(0, 1fr))"
    subtitle = "Stuff is gray. A semantic map has one color per class, a panoptic map one per object."
    return Panel(title, f'<div class="images" style="{grid}">{"".join(cells)}</div>', subtitle)


def quality_table(numbers: Mapping[str, float | None], class_names: Sequence[str], num_stuff: int) -> Panel:
    """Show panoptic quality by class, and that of the semantic map's connected components.

    Args:
      numbers: results of `panoptic_evaluator`.
      class_names: names of the stuff classes, then of the thing classes.
      num_stuff: number of stuff classes.

    Returns:
      The panel.
    """
    check_shapes(num_stuff=(num_stuff, f"0 to {len(class_names)}"))
    check_whole_number("num_stuff", num_stuff, 0)

    def percent(name: str) -> str:
        value = numbers.get(name)
        return "–" if value is None else f"{100 * value:.1f}"

    rows = [
        {"class": name, "kind": "stuff" if k < num_stuff else "thing", "PQ": percent(f"pq/{name}")}
        for k, name in enumerate(class_names)
    ]
    for name, measure in (("stuff", "pq_stuff"), ("things", "pq_things"), ("all", "pq")):
        rows.append({"class": name, "kind": "mean", "PQ": percent(measure)})
    rows.append({"class": "all, by connected regions", "kind": "mean", "PQ": percent("components_pq")})
    subtitle = (
        f"Over the test split, in %. SQ {percent('sq')}, RQ {percent('rq')}: segmentation and recognition quality."
    )
    return table(rows, "Panoptic quality", subtitle)._replace(half=True)
