"""MViT, multiscale vision transformers of clips: attention between pooled queries, keys and values.

Fan et al. 2021, "Multiscale vision transformers", arXiv:2104.11227 (version 1); Li et al. 2021, "MViTv2: improved
multiscale vision transformers for classification and detection", arXiv:2112.01526 (version 2).

    patches of 3 x 7 x 7, stride 2 x 4 x 4, and a class token;  stages i = 0 to 3: blocks at 2^i C channels
    q, k, v     LN(conv(X W)), a 3 x 3 x 3 convolution of each channel of a head; the class token passes it by
    strides     of q: 1 x 2 x 2 in the first block of stages 1 to 3;  of k and v: 1 x 2^(3 - i) x 2^(3 - i) in stage i
    attention   softmax(q k^T / sqrt(d) + E) v + q,   E = q . (R_t[t_q, t_k] + R_h[h_q, h_k] + R_w[w_q, w_k])
    block       z = pool(z) + attention(LN(z)),  z = z + MLP(LN(z));   logits = head(LN(class token))

R_h[h_q, h_k] is the row of a learned table for the distance of a query and a key, counted on the finer of their maps.
One table for each axis has 2 T + 2 H + 2 W rows in all; one table of all offsets has 8 T H W. The class token has no
position: E is 0 for it, and no q is added to it. `pool` takes the largest of 1 x 3 x 3 positions where the stride of q
is 2. In version 2 the attention of a stage's first block doubles the channels, and its shortcut is a linear layer of
LN(z).

Version 1 adds tables of positions and of frames to the patches and has no E. It adds no q to the attention, pools q
only where its stride is 2, and doubles the channels in the MLP of a stage's last block.

Weights are torchvision's, for clips of 16 x 224 x 224. For other clips the tables of version 2 are interpolated
linearly.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.learner import Range
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_clips
from dlcore.models.torch_weights import fill_from_torch
from dlcore.nn import Conv, Dense, LayerNorm, dot_product_attention, drop_path, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import max_pool
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.resize import resize

__all__ = ["MODELS", "MViT", "MViTBlock", "PooledAttention", "distance_indices", "example_inputs", "from_torch_names"]

Grid = tuple[int, int, int]
"""(frames, height, width) of a map."""

KERNEL_INIT = nn.initializers.truncated_normal(0.02)
STRIDES = (2, 4, 4)
"""Frames, rows and columns of the clip to one patch."""

TORCH_NAMES = ((r"^head\.", "head.1."),)


def distance_indices(queries: int, keys: int) -> np.ndarray:
    """Return the row of a table of distances for each query and key of one axis.

    Args:
      queries: q, positions of the queries.
      keys: k, positions of the keys.

    Returns:
      [q, k] int: i q' - j k' + (k - 1) k' rounded down, with q' = max(k / q, 1) and k' = max(q / k, 1) steps of the
      finer map; from 0 to 2 max(q, k) - 2.
    """
    check_whole_number("queries", queries, 1)
    check_whole_number("keys", keys, 1)
    query_step, key_step = max(keys / queries, 1.0), max(queries / keys, 1.0)
    rows = np.arange(queries, dtype=np.float32)[:, None] * np.float32(query_step)
    return (rows - (np.arange(keys, dtype=np.float32) + (1 - keys)) * np.float32(key_step)).astype(int)


def _split_token(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(the class token, the other tokens) of [B, 1 + N, ...]."""
    return x[:, :1], x[:, 1:]


