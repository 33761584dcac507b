"""DINOv3: a ViT with registers whose attention turns queries and keys by the locations of the patches, and a ConvNeXt.

Siméoni et al., "DINOv3" (2025), arXiv:2508.10104. Features learned without labels; published without a head.

    z = [class token; R registers; patches E],  then the encoder of `dlcore.models.vit` with layer scale
    y = 2 (row + 1/2) / rows - 1,  x likewise: the center of a patch, from -1 to 1 whatever the size of the image
    a head's pairs of channels turn by 2 pi y / 100^(4 i / D), the others by 2 pi x / 100^(4 i / D),   i < D / 4

The pairs are channels i and i + D / 2. Class token and registers do not turn. Queries and values have a bias, keys have
none, those of the 7B model none. In training the paper scales, moves and stretches the coordinates at random; here they
stay. The ConvNeXts are those of `dlcore.models.convnext`; `DINOv3.tokens` and `DINOv3ConvNeXt.tokens` give the patches
too. Weights may be those of transformers' DINOv3ViTModel and DINOv3ConvNextModel, facebook's own, or timm's
`*_dinov3_qkvb`.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_whole_number
from dlcore.learner import Range
from dlcore.models import convnext
from dlcore.models.convnext import ConvNeXt
from dlcore.models.torch_weights import Layout
from dlcore.models.vit import TRUNCATED_INITS, ViT, qkv_bias_part
from dlcore.nn import LayerNorm
from dlcore.nn.rotary import axial_angles
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "DINOv3", "DINOv3ConvNeXt", "center_angles"]

TORCH_NAMES = (
    (r"^(cls_token|register_tokens)$", r"embeddings.\1"),
    (r"^patch_embed\.", "embeddings.patch_embeddings."),
    (r"^blocks\.", "model.layer."),
    (r"\.layer_scale(\d)$", r".layer_scale\1.lambda1"),
    (r"\.attn\.(q|v)_bias$", r".attention.\1_proj.bias"),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"^(.*)\.attn\.qkv\.(.*)", r"\1.attention.q_proj.\2 + \1.attention.k_proj.\2 + \1.attention.v_proj.\2"),
    (r"\.mlp\.fc1\.", ".mlp.up_proj."),
    (r"\.mlp\.fc2\.", ".mlp.down_proj."),
    (r"\.mlp\.gate\.", ".mlp.gate_proj."),
    (r"^features\.0\.(\d)\.", r"model.stages.0.downsample_layers.\1."),
    (r"^features\.(\d)\.(\d+)\.(?=block|layer_scale)", lambda m: f"model.stages.{int(m[1]) // 2}.layers.{m[2]}."),
    (r"^features\.(\d)\.(?=\d)", lambda m: f"model.stages.{int(m[1]) // 2}.downsample_layers."),
    (r"^classifier\.0\.", "layer_norm."),
    (r"\.block\.0\.", ".depthwise_conv."),
    (r"\.block\.2\.", ".layer_norm."),
    (r"\.block\.3\.", ".pointwise_conv1."),
    (r"\.block\.5\.", ".pointwise_conv2."),
    (r"\.layer_scale$", ".gamma"),
)
"""Of transformers' DINOv3ViTModel, then of DINOv3ConvNextModel."""
TORCH_OLD_NAMES = ((r"^layer\.", "model.layer."), (r"^stages\.", "model.stages."))
TORCH_IGNORED = r"(^|\.)mask_token$"

from_torch = qkv_bias_part

_PATCHES = (r"^patch_embed\.", "patch_embed.proj.")
TORCH_LAYOUTS = (
    Layout(r"^stem\.0\.", convnext.TORCH_LAYOUTS[0].names, convnext.FACEBOOK_NAMES, ignored=r"^norms\.3\."),
    Layout(
        r"^storage_tokens$",
        names=(
            _PATCHES,
            (r"^register_tokens$", "storage_tokens"),
            (r"\.layer_scale(\d)$", r".ls\1.gamma"),
            (r"\.attn\.[qv]_bias$", ".attn.qkv.bias"),
        ),
        older=((r"\.mlp\.w1\.", ".mlp.gate."), (r"\.mlp\.w2\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2.")),
        ignored=r"^(mask_token$|rope_embed\.|local_cls_norm\.)|\.attn\.qkv\.bias_mask$",
    ),
    Layout(
        r"^reg_token$",
        names=(_PATCHES, (r"^register_tokens$", "reg_token"), (r"\.layer_scale(\d)$", r".gamma_\1")),
        older=((r"\.mlp\.fc1_g\.", ".mlp.gate."), (r"\.mlp\.fc1_x\.", ".mlp.fc1.")),
    ),
)
"""The ConvNeXt of facebook and timm, facebook's ViT, and timm's ViT."""


