"""MobileViT: inverted residuals, with transformers over the pixels of equal position in every 2x2 patch.

Mehta & Rastegari, "MobileViT: light-weight, general-purpose, and mobile-friendly vision transformer" (2021),
arXiv:2110.02178.

    MobileViT block    z = conv1x1(silu BN conv3x3(x))                          local
                       z = fold(LN(transformer(unfold(z))))                     global
                       y = silu BN conv3x3([x, silu BN conv1x1(z)])             fusion
    unfold             [B, H, W, D] -> [B, P P, H W / P^2, D]                   P = 2, the side of a patch
    transformer        z = z + MHA(LN(z)),  z = z + MLP(LN(z))                  for each of the P P positions by itself

A pixel attends to one pixel of every patch, and has seen its neighbors by the convolution: all pixels are joined at a
cost of (H W)^2 / P^2. Sides that P does not divide are resized to the next multiple and back. Names are those of
transformers' MobileViTForImageClassification, whose weights load unchanged, as do those of MobileViTModel with
`num_classes=0`. They take images in [0, 1] with the channels blue, green, red. timm's files load too.
"""

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.maxvit import join_sets
from dlcore.models.mobilenet_v2 import KERNEL_INIT, ConvNorm, InvertedResidual
from dlcore.models.swin import windows
from dlcore.models.torch_weights import Layout
from dlcore.nn import Conv, Dropout, LayerNorm, TransformerEncoderBlock, silu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool, resize
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "MobileViT", "MobileViTBlock", "OutputStride", "fold", "strides_of", "unfold"]

OutputStride = Literal[8, 16, 32]

DENSE_INIT = nn.initializers.normal(0.02)
_CONV_NORM = r"(^|\.)(conv_stem|conv_kxk|conv_projection|fusion|conv_1x1_exp)"
TORCH_NAMES = (
    (_CONV_NORM + r"\.0\.", r"\1\2.convolution."),
    (_CONV_NORM + r"\.1\.", r"\1\2.normalization."),
    (r"^layer\.(\d)_", r"encoder.layer.\1."),
    (r"^layer\.(\d)\.", r"encoder.layer.\1."),
    (r"\.conv\.0\.0\.", ".expand_1x1.convolution."),
    (r"\.conv\.0\.1\.", ".expand_1x1.normalization."),
    (r"\.conv\.1\.0\.", ".conv_3x3.convolution."),
    (r"\.conv\.1\.1\.", ".conv_3x3.normalization."),
    (r"\.conv\.2\.", ".reduce_1x1.convolution."),
    (r"\.conv\.3\.", ".reduce_1x1.normalization."),
    (r"\.conv_1x1\.(?=weight)", ".conv_1x1.convolution."),
    (r"\.transformer\.(\d)\.", r".transformer.layer.\1."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (
        r"^(.*)\.attn\.qkv\.(.*)",
        r"\1.attention.attention.query.\2 + \1.attention.attention.key.\2 + \1.attention.attention.value.\2",
    ),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"^head\.", "classifier."),
)
TORCH_OLD_NAMES = ((r"^mobilevit\.", ""),)
TORCH_LAYOUTS = (
    Layout(
        r"^stem\.conv\.",
        names=(
            (r"^conv_stem\.", "stem."),
            (r"^conv_1x1_exp\.", "final_conv."),
            (r"^layer\.(\d)_layer\.(\d)\.", r"stages.\1.\2."),
            (r"^layer\.(\d)_downsampling_layer\.", r"stages.\1.0."),
            (r"^layer\.(\d)\.", r"stages.\1.1."),
            (r"\.conv\.0\.", ".conv1_1x1."),
            (r"\.conv\.1\.", ".conv2_kxk."),
            (r"\.conv\.2\.", ".conv3_1x1.0."),
            (r"\.conv\.3\.", ".conv3_1x1.1."),
            (r"\.conv_projection\.", ".conv_proj."),
            (r"\.fusion\.", ".conv_fusion."),
            (r"(stem|final_conv|conv\d_\w+|conv_kxk|conv_proj|conv_fusion)\.0\.", r"\1.conv."),
            (r"(stem|final_conv|conv\d_\w+|conv_kxk|conv_proj|conv_fusion)\.1\.", r"\1.bn."),
            (r"\.layernorm\.", ".norm."),
            (r"^head\.", "head.fc."),
        ),
    ),
)
"""timm's names."""


