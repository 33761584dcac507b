"""Qwen-VL: a language model that reads images of any sizes, at positions of time, row and column.

    x_t = E[token] or the next token of the tower;   logits = decoder(x),  position (p, p, p) of words
    image tokens stand at (p + time, p + row, p + column); the word behind an image at p + max(rows, columns)

Wang et al. 2024, arXiv:2409.12191 (Qwen2-VL); Bai et al. 2025, arXiv:2502.13923 (Qwen2.5-VL); arXiv:2511.21631
(Qwen3-VL, whose tower also adds to the outputs of the decoder's first blocks). A word behind images stands at a smaller
position than its place in the sequence; the cache keeps the difference.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import llama
from dlcore.models.fields import CheckedFields
from dlcore.models.llama import Llama
from dlcore.models.qwen_tower import PatchSequence, QwenTower, locate_patches
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.vision_language import place_features
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.ops.checks import check_shapes

__all__ = ["MODELS", "QwenVL", "example_inputs", "from_torch_names", "multimodal_positions"]


def multimodal_positions(is_image: jax.Array, grids: jax.Array | None, merge: int) -> tuple[jax.Array, jax.Array]:
    """Place words and image tokens in time, rows and columns.

    Args:
      is_image: [B, T] bool, image tokens, in the order of the images.
      grids: [N, 3] int, (frames, rows, columns) of the patches of each image; None: no images.
      merge: m, side of the squares of patches that are one token.

    Returns:
      ([3, B, T] int positions; [B, T] int, the position of a word behind each token).
    """
    if grids is None:
        start = jnp.broadcast_to(jnp.arange(is_image.shape[1]), is_image.shape)
        return jnp.broadcast_to(start, (3, *start.shape)), start + 1
    merged = grids // jnp.asarray([1, merge, merge])
    index = jnp.clip(jnp.cumsum(is_image.ravel()).reshape(is_image.shape) - 1, 0)
    location = locate_patches(index, merged)
    behind_image = jnp.where(location.is_last, merged[location.image, 1:].max(-1), 0)
    steps = jnp.where(is_image, behind_image, 1)
    after = jnp.cumsum(steps, 1)
    offsets = jnp.stack([location.time, location.row, location.column])
    return after - steps + jnp.where(is_image, offsets, 0), after


class QwenVL(CheckedFields):
    """A Qwen-VL: (tokens [B, T], images) -> logits [B, T, V] of the token after each.

    Args:
      tower: `PatchSequence` -> tokens of the decoder's width.
      decoder: language model, with `mrope_sections`.
      image_token: token in whose places the tower's tokens stand, in order.
    """

    tower: QwenTower
    decoder: Llama
    image_token: Annotated[int, Range(0)]

    def __call__(
        self, tokens: jax.Array, images: PatchSequence | None = None, train: bool = False, cache: Any = None
    ) -> Any:
        """Predict the token after each.

        Args:
          tokens: [B, T] int, as many of them image tokens as the tower gives.
          images: images of all rows, in order; None: none.
          cache: cache of the earlier tokens, which then hold all images; None if there are none.

        Returns:
          [B, T, V] logits, at least float32; with a cache (logits, the cache after the tokens).
        """
        if cache is None:
            return self.decoder(tokens, train, **self._options(tokens, images, train)[0])
        length = cache["blocks"][0]["self"].length
        positions = (length + cache["shift"])[:, None] + jnp.arange(tokens.shape[1])
        positions = jnp.broadcast_to(positions, (3, *positions.shape))
        logits, blocks = self.decoder(tokens, train, cache["blocks"], positions=positions)
        return logits, {**cache, "blocks": blocks}

    def prefill(
        self, tokens: jax.Array, lengths: jax.Array, cache: Any, images: PatchSequence | None = None
    ) -> tuple[Any, jax.Array]:
        """Process prompts of several lengths in one call, and fill the cache.

        Args:
          tokens: [B, T] int, padded at the end with any tokens but image tokens.
          lengths: [B] int, tokens of each prompt, at least 1.
          cache: cache from `init_cache`.
          images: images of all rows, in order; None: none.

        Returns:
          (the cache after the prompts, logits [B, V] of the token after each).
        """
        options, after = self._options(tokens, images, False)
        blocks, logits = self.decoder.prefill(tokens, lengths, cache["blocks"], **options)
        shift = jnp.take_along_axis(after, lengths[:, None] - 1, 1)[:, 0] - lengths
        return {"blocks": blocks, "shift": shift.astype(jnp.int32)}, logits

    def _options(self, tokens: jax.Array, images: Any, train: bool) -> tuple[dict[str, Any], jax.Array]:
        """Return the decoder's options, and the position behind each token."""
        check_shapes(tokens=(tokens, "int B T"))
        is_image = tokens == self.image_token
        grids = None if images is None else jnp.asarray(images.image_grid_thw)
        positions, after = multimodal_positions(is_image, grids, self.tower.merge)
        if images is None:
            return {"positions": positions}, after
        features, more = self.tower(images, train)
        words = self.decoder.embedded(jnp.where(is_image, 0, tokens), jnp.arange(tokens.shape[1]), train)
        additions = tuple(place_features(jnp.zeros_like(words), extra, is_image) for extra in more)
        embeds = place_features(words, features, is_image)
        return {"embeds": embeds, "positions": positions, "additions": additions}, after

    @nn.nowrap
    def init_cache(self, batch_size: int, length: int | None = None) -> Any:
        """Make an empty cache.

        Args:
          batch_size: B.
          length: the most tokens that it holds; None means the window.

        Returns:
          The blocks' caches, and by how much words stand behind their location.
        """
        return {"blocks": self.decoder.init_cache(batch_size, length), "shift": jnp.zeros(batch_size, jnp.int32)}

    @property
    def vocab_size(self) -> int:
        """V, different tokens."""
        return max(self.decoder.vocab_size, self.image_token + 1)


