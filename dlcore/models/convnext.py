"""ConvNeXt: a ResNet modernized after the vision transformers that stays convolutional.

Liu et al., "A ConvNet for the 2020s" (2022), arXiv:2201.03545.

    patches of 4 x 4 -> LN;  stage i: blocks at 2^i C channels, behind LN -> conv 2x2, stride 2 where i > 0
    block      y = x + gamma * W_2 gelu(W_1 LN(depthwise 7x7(x)))        W_1: C -> 4 C; gamma: a scale a channel
    logits = head(LN(mean over the map))

The 7 x 7 depthwise convolution mixes positions as attention in a window would, the two dense layers are a transformer's
MLP, and each block has one norm and one activation. gamma starts at 1e-6 (layer scale), so that every block starts near
the identity. Names are torchvision's, except for the head.
"""

import functools
from typing import Annotated, Any

import jax
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.torch_weights import Layout
from dlcore.nn import ACTIVATIONS, Conv, Dense, GlobalResponseNorm, LayerNorm, drop_path, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import acc_dtype_of, to_acc_dtype

__all__ = ["MODELS", "ConvNeXt", "ConvNeXtBlock"]

EPSILON = 1e-6
KERNEL_INIT = nn.initializers.normal(0.02)
TORCH_NAMES = ((r"^head\.", "classifier.2."),)
_TIMM = (
    (r"^features\.0\.(\d)\.", r"stem.\1."),
    (r"^features\.(\d)\.(\d+)\.(?=block|layer_scale)", lambda m: f"stages.{int(m[1]) // 2}.blocks.{m[2]}."),
    (r"^features\.(\d)\.(?=\d)", lambda m: f"stages.{int(m[1]) // 2}.downsample."),
    (r"^classifier\.0\.", "head.norm."),
    (r"^pre_logits\.", "head.pre_logits.fc."),
    (r"^head\.(?=weight|bias)", "head.fc."),
    (r"\.block\.0\.", ".conv_dw."),
    (r"\.block\.2\.", ".norm."),
    (r"\.block\.3\.", ".mlp.fc1."),
    (r"\.block\.5\.", ".mlp.fc2."),
    (r"\.layer_scale$", ".gamma"),
)
FACEBOOK_NAMES = (
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.pwconv(\d)\.", r".mlp.fc\1."),
    (r"^norm\.", "head.norm."),
    (r"^head\.(?=weight|bias)", "head.fc."),
)
"""What turns facebook's names into timm's."""
TORCH_LAYOUTS = (
    Layout(
        r"^stem\.0\.",
        names=_TIMM,
        older=(
            *FACEBOOK_NAMES,
            # transformers'
            (r"^(convnext\.)?embeddings\.patch_embeddings\.", "stem.0."),
            (r"^(convnext\.)?embeddings\.layernorm\.", "stem.1."),
            (r"^(convnext\.)?layernorm\.", "head.norm."),
            (r"^classifier\.(?=weight|bias)", "head.fc."),
            (r"^(convnext\.)?encoder\.stages\.(\d)\.layers\.", r"stages.\2.blocks."),
            (r"^(convnext\.)?encoder\.stages\.(\d)\.downsampling_layer\.", r"stages.\2.downsample."),
            (r"\.layernorm\.", ".norm."),
            (r"\.layer_scale_parameter$", ".gamma"),
        ),
    ),
)
"""timm's names, and what turns facebook's and those of transformers' ConvNextForImageClassification into them."""


class ConvNeXtBlock(CheckedFields):
    """A depthwise convolution and two dense layers beside the shortcut.

    Args:
      layer_scale: initial value of gamma, the gain of each channel of the branch.
      grn: global response norm after the activation, in place of gamma (ConvNeXt V2).
      kernel_size: side of the depthwise convolution, odd.
      activation: a name of `dlcore.nn.ACTIVATIONS`.
      epsilon: added to variances by the norm.
    """

    layer_scale: float = 1e-6
    drop_path: float = 0.0
    dtype: Any = None
    grn: Annotated[bool, "if changed"] = False
    kernel_size: int = 7
    activation: str = "gelu"
    epsilon: float = EPSILON

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the block; its submodules are numbered like torchvision's layers: 0, 2, 3 and 5.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        channels = x.shape[-1]
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=KERNEL_INIT)
        y = Conv(
            channels,
            (self.kernel_size, self.kernel_size),
            padding=self.kernel_size // 2,
            feature_group_count=channels,
            dtype=self.dtype,
            kernel_init=KERNEL_INIT,
            name="block_0",
        )(x)
        y = LayerNorm(self.epsilon, dtype=self.dtype, name="block_2")(y)
        y = ACTIVATIONS[self.activation](dense(4 * channels, name="block_3")(y))
        if self.grn:
            y = dense(channels, name="block_5")(GlobalResponseNorm(dtype=self.dtype, name="block_grn")(y))
            return x + drop_path(y, self.drop_path, train)
        y = dense(channels, name="block_5")(y)
        scale = self.param("layer_scale", nn.initializers.constant(self.layer_scale), (channels,))
        return x + drop_path(y * scale.astype(y.dtype), self.drop_path, train)


