"""MobileViT v2: MobileViT with attention whose cost is linear in the number of patches.

Mehta & Rastegari, "Separable self-attention for mobile vision transformers" (2022), arXiv:2206.02680.

    block       y = BN conv1x1(fold(GN(transformer(unfold(conv1x1(silu BN depthwise3x3(x)))))))      GN: one group
    attention   W_o(relu(v_n) * c),   c = sum_m softmax_m(q_m) k_m,   q_m: one number, k_m and v_m: vectors

Patches and unfold are those of `mobilevit.py`; rows and columns that fill no patch are 0 behind the fold. Names are
those of transformers' MobileViTV2ForImageClassification, and of MobileViTV2Model with `num_classes=0`. The published
networks take images in [0, 1] with the channels blue, green, red.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models import mobilevit
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import KERNEL_INIT, ConvNorm, InvertedResidual, round_channels
from dlcore.models.mobilevit import DENSE_INIT, OutputStride, fold, strides_of, unfold
from dlcore.nn import Conv, Dense, GroupNorm, silu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "MobileViTV2", "MobileViTV2Block", "SeparableTransformer"]

TORCH_NAMES = (
    *mobilevit.TORCH_NAMES,
    (r"\.(attention|ffn)_(\w+)\.(?=weight|bias)", r".\1.\2.convolution."),
)
TORCH_OLD_NAMES = ((r"^mobilevitv2\.", ""),)


class SeparableTransformer(CheckedFields):
    """Separable self-attention and a perceptron, each with a residual connection.

    Args:
      hidden: units of the perceptron.
      dropout: probability of dropping a value of the perceptron in training.
      attention_dropout: probability of dropping an attention weight.
      epsilon: added to variances by the group norms.
    """

    hidden: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    epsilon: float = 1e-5
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the transformer.

        Args:
          x: [B, P * P, N, C], N patches, which attend to each other at each of the P * P positions by itself.

        Returns:
          [B, P * P, N, C].
        """
        channels, norm = x.shape[-1], functools.partial(GroupNorm, 1, epsilon=self.epsilon, dtype=self.dtype)
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=DENSE_INIT)
        dropped = functools.partial(nn.Dropout(self.dropout), deterministic=not train)
        qkv = dense(1 + 2 * channels, name="attention_qkv_proj")(norm(name="norm1")(x))
        query, key, value = jnp.split(qkv, (1, 1 + channels), -1)
        weights = nn.Dropout(self.attention_dropout)(nn.softmax(query, 2), deterministic=not train)
        context = (weights * key).sum(2, keepdims=True)
        x = x + dense(channels, name="attention_out_proj")(nn.relu(value) * context)
        y = dropped(silu(dense(self.hidden, name="ffn_conv1")(norm(name="norm2")(x))))
        return x + dropped(dense(channels, name="ffn_conv2")(y))


