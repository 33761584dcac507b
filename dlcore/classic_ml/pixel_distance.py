"""The limits of distances between images: they become alike in many dimensions, and ignore what an edit looks like.

contrast = (d_max - d_min) / d_min of the distances from one point to others: falls toward 0 as dimensions grow
           (Beyer et al. 1999), so "nearest" means little on evenly spread data; images span far fewer dimensions

equal edits: a shift, a darkening and a covered patch at the same L2 from the original. The shift sets the distance
d; darkening by x - a x has L2 a |x|, so a = d / |x|; a patch painted gray with opacity o has L2 o |patch - gray|.
"""

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_shapes

__all__ = ["contrast", "equal_edits"]


def contrast(x: np.ndarray, query: np.ndarray, order: float = 2) -> float:
    """Relative contrast (largest - smallest) / smallest of the distances from a query.

    Args:
      x: [N, D].
      query: [D].
      order: order of the norm, 2 for Euclidean distances.

    Returns:
      The contrast, at least 0.
    """
    x, query = np.asarray(x, np.float64), np.asarray(query, np.float64)
    check_shapes(x=(x, "N D finite"), query=(query, "D finite"))
    check_shapes(order=(order, "> 0"))
    if not len(x):
        raise ValueError(f"x.shape={x.shape}: empty; allowed: at least one example")
    distance = np.linalg.norm(x - query, ord=order, axis=1)
    if not distance.min() > 0:
        raise ValueError(f"x[{distance.argmin()}]: equals the query; allowed: examples at a positive distance")
    return float((distance.max() - distance.min()) / distance.min())


def equal_edits(image: np.ndarray, shift: int = 1) -> dict[str, np.ndarray]:
    """Edit an image in three ways with the same L2 distance from it: shift, darken, cover a patch.

    The patch is the smallest centered rectangle far enough from gray, black or white, in this order.

    Args:
      image: [H, W] or [H, W, C] in [0, 1].
      shift: columns to the right, in [1, W); the left edge is repeated.

    Returns:
      {"shifted", "darkened", "covered"}: float64 images in [0, 1].
    """
    image = np.asarray(image, np.float64)
    if image.ndim not in (2, 3) or not image.size or not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(f"image.shape={image.shape}: wrong shape or range; allowed: [H, W] or [H, W, C] in [0, 1]")
    width = image.shape[1]
    check_whole_number("shift", shift)
    if not 1 <= shift < width:
        raise ValueError(f"shift={shift}: out of range; allowed: [1, {width - 1}]")
    shifted = image[:, np.maximum(np.arange(width) - shift, 0)]
    target, size = np.linalg.norm(shifted - image), np.linalg.norm(image)
    if not 0 < target <= size:
        raise ValueError(
            f"shift={shift}: at L2 distance {target:.3g}; allowed: a distance in (0, {size:.3g}], at most that to black"
        )
    return {"shifted": shifted, "darkened": image * (1 - target / size), "covered": _cover(image, target)}


def _cover(image: np.ndarray, target: float) -> np.ndarray:
    height, width = image.shape[:2]
    for fraction in np.linspace(0.2, 1, 33):
        rows, columns = (slice(int(n * (1 - fraction) / 2), n - int(n * (1 - fraction) / 2)) for n in (height, width))
        for color in (0.5, 0.0, 1.0):
            way = color - image[rows, columns]
            if (far := np.linalg.norm(way)) >= target:
                covered = image.copy()
                covered[rows, columns] += way * target / far
                return covered
    raise ValueError(f"shift: no covered patch is {target:.3g} away from the image; allowed: smaller shifts")