def strides_of(stage: int, output_stride: int) -> dict[str, int]:
    """Find the stride and the dilation of the first block of a stage.

    A stage that would make the map smaller than allowed keeps its size; the next one is dilated in its place.

    Args:
      stage: 3, 4 or 5, whose strides in the image are 8, 16 and 32 where nothing is dilated.
      output_stride: the largest stride of a map, 8, 16 or 32.

    Returns:
      {"stride", "dilation"}.
    """
    stride = 2**stage
    return {"stride": 2 if stride <= output_stride else 1, "dilation": max(1, stride // output_stride // 2)}


def unfold(x: jax.Array, size: int) -> jax.Array:
    """Put the pixels of equal position in their patches together.

    Args:
      x: [B, H, W, C], H and W multiples of P.
      size: P, side of a patch.

    Returns:
      [B, P * P, H W / P^2, C].
    """
    return windows(x, size).swapaxes(1, 2)


def fold(x: jax.Array, height: int, width: int, size: int) -> jax.Array:
    """Invert `unfold`.

    Args:
      x: [B, P * P, H W / P^2, C].
      height: H.
      width: W.
      size: P, side of a patch.

    Returns:
      [B, H, W, C].
    """
    return join_sets(x.swapaxes(1, 2), height, width, size, "window")


class MobileViTBlock(CheckedFields):
    """A convolution, transformers over the pixels of equal position in every patch, and their fusion with the input.

    Args:
      features: D, channels of the transformers.
      depth: number of transformers.
      mlp_ratio: hidden units of an MLP as a multiple of D.
      patch_size: P, side of a patch.
      dropout: probability of dropping a value of an attention output or an MLP in training.
    """

    features: int
    depth: int
    num_heads: int = 4
    mlp_ratio: float = 2.0
    patch_size: int = 2
    dropout: float = 0.1
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        (height, width, channels), size = x.shape[1:], self.patch_size
        layer = functools.partial(ConvNorm, activation=silu, dtype=self.dtype, axis_name=self.axis_name)
        y = layer(channels, 3, name="conv_kxk")(x, train)
        y = Conv(self.features, (1, 1), use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT, name="conv_1x1")(y)
        sides = (height + -height % size, width + -width % size)
        y = y if sides == (height, width) else resize(y, sides, antialias=False)
        y = unfold(y, size)
        tokens = y.reshape(-1, *y.shape[2:])
        for i in range(self.depth):
            tokens = TransformerEncoderBlock(
                self.num_heads,
                int(self.features * self.mlp_ratio),
                pre_norm=True,
                activation=silu,
                dropout_rate=self.dropout,
                dtype=self.dtype,
                kernel_init=DENSE_INIT,
                name=f"transformer_{i}",
            )(tokens, train=train)
        y = fold(LayerNorm(dtype=self.dtype, name="layernorm")(tokens).reshape(y.shape), *sides, size)
        y = y if sides == (height, width) else resize(y, (height, width), antialias=False)
        y = layer(channels, 1, name="conv_projection")(y, train)
        return layer(channels, 3, name="fusion")(jnp.concatenate([x, y], -1), train)


class MobileViT(Backbone):
    """A MobileViT on [B, H, W, C]. Stages: stem, stage1 to stage5, last (strides 2, 2, 4, 8, 16, 32, 32).

    Args:
      widths: channels of the stem, of each of the five stages, and of the last convolution, which six leave out.
      hidden_sizes: channels of the transformers of the last three stages.
      depths: number of transformers of the last three stages.
      mlp_ratio: hidden units of an MLP as a multiple of a transformer's channels.
      expansion: inner channels of inverted residuals as a multiple of their input's.
      patch_size: P, side of a patch.
      dropout: probability of dropping a value of an attention output, an MLP, or before the head in training.
      output_stride: stride of the last map; below 32 the last stages keep the size and are dilated instead.
    """

    num_classes: int = 1000
    widths: tuple[int, ...] = (16, 32, 64, 96, 128, 160, 640)
    hidden_sizes: tuple[int, ...] = (144, 192, 240)
    depths: tuple[int, ...] = (2, 4, 3)
    num_heads: int = 4
    mlp_ratio: float = 2.0
    expansion: int = 4
    patch_size: int = 2
    dropout: float = 0.1
    output_stride: Annotated[OutputStride, "if changed"] = 32
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        for field, lengths in (("widths", (6, 7)), ("hidden_sizes", (3,)), ("depths", (3,))):
            if len(getattr(self, field)) not in lengths:
                allowed = " or ".join(map(str, lengths))
                raise ValueError(f"{field}={getattr(self, field)}: wrong length; allowed: {allowed} numbers")
        check_images(self, x, "conv_stem/0", smallest=1)
        fields = {"dtype": compute_dtype(self.dtype, x, self.variables), "axis_name": self.axis_name}
        layer = functools.partial(ConvNorm, activation=silu, **fields)
        residual = functools.partial(
            remat(InvertedResidual, self.remat, static_argnums=(2,)),
            expansion=self.expansion,
            activation=silu,
            **fields,
        )
        block = remat(MobileViTBlock, self.remat, static_argnums=(2,))
        x = self.perturb("stem", layer(self.widths[0], stride=2, name="conv_stem")(x, train))
        maps = {"stem": x}
        for i, width in enumerate(self.widths[1:6]):
            if i < 2:
                for j in range((1, 3)[i]):
                    x = residual(width, stride=2 if i and not j else 1, name=f"layer_{i}_layer_{j}")(x, train)
            else:
                strides = strides_of(i + 1, self.output_stride)
                x = residual(width, **strides, name=f"layer_{i}_downsampling_layer")(x, train)
                x = block(
                    self.hidden_sizes[i - 2],
                    self.depths[i - 2],
                    self.num_heads,
                    self.mlp_ratio,
                    self.patch_size,
                    self.dropout,
                    **fields,
                    name=f"layer_{i}",
                )(x, train)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        if len(self.widths) == 7:
            x = maps["last"] = self.perturb("last", layer(self.widths[6], 1, name="conv_1x1_exp")(x, train))
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))
        return self._linear(Dropout(self.dropout, deterministic=not train)(x))


MODELS = {
    "mobilevit_s": functools.partial(MobileViT),
    "mobilevit_xs": functools.partial(MobileViT, widths=(16, 32, 48, 64, 80, 96, 384), hidden_sizes=(96, 120, 144)),
    "mobilevit_xxs": functools.partial(
        MobileViT, widths=(16, 16, 24, 48, 64, 80, 320), hidden_sizes=(64, 80, 96), expansion=2, dropout=0.05
    ),
}
INPUT_SHAPES = dict.fromkeys(MODELS, (256, 256, 3))
