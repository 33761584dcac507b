"""GIT: a text decoder that reads the tokens of images before its words.

    x = [LN(W tower(image)); LN(E[words] + P[position])];   x = block(x) for each block (post-norm)
    logits = W_o x;    tokens of the image see one another, words see the image and the words before

Wang et al. 2022, arXiv:2205.14100. The tower is CLIP's; the frames of a clip follow one another, each with a vector.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import vision_language_names
from dlcore.models.decoder_only import DecoderOnly
from dlcore.models.image_to_text_names import BERT_NAMES
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.vision_tower import VisionTower
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.nn import Dense, LayerNorm
from dlcore.nn.activations import named_activation
from dlcore.nn.embed import Embed
from dlcore.nn.transformer import TransformerDecoderBlock

__all__ = ["GIT", "MODELS", "example_inputs", "from_torch_names"]


class GIT(DecoderOnly):
    """A captioner: (tokens [B, T], images [B, H, W, C]) -> logits [B, N + T, V] of the token after each.

    Args:
      tower: images -> tokens [B, N, D].
      vocab_size: V, different tokens.
      window: the most tokens, of image and words together.
      image_tokens: N, of an image or of all frames of a clip.
      num_layers: blocks.
      num_heads: attention heads of each block; divides the width.
      width: features of a token.
      activation: of the MLPs, by transformers' name.
      num_frames: frames of a clip, whose tokens get a vector each; 0: there are none.
      vision_epsilon: epsilon of the norm of the image's tokens.
      epsilon: epsilon of the blocks' norms.
      dtype: dtype of the computation; None takes the parameters'.
    """

    tower: nn.Module
    vocab_size: int = 30522
    window: Annotated[int, Range(1)] = 1024 + 197
    image_tokens: Annotated[int, Range(1)] = 197
    num_layers: Annotated[int, Range(1)] = 6
    num_heads: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 768
    mlp_features: Annotated[int, Range(1)] = 3072
    activation: str = "gelu"
    num_frames: Annotated[int, Range(0)] = 0
    vision_epsilon: float = 1e-5
    epsilon: float = 1e-12
    dtype: Any = None

    def setup(self):
        """Build the embeddings, the blocks and the head."""
        init = nn.initializers.normal(0.02)
        self.embed_tokens = Embed(self.vocab_size, self.width, embedding_init=init, dtype=self.dtype)
        self.embed_positions = Embed(self.window - self.image_tokens, self.width, embedding_init=init, dtype=self.dtype)
        self.embeddings_norm = LayerNorm(self.epsilon, dtype=self.dtype)
        self.visual_projection = Dense(self.width, dtype=self.dtype, kernel_init=init)
        self.visual_norm = LayerNorm(self.vision_epsilon, dtype=self.dtype)
        if self.num_frames:
            self.frames = self.param("frames", nn.initializers.zeros, (self.num_frames, self.tower.width))
        self.blocks = [self._block(name=f"decoder_{i}") for i in range(self.num_layers)]
        self.norm = lambda x: x
        self.head = Dense(self.vocab_size, dtype=self.dtype, kernel_init=init)

    @nn.nowrap
    def _block(self, **kwargs: Any) -> TransformerDecoderBlock:
        return TransformerDecoderBlock(
            self.num_heads,
            self.mlp_features,
            activation=named_activation(self.activation),
            epsilon=self.epsilon,
            fused_qkv=False,
            cross=False,
            dtype=self.dtype,
            **(kwargs or {"parent": None}),
        )

    def __call__(
        self, tokens: jax.Array, images: jax.Array | None = None, train: bool = False, cache: Any = None
    ) -> Any:
        """Predict the token after each.

        Args:
          tokens: [B, T] int.
          images: [B, H, W, C], or clips [B, F, H, W, C]; None: none.
          cache: cache of the image and the earlier tokens; None if there are none.

        Returns:
          [B, N + T, V] logits, at least float32; with a cache (logits, the cache after the tokens).
        """
        options = self._options(tokens, images, train, cache)
        return super().__call__(jnp.zeros(options["embeds"].shape[:2], jnp.int32), train, cache, **options)

    def prefill(
        self, tokens: jax.Array, lengths: jax.Array, cache: Any, images: jax.Array | None = None
    ) -> tuple[Any, jax.Array]:
        """Process images and prompts of several lengths in one call, and fill the cache.

        Args:
          tokens: [B, T] int, padded at the end with any tokens of the vocabulary.
          lengths: [B] int, tokens of each prompt, at least 1.
          cache: cache from `init_cache`.
          images: [B, H, W, C], or clips [B, F, H, W, C]; None: none.

        Returns:
          (the cache after the prompts, logits [B, V] of the token after each).
        """
        options = self._options(tokens, images, False, None)
        x, cache = self.features(jnp.zeros(options["embeds"].shape[:2], jnp.int32), cache=cache, **options)
        whole = lengths + x.shape[1] - tokens.shape[1]
        cache = tuple({"self": layer["self"].rewind(whole)} for layer in cache)
        return cache, self._logits(jnp.take_along_axis(x, (whole - 1)[:, None, None], 1))[:, 0]

    def _options(self, tokens: jax.Array, images: Any, train: bool, cache: Any) -> dict[str, Any]:
        start = 0 if cache is None else cache[0]["self"].length[:, None] - self.image_tokens
        words = self.embedded(tokens, start + jnp.arange(tokens.shape[1]), train)
        if images is None:
            return {"embeds": words}
        prefix = self.encode_images(images, train)
        is_image = jnp.arange(prefix.shape[1] + words.shape[1]) < prefix.shape[1]
        pairs = jnp.broadcast_to(is_image[:, None] & is_image, (len(words), *2 * is_image.shape))
        return {"embeds": jnp.concatenate([prefix.astype(words.dtype), words], 1), "bidirectional": pairs}

    def encode_images(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Compute the tokens before the words.

        Args:
          images: [B, H, W, C], or clips [B, F, H, W, C].

        Returns:
          [B, N, width]; of a clip [B, F N, width].
        """
        x = self.tower(images.reshape(-1, *images.shape[-3:]), train)
        if images.ndim == 5:
            x = x.reshape(*images.shape[:2], *x.shape[1:]) + self.frames[: images.shape[1], None].astype(x.dtype)
        return self.visual_norm(self.visual_projection(x.reshape(len(images), -1, x.shape[-1])))

    def embedded(self, tokens: jax.Array, position: jax.Array, train: bool) -> jax.Array:
        """Embed tokens at their positions."""
        return self.embeddings_norm(self.embed_tokens(tokens) + self.embed_positions(position))

    def logits(self, x: jax.Array) -> jax.Array:
        """Apply the head."""
        return self.head(x)


