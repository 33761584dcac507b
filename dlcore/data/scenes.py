"""Procedural scenes for detection and segmentation: colored shapes on textured backgrounds, exact to the pixel.

A shape covers the pixels whose centers lie inside. Its amodal box is the extent of all of them, its modal box that of
the visible ones: later shapes hide parts of earlier ones, but two boxes share at most `overlap` of the smaller one.
"""

import numpy as np

from dlcore.data.image_headers import target_size
from dlcore.data.masks import pack_masks, visible_masks
from dlcore.data.source import Source, whole_numbers
from dlcore.ops.checks import check_indices, check_shapes

__all__ = ["KEYPOINTS", "SHAPES", "STUFF", "check_scene_size", "covers", "scene_semantics", "scenes"]

SHAPES = ("circle", "square", "triangle", "cross", "ring")

STUFF = ("smooth", "striped", "checked")
"""Textures of the background with `stuff=True`; classes 0, 1 and 2 of semantic maps, followed by the shapes."""

KEYPOINTS = ("left", "top", "right", "bottom")
"""Keypoints of a shape: the mean position of its pixels in the left, top, right and bottom eighth of its box, of at
least one pixel. Unlike the extreme pixels, these move smoothly when the shape turns."""

_CAP = 1 / 8


def check_scene_size(image_size: tuple[int, int]) -> int:
    """Check the size of scenes whose objects have at least 16 pixels and at most half of the side.

    Args:
      image_size: height and width in pixels.

    Returns:
      The side.
    """
    height, width = target_size(image_size)
    if height != width:
        raise ValueError(f"image_size={image_size}: scenes are square; allowed: equal height and width")
    if height < 32:
        raise ValueError(f"image_size={image_size}: no room for objects of 16 pixels; allowed: at least (32, 32)")
    return height


