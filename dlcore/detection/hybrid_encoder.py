"""RT-DETR's hybrid encoder: attention within the coarsest map, convolutions between the maps.

Zhao et al. 2023, arXiv:2304.08069, section 4.2.

    within       transformer encoder on the locations of the coarsest map
    top down     f_l = fusion([up2(lateral(f_{l + 1})), s_l])
    bottom up    p_l = fusion([down2(p_{l - 1}), lateral of f_l])
    fusion       conv1x1(x) through RepVGG blocks, three by default, plus another conv1x1(x)

The fusion "elan" is D-FINE's (Peng et al. 2024, arXiv:2410.13842): conv1x1 [a, b, c, d], where [a, b] are the halves of
conv1x1(x), c = conv3x3(fusion(b)) and d = conv3x3(fusion(c)). With it the lateral layers have no activation, and down2
is a 1x1 and then a depthwise convolution, without one either. The fusion "sum" is DEIMv2's (Huang et al. 2025,
arXiv:2509.20787): f_l = fusion(up2(...) + s_l), and so on, and conv1x1 [a, b, c, d], c = csp(b), d = csp(c), where csp
is conv3x3(y + RepVGG blocks (z)) of the halves [y, z] of conv1x1(x).

Without levels of attention it is a path aggregation network (PAN; Liu et al. 2018, arXiv:1803.01534) of
cross-stage-partial fusions.
"""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.nn import BatchNorm, Conv, TransformerEncoderBlock
from dlcore.nn.position import grid_positions
from dlcore.ops.resize import resize

__all__ = ["HYBRID_NAMES", "ConvNorm", "HybridEncoder", "SumFusion", "attend_within"]

HYBRID_NAMES = (
    (r"^model\.encoder\.aifi\.(\d+)\.(\d+)\.", r"model.encoder.aifi.\1.layers.\2."),
    (r"(\.aifi\.\d+\.layers\.\d+)\.attn\.", r"\1.self_attn."),
    (r"(\.aifi\.\d+\.layers\.\d+)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(\.aifi\.\d+\.layers\.\d+)\.norm2\.", r"\1.final_layer_norm."),
)
"""From names behind "model.encoder." to transformers', before `dlcore.detection.detr_names.QUERY_NAMES`."""


class ConvNorm(nn.Module):
    """Convolution without a bias, batch norm, and an activation: [B, H, W, C] -> [B, H', W', features].

    Submodules `conv` and `norm`.

    Args:
      features: output channels.
      side: side of the kernel.
      stride: step between windows.
      activation: function at the end; None for none.
      groups: groups of channels.
    """

    features: int
    side: int = 1
    stride: int = 1
    activation: Any = nn.silu
    groups: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the layers: [B, H, W, C] -> [B, H', W', features]."""
        x = Conv(
            self.features,
            (self.side, self.side),
            self.stride,
            padding=(self.side - 1) // 2,
            use_bias=False,
            feature_group_count=self.groups,
            dtype=self.dtype,
            name="conv",
        )(x)
        x = BatchNorm(not train, dtype=self.dtype, name="norm")(x)
        return x if self.activation is None else self.activation(x)


class _RepBlock(nn.Module):
    """silu(BN conv3x3(x) + BN conv1x1(x))."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        layer = partial(ConvNorm, self.features, activation=None, dtype=self.dtype)
        return nn.silu(layer(side=3, name="conv1")(x, train) + layer(name="conv2")(x, train))


class _Fusion(nn.Module):
    """Cross-stage-partial layer: one half goes through blocks, the other around them."""

    features: int
    hidden_features: int
    num_blocks: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        layer = partial(ConvNorm, dtype=self.dtype)
        y = layer(self.hidden_features, name="conv1")(x, train)
        for i in range(self.num_blocks):
            y = _RepBlock(self.hidden_features, self.dtype, name=f"bottlenecks_{i}")(y, train)
        y = y + layer(self.hidden_features, name="conv2")(x, train)
        return y if self.hidden_features == self.features else layer(self.features, name="conv3")(y, train)


class _ElanFusion(nn.Module):
    """Efficient layer aggregation: one half of the channels passes through two fusions, and every step is kept."""

    features: int
    hidden_features: int
    num_blocks: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        hidden, layer = self.hidden_features, partial(ConvNorm, dtype=self.dtype)
        parts = jnp.split(layer(2 * self.features, name="conv1")(x, train), 2, axis=-1)
        for i in (1, 2):
            y = _Fusion(hidden, hidden, self.num_blocks, self.dtype, name=f"csp_rep{i}")(parts[-1], train)
            parts.append(layer(hidden, 3, name=f"conv{i + 1}")(y, train))
        return layer(self.features, name="conv4")(jnp.concatenate(parts, -1), train)


class _HalvesFusion(nn.Module):
    """Cross-stage-partial layer of the halves of one convolution."""

    features: int
    num_blocks: int
    last: bool
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y, z = jnp.split(ConvNorm(2 * self.features, dtype=self.dtype, name="conv1")(x, train), 2, axis=-1)
        for i in range(self.num_blocks):
            z = _RepBlock(self.features, self.dtype, name=f"bottlenecks_{i}")(z, train)
        return ConvNorm(self.features, 3, dtype=self.dtype, name="conv2")(y + z, train) if self.last else y + z


