"""Clicks of a simulated user: on the largest error of a mask, and what a threshold of colors makes of them.

    error   missed = target and not predicted,  extra = predicted and not target
    depth   number of 3x3 erosions that a pixel of an error survives, and 1
    click   where depth is largest; on the object where that pixel is missed, beside it where it is extra

Before the first click nothing is predicted, so it falls on the object. In training a click is drawn from the pixels
deeper than half of the largest depth, as in Sofiiuk et al. 2021, arXiv:2102.06583; Kirillov et al. 2023,
arXiv:2304.02643, draw from all pixels of the error, which lie on its edge more often than people click there.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_indices, check_shapes
from dlcore.ops.pooling import max_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.segmentation.sam import HIDDEN

__all__ = ["brightness_masks", "color_masks", "mask_iou", "place_click", "region_depth", "simulate_clicks"]


def region_depth(regions: jax.Array) -> jax.Array:
    """Measure how deep each pixel lies in a region: 1 at its edge and at the image's.

    Args:
      regions: [..., H, W] bool.

    Returns:
      [..., H, W] int32, 0 outside the region.
    """

    def erode(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        region, depth = carry
        outside = jnp.pad(~region, [(0, 0)] * (region.ndim - 2) + [(1, 1), (1, 1)], constant_values=True)
        region = ~max_pool(outside.astype(jnp.int8)[..., None], (3, 3)).squeeze(-1).astype(bool)
        return region, depth + region

    check_shapes(regions=(regions, "mask ... H W"))
    start = regions.astype(bool), regions.astype(jnp.int32)
    return jax.lax.while_loop(lambda carry: carry[0].any(), erode, start)[1]


def place_click(predicted: jax.Array, targets: jax.Array, keys: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Place a click on the largest error of each mask.

    Args:
      predicted: [N, H, W] bool.
      targets: [N, H, W] bool.
      keys: [N] PRNG keys, which draw a pixel deeper than half of the largest depth; None takes the deepest, the first
        of several.

    Returns:
      (points [N, 2], x and y of pixels counted from 0; labels [N] int32: 1 on the object, 0 beside it, HIDDEN where
      nothing is wrong).
    """
    check_shapes(predicted=(predicted, "mask N H W"), targets=(targets, "mask N H W"), keys=(keys, "N or None"))
    predicted, targets = predicted.astype(bool), targets.astype(bool)
    width = targets.shape[-1]
    depth = region_depth(jnp.stack([targets & ~predicted, predicted & ~targets]))  # [2, N, H, W]
    missed, extra = depth.max((-2, -1))
    on_object = missed >= extra  # [N]
    error = jnp.where(on_object[:, None, None], depth[0], depth[1]).reshape(len(targets), -1)  # [N, H W]
    deepest = error.max(-1)
    if keys is None:
        index = error.argmax(-1)
    else:
        scores = jnp.where(2 * error > deepest[:, None], 0.0, -jnp.inf)
        index = jax.vmap(jax.random.categorical)(keys, scores)
    points = jnp.stack([index % width, index // width], -1).astype(jnp.float32)
    return points, jnp.where(deepest > 0, on_object.astype(jnp.int32), HIDDEN)


def simulate_clicks(
    segment: Callable[[jax.Array, jax.Array, Any], tuple[jax.Array, Any, Any]],
    targets: jax.Array,
    num_clicks: int,
    memory: Any = None,
    keys: jax.Array | None = None,
    prompt: tuple[jax.Array, jax.Array] | None = None,
) -> Any:
    """Let a segmenter correct its masks click by click, each on the largest error.

    Args:
      segment: (points [N, T, 2], labels [N, T], memory) -> (masks [N, H, W] bool, memory, outputs, a pytree); points
        are in pixels of the targets, and clicks that were not made yet have the label HIDDEN.
      targets: [N, H, W] bool.
      num_clicks: K.
      memory: pytree that the segmenter takes before the first click.
      keys: [N] PRNG keys of the clicks; None takes the deepest pixel.
      prompt: (points [N, C, 2], labels [N, C]) that stand before the clicks; an object with one whose label is not
        HIDDEN has no first click. None: there are none, and T = K; else T = C + K.

    Returns:
      The outputs, each [K, ...], after the first prompt and after each further click.
    """
    check_whole_number("num_clicks", num_clicks, 1)
    points, labels = prompt or (None, None)
    check_shapes(
        **{"prompt points": (points, "N C 2 or None"), "prompt labels": (labels, "int N C or None")},
        targets=(targets, "mask N H W"),
        keys=(keys, "N or None"),
    )
    points = jnp.zeros((len(targets), num_clicks, 2))
    labels = jnp.full((len(targets), num_clicks), HIDDEN)
    has_prompt = jnp.zeros(len(targets), bool)
    if prompt is not None:
        has_prompt = (prompt[1] != HIDDEN).any(1)
        points, labels = jnp.concatenate([prompt[0], points], 1), jnp.concatenate([prompt[1], labels], 1)

    def correct(carry: tuple, i: jax.Array) -> tuple[tuple, Any]:
        masks, memory, points, labels = carry
        rngs = None if keys is None else jax.vmap(jax.random.fold_in, (0, None))(keys, i)
        point, label = place_click(masks, targets, rngs)
        label = jnp.where(has_prompt & (i == 0), HIDDEN, label)
        slot = labels.shape[1] - num_clicks + i
        points, labels = points.at[:, slot].set(point), labels.at[:, slot].set(label)
        masks, memory, outputs = segment(points, labels, memory)
        return (masks, memory, points, labels), outputs

    start = jnp.zeros_like(targets), memory, points, labels
    return jax.lax.scan(correct, start, jnp.arange(num_clicks))[1]


def mask_iou(masks: jax.Array, targets: jax.Array) -> jax.Array:
    """Compute the IoU of masks.

    Args:
      masks: [..., H, W] bool.
      targets: [..., H, W] bool.

    Returns:
      [...] float32; 1 where both are empty.
    """
    check_shapes(masks=(masks, "mask ... H W"), targets=(targets, "mask ... H W"))
    masks, targets = jnp.asarray(masks), jnp.asarray(targets)
    masks, targets = masks.astype(bool), targets.astype(bool)
    intersection, union = (x.sum((-2, -1)) for x in (masks & targets, masks | targets))
    return jnp.where(union > 0, intersection / jnp.maximum(union, 1), 1.0).astype(jnp.float32)


def color_masks(images: jax.Array, points: jax.Array, labels: jax.Array, threshold: float | jax.Array) -> jax.Array:
    """Segment by a threshold of colors, a baseline that learns nothing.

    A pixel belongs to the object if its color is nearer than the threshold to that of a click on it, and nearer than to
    that of every click beside it. The distance is the largest of the channels'.

    Args:
      images: [N, H, W, C].
      points: [N, K, 2], x and y of pixels counted from 0.
      labels: [N, K] int: 1 on the object, 0 beside it, others do not count.
      threshold: [] or [N], largest distance, in units of the images.

    Returns:
      [N, H, W] bool.
    """
    _check_clicks(images, points, labels, threshold)
    images = to_acc_dtype(images)
    colors = _at_points(images, points)  # [N, K, C]
    distances = jnp.abs(images[:, None] - colors[:, :, None, None]).max(-1)  # [N, K, H, W]
    on_object, beside = (jnp.where((labels == kind)[..., None, None], distances, jnp.inf).min(1) for kind in (1, 0))
    return (on_object < jnp.asarray(threshold)[..., None, None]) & (on_object < beside)


def brightness_masks(
    images: jax.Array, points: jax.Array, labels: jax.Array, threshold: float | jax.Array
) -> jax.Array:
    """Segment by a threshold of brightness, a baseline that learns nothing.

    The object is the side of the threshold that most clicks name; of two sides with as many clicks, the bright one.

    Args:
      threshold: [] or [N], of the mean over channels, such as Otsu's (`dlcore.classical_vision.otsu`).
      As `color_masks`.

    Returns:
      [N, H, W] bool.
    """
    _check_clicks(images, points, labels, threshold)
    is_bright = to_acc_dtype(images).mean(-1) > jnp.asarray(threshold)[..., None, None]
    clicked = _at_points(is_bright, points)  # [N, K]
    votes = jnp.where(labels == 1, 2 * clicked - 1, jnp.where(labels == 0, 1 - 2 * clicked, 0)).sum(1)
    return is_bright == (votes >= 0)[:, None, None]


def _check_clicks(images: jax.Array, points: jax.Array, labels: jax.Array, threshold: float | jax.Array) -> None:
    check_shapes(images=(images, "N H W C"), points=(points, "N K 2"), labels=(labels, "int N K"))
    check_shapes(threshold=(threshold, f"{len(images)} finite" if np.ndim(threshold) else "finite"))
    if not any(isinstance(x, jax.core.Tracer) for x in (points, labels)):
        positions = np.where(np.isin(labels, (0, 1))[..., None], np.floor(points), 0)
        for axis, (size, what) in enumerate(((images.shape[2], "columns"), (images.shape[1], "rows"))):
            check_indices(f"points {'xy'[axis]}", positions[..., axis], size, what)


def _at_points(images: jax.Array, points: jax.Array) -> jax.Array:
    """Read [N, H, W, ...] at the pixels [N, K, 2]: [N, K, ...]."""
    x, y = points[..., 0].astype(int), points[..., 1].astype(int)
    return jax.vmap(lambda image, x, y: image[y, x])(images, x, y)