def _pooled_grid(grid: Grid, stride: int) -> Grid:
    return grid[0], -(-grid[1] // stride), -(-grid[2] // stride)


class PooledAttention(CheckedFields):
    """Self-attention whose queries, keys and values are pooled by convolutions.

    Args:
      num_heads: attention heads; divides the features.
      query_stride: stride of the queries in height and width.
      key_stride: stride of the keys and values in height and width.
      table_grid: (T, H, W) of the input that the tables of distances are made for; those of another are interpolated.
      version: 2; or 1, without tables and without the queries behind the attention.
    """

    features: int
    num_heads: int
    query_stride: int
    key_stride: int
    table_grid: Grid
    version: Literal[1, 2] = 2
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, grid: Grid) -> jax.Array:
        """Attend.

        Args:
          x: [B, 1 + T H W, C], the class token first.
          grid: (T, H, W).

        Returns:
          [B, 1 + T H' W', features], H' and W' of the pooled queries.
        """
        check_choice("version", self.version, (1, 2))
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=KERNEL_INIT)
        heads = dense(3 * self.features, name="qkv")(x).reshape(*x.shape[:2], 3, self.num_heads, -1)
        query, key, value = (heads[:, :, i] for i in range(3))
        if self.version == 2 or self.query_stride > 1:
            query = self._pool(query, grid, self.query_stride, "pool_q")
        key = self._pool(key, grid, self.key_stride, "pool_k")
        value = self._pool(value, grid, self.key_stride, "pool_v")
        if self.version == 1:
            y = dot_product_attention(query, key, value)
        else:
            bias = self._position_bias(
                query, _pooled_grid(grid, self.query_stride), _pooled_grid(grid, self.key_stride)
            )
            y = dot_product_attention(query, key, value, bias=bias)
            y = y.at[:, 1:].add(query[:, 1:])
        return dense(self.features, name="project_0")(y.reshape(*y.shape[:2], self.features))

    def _pool(self, x: jax.Array, grid: Grid, stride: int, name: str) -> jax.Array:
        """[B, 1 + T H W, heads, d] -> [B, 1 + T H' W', heads, d]."""
        return _Pool(stride, self.dtype, name=name)(x, grid)

    def _position_bias(self, query: jax.Array, grid: Grid, key_grid: Grid) -> jax.Array:
        """Products of queries [B, 1 + q, heads, d] and rows of three tables: [B, heads, 1 + q, 1 + k]."""
        dtype, channels = acc_dtype_of(query.dtype), query.shape[-1]
        patches = query[:, 1:].reshape(len(query), *grid, *query.shape[2:])
        stride = min(self.query_stride, self.key_stride)
        sizes = (self.table_grid[0], self.table_grid[1] // stride, self.table_grid[2] // stride)
        total: Any = 0
        for i, (axis, formula) in enumerate({"t": "bthwnd,tkd", "h": "bthwnd,hkd", "w": "bthwnd,wkd"}.items()):
            table = self.param(f"rel_pos_{axis}", KERNEL_INIT, (2 * sizes[i] - 1, channels))
            table = resize(table, (2 * max(grid[i], key_grid[i]) - 1,))
            rows = table[distance_indices(grid[i], key_grid[i])].astype(query.dtype)
            scores = jnp.einsum(f"{formula}->bnthwk", patches, rows, preferred_element_type=dtype)
            total += jnp.expand_dims(scores, [axis for axis in (5, 6, 7) if axis != 5 + i])
        bias = total.reshape(*total.shape[:2], np.prod(grid), np.prod(key_grid))
        return jnp.pad(bias, ((0, 0), (0, 0), (1, 0), (1, 0)))


class _Pool(nn.Module):
    """Depthwise 3 x 3 x 3 convolution of the patches of each head, and a layer norm of all tokens."""

    stride: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, grid: Grid) -> jax.Array:
        token, patches = _split_token(x)
        batch, heads, channels = len(x), *x.shape[2:]
        patches = jnp.moveaxis(patches, 2, 1).reshape(batch * heads, *grid, channels)
        patches = Conv(
            channels, (3, 3, 3), (1, self.stride, self.stride), padding=1, feature_group_count=channels,
            use_bias=False, dtype=self.dtype, name="pool",
        )(patches)  # fmt: skip
        patches = jnp.moveaxis(patches.reshape(batch, heads, -1, channels), 1, 2)
        return LayerNorm(1e-6, dtype=self.dtype, name="norm_act_0")(jnp.concatenate([token, patches], 1))


