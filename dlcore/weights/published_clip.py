"""A published CLIP as the measure of samples: images and prompts as vectors of one space.

clip = open_clip("clip-vit-base-patch32")           a folder as a hub serves it, with its tokenizer
cosines = clip.encode_images(samples) @ clip.encode_texts(["a red circle"]).T
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dlcore.experiment.flags import Flags
from dlcore.models.clip import SigLIP
from dlcore.pretrained import from_pretrained
from dlcore.pretrained.prompt_encoder import open_tokenizer, word_tokens
from dlcore.setting import Setting
from dlcore.weights.open import Weights, open_weights

__all__ = ["SETTINGS", "PublishedClip", "open_clip", "origin"]


class PublishedClip(NamedTuple):
    """A CLIP that encodes images and texts.

    Args:
      encode_images: [B, H, W, C] in [0, 1], gray or RGB -> [B, D], vectors of length 1.
      encode_texts: texts -> [B, D], vectors of length 1.
    """

    encode_images: Callable[[np.ndarray], np.ndarray]
    encode_texts: Callable[[Sequence[str]], np.ndarray]


def origin(flags: Flags) -> Weights | None:
    """Read the origin of `--clip`, a network that only measures.

    Args:
      flags: `clip`.
    """
    return None if flags.clip is None else open_weights(flags.clip, "clip")._replace(initializes=False)


SETTINGS = {
    "clip": Setting(
        None,
        "the folder of a published CLIP with its tokenizer, which measures the CLIP score of samples and prompts",
        str | None,
        identity="if changed",
        origin=origin,
    )
}
"""The setting of the CLIP score."""


def open_clip(folder: str | Path) -> PublishedClip:
    """Open a published CLIP.

    Args:
      folder: folder as a hub serves it, with tokenizer.json, or with vocab.json and merges.txt.

    Returns:
      Its encoders. `encode_texts` raises ValueError for a text with more tokens than the CLIP reads.

    Raises:
      FileNotFoundError: the folder or a file of it is missing.
      ValueError: it holds no CLIP, or its tokenizer has other tokens.
      MissingPackage: `tokenizers` or `safetensors` is not installed.
    """
    network = from_pretrained(folder)
    model = network.model
    if network.family.kind != "pairs" or isinstance(model, SigLIP):
        raise ValueError(f"clip={str(folder)!r}: {network.name} is no CLIP; allowed: such as clip-vit-base-patch32")
    tokenizer = open_tokenizer(Path(folder))

    def encode_images(images: np.ndarray) -> np.ndarray:
        pixels = np.round(255 * np.clip(images, 0, 1)).astype(np.uint8)
        return np.asarray(network(np.broadcast_to(pixels, (*pixels.shape[:-1], 3)))["image_embeds"])

    def encode_texts(texts: Sequence[str]) -> np.ndarray:
        tokens = word_tokens(tokenizer, texts, model.window, model.vocab_size, "prompt")
        return np.asarray(network(input_ids=tokens)["text_embeds"])

    return PublishedClip(encode_images, encode_texts)
