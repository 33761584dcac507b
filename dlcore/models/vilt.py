"""ViLT: one transformer that reads the words of a text and the patches of an image, without a tower for the image.

    text     LN(E[words] + P[position] + S[segment]) + M_0
    image    [c; W patches] + Q + M_1,    Q interpolated to the image's rows and columns of patches
    x = [text; image];   x = block(x) for each block (pre-norm);   v = tanh(W_p LN(x)_0)
    answers  W_2 gelu(LN(W_1 v));   match  W v;   pooled  v;   tokens  LN(gelu(W LN(x)_text)) E^T + b

Kim et al. 2021, arXiv:2102.03334.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import Conv, Dense, LayerNorm
from dlcore.nn.activations import named_activation
from dlcore.nn.embed import Embed
from dlcore.nn.transformer import TransformerEncoderBlock
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "ViLT", "example_inputs", "from_torch_names"]


class ViLT(CheckedFields):
    """A reader of images and texts: (images [B, H, W, C], tokens [B, T]) -> what `head` says.

    Args:
      num_classes: answers that it tells apart; of a match 1, its score.
      head: answers or match, logits [B, num_classes]; pooled, a vector [B, width]; tokens, logits [B, T, V].
      vocab_size: V, different tokens.
      window: the most tokens of a text.
      image_size: side in pixels of the square images whose positions are learned.
      patch_size: side of a patch in pixels.
      num_layers: blocks.
      num_heads: attention heads of each block; divides the width.
      width: features of a token.
      num_segments: kinds of segments of a text.
      num_modalities: rows of M; a text has the first, an image the second.
      qkv_bias: add biases to queries, keys and values.
      activation: of the MLPs, by transformers' name.
      dtype: dtype of the computation; None takes the parameters'.
    """

    num_classes: Annotated[int, Range(1)] = 3129
    head: Literal["answers", "match", "pooled", "tokens"] = "answers"
    vocab_size: int = 30522
    window: Annotated[int, Range(1)] = 40
    image_size: Annotated[int, Range(1)] = 384
    patch_size: Annotated[int, Range(1)] = 32
    num_layers: Annotated[int, Range(1)] = 12
    num_heads: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 768
    mlp_features: Annotated[int, Range(1)] = 3072
    num_segments: Annotated[int, Range(1)] = 2
    num_modalities: Annotated[int, Range(2)] = 2
    qkv_bias: bool = True
    activation: str = "gelu"
    epsilon: float = 1e-12
    dtype: Any = None

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        tokens: jax.Array,
        mask: jax.Array | None = None,
        segments: jax.Array | None = None,
        pixel_mask: jax.Array | None = None,
    ) -> jax.Array:
        """Read an image and a text of each example.

        Args:
          images: [B, H, W, C].
          tokens: [B, T] int.
          mask: [B, T] bool, True where there is a token; None: everywhere.
          segments: [B, T] int, the segment of each token; None: all are in the first.
          pixel_mask: [B, H, W] bool, True in the image, which begins at the corner; None: everywhere.

        Returns:
          See `head`; logits are at least float32.
        """
        check_shapes(tokens=(tokens, "int B T"), mask=(mask, "B T or None"), segments=(segments, "int B T or None"))
        init = nn.initializers.normal(0.02)
        embed = functools.partial(Embed, features=self.width, embedding_init=init, dtype=self.dtype)
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=init)
        norm = functools.partial(LayerNorm, self.epsilon, dtype=self.dtype)
        words = embed(self.vocab_size, name="embed_tokens")
        modality = embed(self.num_modalities, name="modalities")(jnp.arange(2))
        text = words(tokens) + embed(self.window, name="embed_positions")(jnp.arange(tokens.shape[1]))
        segments = jnp.zeros_like(tokens) if segments is None else segments
        text = norm(name="embeddings_norm")(text + embed(self.num_segments, name="embed_segments")(segments))
        image, is_patch = self._image(images, pixel_mask)
        is_token = jnp.ones(tokens.shape, bool) if mask is None else mask.astype(bool)
        x = jnp.concatenate([text + modality[0], image.astype(text.dtype) + modality[1]], 1)
        visible = jnp.concatenate([is_token, is_patch], 1)[:, None, None]
        activate = named_activation(self.activation)
        for i in range(self.num_layers):
            x = TransformerEncoderBlock(
                self.num_heads,
                self.mlp_features,
                pre_norm=True,
                activation=activate,
                epsilon=self.epsilon,
                fused_qkv=False,
                qkv_bias="qkv" if self.qkv_bias else "none",
                dtype=self.dtype,
                kernel_init=init,
                name=f"blocks_{i}",
            )(x, False, visible)
        x = norm(name="norm")(x)
        if self.head == "tokens":
            x = norm(name="transform_norm")(activate(dense(self.width, name="transform")(x[:, : tokens.shape[1]])))
            bias = self.param("head_bias", nn.initializers.zeros, (self.vocab_size,))
            return to_acc_dtype(words.attend(x)) + bias
        vector = jnp.tanh(dense(self.width, name="pooler")(x[:, 0]))
        if self.head == "pooled":
            return vector
        if self.head == "answers":
            vector = LayerNorm(1e-5, dtype=self.dtype, name="head_norm")(dense(2 * self.width, name="fc")(vector))
            vector = nn.gelu(vector, approximate=False)
        return to_acc_dtype(dense(self.num_classes, name="head_out")(vector))

    def _image(self, images: jax.Array, pixel_mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Embed the patches behind a token of the whole: (tokens [B, 1 + h w, D], which of them are in the image)."""
        size, side = self.patch_size, self.image_size // self.patch_size
        x = Conv(self.width, (size, size), strides=size, padding="VALID", dtype=self.dtype, name="patch_embed")(images)
        batch, height, width, channels = x.shape
        shape = (1, side**2 + 1, self.width)
        whole = self.param("cls_token", nn.initializers.zeros, (1, 1, self.width))
        table = self.param("pos_embed", nn.initializers.normal(0.02), shape)
        inside = jnp.ones((batch, height, width), bool)
        if pixel_mask is not None:
            rows = jnp.arange(height) * pixel_mask.shape[1] // height
            columns = jnp.arange(width) * pixel_mask.shape[2] // width
            inside = pixel_mask.astype(bool)[:, rows][:, :, columns]
        down, across = (_weights(inside.sum(axis)[:, 0], inside.shape[axis], side) for axis in (1, 2))
        square = table[0, 1:].reshape(side, side, channels)
        positions = jnp.einsum("bhi,bwj,ijc->bhwc", down, across, square)
        patches = (x + positions.astype(x.dtype)).reshape(batch, height * width, channels)
        first = jnp.broadcast_to(whole[0] + table[:, 0], (batch, 1, channels)).astype(x.dtype)
        is_patch = jnp.concatenate([jnp.ones((batch, 1), bool), inside.reshape(batch, -1)], 1)
        return jnp.concatenate([first, patches], 1), is_patch


