"""Panels of models that see and read: images or clips with what is said of them, and attention maps over the image."""

from collections.abc import Sequence
from html import escape

import numpy as np

from dlcore.report.panel import Panel
from dlcore.report.pictures import captioned_images, strip, to_uint8

__all__ = ["attention_overlay", "attention_strips", "sentences"]

_SIDE = 96
"""Pixels a side that a small image is enlarged to under an attention map."""


def sentences(
    images: np.ndarray, said: Sequence[str], truth: Sequence[Sequence[str]], title: str = "Examples", note: str = ""
) -> Panel:
    """Show images or clips with what a model says, and what is right: green where it says one of these, else red.

    Args:
      images: [N, H, W, 3], or clips [N, F, H, W, 3], whose frames are shown side by side.
      said: N texts.
      truth: the right texts of each image.
      title: title of the panel.
      note: a line under the title.

    Returns:
      The panel.
    """
    pictures = to_uint8(images) if images.ndim == 4 else np.stack([strip(clip, 0) for clip in images])
    captions = []
    for text, right in zip(said, truth, strict=True):
        color = "#009e73" if text in right else "#d55e00"
        shown = f'<b style="color:{color}">{escape(text) or "(nothing)"}</b>'
        captions.append(shown if text in right else f"{shown}<br>{escape(' / '.join(dict.fromkeys(right)))}")
    return Panel(title, captioned_images(pictures, captions), note)


def attention_overlay(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Darken an image where little weight lies.

    Args:
      image: uint8 [H, W, 3].
      weight: [h, w], 0 or more; scaled so that its greatest is 1.

    Returns:
      uint8 [H', W', 3], enlarged to about 96 pixels where it is smaller.
    """
    from PIL import Image

    scale = max(1, -(-_SIDE // max(image.shape[:2])))
    large = image.repeat(scale, 0).repeat(scale, 1)
    share = np.asarray(weight, np.float32) / max(float(np.max(weight)), 1e-12)
    soft = Image.fromarray(np.rint(255 * share).astype(np.uint8)).resize(large.shape[1::-1], Image.Resampling.BILINEAR)
    return np.rint(large * (0.15 + 0.85 * np.asarray(soft)[..., None] / 255)).astype(np.uint8)


def attention_strips(
    images: np.ndarray,
    pieces: Sequence[Sequence[str]],
    weights: np.ndarray,
    titles: Sequence[str],
    title: str = "Attention",
    note: str = "",
) -> Panel:
    """Show where a model looks for each word: an image a word, bright where the weight lies.

    Args:
      images: [N, H, W, 3].
      pieces: the words of each image, at most T.
      weights: [N, T, h, w], a map a word.
      titles: N texts, one an image.
      title: title of the panel.
      note: a line under the title.

    Returns:
      The panel.
    """
    parts = []
    for image, words, maps, heading in zip(to_uint8(images), pieces, weights, titles, strict=True):
        drawn = [attention_overlay(image, each) for each, _ in zip(maps, words, strict=False)]
        if drawn:
            shown = captioned_images(np.stack(drawn), [escape(word) for word in words])
            parts.append(f"<h3>{escape(heading)}</h3>{shown}")
    return Panel(title, "".join(parts) or "<p>No words.</p>", note)