@whole_numbers
def scenes(
    count: int,
    seed: int = 0,
    *,
    size: int = 96,
    max_boxes: int = 6,
    smallest: int = 16,
    largest: int = 48,
    overlap: float = 0.1,
    empty: float = 0.03,
    masks: bool = False,
    keypoints: bool = False,
    stuff: bool = False,
) -> Source:
    """Draw scenes, with boxes and labels.

    The arrays are `image: [N, size, size, 3] uint8`, `boxes: [N, M, 4] float32` (amodal, x1 y1 x2 y2 in pixels),
    `labels: [N, M] int32` (index into SHAPES, -1 for padding) and `box_mask: [N, M] bool` (False for padding); shapes
    are listed in the order in which they were drawn, the nearest last. Further arrays, and what adds them:

        masks      masks [N, M, size, ceil(size / 8)] uint8 (whole shapes, bits packed along the width), modal_boxes
                   [N, M, 4] float32 (zeros if the shape is hidden) and colors [N, M, 3] float32 (before the noise)
        keypoints  keypoints [N, M, 4, 3] float32 (x, y, and visibility: 2 visible, 1 hidden, 0 padding)
        stuff      semantic [N, size, size] uint8, see `scene_semantics`; the images of a seed then have other
                   backgrounds, of one or two textures

    Args:
      count: N, number of scenes.
      seed: scene i of one seed is the same whatever `count`.
      size: side of a scene, in pixels.
      max_boxes: M, maximum number of shapes in a scene.
      smallest: smallest diameter of a shape, in pixels.
      largest: largest diameter of a shape, in pixels.
      overlap: maximum intersection of two boxes, as a fraction of the smaller one's area.
      empty: probability that a scene has no shape.
      masks: whether to add masks, modal boxes and colors.
      keypoints: whether to add keypoints.
      stuff: whether to draw backgrounds of one or two textures and add semantic maps.

    Returns:
      The source.
    """
    if not 3 <= smallest <= largest < size:
        raise ValueError(f"{smallest=}, {largest=}: no range; allowed: 3 <= smallest <= largest < {size}")
    check_shapes(count=(count, ">= 0"), overlap=(overlap, "0 to 1"), empty=(empty, "0 to 1"))
    check_shapes(max_boxes=(max_boxes, "int >= 1"))
    image = np.zeros((count, size, size, 3), np.uint8)
    boxes = np.zeros((count, max_boxes, 4), np.float32)
    labels = np.full((count, max_boxes), -1, np.int32)
    more: dict[str, np.ndarray] = {}
    if masks:
        more["masks"] = np.zeros((count, max_boxes, size, -(-size // 8)), np.uint8)
        more["modal_boxes"] = np.zeros((count, max_boxes, 4), np.float32)
        more["colors"] = np.zeros((count, max_boxes, 3), np.float32)
    if keypoints:
        more["keypoints"] = np.zeros((count, max_boxes, len(KEYPOINTS), 3), np.float32)
    if stuff:
        more["semantic"] = np.zeros((count, size, size), np.uint8)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        if stuff:
            canvas, textures = _stuff(rng, size)
        else:
            canvas = _background(rng, size)
        num_shapes = 0 if rng.random() < empty else rng.integers(1, max_boxes + 1)
        placed: list[np.ndarray] = []
        images_drawn: list[np.ndarray] = []
        for _ in range(num_shapes):
            label, mask = _shape(rng, size, smallest, largest)
            if not mask.any():  # a shape of three pixels may lie between the centers of pixels
                continue
            box = _extent(mask)
            if any(_covered(box, other) > overlap for other in placed):
                continue
            color = _fill(rng, canvas[mask])
            canvas[mask] = color
            boxes[i, len(placed)], labels[i, len(placed)] = box, label
            if masks:
                more["colors"][i, len(placed)] = color
            placed.append(box)
            images_drawn.append(mask)
        noisy = canvas + rng.normal(0, rng.uniform(0, 10), canvas.shape)
        image[i] = noisy.clip(0, 255).astype(np.uint8)
        whole = np.stack(images_drawn) if images_drawn else np.zeros((0, size, size), bool)
        if masks:
            more["masks"][i, : len(whole)] = pack_masks(whole)
            for j, visible in enumerate(visible_masks(whole)):
                more["modal_boxes"][i, j] = _extent(visible) if visible.any() else 0
        if keypoints:
            for j in range(len(whole)):
                more["keypoints"][i, j] = _keypoints(whole[j], boxes[i, j], whole[j + 1 :].any(0))
        if stuff:
            more["semantic"][i] = scene_semantics(textures, whole, labels[i])
    arrays = {"image": image, "boxes": boxes, "labels": labels, "box_mask": labels >= 0, **more}
    return Source(arrays, count, SHAPES, name="scenes", keypoint_names=KEYPOINTS if keypoints else ())


def scene_semantics(textures: np.ndarray, masks: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Make the semantic map of a scene: its shapes over the textures of its background.

    Args:
      textures: [H, W] int, index into STUFF of each pixel's background.
      masks: [M, H, W] bool, in the order of drawing.
      labels: [M or more] int, index into SHAPES of each mask; entries beyond M are ignored.

    Returns:
      Class of each pixel [H, W] uint8, an index into (*STUFF, *SHAPES).
    """
    check_shapes(textures=(textures, "H W"), masks=(masks, "M H W"), labels=(labels, "L"))
    if len(labels) < len(masks):
        raise ValueError(f"labels: {len(labels)} of them; allowed: at least {len(masks)}, one a mask")
    check_indices("textures", textures, len(STUFF), "textures")
    check_indices("labels", labels[: len(masks)], len(SHAPES), "shapes")
    semantic = np.array(textures, np.uint8)
    for mask, label in zip(masks, labels[: len(masks)], strict=True):
        semantic[mask] = len(STUFF) + label
    return semantic


def covers(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Find the points that lie inside a shape of outer radius 1 around the origin.

    Args:
      shape: name from SHAPES.
      u: [...], coordinates to the right.
      v: [...], coordinates downward.

    Returns:
      [...] bool, whether the point (u, v) is inside.
    """
    if shape == "circle":
        return np.hypot(u, v) <= 1
    if shape == "square":
        return np.maximum(abs(u), abs(v)) <= np.sqrt(0.5)
    if shape == "triangle":
        return (v <= 0.5) & (np.sqrt(3) * abs(u) - v <= 1)
    if shape == "cross":
        return (np.minimum(abs(u), abs(v)) <= 0.3) & (np.maximum(abs(u), abs(v)) <= 0.95)
    if shape == "ring":
        far = np.hypot(u, v)
        return (far <= 1) & (far >= 0.55)
    raise ValueError(f"shape={shape!r}: unknown; allowed: {', '.join(SHAPES)}")


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw a color gradient with stripes and blocks: [size, size, 3] float."""
    y, x = np.mgrid[:size, :size] / size
    base, tilt = rng.uniform(30, 225, 3), rng.normal(0, 40, (2, 3))
    angle, frequency = rng.uniform(0, np.pi), rng.uniform(2, 14)
    stripes = np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)))
    cells = rng.integers(3, 13)
    blocks = rng.normal(0, 1, (cells, cells, 3))[np.floor(y * cells).astype(int), np.floor(x * cells).astype(int)]
    texture = rng.uniform(0, 22) * stripes[..., None] + rng.uniform(0, 16) * blocks
    return base + y[..., None] * tilt[0] + x[..., None] * tilt[1] + texture


def _stuff(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one texture, or two with a straight border: ([size, size, 3] float, index into STUFF [size, size])."""
    y, x = np.mgrid[:size, :size] / size
    kinds = rng.permutation(len(STUFF))[:2]
    angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.25, 0.25)
    beyond = (x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) > offset
    second = beyond if rng.random() < 0.75 else np.zeros_like(beyond)
    canvas = np.zeros((size, size, 3))
    for kind, where in ((kinds[0], ~second), (kinds[1], second)):
        base, tilt = rng.uniform(50, 205, 3), rng.normal(0, 25, (2, 3))
        texture = base + y[..., None] * tilt[0] + x[..., None] * tilt[1]
        angle, period, amplitude = rng.uniform(0, np.pi), rng.uniform(5, 9), rng.uniform(20, 40)
        along = 2 * np.pi * size / period
        u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        if STUFF[kind] == "striped":
            texture = texture + amplitude * np.sin(along * u)[..., None]
        elif STUFF[kind] == "checked":
            texture = texture + amplitude * np.sign(np.sin(along * u) * np.sin(along * v))[..., None]
        canvas[where] = texture[where]
    return canvas, np.where(second, kinds[1], kinds[0])


def _keypoints(mask: np.ndarray, box: np.ndarray, nearer: np.ndarray) -> np.ndarray:
    """Return (x, y, visibility) [4, 3] of KEYPOINTS; `nearer` [H, W] bool marks the pixels of later shapes."""
    y, x = (index + 0.5 for index in np.nonzero(mask))
    (x0, y0, x1, y1), points = box, []
    offset_x, offset_y = np.maximum(_CAP * (x1 - x0), 1), np.maximum(_CAP * (y1 - y0), 1)
    for part in (x < x0 + offset_x, y < y0 + offset_y, x > x1 - offset_x, y > y1 - offset_y):
        px, py = x[part].mean(), y[part].mean()
        points.append((px, py, 1 if nearer[int(py), int(px)] else 2))
    return np.array(points, np.float32)


def _shape(rng: np.random.Generator, size: int, smallest: int, largest: int) -> tuple[int, np.ndarray]:
    """Draw one shape of random class, size, position and angle, inside the image: (class, its pixels [H, W] bool)."""
    label = int(rng.integers(len(SHAPES)))
    radius = np.exp(rng.uniform(np.log(smallest), np.log(largest))) / 2
    center = rng.uniform(radius, size - radius, 2)
    angle = rng.uniform(0, 2 * np.pi)
    y, x = (np.mgrid[:size, :size] + 0.5 - center[:, None, None]) / radius
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return label, covers(SHAPES[label], u, v)


def _fill(rng: np.random.Generator, behind: np.ndarray) -> np.ndarray:
    """Draw a color [3] that differs clearly from the mean color of the pixels that it replaces."""
    mean = behind.mean(0)
    for _ in range(20):
        color = rng.uniform(0, 255, 3)
        if np.abs(color - mean).max() > 70:
            break
    return color


def _extent(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _covered(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection of two boxes as a fraction of the smaller one's area."""
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    return sides.prod() / min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod())
