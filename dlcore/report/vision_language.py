"""Panels of vision-language models: images or clips with generated text, and attention maps over the image."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from dlcore.data.captioned_images import decode_sentences
from dlcore.data.words import BytePairs, Words
from dlcore.ops.checks import check_shapes
from dlcore.report.panel import Panel
from dlcore.report.pictures import captioned_images, strip, to_uint8

__all__ = ["attention_overlay", "attention_panel", "attention_strips", "sentences"]

_SIDE = 96
"""Least side in pixels of an image under an attention map."""


def sentences(
    images: np.ndarray,
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    title: str = "Examples",
    subtitle: str = "",
) -> Panel:
    """Show images or clips with generated texts: green if the text equals a reference, else red with the references.

    Args:
      images: [N, H, W, 3], or clips [N, F, H, W, 3], shown as film strips.
      texts: N generated texts.
      references: reference texts of each image.
      title: title of the panel.
      subtitle: a line under the title.

    Returns:
      The panel.
    """
    if not len(images) == len(texts) == len(references):
        raise ValueError(
            f"texts={len(texts)}, references={len(references)}: for {len(images)} images; allowed: as many of each"
        )
    pictures = to_uint8(images) if images.ndim == 4 else np.stack([strip(clip, 0) for clip in images])
    captions = []
    for text, targets in zip(texts, references, strict=True):
        color = "#009e73" if text in targets else "#d55e00"
        caption = f'<b style="color:{color}">{escape(text) or "(nothing)"}</b>'
        captions.append(caption if text in targets else f"{caption}<br>{escape(' / '.join(dict.fromkeys(targets)))}")
    return Panel(title, captioned_images(pictures, captions), subtitle)


def attention_overlay(image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Darken an image where the attention weight is small.

    Args:
      image: uint8 [H, W, 3].
      weight: [h, w], at least 0; scaled to a maximum of 1.

    Returns:
      uint8 [H', W', 3], enlarged to at least about 96 pixels.
    """
    check_shapes(image=(image, "H W 3"), weight=(weight, "mask h w"))
    from PIL import Image

    scale = max(1, -(-_SIDE // max(image.shape[:2])))
    large = image.repeat(scale, 0).repeat(scale, 1)
    scaled = np.asarray(weight, np.float32) / max(float(np.max(weight)), 1e-12)
    soft = Image.fromarray(np.rint(255 * scaled).astype(np.uint8)).resize(large.shape[1::-1], Image.Resampling.BILINEAR)
    return np.rint(large * (0.15 + 0.85 * np.asarray(soft)[..., None] / 255)).astype(np.uint8)


def attention_strips(
    images: np.ndarray,
    pieces: Sequence[Sequence[str]],
    weights: np.ndarray,
    titles: Sequence[str],
    title: str = "Attention",
    subtitle: str = "",
) -> Panel:
    """Show the attention of each word: one image per word, bright where the weight is large.

    Args:
      images: [N, H, W, 3].
      pieces: the words of each image, at most T.
      weights: [N, T, h, w], one map per word.
      titles: N texts, one per image.
      title: title of the panel.
      subtitle: a line under the title.

    Returns:
      The panel.
    """
    check_shapes(weights=(weights, f"{len(images)} T h w"))
    if not len(pieces) == len(titles) == len(images) or any(len(words) > np.shape(weights)[1] for words in pieces):
        raise ValueError(
            f"pieces={len(pieces)}, titles={len(titles)}: for {len(images)} images of {np.shape(weights)[1]} maps; "
            "allowed: as many of each, and at most as many words"
        )
    parts = []
    for image, words, maps, heading in zip(to_uint8(images), pieces, weights, titles, strict=True):
        overlays = [attention_overlay(image, weight) for weight in maps[: len(words)]]
        if overlays:
            pictures = captioned_images(np.stack(overlays), [escape(word) for word in words])
            parts.append(f"<h3>{escape(heading)}</h3>{pictures}")
    return Panel(title, "".join(parts) or "<p>No words.</p>", subtitle)


def attention_panel(
    words: Words | BytePairs, images: np.ndarray, tokens: Any, maps: Any, count: int, subtitle: str
) -> Panel:
    """Show where a model looked for each word of the first sentences.

    Args:
      words: the vocabulary.
      images: [N, H, W, C].
      tokens: [N, T] int.
      maps: [N, T, h, w], a map a token.
      count: sentences to show.
      subtitle: below the title.
    """
    pieces, texts = [words.pieces(row) for row in tokens[:count]], decode_sentences(words, tokens[:count])
    return attention_strips(images[:count], pieces, np.asarray(maps[:count]), texts, subtitle=subtitle)
