"""FocalNet: focal modulation in place of attention.

Yang et al., "Focal modulation networks" (2022), arXiv:2203.11926.

    q, c_0, g = W x                                   g: a gate for each level and pixel
    c_l = gelu(depthwise(c_(l-1)))                    kernels of F, F + 2, F + 4 ... pixels
    modulation(x) = W_2 (q W_1 (sum_l g_l c_l + g_(L+1) gelu(mean c_L)))
    block         x = x + modulation(LN(x)),  x = x + MLP(LN(x));  large networks normalize and scale the branches

Names are timm's; weights of transformers' FocalNets load as well.
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
from dlcore.models.torch_weights import Layout
from dlcore.nn import Conv, Dense, FeedForward, LayerNorm, drop_path, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops.precision import acc_dtype_of

__all__ = ["MODELS", "FocalModulation", "FocalNet", "FocalNetBlock"]

KERNEL_INIT = nn.initializers.truncated_normal(0.02)
_BODY = (
    (r"^layers\.(\d)_", r"layers.\1."),
    (r"(^stem|\.downsample)_(proj|norm)\.", r"\1.\2."),
    (r"\.focal_layers\.(\d)\.", r".focal_layers.\1.0."),
)
TORCH_NAMES = (*_BODY, (r"\.ls(\d)$", r".ls\1.gamma"), (r"^head\.", "head.fc."))
TORCH_LAYOUTS = (
    Layout(
        r"^embeddings\.patch_embeddings\.",
        names=(
            *_BODY,
            (r"^stem\.proj\.", "embeddings.patch_embeddings.projection."),
            (r"^stem\.norm\.", "embeddings.norm."),
            (r"^layers\.(\d)\.downsample\.", lambda m: f"encoder.stages.{int(m[1]) - 1}.downsample."),
            (r"\.downsample\.proj\.", ".downsample.projection."),
            (r"^layers\.(\d)\.blocks\.", r"encoder.stages.\1.layers."),
            (r"\.norm(\d)_post\.", r".norm\1."),
            (r"\.modulation\.f\.", ".modulation.projection_in."),
            (r"\.modulation\.h\.", ".modulation.projection_context."),
            (r"\.modulation\.proj\.", ".modulation.projection_out."),
            (r"\.modulation\.norm\.", ".modulation.layernorm."),
            (r"\.ls(\d)$", r".gamma_\1"),
            (r"^norm\.", "layernorm."),
            (r"^head\.", "classifier."),
        ),
        older=((r"^focalnet\.", ""),),
    ),
)
"""transformers' FocalNetForImageClassification."""


class FocalModulation(CheckedFields):
    """Multiply each pixel by a map of its surroundings on several scales.

    Args:
      levels: L, depthwise convolutions.
      window: F, side of the first kernel.
      norm: layer norm in front of the last dense layer.
      mean_levels: divide the sum of the levels by their number.
    """

    levels: int = 2
    window: int = 3
    norm: bool = False
    mean_levels: bool = False
    dtype: Any = None
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Modulate.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        channels = x.shape[-1]
        dense = functools.partial(Dense, dtype=self.dtype, kernel_init=KERNEL_INIT)
        query, context, gates = jnp.split(
            dense(2 * channels + self.levels + 1, name="f")(x), (channels, 2 * channels), -1
        )
        total = jnp.zeros_like(context)
        for level in range(self.levels):
            conv = Conv(
                channels,
                (self.window + 2 * level,) * 2,
                padding=(self.window + 2 * level) // 2,
                feature_group_count=channels,
                use_bias=False,
                dtype=self.dtype,
                kernel_init=KERNEL_INIT,
                name=f"focal_layers_{level}",
            )
            context = gelu(conv(context))
            total = total + context * gates[..., level : level + 1]
        total = total + gelu(context.mean((1, 2), keepdims=True)) * gates[..., self.levels :]
        total = total / (self.levels + 1) if self.mean_levels else total
        y = query * dense(channels, name="h")(total)
        y = LayerNorm(self.epsilon, dtype=self.dtype, name="norm")(y) if self.norm else y
        return dense(channels, name="proj")(y)


