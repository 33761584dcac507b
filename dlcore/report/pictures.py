"""Images inside the page: PNG, or WebP if they are large.

Small images are enlarged by integer factors without smoothing, so that a pixel stays a square.
"""

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.report.panel import Panel

__all__ = ["captioned_images", "data_uri", "examples", "stretch", "strip", "to_uint8"]

_SMALL, _LARGE = 96, 128
_PHOTOGRAPH = 160
"""Smallest side in pixels of RGB images that are stored as WebP, about a tenth of the size of PNG."""


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Convert images to uint8.

    Floats should lie in [0, 1]. If some do not (images normalized for a network), each image is stretched to its own
    range.

    Args:
      images: [N, H, W], [N, H, W, 1] or [N, H, W, 3]; uint8 is returned unchanged.

    Returns:
      uint8 of the same shape.
    """
    images = np.asarray(images)
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
        raise ValueError(f"images={images.shape}: wrong shape; allowed: [N, H, W], [N, H, W, 1] or [N, H, W, 3]")
    if images.dtype == np.uint8:
        return images
    images = np.nan_to_num(images.astype(np.float32))
    if images.size and (images.min() < -1e-3 or images.max() > 1 + 1e-3):
        images = np.stack([stretch(image) for image in images])
    return np.rint(255 * images.clip(0, 1)).astype(np.uint8)


def data_uri(image: np.ndarray, scale: int = 1) -> str:
    """Encode an image as a data URI: PNG, or WebP for a photograph.

    Args:
      image: uint8 [H, W], [H, W, 1], [H, W, 3] or [H, W, 4].
      scale: integer factor of enlargement.

    Returns:
      "data:image/png;base64,...", or "data:image/webp;base64,...".
    """
    check_whole_number("scale", scale, 1)
    image = np.asarray(image)
    fits = image.ndim == 2 or (image.ndim == 3 and image.shape[-1] in (1, 3, 4))
    if image.dtype != np.uint8 or not fits or not image.size:
        raise ValueError(
            f"image={image.dtype}{list(image.shape)}: no picture; allowed: uint8 [H, W], [H, W, 1, 3 or 4]"
        )
    from PIL import Image

    image = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
    buffer = io.BytesIO()
    picture = Image.fromarray(image.repeat(scale, 0).repeat(scale, 1))
    kind = "webp" if scale == 1 and picture.mode == "RGB" and min(picture.size) >= _PHOTOGRAPH else "png"
    picture.save(buffer, kind, **({"quality": 90} if kind == "webp" else {"optimize": True}))
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode()


def examples(
    images: np.ndarray,
    titles: Sequence[str] | None = None,
    title: str = "Examples",
    subtitle: str = "",
    count: int = 48,
) -> Panel:
    """Show a grid of images, each with its title.

    Args:
      images: [N, H, W], [N, H, W, 1] or [N, H, W, 3], as `to_uint8` takes them.
      titles: N plain texts, escaped; None for none.
      title: title of the panel.
      subtitle: a line under the panel's title.
      count: largest number of images.

    Returns:
      The panel.
    """
    check_whole_number("count", count, 1)
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"titles={len(titles)} titles: wrong length; allowed: {len(images)}, one per image")
    captions = [escape(str(text)) for text in titles[:count]] if titles is not None else [""] * len(images)
    return Panel(title, captioned_images(to_uint8(images[:count]), captions[:count]), subtitle)


def stretch(image: np.ndarray) -> np.ndarray:
    """Stretch an image's range to [0, 1]; a constant image becomes 0.5.

    Args:
      image: array of any shape.

    Returns:
      The same shape, in [0, 1].
    """
    image = np.asarray(image)
    if not image.size:
        raise ValueError(f"image={image.shape}: empty; allowed: at least one number")
    low, high = image.min(), image.max()
    return (image - low) / (high - low) if high > low else np.full_like(image, 0.5)


def captioned_images(images: np.ndarray, captions: Sequence[str]) -> str:
    """Lay out images side by side; small ones are enlarged by an integer factor.

    Args:
      images: uint8 [N, H, W] or [N, H, W, C].
      captions: N texts in HTML, not escaped here; empty for none.

    Returns:
      HTML.
    """
    if len(images) != len(captions):
        raise ValueError(f"captions={len(captions)} texts: for {len(images)} images; allowed: one each")
    if not len(images):
        return "<p>No images.</p>"
    largest = max(images.shape[1:3])
    scale = max(1, -(-_SMALL // largest))
    smooth = "" if scale > 1 else ' class="smooth"'
    cells = (
        f'<figure><img{smooth} alt="" src="{data_uri(image, scale)}">'
        + (f"<figcaption>{caption}</figcaption>" if caption else "")
        + "</figure>"
        for image, caption in zip(images, captions, strict=True)
    )
    kind = "images" if largest < _LARGE else "images large"
    return f'<div class="{kind}">{"".join(cells)}</div>'


def strip(images: np.ndarray, apart: int = 1, height: int = 40) -> np.ndarray:
    """Concatenate images horizontally, with a wide gap after the first ones.

    Args:
      images: [N, H, W], [N, H, W, 1] or [N, H, W, 3], as `to_uint8` takes them.
      apart: number of images before the wide gap; 0 for none.
      height: about the height in pixels; smaller images are enlarged by an integer factor, larger ones subsampled.

    Returns:
      uint8 [H', W', C].
    """
    check_whole_number("apart", apart, 0)
    check_whole_number("height", height, 1)
    if not len(images):
        raise ValueError("images=[0]: none; allowed: at least one")
    images = to_uint8(images)
    images = images[..., None] if images.ndim == 3 else images
    step = max(1, images.shape[1] // (2 * height))
    images = images[:, ::step, ::step]
    scale = max(1, -(-height // images.shape[1]))
    images = images.repeat(scale, 1).repeat(scale, 2)
    gap = np.full((images.shape[1], 4, images.shape[3]), 128, np.uint8)
    parts = []
    for i, image in enumerate(images):
        parts += [gap] * (0 if i == 0 else 3 if i == apart else 1) + [image]
    return np.concatenate(parts, axis=1)