def _weights(count: jax.Array, length: int, side: int) -> jax.Array:
    """Weights [B, length, side] that stretch a table of `side` rows to the first `count` [B], corner on corner."""
    position = jnp.arange(length) * (side - 1) / jnp.maximum(count - 1, 1)[:, None]
    return jnp.maximum(0, 1 - abs(position[..., None] - jnp.arange(side)))


def example_inputs(model: ViLT) -> tuple[jax.Array, jax.Array]:
    """Build (an image [1, H, W, C], tokens [1, 1])."""
    return jnp.zeros((1, model.image_size, model.image_size, 3)), jnp.zeros((1, 1), jnp.int32)


NAMES = (
    (r"^embed_tokens\.", "embeddings.text_embeddings.word_embeddings."),
    (r"^embed_positions\.", "embeddings.text_embeddings.position_embeddings."),
    (r"^embed_segments\.", "embeddings.text_embeddings.token_type_embeddings."),
    (r"^embeddings_norm\.", "embeddings.text_embeddings.LayerNorm."),
    (r"^modalities\.", "embeddings.token_type_embeddings."),
    (r"^patch_embed\.", "embeddings.patch_embeddings.projection."),
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.attn\.", ".attention.attention."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"^norm\.", "layernorm."),
    (r"^pooler\.", "pooler.dense."),
    (r"^fc\.", "classifier.0."),
    (r"^head_norm\.", "classifier.1."),
    (r"^transform\.", "mlm_score.transform.dense."),
    (r"^transform_norm\.", "mlm_score.transform.LayerNorm."),
    (r"^head_bias$", "mlm_score.bias"),
)
OLDER = ((r"^vilt\.", ""), (r"^mlm_score\.decoder\.bias$", "mlm_score.bias"))
UNUSED = r"\.position_ids$|^mlm_score\.|^(pooler|classifier|rank_output)\."


def from_torch_names(model: ViLT, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of one of transformers' classes of ViLT."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    names = (*NAMES, (r"^head_out\.", "classifier.3." if model.head == "answers" else "rank_output."))
    return fill_from_torch(shapes, state_dict, names, what="ViLT", older=OLDER, optional=UNUSED)


MODELS = {"vilt_b32": ViLT}