class MobileViTV2Block(CheckedFields):
    """A depthwise convolution, and transformers over the pixels of equal position in every patch.

    Args:
      features: channels of the transformers.
      depth: number of transformers.
      mlp_ratio: hidden units of a perceptron as a multiple of `features`, rounded down to multiples of 16.
      patch_size: P, side of a patch.
      dropout: probability of dropping a value of a perceptron in training.
      attention_dropout: probability of dropping an attention weight.
      epsilon: added to variances by the group norms.
    """

    features: int
    depth: int
    mlp_ratio: float = 2.0
    patch_size: int = 2
    dropout: float = 0.0
    attention_dropout: float = 0.0
    epsilon: float = 1e-5
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block: [B, H, W, C] -> [B, H, W, C]."""
        (height, width, channels), size = x.shape[1:], self.patch_size
        layer = functools.partial(ConvNorm, channels, dtype=self.dtype, axis_name=self.axis_name)
        y = layer(3, groups=channels, activation=silu, name="conv_kxk")(x, train)
        y = Conv(self.features, (1, 1), use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT, name="conv_1x1")(y)
        rows, columns = height - height % size, width - width % size
        y = unfold(y[:, :rows, :columns], size)
        hidden = int(self.mlp_ratio * self.features // 16 * 16)
        rates = (self.dropout, self.attention_dropout)
        for i in range(self.depth):
            y = SeparableTransformer(hidden, *rates, self.epsilon, self.dtype, name=f"transformer_{i}")(y, train)
        y = GroupNorm(1, epsilon=self.epsilon, dtype=self.dtype, name="layernorm")(y)
        y = fold(y, rows, columns, size)
        y = jnp.pad(y, ((0, 0), (0, height - rows), (0, width - columns), (0, 0)))
        return layer(1, activation=None, name="conv_projection")(y, train)


class MobileViTV2(Backbone):
    """A MobileViT v2 on [B, H, W, C]. Stages: stem, stage1 to stage5 (strides 2, 2, 4, 8, 16, 32).

    Args:
      width_mult: multiplier of all channels, rounded to multiples of 8 (stage1: 16); the stem has 16 to 64.
      hidden_sizes: channels of the transformers of the last three stages, before `width_mult`.
      depths: number of transformers of the last three stages.
      mlp_ratio: hidden units of a perceptron as a multiple of a transformer's channels.
      expansion: inner channels of inverted residuals as a multiple of their input's.
      patch_size: side of a patch.
      dropout: probability of dropping a value of a perceptron in training.
      attention_dropout: probability of dropping an attention weight.
      epsilon: added to variances by the group norms.
      output_stride: stride of the last map; below 32 the last stages keep the size and are dilated instead.
    """

    num_classes: int = 1000
    width_mult: float = 1.0
    hidden_sizes: tuple[int, ...] = (128, 192, 256)
    depths: tuple[int, ...] = (2, 4, 3)
    mlp_ratio: float = 2.0
    expansion: int = 2
    patch_size: int = 2
    dropout: float = 0.0
    attention_dropout: float = 0.0
    epsilon: Annotated[float, "if changed"] = 1e-5
    output_stride: Annotated[OutputStride, "if changed"] = 32
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "conv_stem/0", smallest=1)
        fields = {"dtype": compute_dtype(self.dtype, x, self.variables), "axis_name": self.axis_name}
        residual = functools.partial(
            remat(InvertedResidual, self.remat, static_argnums=(2,)),
            expansion=self.expansion,
            activation=silu,
            **fields,
        )
        block = remat(MobileViTV2Block, self.remat, static_argnums=(2,))
        stem = round_channels(min(max(32 * self.width_mult, 16), 64))
        x = ConvNorm(stem, stride=2, activation=silu, **fields, name="conv_stem")(x, train)
        x = self.perturb("stem", x)
        maps = {"stem": x}
        for i, channels in enumerate((64, 128, 256, 384, 512)):
            width = round_channels(channels * self.width_mult, 8 if i else 16)
            if i < 2:
                for j in range(i + 1):
                    x = residual(width, stride=2 if i and not j else 1, name=f"layer_{i}_layer_{j}")(x, train)
            else:
                strides = strides_of(i + 1, self.output_stride)
                x = residual(width, **strides, name=f"layer_{i}_downsampling_layer")(x, train)
                x = block(
                    round_channels(self.hidden_sizes[i - 2] * self.width_mult),
                    self.depths[i - 2],
                    self.mlp_ratio,
                    self.patch_size,
                    self.dropout,
                    self.attention_dropout,
                    self.epsilon,
                    **fields,
                    name=f"layer_{i}",
                )(x, train)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps


WIDTHS = {"050": 0.5, "075": 0.75, "100": 1.0, "125": 1.25, "150": 1.5, "175": 1.75, "200": 2.0}
MODELS = {f"mobilevitv2_{name}": functools.partial(MobileViTV2, width_mult=width) for name, width in WIDTHS.items()}
INPUT_SHAPES = dict.fromkeys(MODELS, (256, 256, 3))
