"""Swin transformers: attention inside windows that shift from block to block, on maps that shrink from stage to stage.

Liu et al., "Swin transformer: hierarchical vision transformer using shifted windows" (2021), arXiv:2103.14030.

    patches of 4 x 4 -> H/4 x W/4 x C;  stage i: pairs of blocks at 2^i C channels
    block      z = z + W-MSA(LN(z)),  z = z + MLP(LN(z));   every other block shifts its windows by M / 2 in both axes
    W-MSA      softmax(Q K^T / sqrt(d) + B) V in each window of M x M;  B depends on the offset alone
    merging    the 4 C values of 2 x 2 neighbors -> LN -> linear to 2 C: half the side, twice the channels

Attention costs 2 M^2 H W C, linear in the size of the image; a ViT's costs 2 (H W)^2 C. A shifted map is rolled, so its
last windows hold up to four pieces of the map that are not adjacent: a mask keeps attention inside each. Maps that the
window does not divide are padded with zeros at the right and below, which take part in attention as in torchvision
(whose mask adds -100 in place of -inf; the same in float32). Where one window covers a side, nothing shifts along it.
Names are torchvision's, except for norm, head, the layers of the MLP, and the table of the bias; transformers',
timm's and those of Microsoft's files load too.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number, is_whole_number
from dlcore.learner import Range
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.torch_weights import Layout
from dlcore.nn import Conv, Dense, FeedForward, LayerNorm, MultiHeadAttention, RelativePositionBias, drop_path, gelu
from dlcore.nn.initializers import torch_default
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of

__all__ = ["MODELS", "PatchMerging", "Swin", "SwinBlock", "join_windows", "shift_mask", "windows"]

KERNEL_INIT = nn.initializers.normal(0.02)
TORCH_NAMES = (
    (r"\.bias_table\.weight$", ".attn.relative_position_bias_table"),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
)
TORCH_IGNORED = r"\.relative_position_index$"


def _stage_names(front: str, first: int = 0) -> tuple:
    """Names of the blocks of a stage, and of the merging of patches between stages i and i + 1 in stage i + first."""
    return (
        (r"^features\.(\d+)\.(\d+)\.", lambda m: f"{front}layers.{int(m[1]) // 2}.blocks.{m[2]}."),
        (
            r"^features\.(\d+)\.(norm|reduction)\.",
            lambda m: f"{front}layers.{int(m[1]) // 2 - 1 + first}.downsample.{m[2]}.",
        ),
    )


def _timm(pattern: str, first: int) -> Layout:
    """Names of timm, whose stage `i + first` merges the patches between stages i and i + 1."""
    return Layout(
        pattern,
        names=(
            (r"^features\.0\.0\.", "patch_embed.proj."),
            (r"^features\.0\.2\.", "patch_embed.norm."),
            *_stage_names("", first),
            (r"\.bias_table\.weight$", ".attn.relative_position_bias_table"),
        ),
        older=((r"^head\.fc\.", "head."),),
        ignored=r"\.(relative_position_index|attn_mask)$",
    )


TRANSFORMERS_NAMES = (
    (r"^features\.0\.0\.", "embeddings.patch_embeddings.projection."),
    (r"^features\.0\.2\.", "embeddings.norm."),
    (r"^norm\.", "layernorm."),
    (r"^head\.", "classifier."),
    *_stage_names("encoder."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
)
"""Names in transformers of what Swin and Swin V2 have in common."""
_BIAS_TABLE = ".attention.relative_position_bias.relative_position_bias_table"
TORCH_LAYOUTS = (
    Layout(
        r"^embeddings\.patch_embeddings\.",
        names=(
            *TRANSFORMERS_NAMES,
            (r"\.bias_table\.weight$", _BIAS_TABLE),
            (r"\.attn\.proj\.", ".attention.o_proj."),
            (r"^(.*)\.attn\.qkv\.(.*)", r"\1.attention.q_proj.\2 + \1.attention.k_proj.\2 + \1.attention.v_proj.\2"),
        ),
        older=(
            (r"^(swin|donut)\.", ""),
            (r"\.attention\.self\.(q|k|v)(?:uery|ey|alue)\.", r".attention.\1_proj."),
            (r"\.attention\.self\.relative_position_bias_table$", _BIAS_TABLE),
            (r"\.attention\.output\.dense\.", ".attention.o_proj."),
            (r"\.intermediate\.dense\.", ".mlp.fc1."),
            (r"\.output\.dense\.", ".mlp.fc2."),
        ),
        ignored=r"\.relative_position_index$|(^|\.)embeddings\.mask_token$",
    ),
    _timm(r"^layers\.0\.downsample\.", 0),
    _timm(r"^patch_embed\.proj\.", 1),
)
"""SwinForImageClassification and SwinModel of transformers, today's names and older ones; timm's before 0.9, which are
Microsoft's, and timm's of today."""


def windows(x: jax.Array, size: int | tuple[int, ...]) -> jax.Array:
    """Cut a map into windows.

    Args:
      x: [B, H, W, ...], H and W multiples of M; of a clip [B, T, H, W, ...].
      size: M, side of a window; or the window's length along each axis, such as (frames, rows, columns).

    Returns:
      [B, H / M * W / M, M * M, ...]: windows and their pixels, both in row order.
    """
    axes = len(size) if isinstance(size, Sequence) else 2
    size, counts = _lengths(size, x.shape[1 : 1 + axes], axes)
    rest = x.shape[1 + axes :]
    x = x.reshape(x.shape[0], *itertools.chain(*zip(counts, size, strict=True)), *rest)
    order = (0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), *range(2 * axes + 1, x.ndim))
    return x.transpose(order).reshape(x.shape[0], math.prod(counts), math.prod(size), *rest)


def join_windows(x: jax.Array, sides: Sequence[int], size: int | tuple[int, ...]) -> jax.Array:
    """Invert `windows`.

    Args:
      x: [B, H / M * W / M, M * M, C], windows of a map.
      sides: (H, W); of a clip (T, H, W).
      size: M, side of a window; or the window's length along each axis.

    Returns:
      [B, H, W, C].
    """
    axes = len(sides)
    size, counts = _lengths(size, sides, axes)
    check_shapes(x=(x, f"B {math.prod(counts)} {math.prod(size)} C"))
    x = x.reshape(x.shape[0], *counts, *size, x.shape[-1])
    order = (0, *itertools.chain(*((1 + i, 1 + axes + i) for i in range(axes))), 2 * axes + 1)
    return x.transpose(order).reshape(x.shape[0], *sides, x.shape[-1])


def shift_mask(sides: Sequence[int], size: int | tuple[int, ...], shift: Sequence[int]) -> np.ndarray:
    """Mark the pairs of pixels of a rolled map's windows that were neighbors before.

    Args:
      sides: (height, width) of the map, multiples of `size`; of a clip (T, H, W).
      size: M, side of a window; or the window's length along each axis.
      shift: rows up and columns left by which the map was rolled; 0 for neither. Of a clip (frames, rows, columns).

    Returns:
      [windows, M * M, M * M] bool: whether two pixels come from the same region of the map.
    """
    size, _ = _lengths(size, sides, len(sides))
    if len(shift) != len(sides) or not all(is_whole_number(n) and 0 <= n < m for n, m in zip(shift, size, strict=True)):
        raise ValueError(f"shift={tuple(shift)}: not within a window; allowed: for each axis, 0 to {min(size) - 1}")
    region_ids = np.zeros((1, *sides), np.int32)
    for axis, (side, length, step) in enumerate(zip(sides, size, shift, strict=True)):
        edge = [0] * (side - length) + [1] * (length - step) + [2] * step if step else [0] * side
        other_axes = [0, *(1 + other for other in range(len(sides)) if other != axis)]
        region_ids = 3 * region_ids + np.expand_dims(np.array(edge), other_axes)
    region_ids = np.asarray(windows(region_ids, size))[0]
    return region_ids[:, :, None] == region_ids[:, None, :]


def _lengths(size: Any, sides: Sequence[int], axes: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(The window's length, the number of windows) along each axis of a map, which they must cover."""
    lengths = tuple(size) if isinstance(size, Sequence) else (size,) * axes
    for length in lengths:
        check_whole_number("size", length, 1)
    if not len(lengths) == len(sides) == axes or any(
        side < 1 or side % n for side, n in zip(sides, lengths, strict=True)
    ):
        raise ValueError(f"size={size}: does not cover a map of sides {tuple(sides)}; allowed: a divisor of each side")
    return lengths, tuple(side // length for side, length in zip(sides, lengths, strict=True))


class SwinBlock(CheckedFields):
    """Attention in (shifted) windows and an MLP, each with a residual connection.

    Args:
      window_size: M, side of a window.
      shift: shift of the windows in patches, in both axes.
      hidden: hidden units of the MLP.
      dropout: probability of dropping a value of the attention output and the MLP in training.
      attention_dropout: probability of dropping an attention weight.
      always_shift: shift windows along a side that one window covers, too.
    """

    num_heads: int
    window_size: int = 7
    shift: int = 0
    hidden: int = 384
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = None
    always_shift: Annotated[bool, "if changed"] = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        attended = self._attend(LayerNorm(dtype=self.dtype, name="norm1")(x), train)
        x = x + drop_path(attended, self.drop_path, train)
        return x + drop_path(self._mlp(LayerNorm(dtype=self.dtype, name="norm2")(x), train), self.drop_path, train)

    def _mlp(self, x: jax.Array, train: bool) -> jax.Array:
        return FeedForward(self.hidden, gelu, self.dropout, self.dtype, KERNEL_INIT, name="mlp")(x, train)

    def _window(self, sides: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sides of a window on a map of these sides."""
        return (self.window_size, self.window_size)

    def _shift(self) -> tuple[int, ...]:
        return (self.shift, self.shift)

    def _bias(self, window: tuple[int, ...]) -> jax.Array:
        """Return the bias of the pairs of pixels of a window."""
        return RelativePositionBias(window, self.num_heads, name="bias_table")()

    def _attention_fields(self) -> dict[str, Any]:
        """Return the fields of the attention in which a variant differs."""
        return {}

    def _attend(self, x: jax.Array, train: bool) -> jax.Array:
        shape, axes = x.shape, tuple(range(1, x.ndim - 1))
        window = self._window(shape[1:-1])
        pad = [(0, -side % length) for side, length in zip(shape[1:-1], window, strict=True)]
        x = jnp.pad(x, ((0, 0), *pad, (0, 0)))
        sides = x.shape[1:-1]
        zipped = zip(self._shift(), sides, window, strict=True)
        shift = tuple(step if side > length or self.always_shift else 0 for step, side, length in zipped)
        bias, mask = self._bias(window), None
        if any(shift):
            x = jnp.roll(x, [-step for step in shift], axes)
            mask = shift_mask(sides, window, shift)[:, None]
        layer = MultiHeadAttention(
            self.num_heads,
            fused_qkv=True,
            dropout_rate=self.attention_dropout,
            dtype=self.dtype,
            kernel_init=KERNEL_INIT,
            name="attn",
            **self._attention_fields(),
        )
        mask = None if mask is None else jnp.asarray(mask)
        x = join_windows(layer(windows(x, window), bias=bias, mask=mask, train=train), sides, window)
        x = jnp.roll(x, shift, axes) if any(shift) else x
        x = x[tuple(slice(side) for side in shape[:-1])]
        return nn.Dropout(self.dropout)(x, deterministic=not train)


class PatchMerging(CheckedFields):
    """Concatenate every 2x2 neighboring patches, normalize them and project them to twice the channels."""

    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Merge patches; an odd side is first padded by a row or column of zeros.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / 2), ceil(W / 2), 2 C].
        """
        return self._reduce(LayerNorm(dtype=self.dtype, name="norm")(self._neighbors(x)))

    def _neighbors(self, x: jax.Array) -> jax.Array:
        """[..., H, W, C] -> [..., ceil(H / 2), ceil(W / 2), 4 C]."""
        sides = [(0, side % 2) for side in x.shape[-3:-1]]
        x = jnp.pad(x, (*((0, 0),) * (x.ndim - 3), *sides, (0, 0)))
        return jnp.concatenate([x[..., dy::2, dx::2, :] for dx in (0, 1) for dy in (0, 1)], -1)

    def _reduce(self, x: jax.Array) -> jax.Array:
        """[..., 4 C] -> [..., 2 C]."""
        features = x.shape[-1] // 2
        return Dense(features, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT, name="reduction")(x)


class Swin(Backbone):
    """A Swin transformer on [B, H, W, C]. Stages stage1 to stage4, of strides P, 2 P, 4 P and 8 P with P = patch_size.

    Args:
      width: channels of the first stage; each further stage doubles them.
      num_heads: attention heads of each stage.
      patch_size: P, side in pixels of a patch.
      window_size: M, side of a window of attention, in patches.
      windows: that of each stage, in place of `window_size`; () for the same in all.
      mlp_ratio: hidden units of a block's MLP, as a multiple of its channels.
      dropout: probability of dropping a value of each block's attention output and MLP in training.
      attention_dropout: probability of dropping an attention weight.
      always_shift: shift windows along a side that one window covers, too, as transformers' backbones do.
      last_norm: normalize the last map (Donut's does not).
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (2, 2, 6, 2)
    width: Annotated[int, Range(1)] = 96
    num_heads: tuple[int, ...] = (3, 6, 12, 24)
    patch_size: Annotated[int, Range(1)] = 4
    window_size: Annotated[int, Range(1)] = 7
    mlp_ratio: float = 4.0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.2
    remat: Remat = "none"
    always_shift: Annotated[bool, "if changed"] = False
    windows: Annotated[tuple[int, ...], Range(1), "if changed"] = ()
    last_norm: Annotated[bool, "if changed"] = True

    def _block(self) -> type[SwinBlock]:
        return SwinBlock

    def _block_fields(self, i: int, j: int) -> dict[str, Any]:
        """Return the fields of block j of stage i in which a variant differs."""
        return {}

    def _merging(self) -> type[PatchMerging]:
        return PatchMerging

    def _patch(self) -> tuple[int, ...]:
        """Return the sides of a patch."""
        return (self.patch_size, self.patch_size)

    def _checked(self, x: jax.Array) -> jax.Array:
        """Return what the patches are cut from, once it is known to fit."""
        check_images(self, x, "features_0_0", smallest=self.patch_size)
        return x

    def _embedded(self, x: jax.Array, train: bool) -> jax.Array:
        """Return what the first stage reads, from the normalized patches."""
        return x

    @nn.compact
    def last_map(self, x: jax.Array, masked: jax.Array | None = None, mask_token: jax.Array | None = None) -> jax.Array:
        """Encode images of which some patches may be hidden.

        Args:
          x: [B, H, W, C], images.
          masked: [B, N] bool, patches in whose place `mask_token` stands; None: none.
          mask_token: [width], in place of an embedded patch; None where `masked` is None.

        Returns:
          [B, h, w, channels], the last stage's map after the last norm, at least float32.
        """
        x, _ = self._stages(x, False, masked, mask_token)
        return LayerNorm(dtype=acc_dtype_of(x.dtype), name="norm")(x)

    def _stages(
        self, x: jax.Array, train: bool, masked: jax.Array | None = None, mask_token: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        if len(self.num_heads) != len(self.stages):
            raise ValueError(f"num_heads={self.num_heads}: wrong length; allowed: one a stage, {len(self.stages)}")
        if self.windows and len(self.windows) != len(self.stages):
            raise ValueError(f"windows={self.windows}: wrong length; allowed: one a stage, {len(self.stages)}, or none")
        x = self._checked(x)
        dtype, patch = compute_dtype(self.dtype, x, self.variables), self._patch()
        x = Conv(self.width, patch, patch, "VALID", dtype=dtype, kernel_init=torch_default(), name="features_0_0")(x)
        x = LayerNorm(dtype=dtype, name="features_0_2")(x)
        if masked is not None:
            x = jnp.where(masked.reshape(*x.shape[:3], 1), mask_token.astype(x.dtype), x)
        x = self._embedded(x, train)
        block, maps, block_idx = self._block(), {}, 0
        block = remat(block, self.remat, static_argnums=(2,))
        for i, blocks in enumerate(self.stages):
            if i > 0:
                x = self._merging()(dtype, name=f"features_{2 * i}")(x)
            window = self.windows[i] if self.windows else self.window_size
            for j in range(blocks):
                x = block(
                    self.num_heads[i],
                    window,
                    shift=window // 2 if j % 2 else 0,
                    hidden=int(x.shape[-1] * self.mlp_ratio),
                    dropout=self.dropout,
                    attention_dropout=self.attention_dropout,
                    drop_path=self.drop_path * block_idx / max(sum(self.stages) - 1, 1),
                    dtype=dtype,
                    always_shift=self.always_shift,
                    name=f"features_{2 * i + 1}_{j}",
                    **self._block_fields(i, j),
                )(x, train)
                block_idx += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = x.astype(acc_dtype_of(x.dtype))
        x = LayerNorm(dtype=x.dtype, name="norm")(x) if self.last_norm else x
        return self._linear(x.mean(tuple(range(1, x.ndim - 1))))


MODELS = {
    "swin_t": functools.partial(Swin),
    "swin_s": functools.partial(Swin, stages=(2, 2, 18, 2), drop_path=0.3),
    "swin_b": functools.partial(Swin, stages=(2, 2, 18, 2), width=128, num_heads=(4, 8, 16, 32), drop_path=0.5),
}
