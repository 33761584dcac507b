"""Hiera: a hierarchical vision transformer without convolutions, shifts or relative positions: attention in units.

Ryali et al., "Hiera: a hierarchical vision transformer without the bells-and-whistles" (2023), arXiv:2306.00989.

    patches of 7 x 7, stride 4, + positions -> H/4 x W/4 x C;  stage i: blocks at 2^i C channels
    block      z = z + Attention(LN(z)),  z = z + MLP(LN(z))
    Attention  in units of 8 x 8, 4 x 4 of the first two stages, everywhere in the last two
    pooling    the first block of a stage keeps the largest query of 2 x 2 neighbors: half the side. Its keys are those
               of the units of the stage before; the shortcut is the largest of 2 x 2 of a linear layer of LN(z)
    logits = head(LN(mean over the map))

A unit is what the masked autoencoder of its training hides or shows whole, so that hidden ones cost nothing. Tokens
stay on their map here; the published code sorts them by unit, which gives the same numbers. Sides of images are
multiples of 32. Weights may be those of transformers' HieraForImageClassification and HieraModel.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import vit
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.swin import join_windows, windows
from dlcore.models.torch_weights import Layout
from dlcore.nn import Conv, Dense, FeedForward, LayerNorm, LearnedPositions, dot_product_attention, drop_path, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import avg_pool, global_avg_pool, max_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.resize import resize

__all__ = ["MODELS", "Hiera", "HieraBlock", "UnitAttention"]

KERNEL_INIT = nn.initializers.truncated_normal(0.02)
STRIDE = 4
"""Pixels of the image to one of the first map."""

TORCH_NAMES = (
    (r"^patch_embed\.", "embeddings.patch_embeddings.projection."),
    (r"^pos_embed\.weight", "embeddings.position_embeddings"),
    (r"^stages\.(\d+)\.(\d+)\.", r"encoder.stages.\1.layers.\2."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"^norm\.", "pooler.layernorm."),
    (r"^head\.", "classifier."),
)
TORCH_OLD_NAMES = ((r"^hiera\.", ""),)
TORCH_LAYOUTS = (
    Layout(
        r"^patch_embed\.proj\.",
        names=(
            (r"^patch_embed\.", "patch_embed.proj."),
            (r"^pos_embed\.weight", "pos_embed"),
            (r"\.layer_scale(\d)$", r".ls\1.gamma"),
            (r"^norm\.", "head.norm."),
            (r"^head\.(?=weight|bias)", "head.fc."),
        ),
    ),
)
"""timm's, once `dlcore.pretrained.families.hiera` has numbered its blocks in each stage."""


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Move the channels of maps of positions last, or interpolate a table of them."""
    if path.endswith(("/pos_embed", "/pos_embed_win")):
        return np.moveaxis(value, 1, -1)
    return vit.from_torch(path, value, shape)


def _largest(x: jax.Array) -> jax.Array:
    """Take the largest of 2 x 2 neighbors: [B, H, W, C] -> [B, H / 2, W / 2, C]."""
    return max_pool(x, (2, 2), (2, 2))


def _spread(x: jax.Array, poolings: int) -> jax.Array:
    """Read the rows of a map as if it were sorted by unit: token i has the digits (pooling 1, pooling 2 ..., unit)."""
    side, (batch, height, width, channels) = 2**poolings, x.shape
    x = x.reshape(batch, *(2,) * (2 * poolings), height // side, width // side, channels)
    pairs = range(2 * poolings - 1, 0, -2)  # the first pooling joins the nearest tokens
    axes = (2 * poolings + 1, *pairs, 2 * poolings + 2, *(i + 1 for i in pairs))
    return x.transpose(0, *axes, 2 * poolings + 3).reshape(batch, height, width, channels)


class UnitAttention(CheckedFields):
    """Attention in square units of a map or everywhere, with or without pooling of queries.

    Args:
      num_heads: attention heads; divides the features.
      unit: side of a unit on the input's map; 0: the whole map is one.
      pool: keep the largest query of 2 x 2 neighbors.
    """

    features: int
    num_heads: int
    unit: int = 0
    pool: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Attend.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, features]; half the sides with `pool`.
        """
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=KERNEL_INIT)
        uncut = [side // (2 if self.pool else 1) for side in x.shape[1:3]]
        if self.unit:  # zeros fill the units at the right and below, and take part
            x = jnp.pad(x, ((0, 0), *((0, -side % self.unit) for side in x.shape[1:3]), (0, 0)))
        query, key, value = jnp.split(dense(3 * self.features, name="qkv")(x), 3, -1)
        query = _largest(query) if self.pool else query
        sides = query.shape[1:3]
        unit = self.unit // 2 if self.pool else self.unit

        def tokens(x: jax.Array, size: int) -> jax.Array:
            x = windows(x, size) if self.unit else x.reshape(len(x), 1, -1, x.shape[-1])
            return x.reshape(*x.shape[:-1], self.num_heads, -1)

        y = dot_product_attention(tokens(query, unit), tokens(key, self.unit), tokens(value, self.unit))
        y = y.reshape(*y.shape[:-2], self.features)
        y = join_windows(y, sides, unit) if self.unit else y.reshape(len(y), *sides, self.features)
        return dense(self.features, name="proj")(y[:, : uncut[0], : uncut[1]])


class HieraBlock(CheckedFields):
    """Attention and an MLP, each with a residual connection.

    Args:
      hidden: hidden units of the MLP.
      unit: side of a unit on the input's map; 0: the whole map is one.
      pool: halve the sides, by the largest query of 2 x 2 neighbors.
      layer_scale: initial factor of each channel of a branch, which is learned; None: they have none.
      pooled_shortcut: where a block pools, its shortcut is the largest and the mean of 2 x 2 neighbors.
    """

    features: int
    num_heads: int
    hidden: int
    unit: int = 0
    pool: bool = False
    drop_path: float = 0.0
    dtype: Any = None
    layer_scale: Annotated[float | None, "if changed"] = None
    pooled_shortcut: Annotated[bool, "if changed"] = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, features]; half the sides with `pool`.
        """
        y = LayerNorm(1e-6, dtype=self.dtype, name="norm1")(x)
        if x.shape[-1] != self.features and self.pooled_shortcut:
            x = jnp.concatenate([_largest(x), avg_pool(x, (2, 2), (2, 2))], -1)
        elif x.shape[-1] != self.features:
            x = Dense(self.features, dtype=self.dtype, kernel_init=KERNEL_INIT, name="proj")(y)
            x = _largest(x) if self.pool else x
        attention = UnitAttention(self.features, self.num_heads, self.unit, self.pool, self.dtype, name="attn")
        x = x + drop_path(self._scaled(attention(y), 1), self.drop_path, train)
        mlp = FeedForward(self.hidden, gelu, dtype=self.dtype, kernel_init=KERNEL_INIT, name="mlp")
        y = mlp(LayerNorm(1e-6, dtype=self.dtype, name="norm2")(x), train)
        return x + drop_path(self._scaled(y, 2), self.drop_path, train)

    def _scaled(self, x: jax.Array, i: int) -> jax.Array:
        if self.layer_scale is None:
            return x
        init = nn.initializers.constant(self.layer_scale)
        return x * self.param(f"layer_scale{i}", init, (self.features,)).astype(x.dtype)


class Hiera(Backbone):
    """A Hiera on [B, H, W, C], sides multiples of 4 `unit`. Stages stage1 to stage4, of strides 4, 8, 16 and 32.

    Args:
      image_size: side in pixels of the square images whose position table is learned; it is interpolated for other
        sizes.
      width: channels of the first stage; each further stage doubles them.
      num_heads: attention heads of each stage.
      unit: side of a unit of attention on the first map; each further stage halves it.
      in_units: whether the attention of each stage stays in units.
      mlp_ratio: hidden units of a block's MLP, as a multiple of its channels.
      layer_scale: initial factor of each channel of a branch, which is learned; None: they have none.
      pooled_shortcut: where a block pools, its shortcut is the largest and the mean of 2 x 2 neighbors.
      spread: a map's rows of tokens stand where those sorted by unit would, as in transformers' HieraBackbone.
      positions: side of a map of positions that is stretched over the image, beside those in a unit, which each unit
        repeats (Bolya et al. 2023, arXiv:2311.05613); 0: a table of all.
    """

    num_classes: int = 1000
    image_size: int = 224
    stages: tuple[int, ...] = (2, 3, 16, 3)
    width: int = 96
    num_heads: tuple[int, ...] = (1, 2, 4, 8)
    unit: int = 8
    in_units: tuple[bool, ...] = (True, True, False, False)
    mlp_ratio: float = 4.0
    drop_path: float = 0.0
    remat: Remat = "none"
    layer_scale: Annotated[float | None, "if changed"] = None
    pooled_shortcut: Annotated[bool, "if changed"] = False
    positions: Annotated[int, Range(0), "if changed"] = 0
    spread: Annotated[bool, "if changed"] = False

    def _check(self, x: jax.Array) -> None:
        """Refuse fields that do not fit together, and images that units do not cover."""
        for field in ("num_heads", "in_units"):
            if len(getattr(self, field)) != len(self.stages):
                raise ValueError(f"{field}={getattr(self, field)}: wrong length; allowed: {len(self.stages)}")
        if self.unit % 2 ** (len(self.stages) - 1):
            raise ValueError(f"unit={self.unit}: cannot be halved; allowed: multiples of {2 ** (len(self.stages) - 1)}")
        size = STRIDE * self.unit
        check_images(self, x, "patch_embed", smallest=size)
        if any(side % size for side in (self.image_size, *x.shape[1:3])):
            raise ValueError(f"{x.shape=}, image_size={self.image_size}: no whole units; allowed: multiples of {size}")

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        self._check(x)
        dtype = compute_dtype(self.dtype, x, self.variables)
        strides = (STRIDE, STRIDE)
        x = Conv(self.width, (7, 7), strides, padding=3, dtype=dtype, kernel_init=KERNEL_INIT, name="patch_embed")(x)
        x = self._with_positions(x)
        x = _spread(x, len(self.stages) - 1) if self.spread else x
        block, maps, done = remat(HieraBlock, self.remat, static_argnums=(2,)), {}, 0
        for i, blocks in enumerate(self.stages):
            for j in range(blocks):
                pool = i > 0 and j == 0
                before = i - 1 if pool else i  # a block that pools reads the map of the stage before
                x = block(
                    self.width * 2**i,
                    self.num_heads[i],
                    int(self.width * 2**i * self.mlp_ratio),
                    unit=self.unit // 2**before if self.in_units[i] or self.in_units[before] else 0,
                    pool=pool,
                    drop_path=self.drop_path * done / max(sum(self.stages) - 1, 1),
                    dtype=dtype,
                    layer_scale=self.layer_scale,
                    pooled_shortcut=self.pooled_shortcut,
                    name=f"stages_{i}_{j}",
                )(x, train)
                done += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _with_positions(self, x: jax.Array) -> jax.Array:
        if not self.positions:
            positions = LearnedPositions((self.image_size // STRIDE,) * 2, name="pos_embed")
            return positions(x.reshape(len(x), -1, self.width), x.shape[1:3]).reshape(x.shape)
        sides, unit = x.shape[1:3], self.unit
        everywhere = self.param("pos_embed", KERNEL_INIT, (1, self.positions, self.positions, self.width))
        in_unit = self.param("pos_embed_win", KERNEL_INIT, (1, unit, unit, self.width))
        in_units = jnp.tile(in_unit, (1, sides[0] // unit, sides[1] // unit, 1))
        return x + (resize(everywhere, sides, "bicubic", antialias=True) + in_units).astype(x.dtype)

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))
        return self._linear(LayerNorm(1e-6, dtype=x.dtype, name="norm")(x))


def _heads(first: int) -> tuple[int, ...]:
    return first, 2 * first, 4 * first, 8 * first


MODELS = {
    "hiera_tiny_224": functools.partial(Hiera, stages=(1, 2, 7, 2)),
    "hiera_small_224": functools.partial(Hiera, stages=(1, 2, 11, 2)),
    "hiera_base_224": functools.partial(Hiera),
    "hiera_base_plus_224": functools.partial(Hiera, width=112, num_heads=_heads(2)),
    "hiera_large_224": functools.partial(Hiera, stages=(2, 6, 36, 4), width=144, num_heads=_heads(2)),
    "hiera_huge_224": functools.partial(Hiera, stages=(2, 6, 36, 4), width=256, num_heads=_heads(4)),
    "hiera_small_abswin_256": functools.partial(
        Hiera, image_size=256, stages=(1, 2, 11, 2), layer_scale=1e-5, pooled_shortcut=True, positions=16
    ),
}
INPUT_SHAPES = {"hiera_small_abswin_256": (256, 256, 3)}
