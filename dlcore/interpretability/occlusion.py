"""Occlusion: cover a part of the image, and see how far the score of a class falls.

Zeiler & Fergus 2013, "Visualizing and understanding convolutional networks", arXiv:1311.2901, section 4.2.

    fall_w = s_k(x) - s_k(x with window w covered)

The score may be a probability or a logit. Windows stand at every `stride` pixels from the top left corner, as far as
they fit, and one more at the end where the last does not reach the border.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_class_ids, check_finite, check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["occlusion_grid", "occlusion_map", "window_starts"]


def window_starts(side: int, window: int, stride: int) -> np.ndarray:
    """Place windows along one side.

    Args:
      side: side of the image in pixels.
      window: side of a window, in pixels.
      stride: between two windows, in pixels.

    Returns:
      [N] int32, the first pixel of each window; the last one ends at the border.
    """
    for name, number in (("side", side), ("window", window), ("stride", stride)):
        check_whole_number(name, number)
    if not 1 <= window <= side or stride < 1:
        raise ValueError(
            f"window={window}, stride={stride}: do not fit a side of {side} pixels; allowed: 1 <= window <= {side}, "
            "stride >= 1"
        )
    starts = list(range(0, side - window + 1, stride))
    return np.array([*starts, side - window] if starts[-1] < side - window else starts, np.int32)


def occlusion_grid(
    score: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    labels: jax.Array | None = None,
    *,
    window: int = 16,
    stride: int = 8,
    value: jax.Array | float = 0.0,
    chunk: int = 8,
) -> jax.Array:
    """Measure the fall of a score for each window.

    Args:
      score: images [B, H, W, C] -> scores [B, K], each of its own image.
      images: [B, H, W, C].
      labels: [B] int, whose scores; None for the highest of each image.
      window: side of a window, in pixels.
      stride: between two windows, in pixels.
      value: value of covered pixels, in the units of `images`; (), [C] or [B, 1, 1, C].
      chunk: windows that are computed at once, for speed; they take memory.

    Returns:
      [B, rows, columns], positive where the window hides what speaks for the class.
    """
    check_shapes(images=(images, "B H W C"), labels=(labels, "int B or None"))
    check_shapes(chunk=(chunk, "int >= 1"))
    check_finite("value", value)
    images = to_acc_dtype(images)
    height, width = images.shape[1:3]
    rows, columns = window_starts(height, window, stride), window_starts(width, window, stride)
    top, left = (x.reshape(-1) for x in np.meshgrid(rows, columns, indexing="ij"))
    whole = to_acc_dtype(score(images))
    if labels is not None:
        check_class_ids("labels", labels, whole.shape[-1])
    labels = (whole.argmax(-1) if labels is None else labels)[:, None]
    y, x = jnp.arange(height)[:, None], jnp.arange(width)[None]

    def covered(corner: tuple[jax.Array, jax.Array]) -> jax.Array:
        inside = (y >= corner[0]) & (y < corner[0] + window) & (x >= corner[1]) & (x < corner[1] + window)
        return jnp.where(inside[None, :, :, None], jnp.asarray(value, images.dtype), images)

    def scores(corners: tuple[jax.Array, jax.Array]) -> jax.Array:
        some = jax.vmap(covered)(corners)  # [chunk, B, H, W, C]
        logits = to_acc_dtype(score(some.reshape(-1, *images.shape[1:]))).reshape(len(some), len(images), -1)
        return jnp.take_along_axis(logits, labels[None], 2)[..., 0]

    count = len(top)
    chunk = min(chunk, count)
    # Repeat corners until the last chunk is full; their scores are cut off below.
    padded = [np.resize(corner, -(-count // chunk) * chunk).reshape(-1, chunk) for corner in (top, left)]
    after = jax.lax.map(scores, tuple(map(jnp.asarray, padded))).reshape(-1, len(images))[:count]
    before = jnp.take_along_axis(whole, labels, 1)
    return before[:, :, None] - after.T.reshape(len(images), len(rows), len(columns))


def occlusion_map(
    score: Callable[[jax.Array], jax.Array],
    images: jax.Array,
    labels: jax.Array | None = None,
    *,
    window: int = 16,
    stride: int = 8,
    value: jax.Array | float = 0.0,
    chunk: int = 8,
) -> jax.Array:
    """Give each pixel the mean fall of the score over the windows that cover it.

    Args:
      score: images [B, H, W, C] -> scores [B, K], each of its own image.
      images: [B, H, W, C].
      labels: [B] int, whose scores; None for the highest of each image.
      window: side of a window, in pixels.
      stride: between two windows, in pixels; pixels that none covers, where it is larger than the window, get 0.
      value: value of covered pixels, in the units of `images`; (), [C] or [B, 1, 1, C].
      chunk: windows that are computed at once, for speed; they take memory.

    Returns:
      [B, H, W].
    """
    fall = occlusion_grid(score, images, labels, window=window, stride=stride, value=value, chunk=chunk)
    covers = []
    for side in images.shape[1:3]:
        offset = np.arange(side)[None] - window_starts(side, window, stride)[:, None]
        covers.append((offset >= 0) & (offset < window))
    rows, columns = covers
    # Sum over the windows that cover a pixel, by their number.
    total = jnp.einsum("brc,rh,cw->bhw", fall, rows.astype(fall.dtype), columns.astype(fall.dtype))
    return total / np.maximum(np.outer(rows.sum(0), columns.sum(0)), 1)
