"""VideoPrism: a factorized transformer of clips, first in each frame, then over time, with a text's beside it.

Zhao et al., "VideoPrism: a foundational visual encoder for video understanding" (2024), arXiv:2402.13217.

    frame   z = LN(blocks(patches + P));    time  z = LN(blocks(z + p)), of each place over the frames
    block   x = x + Attention(LN(x)),  x = x + MLP(LN(x));   scores c tanh(q k / (c sqrt(d))), c = 50
    pooled  LN(Attention(q_0, z)),  q scaled by softplus(s) / (ln 2 sqrt(d)) for each channel of a head
    text    LN(blocks([sqrt(D) E[tokens] + sinusoids; class token]))[last]
    pairs   softmax of cosines, over clips for each text

Weights are those of transformers' VideoPrismVisionModel, VideoPrismForVideoClassification and VideoPrismClipModel,
whose layer norms store the factor less 1.
"""

import functools
import math
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.fields import CheckedFields
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.nn import Conv, Dense, FeedForward, LayerNorm, causal_mask
from dlcore.nn.activations import named_activation
from dlcore.nn.embed import Embed
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "VideoPrism", "VideoPrismClip", "VideoPrismText", "example_inputs", "from_torch_names"]


class CappedBlock(nn.Module):
    """A pre-norm transformer block whose scores a tanh bounds.

    Args:
      num_heads: attention heads.
      hidden: hidden units of the MLP.
      activation: activation of the MLP, by transformers' name.
      cap: c, bound of the scores.
    """

    num_heads: int
    hidden: int
    activation: str = "gelu"
    cap: float = 50.0
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Apply the block: [B, T, D], mask [B, 1, T, T] bool, True where a query may attend -> [B, T, D]."""
        y, width = LayerNorm(self.epsilon, name="norm1")(x), x.shape[-1]
        q, k, v = (Dense(width, name=name)(y).reshape(*y.shape[:2], self.num_heads, -1) for name in ("q", "k", "v"))
        scores = to_acc_dtype(jnp.einsum("bthd,bshd->bhts", q, k)) / math.sqrt(q.shape[-1])
        scores = self.cap * jnp.tanh(scores / self.cap)
        scores = scores if mask is None else jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
        y = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores).astype(v.dtype), v).reshape(x.shape)
        x = x + Dense(width, name="o")(y)
        mlp = FeedForward(self.hidden, named_activation(self.activation), name="mlp")
        return x + mlp(LayerNorm(self.epsilon, name="norm2")(x))


class AttentionPool(nn.Module):
    """One learned query that attends to tokens.

    Args:
      num_heads: attention heads.
      features: channels of all heads together.
    """

    num_heads: int
    features: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Pool tokens: [B, N, D] -> [B, D]."""
        width, size = x.shape[-1], self.features // self.num_heads
        query = self.param("pooling_attention_query", nn.initializers.normal(0.02), (1, 1, width))
        scale = self.param("per_dim_scale", nn.initializers.zeros, (size,))
        q, k, v = (
            Dense(self.num_heads * size, name=name)(y).reshape(*y.shape[:2], self.num_heads, size)
            for name, y in (("q", query.astype(x.dtype)), ("k", x), ("v", x))
        )
        q = to_acc_dtype(q) * jax.nn.softplus(scale) / (math.log(2) * math.sqrt(size))
        weights = jax.nn.softmax(jnp.einsum("bthd,cshd->chts", q, k)).astype(v.dtype)
        return Dense(width, name="o")(jnp.einsum("bhts,bshd->bthd", weights, v).reshape(len(x), -1))


