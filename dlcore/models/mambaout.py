"""MambaOut: a network of gated convolutions, Mamba's block without its state space model.

Yu & Wang, "MambaOut: do we really need Mamba for vision?" (2024), arXiv:2405.07992.

    g, i, c = W_1 LN(x)
    block   x = x + W_2 (s(g) [i; depthwise7x7(c)])             s: GELU, or SiLU
    stage   conv3x3 of stride 2 and LN (two of them in front), then blocks
    head    W_b LN(gelu(W_a LN(mean x)))

c has as many channels as x, or 1.25 or 1.5 times as many. timm's "rw" networks scale the branches, normalize in front
of the strided convolutions, and leave out the stem's first norm and the head's second. Names are timm's.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.metaformer_blocks import scale_channels
from dlcore.nn import Conv, Dense, LayerNorm, drop_path, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "GatedConvBlock", "MambaOut"]

KERNEL_INIT = nn.initializers.truncated_normal(0.02)
EPSILON = 1e-6
TORCH_NAMES = (
    (r"^stages\.(\d)_", r"stages.\1."),
    (r"(^stem|\.downsample)_", r"\1."),
    (r"\.ls$", ".ls.gamma"),
    (r"^head_(pre_logits_)?(norm|fc)\.", lambda m: f"head.{'pre_logits.' if m[1] else ''}{m[2]}."),
    (r"^head\.(?=weight|bias)", "head.fc."),
)


class GatedConvBlock(CheckedFields):
    """Gates times channels of which some have been convolved, with a residual connection.

    Args:
      expansion: hidden channels as a multiple of the input's.
      conv_ratio: channels of the depthwise convolution as a multiple of the input's.
      activation: function of the gates.
      layer_scale: initial factor of each channel of the branch; None for none.
    """

    expansion: float = 8 / 3
    conv_ratio: float = 1.0
    activation: Any = gelu
    layer_scale: float | None = None
    drop_path: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        channels = x.shape[-1]
        hidden, expanded = int(self.expansion * channels), int(self.conv_ratio * channels)
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=KERNEL_INIT)
        y = dense(2 * hidden, name="fc1")(LayerNorm(EPSILON, dtype=self.dtype, name="norm")(x))
        gates, plain, y = jnp.split(y, (hidden, 2 * hidden - expanded), -1)
        conv = Conv(
            expanded,
            (7, 7),
            padding=3,
            feature_group_count=expanded,
            dtype=self.dtype,
            kernel_init=KERNEL_INIT,
            name="conv",
        )
        y = dense(channels, name="fc2")(self.activation(gates) * jnp.concatenate([plain, conv(y)], -1))
        return x + drop_path(scale_channels(self, "ls", y, self.layer_scale), self.drop_path, train)


class MambaOut(Backbone):
    """A MambaOut on [B, H, W, C]. Stages stage1 to stage4, of strides 4, 8, 16 and 32.

    Args:
      expansion: hidden channels of a block as a multiple of its input's.
      conv_ratio: channels of the depthwise convolutions as a multiple of the block's.
      silu: SiLU in place of GELU in stem and blocks.
      revised: timm's own form ("rw"): scaled branches, norms in front of strided convolutions, fewer norms.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 576)
    expansion: float = 8 / 3
    conv_ratio: float = 1.0
    silu: bool = False
    revised: bool = False
    drop_path: float = 0.1
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if len(self.widths) != len(self.stages):
            raise ValueError(f"widths={self.widths}: wrong length; allowed: {len(self.stages)}")
        check_images(self, x, "stem_conv1", smallest=1)
        dtype = compute_dtype(self.dtype, x, self.variables)
        activation, maps, index = nn.silu if self.silu else gelu, {}, 0
        norm = functools.partial(LayerNorm, EPSILON, dtype=dtype)
        conv = functools.partial(Conv, kernel_size=(3, 3), strides=2, padding=1, dtype=dtype, kernel_init=KERNEL_INIT)
        x = conv(self.widths[0] // 2, name="stem_conv1")(x)
        x = activation(x if self.revised else norm(name="stem_norm1")(x))
        x = norm(name="stem_norm2")(conv(self.widths[0], name="stem_conv2")(x))
        block = remat(GatedConvBlock, self.remat, static_argnums=(2,))
        for i, (blocks, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            if i:
                front = f"stages_{i}_downsample"
                shrink, scale = conv(width, name=f"{front}_conv"), norm(name=f"{front}_norm")
                x = shrink(scale(x)) if self.revised else scale(shrink(x))
            for j in range(blocks):
                x = block(
                    self.expansion,
                    self.conv_ratio,
                    activation,
                    1e-5 if self.revised else None,
                    self.drop_path * index / max(sum(self.stages) - 1, 1),
                    dtype,
                    name=f"stages_{i}_blocks_{j}",
                )(x, train)
                index += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = global_avg_pool(to_acc_dtype(x))
        x = LayerNorm(EPSILON, dtype=x.dtype, name="head_norm")(x)
        x = gelu(Dense(4 * x.shape[-1], dtype=x.dtype, kernel_init=KERNEL_INIT, name="head_pre_logits_fc")(x))
        return self._linear(x if self.revised else LayerNorm(EPSILON, dtype=x.dtype, name="head_pre_logits_norm")(x))


_base = functools.partial(MambaOut, widths=(128, 256, 512, 768))
_wide = functools.partial(_base, revised=True, expansion=3.0, conv_ratio=1.5, silu=True)
MODELS = {
    "mambaout_femto": functools.partial(MambaOut, widths=(48, 96, 192, 288)),
    "mambaout_kobe": functools.partial(MambaOut, stages=(3, 3, 15, 3), widths=(48, 96, 192, 288)),
    "mambaout_tiny": functools.partial(MambaOut),
    "mambaout_small": functools.partial(MambaOut, stages=(3, 4, 27, 3)),
    "mambaout_base": functools.partial(_base, stages=(3, 4, 27, 3)),
    "mambaout_small_rw": functools.partial(MambaOut, stages=(3, 4, 27, 3), revised=True),
    "mambaout_base_short_rw": functools.partial(
        _base, stages=(3, 3, 25, 3), revised=True, expansion=3.0, conv_ratio=1.25
    ),
    "mambaout_base_tall_rw": functools.partial(
        _base, stages=(3, 4, 30, 3), revised=True, expansion=2.5, conv_ratio=1.25
    ),
    "mambaout_base_wide_rw": functools.partial(_wide, stages=(3, 4, 27, 3)),
    "mambaout_base_plus_rw": functools.partial(_wide, stages=(3, 4, 30, 3)),
}
