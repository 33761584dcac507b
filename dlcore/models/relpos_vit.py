"""ViTs of timm whose attention is told of positions by a bias, a perceptron of the logarithm of two patches' offset.

    B_h(i, j) = (W_2 relu(W_1 (s(y_i - y_j), s(x_i - x_j)) + b_1) + b_2)_h,      s(d) = sign(d) log(1 + |d|)

No table of positions is added to tokens, and the perceptron fits any grid: of each block, or one for all. A class token
has no bias. Wightman, pytorch-image-models (timm); the perceptron is that of Swin V2 (Liu et al. 2021,
arXiv:2111.09883) with another scale.
"""

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models import general_vit
from dlcore.models.fields import CheckedFields
from dlcore.models.general_vit import GeneralViT
from dlcore.nn import Dense

__all__ = ["MODELS", "LogPositionBias", "RelPosViT"]

TORCH_NAMES = (
    *general_vit.TORCH_LAYOUTS[-1].names,
    (r"^rel_pos\.(\d+)\.", r"blocks.\1.attn.rel_pos.mlp."),
    (r"^shared_rel_pos\.", "shared_rel_pos.mlp."),
)


class LogPositionBias(CheckedFields):
    """A bias of attention for each pair of patches of a grid.

    Args:
      num_heads: attention heads.
      hidden_features: units of the perceptron.
    """

    num_heads: int
    hidden_features: int = 128

    @nn.compact
    def __call__(self, grid: tuple[int, int]) -> jax.Array:
        """Compute the bias.

        Args:
          grid: (rows, columns).

        Returns:
          [num_heads, N, N] with the N patches in row order, queries before keys.
        """
        height, width = grid
        offsets = np.stack(np.meshgrid(np.arange(1 - height, height), np.arange(1 - width, width), indexing="ij"), -1)
        scaled = jnp.asarray(np.sign(offsets) * np.log1p(np.abs(offsets)), jnp.float32)
        table = Dense(self.num_heads, name="fc2")(nn.relu(Dense(self.hidden_features, name="fc1")(scaled)))
        y, x = (c.reshape(-1) for c in np.indices(grid))
        down, right = (c[:, None] - c[None, :] + n - 1 for c, n in ((y, height), (x, width)))
        return table[down, right].transpose(2, 0, 1)


class RelPosViT(GeneralViT):
    """A vision transformer with biases of offsets, on [B, H, W, C]; stages are those of `ViT`.

    All fields of `GeneralViT`.

    Args:
      positions: none; this network allows nothing else.
      bias: perceptron of the offsets: own, one for each block, or shared.
      bias_features: its hidden units.
    """

    class_token: bool = False
    pool: str = "mean"
    positions: Literal["none"] = "none"
    qkv_bias: str = "none"
    layer_scale: float | None = 1e-6
    bias: Literal["own", "shared"] = "own"
    bias_features: Annotated[int, Range(1)] = 128

    def _relation(self, i: int, grid: tuple[int, int]) -> dict[str, jax.Array]:
        bias = functools.partial(LogPositionBias, self.num_heads, self.bias_features)
        if self.bias == "own":
            values = bias(name=f"rel_pos_{i}")(grid)
        elif i == 0:
            values = bias(name="shared_rel_pos")(grid)
        else:
            values = bias(parent=None).apply({"params": self.variables["params"]["shared_rel_pos"]}, grid)
        leading = self.class_token + self.num_registers
        return {"bias": jnp.pad(jnp.asarray(values), ((0, 0), (leading, 0), (leading, 0)))}


def _variant(width: int, num_heads: int, patch_size: int = 16, **fields: Any) -> functools.partial:
    sizes = {"width": width, "num_heads": num_heads, "mlp_features": 4 * width, "patch_size": patch_size}
    return functools.partial(RelPosViT, **sizes, **fields)


_SIZES = {"small": (384, 6), "medium": (512, 8), "base": (768, 12)}
MODELS = {
    **{f"vit_relpos_{size}_patch16_224": _variant(*_SIZES[size], last_norm="pooled") for size in _SIZES},
    **{f"vit_relpos_{size}_patch16_rpn_224": _variant(*_SIZES[size], branch_norm=True) for size in _SIZES},
    **{
        f"vit_srelpos_{size}_patch16_224": _variant(*_SIZES[size], bias="shared", bias_features=_SIZES[size][0])
        for size in ("small", "medium")
    },
    "vit_relpos_medium_patch16_cls_224": _variant(512, 8, class_token=True, pool="token", bias_features=256),
    "vit_relpos_base_patch16_cls_224": _variant(768, 12, class_token=True, pool="token"),
    "vit_relpos_base_patch16_clsgap_224": _variant(768, 12, class_token=True, last_norm="pooled"),
    "vit_relpos_base_patch32_plus_rpn_256": _variant(896, 14, 32, branch_norm=True, qkv_bias="qkv", image_size=256),
}
INPUT_SHAPES = {"vit_relpos_base_patch32_plus_rpn_256": (256, 256, 3)}
