"""Vision-language models: a language model that reads the features of images at the places of image tokens.

    f = P(tower(images)),   x = E[tokens],   x_t = the next row of f where token t is an image token
    logits = decoder(x)

LLaVA (Liu et al. 2023, arXiv:2304.08485 and arXiv:2310.03744), PaliGemma (Beyer et al. 2024, arXiv:2407.07726), Gemma 3
(arXiv:2503.19786), Idefics3 and SmolVLM (Laurençon et al. 2024, arXiv:2408.12637; arXiv:2504.05299), InternVL (Chen et
al. 2024, arXiv:2312.14238), Aya Vision (arXiv:2505.08751). They differ in tower, projector P and decoder, and in which
tokens attend to later ones: none; those of an image (Gemma 3); or all of a prompt (PaliGemma).

    cache, logits = model.apply(variables, prompts, lengths, model.init_cache(batch), images, method="prefill")
    logits, cache = model.apply(variables, tokens[:, None], cache=cache)
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.llama import Llama
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.vision_language_names import OLDER, UNUSED, names_of
from dlcore.models.vision_tower import Projector, VisionTower
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.ops.checks import check_shapes

__all__ = ["MODELS", "TiledImages", "VisionLanguage", "example_inputs", "from_torch_names", "place_features"]


class TiledImages(NamedTuple):
    """Images in tiles, and which of the tiles' features stand at the places of image tokens.

    Args:
      tiles: [N, H, W, C], of all images.
      index: [M, 4] int, rows of the N T features, and N T for the new line; four where features are interpolated.
      weights: [M, 4], their weights.
    """

    tiles: jax.Array
    index: jax.Array
    weights: jax.Array


class VisionLanguage(CheckedFields):
    """A language model with eyes: (tokens [B, T], images [N, H, W, C]) -> logits [B, T, V] of the token after each.

    Args:
      tower: images -> features of their patches [N, T, D].
      projector: features of patches -> features of the decoder's width.
      decoder: language model.
      image_token: token in whose places the images' features stand, in order.
      newline: a learned feature `image_newline`, which stands behind each row of tiles (LLaVA-NeXT).
      bidirectional: tokens of a prompt that attend to later ones: none; image, to those of the same image; or prompt,
        to all of the prompt.
    """

    tower: nn.Module
    projector: nn.Module
    decoder: Llama
    image_token: Annotated[int, Range(0)]
    bidirectional: Literal["none", "image", "prompt"] = "none"
    newline: Annotated[bool, "if changed"] = False

    def setup(self):
        """Build the feature of a new line."""
        if self.newline:
            init = nn.initializers.normal(self.decoder.width**-0.5)
            self.image_newline = self.param("image_newline", init, (self.decoder.width,))

    def __call__(
        self,
        tokens: jax.Array,
        images: jax.Array | TiledImages | None = None,
        train: bool = False,
        cache: Any = None,
        is_prompt: jax.Array | None = None,
    ) -> Any:
        """Predict the token after each.

        Args:
          tokens: [B, T] int, as many of them image tokens as the images have features.
          images: [N, H, W, C], of all rows, in order; None: none.
          cache: cache of the earlier tokens; None if there are none.
          is_prompt: [B, T] bool, tokens of the prompt, for `bidirectional="prompt"`; None: all, where there are images.

        Returns:
          [B, T, V] logits, at least float32; with a cache (logits, the cache after the tokens).
        """
        return self.decoder(tokens, train, cache, **self._options(tokens, images, train, is_prompt))

    def prefill(
        self, tokens: jax.Array, lengths: jax.Array, cache: Any, images: jax.Array | TiledImages | None = None
    ) -> tuple[Any, jax.Array]:
        """Process prompts of several lengths in one call, and fill the cache.

        Args:
          tokens: [B, T] int, padded at the end with any tokens but image tokens.
          lengths: [B] int, tokens of each prompt, at least 1.
          cache: cache from `init_cache`.
          images: [N, H, W, C], of all rows, in order; None: none.

        Returns:
          (the cache after the prompts, logits [B, V] of the token after each).
        """
        is_prompt = jnp.arange(tokens.shape[1]) < lengths[:, None]
        return self.decoder.prefill(tokens, lengths, cache, **self._options(tokens, images, False, is_prompt))

    def encode_images(self, images: jax.Array | TiledImages, train: bool = False) -> jax.Array:
        """Compute what stands at the places of image tokens.

        Args:
          images: [N, H, W, C], or tiles.

        Returns:
          [M, width of the decoder], all features in order.
        """
        tiles = images.tiles if isinstance(images, TiledImages) else images
        grid = tuple(side // self.tower.patch_size for side in tiles.shape[1:3])
        features = self.projector(self.tower(tiles, train), grid)
        features = features.reshape(-1, features.shape[-1])
        if self.newline:
            features = jnp.concatenate([features, self.image_newline[None].astype(features.dtype)])
        if isinstance(images, TiledImages):
            weights = images.weights[..., None].astype(features.dtype)
            return (features[images.index] * weights).sum(1)
        return features

    def hidden_states(self, tokens: jax.Array, images: jax.Array | TiledImages | None = None) -> jax.Array:
        """Compute what the head reads.

        Args:
          tokens: [B, T] int, as many of them image tokens as the images have features.
          images: [N, H, W, C], or tiles; None: none.

        Returns:
          [B, T, width], of the decoder's last norm.
        """
        return self.decoder.features(tokens, **self._options(tokens, images, False, None))

    def _options(self, tokens: jax.Array, images: Any, train: bool, is_prompt: jax.Array | None) -> dict[str, Any]:
        """Return the decoder's options: embeddings with the images' features, and pairs that see each other."""
        check_shapes(tokens=(tokens, "int B T"))
        if images is None:
            return {}
        is_image = tokens == self.image_token
        features = self.encode_images(images, train)
        # An image token may lie outside the decoder's vocabulary.
        words = self.decoder.embedded(jnp.where(is_image, 0, tokens), jnp.arange(tokens.shape[1]), train)
        embeds = place_features(words, features, is_image)
        return {"embeds": embeds, "bidirectional": self._pairs(is_image, is_prompt)}

    def _pairs(self, is_image: jax.Array, is_prompt: jax.Array | None) -> jax.Array | None:
        if self.bidirectional == "none":
            return None
        if self.bidirectional == "prompt":
            group = jnp.zeros_like(is_image, jnp.int32)
            member = jnp.ones_like(is_image) if is_prompt is None else is_prompt
        else:  # neighboring image tokens are those of one image
            before = jnp.pad(is_image, ((0, 0), (1, 0)))[:, :-1]
            group, member = jnp.cumsum(is_image & ~before, 1), is_image
        return (group[:, :, None] == group[:, None]) & member[:, :, None] & member[:, None]

    @nn.nowrap
    def init_cache(self, batch_size: int, length: int | None = None) -> Any:
        """Make an empty cache of the decoder.

        Args:
          batch_size: B.
          length: the most tokens that it holds, those of images included; None means the decoder's window.

        Returns:
          One cache a block.
        """
        return self.decoder.init_cache(batch_size, length)

    @property
    def vocab_size(self) -> int:
        """V, different tokens."""
        return max(self.decoder.vocab_size, self.image_token + 1)


def place_features(words: jax.Array, features: jax.Array, is_image: jax.Array) -> jax.Array:
    """Put features of images at the places of image tokens, in order.

    Args:
      words: [B, T, D], embedded tokens.
      features: [M, D].
      is_image: [B, T] bool, of which M are True; NaN where a traced program has another number.

    Returns:
      [B, T, D].
    """
    check_shapes(words=(words, "B T D"), features=(features, "M D"), is_image=(is_image, "B T"))
    count, size = is_image.sum(), len(features)
    if not isinstance(count, jax.core.Tracer) and int(count) != size:
        raise ValueError(f"tokens: {int(count)} image tokens; allowed: {size}, one for each feature of the images")
    index = jnp.clip(jnp.cumsum(is_image.ravel()).reshape(is_image.shape) - 1, 0, size - 1)
    rows = jnp.where(count == size, features.astype(words.dtype), jnp.nan)[index]
    return jnp.where(is_image[..., None], rows, words)


def example_inputs(model: VisionLanguage) -> tuple[jax.Array, jax.Array]:
    """Build (tokens [1, T] of one image, the image [1, H, W, C])."""
    images = jnp.zeros((1, model.tower.image_size, model.tower.image_size, 3))
    features, _ = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), images, method="encode_images"))
    return jnp.full((1, len(features)), model.image_token, jnp.int32), images


def from_torch_names(model: VisionLanguage, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of one of transformers' classes `*ForConditionalGeneration` of images and words."""
    entries = {key: np.asarray(value) for key, value in unwrap_state_dict(state_dict).items()}
    for key in [key for key in entries if key.endswith("mm_input_projection_weight")]:  # Gemma 3's is (in, out)
        entries["projector.fc2.weight"] = entries.pop(key).T
    for key in [
        key for key in entries if key.endswith("patch_merger.merging_layer.weight")
    ]:  # (out, channel by square)
        by_channel = entries[key].reshape(len(entries[key]), -1, model.projector.shuffle**2)
        entries[key] = by_channel.swapaxes(1, 2).reshape(entries[key].shape)
    for key in [key for key in entries if key.endswith("vision_tower.pos_embed")]:  # of SAM's ViTDet, (1, h, w, D)
        entries[key] = entries[key].reshape(1, -1, entries[key].shape[-1])
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    unused = UNUSED + (r"|^lm_head\." if model.decoder.tied else "")
    return fill_from_torch(
        shapes, entries, names_of(model.tower, entries), what="VisionLanguage", older=OLDER, optional=unused
    )


_CLIP_LARGE = {"width": 1024, "depth": 23, "num_heads": 16, "mlp_features": 4096, "image_size": 336, "patch_size": 14}
_CLIP_LARGE |= {"pre_norm": True, "last_norm": "none", "activation": "quick_gelu", "epsilon": 1e-5, "num_classes": 0}
MODELS = {
    "llava_1_5_7b": functools.partial(
        VisionLanguage,
        tower=VisionTower(reads=(23,), **_CLIP_LARGE),
        projector=Projector(4096),
        decoder=Llama(vocab_size=32064),
        image_token=32000,
    ),
}