def center_angles(grid: tuple[int, int], features: int, period: float = 100.0) -> jax.Array:
    """Angles of the centers of patches, from -1 to 1 along each axis.

    Args:
      grid: (rows, columns).
      features: D, channels of a head, a multiple of 4.
      period: see `dlcore.nn.rotary.axial_angles`.

    Returns:
      [rows columns, 1, D / 2] radians, row by row.
    """
    if len(grid) != 2:
        raise ValueError(f"grid={grid}: {len(grid)} axes; allowed: (rows, columns)")
    for side in grid:
        check_whole_number("grid", side, 1)
    rows, columns = (2 * np.pi * ((2 * np.arange(n, dtype=np.float32) + 1) / n - 1) for n in grid)
    return axial_angles(jnp.asarray(rows), jnp.asarray(columns), features, period)


class DINOv3(ViT):
    """A ViT with registers and rotary positions, on [B, H, W, C]; stages are those of `ViT`.

    All fields of `ViT`.

    Args:
      num_classes: number of classes, the length of the logits; 0, as published: no head, a call gives what it would
        see.
      image_size: side in pixels of the images that initialize a model; all others have their own locations.
      layer_scale: initial factor of each channel of a block's branches, which is learned.
      swiglu: gate the MLPs: W_2 (silu(W_g x) W_1 x), each of mlp_features units.
      num_registers: R, learned tokens behind the class token; patches are read beside them.
      qkv_bias: give queries and values a bias.
      key_bias: give keys one, too.
    """

    num_classes: int = 0
    layer_scale: float | None = 1e-5
    epsilon: float = 1e-5
    swiglu: bool = False
    num_registers: Annotated[int, Range(0)] = 4
    qkv_bias: bool = True
    key_bias: Annotated[bool, "if changed"] = False

    moves_token = False
    learned_positions = False

    INITS = TRUNCATED_INITS

    def tokens(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Describe patches.

        Returns:
          [B, 1 + R + N, width], after the last norm, the class token first, then the registers.
        """
        return self._tokens(x, train)

    @nn.compact
    def _tokens(self, x: jax.Array, train: bool) -> jax.Array:
        return self._stages(x, train)[0]

    def _block_fields(self) -> dict[str, Any]:
        return {"qkv_bias": ("qkv" if self.key_bias else "qv") if self.qkv_bias else "none"}

    def _relation(self, i: int, grid: tuple[int, int]) -> dict[str, jax.Array]:
        return {"angles": center_angles(grid, self.width // self.num_heads)}

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        return self._encode(x, train, {"cls_token": self.INITS["token"]})

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        return self._classify(x[:, 0] if self.pool == "token" else x[:, 1 + self.num_registers :].mean(1), "head")


class DINOv3ConvNeXt(ConvNeXt):
    """A ConvNeXt without a head, whose call gives the normalized mean over the last map; stages are its own.

    All fields of `ConvNeXt`.

    Args:
      num_classes: number of classes, the length of the logits; 0, as published: no head, a call gives what it would
        see.
    """

    num_classes: int = 0
    drop_path: float = 0.0

    @nn.compact
    def tokens(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Describe images and the locations of their last map.

        Args:
          x: [B, H, W, C], images.

        Returns:
          [B, 1 + N, widths[-1]], normalized: the mean over the map first.
        """
        x = self._stages(x, train)[0]
        x = to_acc_dtype(x)
        locations = x.reshape(x.shape[0], -1, x.shape[-1])
        tokens = jnp.concatenate([global_avg_pool(x)[:, None], locations], 1)
        return LayerNorm(convnext.EPSILON, dtype=x.dtype, name="classifier_0")(tokens)


_SIZES = {
    "vits16": {"width": 384, "num_heads": 6, "mlp_features": 1536},
    "vits16plus": {"width": 384, "num_heads": 6, "mlp_features": 1536, "swiglu": True},
    "vitb16": {"width": 768, "num_heads": 12, "mlp_features": 3072},
    "vitl16": {"width": 1024, "depth": 24, "num_heads": 16, "mlp_features": 4096},
    "vith16plus": {"width": 1280, "depth": 32, "num_heads": 20, "mlp_features": 5120, "swiglu": True},
    "vit7b16": {
        "width": 4096, "depth": 40, "num_heads": 32, "mlp_features": 8192, "swiglu": True, "qkv_bias": False,
    },
}  # fmt: skip
_CONVNEXTS = {
    size: {field: convnext.MODELS[f"convnext_{size}"].keywords.get(field) for field in ("stages", "widths")}
    for size in ("tiny", "small", "base", "large")
}
MODELS = {
    **{f"dinov3_{size}": functools.partial(DINOv3, **fields) for size, fields in _SIZES.items()},
    **{
        f"dinov3_convnext_{size}": functools.partial(DINOv3ConvNeXt, **{k: v for k, v in fields.items() if v})
        for size, fields in _CONVNEXTS.items()
    },
}