class MViTBlock(CheckedFields):
    """Pooled attention and an MLP, each with a residual connection.

    Args:
      query_stride: stride of the queries, and of the output, in height and width.
      key_stride: stride of the keys and values in height and width.
      table_grid: (T, H, W) of the input that the tables of distances are made for.
      version: 2, where the attention changes the number of channels; or 1, where the MLP does.
    """

    features: int
    num_heads: int
    query_stride: int
    key_stride: int
    table_grid: Grid
    version: Literal[1, 2] = 2
    drop_path: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, grid: Grid, train: bool = False) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, 1 + T H W, C], the class token first.
          grid: (T, H, W).

        Returns:
          [B, 1 + T H' W', features]; H' = H / stride, rounded up.
        """
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=KERNEL_INIT)
        norm = functools.partial(LayerNorm, 1e-6, dtype=self.dtype)
        widens = x.shape[-1] != self.features
        width = self.features if self.version == 2 else x.shape[-1]
        y = norm(name="norm1")(x)
        attended = PooledAttention(
            width, self.num_heads, self.query_stride, self.key_stride, self.table_grid, self.version, self.dtype,
            name="attn",
        )(y, grid)  # fmt: skip
        x = dense(width, name="project")(y) if widens and self.version == 2 else x
        if self.query_stride > 1:
            token, patches = _split_token(x)
            strides = (1, self.query_stride, self.query_stride)
            patches = patches.reshape(len(x), *grid, width)
            patches = max_pool(patches, (1, 3, 3), strides, ((0, 0), (1, 1), (1, 1)))
            x = jnp.concatenate([token, patches.reshape(len(x), -1, width)], 1)
        x = x + drop_path(attended, self.drop_path, train)
        y = norm(name="norm2")(x)
        x = dense(self.features, name="project")(y) if widens and self.version == 1 else x
        y = dense(self.features, name="mlp_3")(gelu(dense(4 * width, name="mlp_0")(y)))
        return x + drop_path(y, self.drop_path, train)


class MViT(Backbone):
    """An MViT on clips [B, T, H, W, C]. Stages stage1 to stage4, maps [B, t, h, w, channels] without the class token.

    Args:
      num_classes: number of classes; 400 of Kinetics in the published weights. 0: no head, a call gives the class
        token.
      frames: frames of the clips that the tables of positions are made for; an even number.
      image_size: side in pixels of the frames that the tables of positions are made for; a multiple of 32 with four
        stages.
      width: channels of the first stage; each further stage doubles them.
      num_heads: attention heads of the first stage; each further stage doubles them.
      version: 2; or 1, the first paper's.
    """

    num_classes: int = 400
    frames: Annotated[int, Range(2)] = 16
    image_size: Annotated[int, Range(1)] = 224
    stages: tuple[int, ...] = (1, 2, 11, 2)
    width: Annotated[int, Range(1)] = 96
    num_heads: Annotated[int, Range(1)] = 1
    version: Literal[1, 2] = 2
    dropout: float = 0.0
    drop_path: float = 0.0
    remat: Remat = "none"

    def _check(self, x: jax.Array) -> None:
        """Refuse what is no clip, and clips that the tables of version 1 do not fit."""
        check_choice("version", self.version, (1, 2))
        if self.frames % STRIDES[0]:
            raise ValueError(f"frames={self.frames}: patches take two frames each; allowed: even numbers")
        if self.image_size % (least := STRIDES[1] * 2 ** (len(self.stages) - 1)):
            raise ValueError(f"image_size={self.image_size}: stages cannot halve it; allowed: multiples of {least}")
        check_clips(self, x, "conv_proj", smallest=(2, 4))
        size = (self.frames, self.image_size, self.image_size)
        if self.version == 1 and x.shape[1:4] != size:
            raise ValueError(f"x.shape={x.shape}: does not fit the tables of positions; allowed: clips of {size}")

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        self._check(x)
        dtype = compute_dtype(self.dtype, x, self.variables)
        padding = [(1, 1), (3, 3), (3, 3)]
        x = Conv(self.width, (3, 7, 7), STRIDES, padding, dtype=dtype, kernel_init=KERNEL_INIT, name="conv_proj")(x)
        grid = x.shape[1:4]
        table_grid = (self.frames // STRIDES[0], *(self.image_size // STRIDES[1],) * 2)
        x = _PositionEncoding(table_grid, self.version == 1, name="pos_encoding")(x)
        block, maps, done = remat(MViTBlock, self.remat, static_argnums=(2, 3)), {}, 0
        for i, blocks in enumerate(self.stages):
            for j in range(blocks):
                stride = 2 if i > 0 and j == 0 else 1
                last = j == blocks - 1 and i < len(self.stages) - 1
                x = block(
                    self.width * 2 ** (i + (self.version == 1 and last)),
                    self.num_heads * 2**i,
                    stride,
                    2 ** (len(self.stages) - 1 - i),
                    table_grid,
                    self.version,
                    self.drop_path * done / max(sum(self.stages) - 1, 1),
                    dtype,
                    name=f"blocks_{done}",
                )(x, grid, train)
                grid = _pooled_grid(grid, stride)
                table_grid = (table_grid[0], table_grid[1] // stride, table_grid[2] // stride)
                done += 1
            token, patches = _split_token(x)
            stage = f"stage{i + 1}"
            maps[stage] = self.perturb(stage, patches.reshape(len(x), *grid, x.shape[-1]))
            x = jnp.concatenate([token, maps[stage].reshape(patches.shape)], 1)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = x[:, 0].astype(acc_dtype_of(x.dtype))
        x = LayerNorm(1e-6, dtype=x.dtype, name="norm")(x)
        return self._linear(nn.Dropout(self.dropout)(x, deterministic=not train))


class _PositionEncoding(nn.Module):
    """A class token in front of the patches, [B, T, H, W, D] -> [B, 1 + T H W, D], and tables added to them."""

    grid: Grid
    absolute: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = x.shape[-1]
        token = self.param("class_token", KERNEL_INIT, (features,))
        if self.absolute:
            spatial = self.param("spatial_pos", KERNEL_INIT, (self.grid[1] * self.grid[2], features))
            temporal = self.param("temporal_pos", KERNEL_INIT, (self.grid[0], features))
            token = token + self.param("class_pos", KERNEL_INIT, (features,))
            x = x + (temporal[:, None, None] + spatial.reshape(*self.grid[1:], features)).astype(x.dtype)
        token = jnp.broadcast_to(token.astype(x.dtype), (len(x), 1, features))
        return jnp.concatenate([token, x.reshape(len(x), -1, features)], 1)


MODELS = {"mvit_v2_s": functools.partial(MViT), "mvit_v1_b": functools.partial(MViT, version=1)}


def example_inputs(model: MViT) -> tuple[jax.Array]:
    """Build (a clip [1, frames, image_size, image_size, 3],)."""
    return (jnp.zeros((1, model.frames, model.image_size, model.image_size, 3)),)


def from_torch_names(model: MViT, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of torchvision to the variables of an MViT."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))
    return fill_from_torch(shapes, state_dict, TORCH_NAMES, what=f"MViT of version {model.version}")