class SumFusion(nn.Module):
    """DEIMv2's fusion of maps that were added: [B, H, W, C] -> [B, H, W, features].

    Args:
      features: output channels.
      hidden_features: channels of each of the two inner layers.
      num_blocks: RepVGG blocks of each.
      last: each ends in a 3x3 convolution.
    """

    features: int
    hidden_features: int
    num_blocks: int
    last: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the layers: [B, H, W, C] -> [B, H, W, features]."""
        layer = partial(ConvNorm, dtype=self.dtype)
        parts = jnp.split(layer(2 * self.features, name="conv1")(x, train), 2, axis=-1)
        for i in (1, 2):
            inner = _HalvesFusion(self.hidden_features, self.num_blocks, self.last, self.dtype, name=f"csp_rep{i}")
            parts.append(inner(parts[-1], train))
        return layer(self.features, name="conv2")(jnp.concatenate(parts, -1), train)


class _Downsampling(nn.Module):
    """1x1 convolution, then a depthwise one of stride 2."""

    features: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        layer = partial(ConvNorm, self.features, activation=None, dtype=self.dtype)
        return layer(3, 2, groups=self.features, name="conv2")(layer(name="conv1")(x, train), train)


def attend_within(
    maps: Sequence[jax.Array],
    levels: Sequence[int],
    num_layers: int,
    num_heads: int,
    hidden_features: int,
    **fields: Any,
) -> list[jax.Array]:
    """Build and apply the transformer encoders of some maps; call in a compact module.

    Args:
      maps: [B, h, w, D] of each level.
      levels: indices of the maps that get an encoder.
      num_layers: layers of each encoder.
      num_heads: heads of its attention.
      hidden_features: units of its perceptron.
      **fields: train, dropout_rate and dtype.

    Returns:
      The maps.
    """
    train, outputs = fields.pop("train"), list(maps)
    for i, level in enumerate(levels):
        x = outputs[level]
        _, rows, columns, features = x.shape
        across, down = np.split(grid_positions(rows, columns, features), 2, axis=-1)
        position = jnp.asarray(np.concatenate([down, across], -1), x.dtype)
        tokens = x.reshape(x.shape[0], -1, features)
        for j in range(num_layers):
            gelu = partial(nn.gelu, approximate=False)
            block = TransformerEncoderBlock(
                num_heads, hidden_features, activation=gelu, fused_qkv=False, name=f"aifi_{i}_{j}", **fields
            )
            tokens = block(tokens, train, position=position)
        outputs[level] = tokens.reshape(x.shape)
    return outputs


class HybridEncoder(nn.Module):
    """The encoder: maps [B, h, w, D] -> maps of the same shapes.

    Args:
      levels: indices of the maps with attention.
      num_layers: layers of each attention.
      num_heads: heads of the attention.
      hidden_features: units of its perceptron.
      expansion: channels inside a fusion, in those of the maps.
      num_blocks: RepVGG blocks of a fusion; with elan of each of its two.
      fusion: csp (RT-DETR), elan (D-FINE) or sum (DEIMv2).
      dropout_rate: dropout rate of the attention in training.
      last_conv: with sum, the inner layers of a fusion end in a 3x3 convolution.
    """

    levels: tuple[int, ...] = (2,)
    num_layers: int = 1
    num_heads: int = 8
    hidden_features: int = 1024
    expansion: float = 1.0
    num_blocks: int = 3
    fusion: Literal["csp", "elan", "sum"] = "csp"
    dropout_rate: float = 0.0
    dtype: Any = None
    last_conv: Annotated[bool, "if changed"] = True

    @nn.compact
    def __call__(self, maps: Sequence[jax.Array], train: bool = False) -> list[jax.Array]:
        """Mix the maps.

        [B, h, w, D] of each level, finest first, each of half the size of the one before -> the maps, finest first.
        """
        check_choice("fusion", self.fusion, ("csp", "elan", "sum"))
        features = maps[0].shape[-1]
        fields = {"train": train, "dropout_rate": self.dropout_rate, "dtype": self.dtype}
        maps = attend_within(maps, self.levels, self.num_layers, self.num_heads, self.hidden_features, **fields)
        lateral = partial(ConvNorm, features, dtype=self.dtype)
        downsample = partial(ConvNorm, features, 3, 2, dtype=self.dtype)
        fusion = partial(_Fusion, features, int(features * self.expansion), self.num_blocks, dtype=self.dtype)
        if self.fusion != "csp":
            lateral, downsample = partial(lateral, activation=None), partial(_Downsampling, features, self.dtype)
            fusion = partial(_ElanFusion, features, round(features * self.expansion / 2), self.num_blocks, self.dtype)
        if self.fusion == "sum":
            hidden = round(features * self.expansion // 2)
            fusion = partial(SumFusion, features, hidden, self.num_blocks, self.last_conv, self.dtype)

        def merge(x: jax.Array, y: jax.Array) -> jax.Array:
            return x + y if self.fusion == "sum" else jnp.concatenate([x, y], -1)

        # Top down.
        fused, count = [maps[-1]], len(maps) - 1
        for i in range(count):
            fused[-1] = lateral(name=f"lateral_convs_{i}")(fused[-1], train)
            finer = maps[count - i - 1]
            up = resize(fused[-1], finer.shape[1:3], "nearest")
            fused.append(fusion(name=f"fpn_blocks_{i}")(merge(up, finer), train))
        fused.reverse()
        # Bottom up.
        outputs = [fused[0]]
        for i in range(count):
            down = downsample(name=f"downsample_convs_{i}")(outputs[-1], train)
            outputs.append(fusion(name=f"pan_blocks_{i}")(merge(down, fused[i + 1]), train))
        return outputs