def example_inputs(model: GIT) -> tuple[jax.Array, jax.Array]:
    """Build (tokens [1, 1], an image, or a clip of one frame)."""
    side = model.tower.image_size
    images = jnp.zeros((1, side, side, 3))
    return jnp.zeros((1, 1), jnp.int32), images[:, None] if model.num_frames else images


TOWER_NAMES = (
    *vision_language_names.TOWER_NAMES,
    (r"^(.*)\.qkv\.(.*)$", r"\1.q_proj.\2 + \1.k_proj.\2 + \1.v_proj.\2"),
)
NAMES = (
    (r"^visual_projection\.", "visual_projection.visual_projection.0."),
    (r"^visual_norm\.", "visual_projection.visual_projection.1."),
    (r"^head\.", "output."),
    (r"\.norm2\.", ".output.LayerNorm."),
    *BERT_NAMES,
)
FRAME = "img_temporal_embedding."


def from_torch_names(model: GIT, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of GitForCausalLM of transformers."""
    entries = {key.removeprefix("git."): np.asarray(value) for key, value in unwrap_state_dict(state_dict).items()}
    frames = [entries.pop(f"{FRAME}{i}").reshape(-1) for i in range(model.num_frames)]
    entries |= {"frames": np.stack(frames)} if frames else {}
    params = dict(jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))["params"])
    prefix = r"^image_encoder\.(vision_model\.)?"
    tower_entries = {key: entries.pop(key) for key in list(entries) if key.startswith("image_encoder.")}
    shapes, positions = {"params": params.pop("tower")}, r"position_ids$"
    older = ((prefix, ""),)
    tower = fill_from_torch(shapes, tower_entries, TOWER_NAMES, what="GIT's tower", older=older, optional=positions)
    words = fill_from_torch({"params": params}, entries, NAMES, what="GIT", optional=positions)
    return {"params": {**words["params"], "tower": tower["params"]}}


MODELS = {
    "git_base": functools.partial(
        GIT,
        tower=VisionTower(
            num_classes=0,
            pre_norm=True,
            activation="quick_gelu",
            epsilon=1e-5,
            reads=(12,),
            skips_first_token=False,
        ),
    ),
}
