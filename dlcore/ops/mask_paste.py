"""From the frame of a box to that of the image: masks and keypoints as the heads of Mask R-CNN predict them.

He, Gkioxari, Dollar & Girshick, "Mask R-CNN" (2017), arXiv:1703.06870. Equal to torchvision's `paste_masks_in_image`
and `heatmaps_to_keypoints`. A resize is separable, so that each is a product of two small matrices:

    pasted[y, x] = sum_ij R[y, i] mask[i, j] C[x, j]        rows outside the box are 0
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from dlcore.ops.checks import check_boxes, check_range, check_shapes
from dlcore.ops.precision import result_dtype, to_acc_dtype

__all__ = ["heatmaps_to_keypoints", "paste_masks"]


def paste_masks(masks: jax.Array, boxes: jax.Array, size: tuple[int, int], whole_pixels: bool = True) -> jax.Array:
    """Resize masks to their boxes, bilinearly, and lay each on an empty image.

    Args:
      masks: [K, M, M], probabilities.
      boxes: [K, 4] corners in pixels.
      size: (H, W) of the image.
      whole_pixels: as torchvision, which cuts boxes to whole pixels and makes them a pixel larger, so that a side may
        be a pixel off. False places the mask exactly: one of ones is 1/2 on the sides of its box.

    Returns:
      [K, H, W], 0 outside the boxes.
    """
    check_shapes(masks=(masks, "K M M"), boxes=(boxes, "K 4"))
    check_boxes("boxes", boxes)
    _check_size(size)
    dtype, side = result_dtype(masks), masks.shape[-1]
    masks, boxes = to_acc_dtype(masks), to_acc_dtype(boxes)
    if whole_pixels:
        # With a border of zeros, so that masks fade out, and the box that much larger.
        masks, side, before = jnp.pad(masks, ((0, 0), (1, 1), (1, 1))), side + 2, side
        half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * (side / before)
        center = (boxes[:, 2:] + boxes[:, :2]) * 0.5
        low, high = jnp.trunc(center - half), jnp.trunc(center + half)
        extent = jnp.maximum(high - low + 1, 1)
    else:
        low, extent = boxes[:, :2], jnp.maximum(boxes[:, 2:] - boxes[:, :2], 1e-6)

    def weights(axis: int, length: int) -> jax.Array:
        """[K, length, side]: what each pixel takes of the mask's."""
        offset, scale = jnp.arange(length) - low[:, axis, None], side / extent[:, axis, None]
        source = (offset + 0.5) * scale - 0.5
        if whole_pixels:
            source = jnp.clip(source, 0, side - 1)
        near = jnp.maximum(1 - jnp.abs(source[..., None] - jnp.arange(side)), 0)
        if whole_pixels:
            near = jnp.where(((offset >= 0) & (offset < extent[:, axis, None]))[..., None], near, 0)
        return near

    rows, columns = weights(1, size[0]), weights(0, size[1])
    across = jnp.einsum("kij,kxj->kix", masks, columns, precision=lax.Precision.HIGHEST)
    return jnp.einsum("kyi,kix->kyx", rows, across, precision=lax.Precision.HIGHEST).astype(dtype)


def heatmaps_to_keypoints(heatmaps: jax.Array, boxes: jax.Array, size: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """Resize heat maps to their boxes, bicubically, and find the highest pixel of each.

    Args:
      heatmaps: [K, J, M, M], of J keypoints.
      boxes: [K, 4] corners in pixels, their sides at most those of the image.
      size: (H, W) of the image.

    Returns:
      (keypoints [K, J, 2], (x, y) in pixels, scores [K, J], the heights there).
    """
    check_shapes(heatmaps=(heatmaps, "K J M M finite"), boxes=(boxes, "K 4"))
    check_boxes("boxes", boxes)
    _check_size(size)
    heatmaps, boxes = to_acc_dtype(heatmaps), to_acc_dtype(boxes)

    def one(argument: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        maps, box = argument
        sides = jnp.maximum(box[2:] - box[:2], 1)
        pixels = jnp.ceil(sides)
        rows, columns = (_cubic(maps.shape[-1], pixels[axis], size[1 - axis]) for axis in (1, 0))
        large = jnp.einsum("yi,jik,xk->jyx", rows, maps, columns, precision=lax.Precision.HIGHEST)
        y, x = (jnp.arange(length) < pixels[axis] for axis, length in ((1, size[0]), (0, size[1])))
        flat = jnp.where(y[:, None] & x, large, -jnp.inf).reshape(len(maps), -1)
        best = flat.argmax(-1)
        peak = jnp.stack([best % size[1], best // size[1]], -1)
        return (peak + 0.5) * (sides / pixels) + box[:2], flat.max(-1)

    return lax.map(one, (heatmaps, boxes))


def _check_size(size: tuple[int, int]) -> None:
    check_shapes(size=(np.asarray(size), "int 2"))
    check_range("size", size, 1)


def _cubic(source: int, target: jax.Array, length: int) -> jax.Array:
    """[length, source]: weights of torch's bicubic resize from `source` to `target` pixels, for the first `length`."""
    at = (jnp.arange(length) + 0.5) * (source / target) - 0.5
    first = jnp.floor(at)
    t, total = at - first, jnp.zeros((length, source))
    for tap in range(-1, 3):
        d = jnp.abs(t - tap)
        near = (1.25 * d - 2.25) * d * d + 1
        far = ((-0.75 * d + 3.75) * d - 6) * d + 3
        at_tap = jnp.clip(first + tap, 0, source - 1)
        total += jnp.where(d <= 1, near, far)[:, None] * (at_tap[:, None] == jnp.arange(source))
    return total