class ConvNeXt(Backbone):
    """A ConvNeXt on [B, H, W, C]. Stages stage1 to stage4, of strides P, 2 P, 4 P and 8 P with P = patch_size.

    Args:
      patch_size: kernel and stride of the stem; 1 or 2 for small images.
      layer_scale: initial value of gamma, the gain of each channel of a block's branch.
      grn: global response norm in each block, in place of gamma (ConvNeXt V2).
      stem_width: channels of the first of two overlapping 3x3 convolutions of stride 2, as in timm's `_ols`, which are
        the stem in place of patches; 0 for patches.
      kernel_sizes: sides of the depthwise convolutions of each stage; () for 7.
      head_features: units of a layer with gelu before the head; 0 for none.
      norm_first: normalize the map, not its mean.
      activation: of the blocks, a name of `dlcore.nn.ACTIVATIONS`.
      epsilon: added to variances by the norms.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    patch_size: int = 4
    layer_scale: float = 1e-6
    drop_path: float = 0.1
    remat: Remat = "none"
    grn: Annotated[bool, "if changed"] = False
    stem_width: Annotated[int, Range(0), "if changed"] = 0
    kernel_sizes: Annotated[tuple[int, ...], "if changed"] = ()
    head_features: Annotated[int, Range(0), "if changed"] = 0
    norm_first: Annotated[bool, "if changed"] = False
    activation: Annotated[str, "if changed"] = "gelu"
    epsilon: Annotated[float, "if changed"] = EPSILON

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if len(self.widths) != len(self.stages):
            raise ValueError(f"widths={self.widths}: wrong length; allowed: one for each of {len(self.stages)} stages")
        check_images(self, x, "features_0_0", smallest=self.patch_size * 2 ** (len(self.stages) - 1))
        dtype = compute_dtype(self.dtype, x, self.variables)

        def conv(features: int, size: int, name: str) -> Conv:
            patch = (size, size)
            return Conv(features, patch, patch, padding="VALID", dtype=dtype, kernel_init=KERNEL_INIT, name=name)

        def norm(name: str) -> LayerNorm:
            return LayerNorm(self.epsilon, dtype=dtype, name=name)

        if self.stem_width:
            for j, width in enumerate((self.stem_width, self.widths[0])):
                layer = Conv(width, (3, 3), (2, 2), 1, dtype=dtype, kernel_init=KERNEL_INIT, name=f"features_0_{j}")
                x = layer(x)
            x = norm("features_0_2")(x)
        else:
            x = norm("features_0_1")(conv(self.widths[0], self.patch_size, "features_0_0")(x))
        block, maps, done = ConvNeXtBlock, {}, 0
        block = remat(block, self.remat, static_argnums=(2,))
        for i, blocks in enumerate(self.stages):
            if i > 0:
                x = conv(self.widths[i], 2, f"features_{2 * i}_1")(norm(f"features_{2 * i}_0")(x))
            more = (self.kernel_sizes[i] if self.kernel_sizes else 7, self.activation, self.epsilon)
            for j in range(blocks):
                rate = self.drop_path * done / max(sum(self.stages) - 1, 1)
                x = block(self.layer_scale, rate, dtype, self.grn, *more, name=f"features_{2 * i + 1}_{j}")(x, train)
                done += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        if self.norm_first:
            x = LayerNorm(self.epsilon, dtype=acc_dtype_of(x.dtype), name="norm_pre")(x)
            return self._linear(global_avg_pool(x))
        x = global_avg_pool(to_acc_dtype(x))
        x = LayerNorm(self.epsilon, dtype=x.dtype, name="classifier_0")(x)
        if self.head_features:
            x = gelu(Dense(self.head_features, dtype=x.dtype, kernel_init=KERNEL_INIT, name="pre_logits")(x))
        return self._linear(x)


def _small(blocks: int, width: int, **fields: Any) -> functools.partial:
    widths = (width, 2 * width, 4 * width, 8 * width)
    return functools.partial(ConvNeXt, stages=(2, 2, blocks, 2), widths=widths, **fields)


MODELS = {
    "convnext_tiny": functools.partial(ConvNeXt),
    "convnext_small": functools.partial(ConvNeXt, stages=(3, 3, 27, 3), drop_path=0.4),
    "convnext_base": functools.partial(ConvNeXt, stages=(3, 3, 27, 3), widths=(128, 256, 512, 1024), drop_path=0.5),
    "convnext_large": functools.partial(ConvNeXt, stages=(3, 3, 27, 3), widths=(192, 384, 768, 1536), drop_path=0.5),
    "convnext_atto": _small(6, 40),
    "convnext_femto": _small(6, 48),
    "convnext_pico": _small(6, 64),
    "convnext_nano": _small(8, 80),
    "convnext_atto_ols": _small(6, 40, stem_width=24),
    "convnext_femto_ols": _small(6, 48, stem_width=24),
    "convnext_pico_ols": _small(6, 64, stem_width=32),
    "convnext_nano_ols": _small(8, 80, stem_width=80),
    "convnext_tiny_hnf": functools.partial(ConvNeXt, norm_first=True),
    "convnext_large_mlp": functools.partial(
        ConvNeXt, stages=(3, 3, 27, 3), widths=(192, 384, 768, 1536), head_features=1536
    ),
    "convnext_xlarge": functools.partial(ConvNeXt, stages=(3, 3, 27, 3), widths=(256, 512, 1024, 2048)),
    "convnext_xxlarge": functools.partial(ConvNeXt, stages=(3, 4, 30, 3), widths=(384, 768, 1536, 3072), epsilon=1e-5),
}
