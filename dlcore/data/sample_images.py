"""Two photographs that come with scikit-learn, or any image file: uint8 [H, W, 3] of the height that is asked for."""

from pathlib import Path

import numpy as np

__all__ = ["SAMPLE_IMAGES", "fit_to", "sample_image"]

SAMPLE_IMAGES = ("china", "flower")


def sample_image(name: str, height: int) -> np.ndarray:
    """`china`, `flower` (427 x 640 at most), or the file of that path, scaled to `height` rows.

    Raises:
      FileNotFoundError, ValueError: the name is neither, or the file is no image.
    """
    from PIL import Image

    from dlcore.data.decoding import load_image

    if height < 1:
        raise ValueError(f"height is {height}; it must be at least 1")
    if name in SAMPLE_IMAGES:
        from sklearn.datasets import load_sample_image

        image = load_sample_image(f"{name}.jpg")
    elif Path(name).is_file():
        image = load_image(name)
    else:
        raise FileNotFoundError(f"{name!r} is neither a file nor one of {', '.join(SAMPLE_IMAGES)}")
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def fit_to(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The middle of uint8 [h, w, 3], scaled just so far that it covers `shape` = (H, W)."""
    from PIL import Image, ImageOps

    return np.asarray(ImageOps.fit(Image.fromarray(image), (shape[1], shape[0]), Image.Resampling.LANCZOS))
