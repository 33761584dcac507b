"""What distances between images are worth: they grow alike in many dimensions, and pixels do not see what we see.

contrast = (d_max - d_min) / d_min of the distances from one point to others: falls towards 0 as dimensions grow
           (Beyer et al. 1999), so that "nearest" says little of evenly spread data; images lie on far fewer

equal edits: a shift, a darkening and a covered patch at the same L2 from the original. The shift sets the distance
d; darkening by x - a x has L2 a |x|, so a = d / |x|; a patch painted grey with opacity o has L2 o |patch - grey|.
"""

import numpy as np

__all__ = ["contrast", "equal_edits"]


def contrast(x: np.ndarray, query: np.ndarray, order: float = 2) -> float:
    """(largest - smallest) / smallest of the L_order distances from query: [D] to x: [N, D].

    Raises:
      ValueError: an example equals the query.
    """
    distance = np.linalg.norm(x - query, ord=order, axis=1)
    if not distance.min() > 0:
        raise ValueError(f"x holds the query itself, as example {distance.argmin()}; its distance must be positive")
    return float((distance.max() - distance.min()) / distance.min())


def equal_edits(image: np.ndarray, shift: int = 1) -> dict[str, np.ndarray]:
    """Three images in [0, 1] at equal L2 from image: [H, W] or [H, W, C] in [0, 1], in float64.

    shift: columns to the right; the left edge is repeated. The patch is the smallest centred rectangle that is far
    enough from grey, black or white, in this order.

    Raises:
      ValueError: image has another shape or range; the shift is outside [1, W) or changes nothing; it is further than
        black, or than any patch.
    """
    image = np.asarray(image, np.float64)
    if image.ndim not in (2, 3) or image.min() < 0 or image.max() > 1:
        raise ValueError(f"image has shape {image.shape}; it must be [H, W] or [H, W, C] with numbers in [0, 1]")
    width = image.shape[1]
    if not 1 <= shift < width:
        raise ValueError(f"shift is {shift}; with {width} columns it must be in [1, {width - 1}]")
    shifted = image[:, np.maximum(np.arange(width) - shift, 0)]
    target, size = np.linalg.norm(shifted - image), np.linalg.norm(image)
    if not 0 < target <= size:
        raise ValueError(
            f"shift={shift} moves the image by {target:.3g}; it must be in (0, {size:.3g}], the way to black"
        )
    return {"shifted": shifted, "darkened": image * (1 - target / size), "covered": _cover(image, target)}


def _cover(image: np.ndarray, target: float) -> np.ndarray:
    height, width = image.shape[:2]
    for share in np.linspace(0.2, 1, 33):
        rows, columns = (slice(int(n * (1 - share) / 2), n - int(n * (1 - share) / 2)) for n in (height, width))
        for colour in (0.5, 0.0, 1.0):
            way = colour - image[rows, columns]
            if (far := np.linalg.norm(way)) >= target:
                covered = image.copy()
                covered[rows, columns] += way * target / far
                return covered
    raise ValueError(f"no patch of one colour is {target:.3g} from the image; choose a smaller shift")