class VideoPrism(CheckedFields):
    """A factorized transformer of clips [B, T, H, W, 3].

    Args:
      num_classes: number of classes, the length of the logits; 0: no head, a call gives tokens.
      image_size: side in pixels of the square frames.
      frames: T, frames of a clip.
      patch_size: side in pixels of a patch.
      spatial_depth: blocks in each frame.
      temporal_depth: blocks over time.
      width: features of a token.
      mlp_features: hidden units of a block's MLP.
      activation: of the MLPs, by transformers' name.
      cap: bound of attention's scores.
    """

    num_classes: int = 0
    image_size: Annotated[int, Range(1)] = 288
    frames: Annotated[int, Range(1)] = 16
    patch_size: Annotated[int, Range(1)] = 18
    spatial_depth: Annotated[int, Range(0)] = 12
    temporal_depth: Annotated[int, Range(0)] = 4
    width: Annotated[int, Range(1)] = 768
    num_heads: Annotated[int, Range(1)] = 12
    mlp_features: Annotated[int, Range(1)] = 3072
    activation: str = "gelu"
    cap: float = 50.0
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Classify or describe clips.

        Args:
          x: [B, T, H, W, 3].
          train: unused, as nothing drops.

        Returns:
          [B, num_classes], logits; without classes [B, T h w, width], frame by frame.
        """
        shape = (self.frames, self.image_size, self.image_size, 3)
        if x.ndim != 5 or x.shape[1:] != shape:
            raise ValueError(f"{x.shape=}: no clips of the network; allowed: [B, {', '.join(map(str, shape))}]")
        batch, init = len(x), nn.initializers.normal(0.02)
        settings = (self.num_heads, self.mlp_features, self.activation, self.cap, self.epsilon)
        patch = (self.patch_size,) * 2
        x = Conv(self.width, patch, patch, "VALID", name="patch_embed")(x.reshape(-1, *shape[1:]))
        x = x.reshape(len(x), -1, self.width)
        x = x + self.param("spatial_positions", init, (1, *x.shape[1:])).astype(x.dtype)
        for i in range(self.spatial_depth):
            x = CappedBlock(*settings, name=f"spatial_layers_{i}")(x)
        x = LayerNorm(self.epsilon, name="layernorm1")(x).reshape(batch, self.frames, -1, self.width)
        x = x.swapaxes(1, 2).reshape(-1, self.frames, self.width)  # [B h w, T, D]
        x = x + self.param("temporal_positions", init, (1, *x.shape[1:])).astype(x.dtype)
        for i in range(self.temporal_depth):
            x = CappedBlock(*settings, name=f"temporal_layers_{i}")(x)
        x = LayerNorm(self.epsilon, name="layernorm2")(x).reshape(batch, -1, self.frames, self.width)
        x = x.swapaxes(1, 2).reshape(batch, -1, self.width)
        if not self.num_classes:
            return x
        x = AttentionPool(self.num_heads, self.mlp_features, name="pool")(x)
        x = LayerNorm(self.epsilon, name="head_layernorm")(x)
        return Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(to_acc_dtype(x))


class VideoPrismText(CheckedFields):
    """A transformer of texts that a class token behind them reads: tokens [B, T] -> [B, width].

    Args:
      vocab_size: different tokens.
      window: the most tokens of a text.
      depth: blocks.
      width: features of a token.
      mlp_features: hidden units of a block's MLP.
      activation: activation of the MLPs, by transformers' name.
      activation: of the MLPs, by transformers' name.
      cap: bound of attention's scores.
    """

    vocab_size: Annotated[int, Range(1)] = 32000
    window: Annotated[int, Range(1)] = 64
    depth: Annotated[int, Range(0)] = 12
    width: Annotated[int, Range(2)] = 768
    num_heads: Annotated[int, Range(1)] = 12
    mlp_features: Annotated[int, Range(1)] = 3072
    activation: str = "relu"
    cap: float = 50.0
    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, tokens: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Read texts.

        Args:
          tokens: [B, T] int.
          mask: [B, T] bool, True where there is a token and not padding, with which a token sees those before it; None:
            all see all, as in the library.

        Returns:
          [B, width].
        """
        check_shapes(tokens=(tokens, "int B T"), mask=(mask, "B T or None"))
        batch, length = tokens.shape
        positions = self.param("position_embedding", _sinusoids, (self.window, self.width))
        x = Embed(self.vocab_size, self.width, name="token_embedding")(tokens) * math.sqrt(self.width)
        x = x + positions[:length].astype(x.dtype)
        last = self.param("cls_emb", nn.initializers.normal(0.02), (1, 1, self.width)) * math.sqrt(self.width)
        x = jnp.concatenate([x, jnp.broadcast_to(last, (batch, 1, self.width)).astype(x.dtype)], 1)
        if mask is not None:
            visible = jnp.pad(mask.astype(bool), ((0, 0), (0, 1)), constant_values=True)
            mask = causal_mask(length + 1) & visible[:, None, None]
        settings = (self.num_heads, self.mlp_features, self.activation, self.cap, self.epsilon)
        for i in range(self.depth):
            x = CappedBlock(*settings, name=f"layers_{i}")(x, mask)
        return LayerNorm(self.epsilon, name="layernorm")(x)[:, -1]


