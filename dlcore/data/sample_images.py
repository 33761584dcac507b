"""Single photographs: the two that come with scikit-learn, or any image file, as uint8 [H, W, 3] of a given height."""

from pathlib import Path

import numpy as np

from dlcore.data.image_headers import target_size
from dlcore.data.source import whole_numbers
from dlcore.ops.checks import check_shapes

__all__ = ["SAMPLE_IMAGES", "fit_to", "sample_image"]

SAMPLE_IMAGES = ("china", "flower")
_MOST_PIXELS = 2**26


@whole_numbers
def sample_image(name: str, height: int, smallest: int = 1) -> np.ndarray:
    """Read a photograph and scale it to a height.

    Args:
      name: `china` or `flower` (427 x 640), or the path of an image file.
      height: height in pixels; the width follows from the aspect ratio.
      smallest: least side in pixels of the photograph before it is scaled.

    Returns:
      [height, W, 3] uint8.

    Raises:
      FileNotFoundError: `name` is neither one of SAMPLE_IMAGES nor a file.
    """
    from PIL import Image

    from dlcore.data.decoding import load_image

    check_shapes(height=(height, ">= 1"))
    if name in SAMPLE_IMAGES:
        from sklearn.datasets import load_sample_image

        image = load_sample_image(f"{name}.jpg")
    elif Path(name).is_file():
        image = load_image(name)
    else:
        raise FileNotFoundError(f"name={name!r}: no such file; allowed: {', '.join(SAMPLE_IMAGES)}, or an image file")
    if min(image.shape[:2]) < smallest:
        raise ValueError(f"name={name!r}: {image.shape[1]} x {image.shape[0]} pixels; allowed: from {smallest} a side")
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    if width * height > _MOST_PIXELS:
        raise ValueError(f"name={name!r}: would become {width:,} x {height}; allowed: up to {_MOST_PIXELS:,} pixels")
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def fit_to(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Scale an image until it just covers a shape, and crop its center (antialiased, Pillow's `ImageOps.fit`).

    Args:
      image: [h, w, 3] uint8.
      shape: (H, W) of the result in pixels.

    Returns:
      [H, W, 3] uint8.
    """
    shape = target_size(tuple(shape[:2]), "shape")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image={image.dtype}{list(image.shape)}: no picture; allowed: uint8 [h, w, 3]")
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(Image.fromarray(image), (shape[1], shape[0]), Image.Resampling.LANCZOS))
