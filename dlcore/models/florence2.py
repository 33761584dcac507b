"""Florence-2: one network for captions, boxes and regions, which reads an image and a task and writes words.

    f = LN(W [mean of m; m]),  m = DaViT(image) + positions of rows and columns
    memory = encoder(E[tokens], f in the places of image tokens);   logits = decoder(words, memory)

Xiao et al. 2023, arXiv:2311.06242. Encoder and decoder are BART's (`dlcore.models.bart`). Boxes are words <loc_0> to
<loc_999>, see `dlcore.vision_language.location_tokens`.
"""

import functools
import re
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import bart
from dlcore.models.bart import BART
from dlcore.models.davit import DaViT
from dlcore.models.fields import CheckedFields
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.vision_language import place_features
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.nn import Dense, LayerNorm
from dlcore.nn.embed import Embed
from dlcore.ops.checks import check_shapes

__all__ = ["MODELS", "Florence2", "example_inputs", "from_torch_names"]


class MapProjector(CheckedFields):
    """Tokens of a map: [B, h, w, D] -> [B, 1 + h w, features], their mean first.

    Args:
      features: width of the encoder.
      rows: the most rows and columns of a map.
      dtype: dtype of the computation; None takes the parameters'.
    """

    features: int = 768
    rows: int = 50
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Project.

        Args:
          x: [B, h, w, D].

        Returns:
          [B, 1 + h w, features].
        """
        batch, height, width, channels = x.shape
        if max(height, width) > self.rows:
            raise ValueError(f"x.shape={x.shape}: a map too large; allowed: at most {self.rows} rows and columns")
        init, half = nn.initializers.normal(0.02), channels // 2
        by_row = Embed(self.rows, half, embedding_init=init, name="row_embeddings")(jnp.arange(height))
        by_column = Embed(self.rows, channels - half, embedding_init=init, name="column_embeddings")(jnp.arange(width))
        by_column = jnp.broadcast_to(by_column, (height, *by_column.shape))
        by_row = jnp.broadcast_to(by_row[:, None], (height, width, half))
        # Files store the table of times, of which an image has the first: sines and cosines of 0.
        first_time = self.param("first_time", lambda key, shape: jnp.arange(shape[0]) % 2.0, (channels,))
        x = x + (jnp.concatenate([by_column, by_row], -1) + jax.lax.stop_gradient(first_time)).astype(x.dtype)
        tokens = x.reshape(batch, -1, channels)
        tokens = jnp.concatenate([tokens.mean(1, keepdims=True), tokens], 1)
        tokens = Dense(self.features, use_bias=False, dtype=self.dtype, name="image_projection")(tokens)
        return LayerNorm(dtype=self.dtype, name="image_proj_norm")(tokens)


class Florence2(BART):
    """A reader of images and tasks: (source [B, S], tokens [B, T], images [B, H, W, C]) -> logits [B, T, V].

    All fields of `BART`.

    Args:
      tower: images -> maps.
      rows: the most rows and columns of a map.
      image_token: token of the source in whose places the map's tokens stand.
    """

    tower: nn.Module = DaViT()
    rows: Annotated[int, Range(1)] = 50
    image_token: Annotated[int, Range(0)] = 51289

    def setup(self):
        """Build BART and the projector."""
        super().setup()
        self.projector = MapProjector(self.width, self.rows, dtype=self.dtype)

    def __call__(
        self,
        source: jax.Array,
        tokens: jax.Array,
        train: bool = False,
        mask: jax.Array | None = None,
        images: jax.Array | None = None,
    ) -> jax.Array:
        """Read source and images, and give the logits of each next token of the target.

        Args:
          source: [B, S] int.
          tokens: [B, T] int, the right ones, behind a token that starts them.
          mask: [B, S] bool, True where the source has a token; None: everywhere.
          images: [B, H, W, C]; None: none.

        Returns:
          [B, T, V], at least float32.
        """
        return self.decode(self.encode(source, train, mask, images), tokens, train)

    def encode(
        self,
        source: jax.Array,
        train: bool = False,
        mask: jax.Array | None = None,
        images: jax.Array | None = None,
    ) -> dict[str, jax.Array]:
        """Read source and images.

        Args:
          source: [B, S] int.
          mask: [B, S] bool, True where there is a token; None: everywhere.
          images: [B, H, W, C]; None: none.

        Returns:
          The memory: `states: [B, S, width]` and `mask: [B, 1, 1, S]`.
        """
        check_shapes(source=(source, "int B S"), mask=(mask, "B S or None"))
        mask = (jnp.ones(source.shape, bool) if mask is None else mask.astype(bool))[:, None, None]
        is_image = source == self.image_token
        x = self.shared(jnp.where(is_image, 0, source))
        if images is not None:
            features = self.projector(self.tower(images, train))
            x = place_features(x, features.reshape(-1, self.width), is_image)
        x = self.with_positions("encoder", x, jnp.arange(source.shape[1]), train)
        for block in self.encoder:
            x = block(x, train, mask)
        return {"states": x, "mask": mask}


def example_inputs(model: Florence2) -> tuple[Any, ...]:
    """Build (the source of one image, a token, no training, no mask, a small image)."""
    images = jnp.zeros((1, 32, 32, 3))
    shape, _ = jax.eval_shape(lambda: model.tower.init_with_output(jax.random.key(0), images))
    source = jnp.full((1, 1 + shape.shape[1] * shape.shape[2]), model.image_token, jnp.int32)
    return source, jnp.zeros((1, 1), jnp.int32), False, None, images


TIED = r"^((encoder|decoder)\.embed_tokens|lm_head)\."
TIMES = "visual_temporal_embed.pos_idx_to_embed"
PART_NAMES = ((r"^convs\.(\d+)_", r"convs.\1."), (r"_(?=(spatial|channel)_block)", "."), (r"^first_time$", TIMES))
PARTS = {"tower": "vision_tower.", "projector": "multi_modal_projector."}


def from_torch_names(model: Florence2, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of Florence2ForConditionalGeneration of transformers."""
    entries = {key.removeprefix("model."): np.asarray(value) for key, value in unwrap_state_dict(state_dict).items()}
    params = dict(jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))["params"])
    filled = {}
    for part, prefix in PARTS.items():
        part_entries = {key: entries.pop(key) for key in list(entries) if key.startswith(prefix)}
        begin = rf"^{prefix}(image_position_embed\.)?"
        part_entries = {re.sub(begin, "", key): value for key, value in part_entries.items()}
        part_entries = {key: value[0] if key == TIMES else value for key, value in part_entries.items()}
        shapes, what = {"params": params.pop(part)}, f"Florence2's {part}"
        filled[part] = fill_from_torch(shapes, part_entries, PART_NAMES, what=what)["params"]
    text = {key.removeprefix("language_model."): value for key, value in entries.items()}
    words = fill_from_torch({"params": params}, text, bart.TORCH_NAMES, what="Florence2", optional=TIED)
    return {"params": {**words["params"], **filled}}


MODELS = {
    "florence2_base": functools.partial(
        Florence2, vocab_size=51289, encoder_layers=6, decoder_layers=6, num_heads=12, width=768, mlp_features=3072
    ),
}