def _sinusoids(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
    angles = np.arange(shape[0])[:, None] * 10_000.0 ** (-np.arange(0, shape[1], 2) / shape[1])
    return jnp.asarray(np.concatenate([np.sin(angles), np.cos(angles)], -1), jnp.float32)


class VideoPrismClip(CheckedFields):
    """Clips and texts in one space.

    Args:
      video: the clip's network, without classes.
      text: the text's network.
      extra_depth: blocks on the clip's tokens before the pooling.
      normalize: whether clips' and texts' vectors have length 1.
    """

    video: VideoPrism
    text: VideoPrismText
    extra_depth: Annotated[int, Range(0)] = 2
    normalize: tuple[bool, bool] = (True, True)

    def setup(self) -> None:
        """Build what stands behind the clip's network."""
        video = self.video
        settings = (video.num_heads, video.mlp_features, video.activation, video.cap, video.epsilon)
        self.auxiliary_layers = [CappedBlock(*settings) for _ in range(self.extra_depth)]
        self.pool = AttentionPool(video.num_heads, video.mlp_features)
        self.head_layernorm = LayerNorm(video.epsilon)

    def __call__(
        self, clips: jax.Array, tokens: jax.Array, mask: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Encode clips [B, T, H, W, 3] and texts: tokens [B', L] int, mask [B', L] bool -> ([B, D], [B', D])."""
        return self.encode_clip(clips), self.encode_text(tokens, mask)

    def encode_clip(self, clips: jax.Array) -> jax.Array:
        """Encode clips: [B, T, H, W, 3] -> [B, D], at least float32."""
        x = self.video(clips)
        for block in self.auxiliary_layers:
            x = block(x)
        return _unit(self.head_layernorm(self.pool(x)), self.normalize[0])

    def encode_text(self, tokens: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Encode texts: tokens [B, L] int, mask [B, L] bool, True at tokens -> [B, D], at least float32."""
        return _unit(self.text(tokens, mask), self.normalize[1])


def _unit(x: jax.Array, normalize: bool) -> jax.Array:
    x = to_acc_dtype(x)
    return x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) + 1e-6) if normalize else x


TORCH_NAMES = (
    (r"^text\.", "text_model."),
    (r"^(text_model\.)(token_embedding\.|cls_emb|position_embedding)", r"\1embeddings.\2"),
    (r"(^|\.)patch_embed\.", r"\1spatial_embeddings.patch_embeddings.projection."),
    (r"(^|\.)(spatial|temporal)_positions$", r"\1\2_embeddings.position_embeddings"),
    (r"^head\.", "classifier."),
    (r"^(pool|head_layernorm|auxiliary_layers)\.", r"video_model.\1."),
    (r"^video\.", "video_model.vision_model."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"(layers\.\d+)\.([qkvo])\.", r"\1.attention.\2_proj."),
    (r"(^|\.)pool\.([qkvo])\.", r"\1head.\2_proj."),
    (r"(^|\.)pool\.", r"\1head."),
)
PARTS = r"^vision_model\.(?=(spatial|temporal)_|layernorm)"


def example_inputs(model: VideoPrism | VideoPrismClip) -> tuple[jax.Array, ...]:
    """Build (a clip [1, T, H, W, 3],), and of pairs (a clip, a token [1, 1])."""
    video = model.video if isinstance(model, VideoPrismClip) else model
    clip = jnp.zeros((1, video.frames, video.image_size, video.image_size, 3))
    return (clip, jnp.zeros((1, 1), jnp.int32)) if isinstance(model, VideoPrismClip) else (clip,)


def from_torch_names(model: VideoPrism | VideoPrismClip, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of one of transformers' classes of VideoPrism."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    entries = {}
    for name, value in unwrap_state_dict(state_dict).items():
        if name.endswith("position_ids"):
            continue
        value = np.asarray(value)
        if "layernorm" in name and name.endswith("weight"):
            value = value + 1
        entries[name] = value[:, :, 0] if name.endswith("projection.weight") else value
    older = () if isinstance(model, VideoPrismClip) else ((PARTS, ""), (r"^head(?=\.|_layernorm)", "video_model.head"))
    return fill_from_torch(shapes, entries, TORCH_NAMES, what=type(model).__name__, older=older)


MODELS = {
    "videoprism_base": functools.partial(VideoPrism),
    "videoprism_lvt_base": functools.partial(VideoPrismClip, video=VideoPrism(), text=VideoPrismText()),
}