def example_inputs(model: QwenVL) -> tuple[jax.Array, PatchSequence]:
    """Build (tokens [1, 1] of one image, an image of one token)."""
    merge = model.tower.merge
    pixels = jnp.zeros((merge**2, model.tower.patch_features))
    return jnp.full((1, 1), model.image_token, jnp.int32), PatchSequence(pixels, jnp.asarray([[1, merge, merge]]))


OLDER = (
    (r"^(model\.)?visual\.", "tower."),
    (r"^(model\.)?language_model\.|^model\.", "decoder."),
)
TOWER_NAMES = (
    (r"^tower\.patch_embed\.", "tower.patch_embed.proj."),
    (r"^tower\.deepstack\.", "tower.deepstack_merger_list."),
)
TOWER_OLDER = (
    (r"^(tower\.merger)\.ln_q\.", r"\1.norm."),
    (r"^(tower\.merger)\.mlp\.0\.", r"\1.fc1."),
    (r"^(tower\.merger)\.mlp\.2\.", r"\1.fc2."),
    (r"^(tower\..*)\.linear_fc(\d)\.", r"\1.fc\2."),
    (r"^(tower\..*)\.up_proj\.", r"\1.fc1."),
    (r"^(tower\..*)\.down_proj\.", r"\1.fc2."),
    (r"^(tower\..*)\.gate_proj\.", r"\1.gate."),
)


def from_torch_names(model: QwenVL, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of Qwen2VL-, Qwen2_5_VL- or Qwen3VLForConditionalGeneration of transformers."""
    entries = {key: np.asarray(value) for key, value in unwrap_state_dict(state_dict).items()}
    for key in [key for key in entries if key.endswith("patch_embed.proj.weight")]:
        entries[key] = entries[key].reshape(len(entries[key]), -1)  # a convolution of one step
    in_decoder = (
        (rf"^(decoder\..*){rule}", rf"\1{name}".replace(r".\1", r".\2")) for rule, name in llama.TORCH_NAMES[1:-1]
    )
    rules = (*TOWER_NAMES, (r"^decoder\.head\.", "lm_head."), (r"^decoder\.blocks\.", "decoder.layers."), *in_decoder)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    unused = r"rotary_(pos_)?emb\.inv_freq$" + (r"|^lm_head\." if model.decoder.tied else "")
    return fill_from_torch(shapes, entries, rules, what="QwenVL", older=(*OLDER, *TOWER_OLDER), optional=unused)


MODELS = {
    "qwen2_vl_7b": functools.partial(
        QwenVL,
        tower=QwenTower(),
        decoder=Llama(
            vocab_size=152064,
            window=32768,
            num_layers=28,
            num_heads=28,
            num_kv_heads=4,
            width=3584,
            mlp_features=18944,
            biased_qkv=True,
            period=1_000_000.0,
            mrope_sections=(16, 24, 24),
            epsilon=1e-6,
        ),
        image_token=151655,
    ),
}
