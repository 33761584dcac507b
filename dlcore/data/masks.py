"""Masks of objects: pack their bits, convert them from and to COCO's run lengths and polygons, find the visible parts.

A packed mask has `ceil(W / 8)` bytes per row, the leftmost pixel in the highest bit, as `numpy.packbits` returns it.
It takes an eighth of the memory, also on the way to the device.
"""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_pair, check_whole_number, is_whole_number
from dlcore.data.image_headers import target_size
from dlcore.extras import require
from dlcore.ops.checks import check_finite, check_range, check_shapes
from dlcore.ops.mask_paste import paste_masks

__all__ = [
    "masks_to_rles",
    "pack_masks",
    "pasted_masks",
    "rle_to_mask",
    "segmentation_to_mask",
    "unpack_masks",
    "visible_masks",
]


_FARTHEST = 100_000
"""Largest coordinate of a polygon; pycocotools takes memory for each pixel along an edge."""


def pack_masks(masks: np.ndarray) -> np.ndarray:
    """Pack masks to bits.

    Args:
      masks: [..., H, W] bool.

    Returns:
      [..., H, ceil(W / 8)] uint8.
    """
    return np.packbits(_bools(masks), axis=-1)


def _bools(masks: Any, dimensions: int | None = None) -> np.ndarray:
    """Return masks as bool, after a check of the number of axes and of the values."""
    masks = np.asarray(masks)
    if masks.ndim < 2 or (dimensions is not None and masks.ndim != dimensions):
        allowed = "[..., H, W]" if dimensions is None else "[M, H, W]"
        raise ValueError(f"masks={masks.dtype}{list(masks.shape)}: no masks; allowed: {allowed}")
    if masks.dtype != bool and not np.isin(masks, (0, 1)).all():
        raise ValueError(f"masks={masks.dtype}{list(masks.shape)}: holds other numbers; allowed: 0 and 1, or bool")
    return masks.astype(bool)


