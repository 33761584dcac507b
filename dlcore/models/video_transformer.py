"""Transformers of clips: TimeSformer, whose attention is divided into time and space, and ViViT on tubelets.

Bertasius, Wang & Torresani, "Is space-time attention all you need for video understanding?" (2021), arXiv:2102.05095;
Arnab et al., "ViViT: a video vision transformer" (2021), arXiv:2103.15691.

    TimeSformer  z = z + W A_time(LN(z)),   z = z + A_space(LN(z)),   z = z + MLP(LN(z))
    ViViT        tubelets of 2 x 16 x 16 pixels are tokens of a ViT; every token attends to all (its model 1)

A_time joins the T tokens of one patch, A_space the N patches of one frame with the class token, whose T updates are
averaged. T N tokens so cost T + N scores each in place of T N. Weights are those of transformers'
TimesformerForVideoClassification (`facebook/timesformer-base-finetuned-k400`), VivitForVideoClassification
(`google/vivit-b-16x2-kinetics400`), and with `num_classes=0` of TimesformerModel and (`pooler=True`) VivitModel. Clips
have the published number of frames and size; here they are [B, T, H, W, C].
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_floats
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.vit import TRANSFORMERS
from dlcore.nn import (
    Conv,
    Dense,
    FeedForward,
    LayerNorm,
    MultiHeadAttention,
    TransformerEncoderBlock,
    drop_path,
    gelu,
    named_activation,
)
from dlcore.nn.precision import compute_dtype
from dlcore.ops.precision import acc_dtype_of

__all__ = ["MODELS", "DividedBlock", "TimeSformer", "ViViT", "example_inputs", "from_torch_names"]

INIT = nn.initializers.truncated_normal(0.02)


class DividedBlock(CheckedFields):
    """Attention over time, attention over space and an MLP, each with a residual connection.

    Args:
      hidden: hidden units of the MLP.
      frames: T.
    """

    num_heads: int
    hidden: int
    frames: int
    drop_path: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, z: jax.Array, train: bool = False) -> jax.Array:
        """Apply the block.

        Args:
          z: [B, 1 + N T, D], the class token, then all frames of the first patch, and so on.

        Returns:
          [B, 1 + N T, D].
        """
        batch, _, width = z.shape
        norm = functools.partial(LayerNorm, 1e-6, dtype=self.dtype)
        attention = functools.partial(
            MultiHeadAttention, self.num_heads, fused_qkv=True, dtype=self.dtype, kernel_init=INIT
        )
        token, x = z[:, :1], z[:, 1:]
        # Time: the frames of one patch.
        y = norm(name="temporal_norm")(x).reshape(-1, self.frames, width)
        y = attention(name="temporal_attn")(y).reshape(x.shape)
        y = Dense(width, dtype=self.dtype, kernel_init=INIT, name="temporal_dense")(y)
        x = x + drop_path(y, self.drop_path, train)
        # Space: the patches of one frame, and the class token in each.
        y = x.reshape(batch, -1, self.frames, width).swapaxes(1, 2)  # [B, T, N, D]
        tokens = jnp.broadcast_to(token[:, None], (batch, self.frames, 1, width))
        y = norm(name="norm1")(jnp.concatenate([tokens, y], 2)).reshape(batch * self.frames, -1, width)
        y = attention(name="attn")(y).reshape(batch, self.frames, -1, width)
        patches = y[:, :, 1:].swapaxes(1, 2).reshape(x.shape)
        y = jnp.concatenate([y[:, :, 0].mean(1, keepdims=True), patches], 1)
        z = jnp.concatenate([token, x], 1) + drop_path(y, self.drop_path, train)
        # MLP.
        mlp = FeedForward(self.hidden, gelu, dtype=self.dtype, kernel_init=INIT, name="mlp")
        return z + drop_path(mlp(norm(name="norm2")(z), train), self.drop_path, train)


class _Clips(CheckedFields):
    """What the two networks share: fields, the check of clips, and the head."""

    def _check(self, x: jax.Array) -> None:
        check_floats("x", x)
        shape = (self.frames, self.image_size, self.image_size)
        if x.ndim != 5 or x.shape[1:4] != shape:
            raise ValueError(f"{x.shape=}: no clips of this network; allowed: [B, *{shape}, C]")

    def _classify(self, z: jax.Array) -> jax.Array:
        token = z[:, 0].astype(acc_dtype_of(z.dtype))
        if self.num_classes == 0:
            return token
        return Dense(self.num_classes, dtype=token.dtype, kernel_init=self.head_init, name="head")(token)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify clips.

        Args:
          x: [B, T, H, W, C], of the fields' size.

        Returns:
          [B, num_classes] logits, at least float32; without classes the class token or what pools it.
        """
        return self._forward(x, train, True)

    def tokens(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Describe patches or tubelets.

        Args:
          x: [B, T, H, W, C], clips.

        Returns:
          [B, 1 + N, width], after the last norm, the class token first.
        """
        return self._forward(x, train, False)


class TimeSformer(_Clips):
    """A ViT on the patches of all frames, with divided attention.

    Args:
      num_classes: number of classes, the length of the logits; 0: no head, a call gives the class token.
      frames: T, frames of a clip.
      image_size: side in pixels of the square frames.
      patch_size: side in pixels of a patch.
      depth: number of blocks.
      width: channels of a token.
      drop_path: probability of dropping the last block's branches of an example in training; it rises linearly from 0
        at the first block.
      dtype: dtype of the computation; None for that of the input.
      head_init: initializer of the head's kernel; zeros make the initial loss log(num_classes).
    """

    num_classes: int = 400
    frames: Annotated[int, Range(1)] = 8
    image_size: Annotated[int, Range(1)] = 224
    patch_size: Annotated[int, Range(1)] = 16
    depth: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 768
    num_heads: Annotated[int, Range(1)] = 12
    mlp_features: Annotated[int, Range(1)] = 3072
    drop_path: float = 0.0
    dtype: Any = None
    head_init: Any = nn.initializers.zeros

    TORCH_NAMES = (
        (r"^(cls_token|position_embeddings|time_embeddings)$", r"embeddings.\1"),
        (r"^patch_embed\.", "embeddings.patch_embeddings.projection."),
        (r"^norm\.", "layernorm."),
        (r"^head\.", "classifier."),
        (r"^blocks\.", "encoder.layer."),
        (r"\.(temporal_)?attn\.qkv\.", r".\1attention.attention.qkv."),
        (r"\.(temporal_)?attn\.proj\.", r".\1attention.output.dense."),
        (r"\.temporal_norm\.", ".temporal_layernorm."),
        (r"\.norm1\.", ".layernorm_before."),
        (r"\.norm2\.", ".layernorm_after."),
        (r"\.mlp\.fc1\.", ".intermediate.dense."),
        (r"\.mlp\.fc2\.", ".output.dense."),
    )
    TORCH_OLD_NAMES = ((r"^timesformer\.", ""),)

    @nn.compact
    def _forward(self, x: jax.Array, train: bool, head: bool) -> jax.Array:
        self._check(x)
        dtype, patch = compute_dtype(self.dtype, x, self.variables), (self.patch_size,) * 2
        frames = x.reshape(-1, *x.shape[2:])
        conv = Conv(self.width, patch, patch, "VALID", dtype=dtype, kernel_init=INIT, name="patch_embed")
        y = conv(frames).reshape(len(x), self.frames, -1, self.width)  # [B, T, N, D]
        token = self.param("cls_token", INIT, (1, 1, self.width)).astype(dtype)
        positions = self.param("position_embeddings", INIT, (1, 1 + y.shape[2], self.width)).astype(dtype)
        times = self.param("time_embeddings", nn.initializers.zeros, (1, self.frames, self.width)).astype(dtype)
        y = y.swapaxes(1, 2) + positions[:, 1:, None] + times[:, None]  # [B, N, T, D]
        token = jnp.broadcast_to(token + positions[:, :1], (len(x), 1, self.width))
        z = jnp.concatenate([token, y.reshape(len(x), -1, self.width)], 1)
        for i in range(self.depth):
            rate = self.drop_path * i / max(self.depth - 1, 1)
            block = DividedBlock(self.num_heads, self.mlp_features, self.frames, rate, dtype, name=f"blocks_{i}")
            z = block(z, train)
        z = LayerNorm(1e-6, dtype=dtype, name="norm")(z)
        return self._classify(z) if head else z


class ViViT(_Clips):
    """A ViT on tubelets.

    Args:
      num_classes: number of classes, the length of the logits; 0: no head, a call gives the class token.
      frames: frames of a clip.
      image_size: side in pixels of the square frames.
      tubelet: frames, rows and columns of a token.
      depth: number of blocks.
      width: channels of a token.
      pooler: without classes, a call gives tanh(W token), as VivitModel's `pooler_output`.
      dropout: probability of dropping a value of the tokens, and of each block's attention output and MLP.
      dtype: dtype of the computation; None for that of the input.
      head_init: initializer of the head's kernel; zeros make the initial loss log(num_classes).
    """

    num_classes: int = 400
    frames: Annotated[int, Range(1)] = 32
    image_size: Annotated[int, Range(1)] = 224
    tubelet: Annotated[tuple[int, int, int], Range(1)] = (2, 16, 16)
    depth: Annotated[int, Range(1)] = 12
    width: Annotated[int, Range(1)] = 768
    num_heads: Annotated[int, Range(1)] = 12
    mlp_features: Annotated[int, Range(1)] = 3072
    pooler: bool = False
    dropout: float = 0.0
    dtype: Any = None
    head_init: Any = nn.initializers.zeros

    TORCH_NAMES = ((r"^position_embeddings$", "embeddings.position_embeddings"), *TRANSFORMERS.names)
    TORCH_OLD_NAMES = ((r"^vivit\.", ""), *TRANSFORMERS.older[1:])

    @nn.compact
    def _forward(self, x: jax.Array, train: bool, head: bool) -> jax.Array:
        self._check(x)
        dtype = compute_dtype(self.dtype, x, self.variables)
        conv = Conv(self.width, self.tubelet, self.tubelet, "VALID", dtype=dtype, kernel_init=INIT, name="patch_embed")
        y = conv(x).reshape(len(x), -1, self.width)  # [B, N, D]
        token = self.param("cls_token", INIT, (1, 1, self.width)).astype(dtype)
        z = jnp.concatenate([jnp.broadcast_to(token, (len(x), 1, self.width)), y], 1)
        z = z + self.param("position_embeddings", INIT, (1, *z.shape[1:])).astype(dtype)
        z = nn.Dropout(self.dropout)(z, deterministic=not train)
        for i in range(self.depth):
            z = TransformerEncoderBlock(
                self.num_heads,
                self.mlp_features,
                pre_norm=True,
                activation=named_activation("gelu_pytorch_tanh"),
                dropout_rate=self.dropout,
                epsilon=1e-6,
                dtype=dtype,
                kernel_init=INIT,
                name=f"blocks_{i}",
            )(z, train)
        z = LayerNorm(1e-6, dtype=dtype, name="norm")(z)
        if not head:
            return z
        y = self._classify(z)
        return jnp.tanh(Dense(self.width, dtype=y.dtype, name="pooler_dense")(y)) if self.pooler else y


MODELS = {"timesformer_base": functools.partial(TimeSformer), "vivit_b_16x2": functools.partial(ViViT)}


def example_inputs(model: nn.Module) -> tuple[jax.Array]:
    """Build (a clip [1, T, H, W, 3],)."""
    return (jnp.zeros((1, model.frames, model.image_size, model.image_size, 3)),)


def from_torch_names(model: nn.Module, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers to the variables of a model."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    names = (*model.TORCH_NAMES, (r"^pooler_dense\.", "pooler.dense."))
    return fill_from_torch(shapes, state_dict, names, what=type(model).__name__, older=model.TORCH_OLD_NAMES)