class FocalNetBlock(CheckedFields):
    """Focal modulation and an MLP, each with a residual connection.

    Args:
      hidden: hidden units of the MLP.
      levels: depthwise convolutions of the modulation.
      window: side of the first of their kernels.
      post_norm: normalize the branches' outputs, in place of their inputs.
      norm_inside: layer norm in front of the last dense layer of the modulation.
      mean_levels: divide the sum of the levels by their number.
      layer_scale: initial factor of each channel of a branch; None for none.
    """

    hidden: int
    levels: int = 2
    window: int = 3
    post_norm: bool = False
    norm_inside: bool = False
    mean_levels: bool = False
    layer_scale: float | None = None
    drop_path: float = 0.0
    dtype: Any = None
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """

        def branch(i: int, x: jax.Array, layer: nn.Module) -> jax.Array:
            norm = LayerNorm(self.epsilon, dtype=self.dtype, name=f"norm{i}_post" if self.post_norm else f"norm{i}")
            y = norm(layer(x)) if self.post_norm else layer(norm(x))
            return x + drop_path(scale_channels(self, f"ls{i}", y, self.layer_scale), self.drop_path, train)

        modulation = FocalModulation(
            self.levels, self.window, self.norm_inside, self.mean_levels, self.dtype, self.epsilon, name="modulation"
        )
        mlp = FeedForward(self.hidden, gelu, dtype=self.dtype, kernel_init=KERNEL_INIT, name="mlp")
        return branch(2, branch(1, x, modulation), mlp)


class FocalNet(Backbone):
    """A FocalNet on [B, H, W, C]. Stages patches1 and stage1 (stride 4) to patches4 and stage4 (stride 32), and
    last, stage4 normalized.

    Args:
      width: channels of the first stage; each next one has twice as many.
      levels: depthwise convolutions of a block's modulation in each stage.
      windows: side of the first of their kernels in each stage.
      overlap: patches overlap.
      post_norm: normalize the branches' outputs, in place of their inputs.
      norm_inside: layer norm in front of the last dense layer of the modulation.
      mean_levels: divide the sum of the levels by their number.
      mlp_ratio: hidden units of a block's MLP as a multiple of its channels.
      layer_scale: initial factor of each channel of a branch; None for none.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (2, 2, 6, 2)
    width: int = 96
    levels: tuple[int, ...] = (2, 2, 2, 2)
    windows: tuple[int, ...] = (3, 3, 3, 3)
    overlap: bool = False
    post_norm: bool = False
    norm_inside: bool = False
    mean_levels: bool = False
    mlp_ratio: float = 4.0
    layer_scale: float | None = None
    drop_path: float = 0.1
    epsilon: float = 1e-5
    remat: Remat = "none"

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
        return self._stages(x, False, masked, mask_token)[0]

    def _stages(
        self, x: jax.Array, train: bool, masked: jax.Array | None = None, mask_token: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        for field in ("levels", "windows"):
            if len(getattr(self, field)) != len(self.stages):
                raise ValueError(f"{field}={getattr(self, field)}: wrong length; allowed: {len(self.stages)}")
        check_images(self, x, "stem_proj", smallest=4)
        dtype = compute_dtype(self.dtype, x, self.variables)
        block, maps, index = remat(FocalNetBlock, self.remat, static_argnums=(2,)), {}, 0
        for i, blocks in enumerate(self.stages):
            width, front, stride = self.width << i, f"layers_{i}_downsample" if i else "stem", 2 if i else 4
            size, padding = ((3, 1) if i else (7, 2)) if self.overlap else (stride, 0)
            conv = functools.partial(Conv, dtype=dtype, kernel_init=KERNEL_INIT)
            x = conv(width, (size, size), stride, padding, name=f"{front}_proj")(x)
            x = LayerNorm(self.epsilon, dtype=dtype, name=f"{front}_norm")(x)
            if masked is not None and mask_token is not None and i == 0:
                x = jnp.where(masked.reshape(*x.shape[:3], 1), mask_token.astype(x.dtype), x)
            x = maps[f"patches{i + 1}"] = self.perturb(f"patches{i + 1}", x)
            for j in range(blocks):
                x = block(
                    int(width * self.mlp_ratio),
                    self.levels[i],
                    self.windows[i],
                    self.post_norm,
                    self.norm_inside,
                    self.mean_levels,
                    self.layer_scale,
                    self.drop_path * index / max(sum(self.stages) - 1, 1),
                    dtype,
                    self.epsilon,
                    name=f"layers_{i}_blocks_{j}",
                )(x, train)
                index += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        map_dtype = x.dtype
        x = self.perturb("last", LayerNorm(self.epsilon, dtype=acc_dtype_of(x.dtype), name="norm")(x))
        return x, maps | {"last": x.astype(map_dtype)}


_model = functools.partial
DEEP = (2, 2, 18, 2)
LARGE = {"stages": DEEP, "post_norm": True, "overlap": True, "layer_scale": 1e-4}
HUGE = LARGE | {"width": 352, "norm_inside": True}
LRF = {"levels": (3, 3, 3, 3)}
FL3 = LRF | {"windows": (5, 5, 5, 5)}
FL4 = {"levels": (4, 4, 4, 4)}
MODELS = {
    "focalnet_tiny_srf": _model(FocalNet),
    "focalnet_small_srf": _model(FocalNet, stages=DEEP),
    "focalnet_base_srf": _model(FocalNet, stages=DEEP, width=128),
    "focalnet_tiny_lrf": _model(FocalNet, **LRF),
    "focalnet_small_lrf": _model(FocalNet, stages=DEEP, **LRF),
    "focalnet_base_lrf": _model(FocalNet, stages=DEEP, width=128, **LRF),
    "focalnet_large_fl3": _model(FocalNet, width=192, **LARGE, **FL3),
    "focalnet_large_fl4": _model(FocalNet, width=192, **LARGE, **FL4),
    "focalnet_xlarge_fl3": _model(FocalNet, width=256, **LARGE, **FL3),
    "focalnet_xlarge_fl4": _model(FocalNet, width=256, **LARGE, **FL4),
    "focalnet_huge_fl3": _model(FocalNet, **HUGE, **LRF),
    "focalnet_huge_fl4": _model(FocalNet, **HUGE, **FL4),
}