def unpack_masks(packed: Any, width: int) -> Any:
    """Unpack masks from bits; also under jit.

    Args:
      packed: [..., H, ceil(W / 8)] uint8, a NumPy or JAX array.
      width: width of the masks in pixels, W.

    Returns:
      [..., H, W] bool, a NumPy array for a NumPy array, else a JAX array.
    """
    check_whole_number("width", width, 1)
    if packed.dtype != np.uint8:
        raise ValueError(f"packed={packed.dtype}: no packed bits; allowed: uint8, of `pack_masks`")
    if packed.shape[-1] != -(-width // 8):
        raise ValueError(f"width={width}: {packed.shape[-1]} bytes a row; allowed: {-(-width // 8)}")
    if isinstance(packed, np.ndarray):
        return np.unpackbits(packed, axis=-1, count=width).astype(bool)
    bits = (packed[..., None] >> jnp.arange(7, -1, -1, dtype=jnp.uint8)) & 1
    return bits.reshape(*packed.shape[:-1], -1)[..., :width].astype(bool)


def visible_masks(masks: np.ndarray) -> np.ndarray:
    """Remove from each mask the pixels that the masks after it cover.

    Args:
      masks: [M, H, W] bool, from the farthest to the nearest object.

    Returns:
      [M, H, W] bool, the visible part of each mask.
    """
    masks = _bools(masks, 3)
    nearer = np.zeros_like(masks)
    nearer[:-1] = np.logical_or.accumulate(masks[::-1])[::-1][1:]
    return masks & ~nearer


def rle_to_mask(rle: Mapping[str, Any]) -> np.ndarray:
    """Decode COCO's run lengths, which run down the columns and start with a run of zeros.

    Args:
      rle: dict with `size: [H, W]` and `counts`, a list of lengths or COCO's compressed string.

    Returns:
      [H, W] bool.
    """
    if not isinstance(rle, Mapping):
        raise ValueError(f"rle={type(rle).__name__}: no run lengths; allowed: a dict of size and counts")
    if missing := [key for key in ("size", "counts") if key not in rle]:
        raise ValueError(f"rle={sorted(rle)}: holds no {' and no '.join(missing)}; allowed: size and counts")
    check_pair("size", rle["size"])
    height, width = target_size(tuple(rle["size"]), "size")
    counts = rle["counts"]
    lengths = _string_lengths(counts) if isinstance(counts, str | bytes) else _list_lengths(counts)
    if ((lengths < 0) | (lengths > height * width)).any() or lengths.sum() != height * width:
        raise ValueError(f"counts: they add up to {lengths.sum()}; allowed: {height * width}, of {height} by {width}")
    return np.repeat(np.arange(len(lengths)) % 2 > 0, lengths).reshape(width, height).T


def _list_lengths(counts: Any) -> np.ndarray:
    if not isinstance(counts, list | tuple | np.ndarray) or not all(is_whole_number(count) for count in counts):
        raise ValueError(f"counts={str(counts)[:40]}: not run lengths; allowed: a list of whole numbers, or a string")
    return np.array([min(count, 2**40) for count in counts], np.int64)


def _string_lengths(text: str | bytes) -> np.ndarray:
    """Decode and check the lengths in COCO's string; pycocotools leaves pixels unset where a string is too short.

    A character's code minus that of "0" has six bits: five of a number, the least significant first, and the sixth says
    whether more characters of this number follow. The fifth bit of a number's last character is its sign. From the
    fourth length on, the string holds the difference to the length two before.
    """
    codes = np.frombuffer(text.encode() if isinstance(text, str) else text, np.uint8).astype(np.int64) - 48
    last_digits = np.flatnonzero(codes & 32 == 0)
    if not len(last_digits) or ((codes < 0) | (codes > 63)).any() or last_digits[-1] != len(codes) - 1:
        raise ValueError(f"counts={text!r}: not run lengths; allowed: a string as pycocotools writes it")
    starts = np.concatenate([[0], last_digits[:-1] + 1])
    digits = last_digits - starts + 1
    if digits.max() > 8:
        raise ValueError(f"counts={text!r}: a length above 2^40; allowed: a string as pycocotools writes it")
    shift = 5 * (np.arange(len(codes)) - np.repeat(starts, digits))
    lengths = np.add.reduceat((codes & 31) << shift, starts)
    lengths = np.where(codes[last_digits] & 16, lengths - (1 << 5 * digits), lengths)
    for first in (1, 2):
        lengths[first::2] = np.cumsum(lengths[first::2])
    return lengths


def masks_to_rles(masks: np.ndarray) -> list[dict[str, Any]]:
    """Encode masks as COCO's run lengths.

    Args:
      masks: [M, H, W] bool.

    Returns:
      M dicts with `size: [H, W]` and `counts`, COCO's compressed string.
    """
    masks = _bools(masks, 3)
    if not len(masks):
        return []
    encoded = _pycocotools().encode(np.asfortranarray(np.moveaxis(np.asarray(masks, np.uint8), 0, -1)))
    return [{"size": list(rle["size"]), "counts": rle["counts"].decode()} for rle in encoded]


def segmentation_to_mask(
    segmentation: Mapping[str, Any] | Sequence[Sequence[float]], size: tuple[int, int]
) -> np.ndarray:
    """Convert a COCO annotation's `segmentation` to a mask.

    Args:
      segmentation: run lengths (see `rle_to_mask`), or a list of polygons [x0, y0, x1, y1, ...], whose union is the
        mask.
      size: (H, W) of the image.

    Returns:
      [H, W] bool.
    """
    check_pair("size", size)
    size = target_size(size, "size")
    if isinstance(segmentation, Mapping):
        if not isinstance(segmentation.get("size"), list | tuple) or segmentation.get("counts") is None:
            raise ValueError(f"run lengths with {', '.join(segmentation) or 'nothing'}; allowed: size and counts")
        if tuple(segmentation["size"]) != tuple(size):
            raise ValueError(f"a mask of size {tuple(segmentation['size'])}; allowed: that of its image, {tuple(size)}")
        return rle_to_mask(segmentation)
    for polygon in segmentation if isinstance(segmentation, list | tuple) else [segmentation]:
        numbers = isinstance(polygon, list | tuple) and all(
            isinstance(v, Real) and not isinstance(v, bool) for v in polygon
        )
        if not numbers:
            raise ValueError(f"a polygon {str(polygon)[:40]}; allowed: a list of polygons, each a list of numbers")
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon of {len(polygon)} coordinates; allowed: three points or more, x and y each")
        if not np.isfinite(np.asarray(polygon, float)).all():
            raise ValueError("a polygon with a coordinate that is not finite; allowed: numbers")
        if (farthest := max(polygon, key=abs)) and abs(farthest) > _FARTHEST:
            raise ValueError(f"a polygon with the coordinate {farthest:g}; allowed: pixels, up to {_FARTHEST:,}")
    if not len(segmentation):
        raise ValueError("no polygon; allowed: one or more")
    tool = _pycocotools()
    polygons = [[float(v) for v in polygon] for polygon in segmentation]
    return tool.decode(tool.merge(tool.frPyObjects(polygons, *size))).astype(bool)


def _pycocotools() -> Any:
    require("pycocotools", what="COCO's masks")
    from pycocotools import mask

    return mask


def pasted_masks(masks: np.ndarray, boxes: np.ndarray, size: tuple[int, int], threshold: float = 0.5) -> np.ndarray:
    """Paste the predicted masks of one image into their exact boxes (torchvision rounds boxes to pixels).

    Args:
      masks: [K, M, M], probabilities in box coordinates.
      boxes: [K, 4] corners in pixels.
      size: (H, W) of the image.
      threshold: probability above which a pixel belongs to the object.

    Returns:
      [K, H, W] bool.
    """
    check_shapes(size=(size, "2"), masks=(masks, "K M M"), boxes=(boxes, "K 4"))
    height, width = size
    check_shapes(height=(height, "int >= 1"), width=(width, "int >= 1"), threshold=(threshold, "0 to 1"))
    check_range("masks", masks, 0, 1)
    check_finite("boxes", boxes)

    paste = jax.jit(paste_masks, static_argnums=(2, 3))
    # Large images take a few masks at a time, to save memory, always the same number.
    count, step = len(masks), max(1, min(len(masks), 2**25 // (size[0] * size[1])))
    masks, boxes = (np.pad(x, [(0, -count % step)] + [(0, 0)] * (x.ndim - 1)) for x in map(np.asarray, (masks, boxes)))
    pasted = np.zeros((len(masks), *size), bool)
    for i in range(0, count, step):
        pasted[i : i + step] = np.asarray(paste(masks[i : i + step], boxes[i : i + step], size, False)) > threshold
    return pasted[:count]
