"""Vision transformers (ViTs) by their parts: the choices in which the published ones after the first differ.

CLIP (Radford et al. 2021, arXiv:2103.00020), DeiT III (Touvron et al. 2022, arXiv:2204.07118), BEiT-3 (Wang et al.
2022, arXiv:2208.10442), EVA (Fang et al. 2022, arXiv:2211.07636), SigLIP (Zhai et al. 2023, arXiv:2303.15343),
perception encoders (Bolya et al. 2025, arXiv:2504.13181), DINOv3 (Siméoni et al. 2025, arXiv:2508.10104) and timm's own
sizes are

    z = [class token; R registers; patches E] + positions       each of the three may be left out; z = LN(z) in CLIP
    z = z + MHA(LN(z)),  z = z + MLP(LN(z))                     the encoder of `dlcore.models.vit`
    logits = head(LN(pool(z))) or head(pool(LN(z)))             pool: the class token, the mean, or attention:

    u = MHA(query q, keys and values z),  pool(z) = u + MLP(LN(u))         with one learned query q (SigLIP)

Rotary positions turn a head's pairs of channels: the grid's (row, column) from an offset, scaled to the grid of the
first training (EVA-02; columns first in perception encoders), centers from -1 to 1 (DINOv3), or learned frequencies of
both (RoPE-ViT). Weights are timm's; the kind of a file's layers is seen from its names.
"""

import functools
import re
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.models import vit
from dlcore.models.dinov3 import center_angles
from dlcore.models.latent_pool import LatentPool
from dlcore.models.rope_vit import mixed_frequencies
from dlcore.models.torch_weights import Layout
from dlcore.models.vit import TRUNCATED_INITS, ViT
from dlcore.nn import ACTIVATIONS, LearnedPositions
from dlcore.nn.attention import QKVBias
from dlcore.nn.rotary import Pairs, axial_angles
from dlcore.ops.precision import acc_dtype_of

__all__ = ["MODELS", "GeneralViT", "from_torch"]

TORCH_NAMES = (
    *vit.TIMM_NAMES,
    (r"^register_tokens$", "reg_token"),
    (r"^rope_freqs$", "rope.freqs"),
    (r"^attn_pool\.attn\.query\.", "attn_pool.q."),
    (r"^attn_pool\.attn\.(key|value)\.", "attn_pool.kv."),
    (r"^attn_pool\.attn\.", "attn_pool."),
)
OLD_NAMES = ((r"\.gamma_(\d)$", r".ls\1.gamma"), (r"\.mlp\.fc1_g\.", ".mlp.gate."), (r"\.mlp\.fc1_x\.", ".mlp.fc1."))
TORCH_LAYOUTS = (
    Layout(
        r"\.attn\.k_proj\.",
        names=(
            *TORCH_NAMES,
            (r"^(.*)\.attn\.qkv\.(.*)", r"\1.attn.q_proj.\2 + \1.attn.k_proj.\2 + \1.attn.v_proj.\2"),
            (r"\.attn\.(q|v)_bias$", r".attn.\1_proj.bias"),
        ),
        older=OLD_NAMES,
    ),
    Layout(r"\.mlp\.gate\.", names=TORCH_NAMES, older=OLD_NAMES),
    Layout("", names=(*TORCH_NAMES, (r"\.mlp\.gate\.", ".mlp.fc1.")), older=OLD_NAMES),
)
"""Files with projections of their own, with gates of their own, and with both joined."""

PARTS = {"gate": 0, "fc1": 1, "key": 0, "value": 1}
"""Half of a joined layer."""


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Interpolate a position table as timm does, or cut a joined layer in two."""
    part = re.search(r"/(gate|fc1|key|value)/", path)
    if part is None or len(value) != 2 * shape[-1]:
        return None if value.shape == shape else vit.from_torch(path, value, shape, antialias=True)
    return np.split(value, 2)[PARTS[part[1]]].T


class GeneralViT(ViT):
    """A vision transformer by its parts, on [B, H, W, C]; stages are those of `ViT`.

    All fields of `ViT`.

    Args:
      pool: what the head sees: token, the class token; mean, the mean over patches; or attention, a `LatentPool`.
      class_token: False leaves it out.
      num_registers: R, learned tokens behind the class token.
      positions: tokens that the learned table of positions has: all, patches, or none.
      pools_all: the mean or the attention sees class token and registers, too.
      pre_norm: normalize tokens before the first block; patches then have no bias.
      last_norm: what the last norm sees: tokens, the pooled features, or none.
      activation: of the MLPs, a name of `dlcore.nn.ACTIVATIONS`.
      swiglu: gate the MLPs by silu.
      qkv_bias: which of queries, keys and values get a bias.
      mlp_norm: normalize the units of a block's MLP before its last layer (sub-LN).
      attention_norm: normalize what a block's heads give before its last layer (sub-LN).
      branch_norm: normalize a branch's output in place of its input.
      rotary: what turns queries and keys: none; rows, axial angles whose first half is the row's; columns, the
        column's; centers, of centers from -1 to 1; mixed, learned frequencies.
      rotary_period: the wavelength of the last pair approaches 2 pi times this.
      rotary_grid: rows and columns of the grid over which larger ones are spread; 0: each its own.
      rotary_offset: location of the first row and column.
      rotary_pairs: channels that turn together, see `dlcore.nn.rotary`.
      pool_heads: heads of the attention that pools; 0: `num_heads`.
      pool_features: units of its perceptron; 0: `mlp_features`.
      crop_rest: leave out the rest of a side that no patch covers.
    """

    class_token: bool = True
    num_registers: Annotated[int, Range(0)] = 0
    positions: Literal["all", "patches", "none"] = "all"
    pools_all: bool = False
    pre_norm: bool = False
    last_norm: Literal["tokens", "pooled", "none"] = "tokens"
    activation: str = "gelu"
    swiglu: bool = False
    qkv_bias: QKVBias = "qkv"
    mlp_norm: bool = False
    attention_norm: bool = False
    branch_norm: bool = False
    rotary: Literal["none", "rows", "columns", "centers", "mixed"] = "none"
    rotary_period: float = 10_000.0
    rotary_grid: Annotated[int, Range(0)] = 0
    rotary_offset: float = 0.0
    rotary_pairs: Pairs = "neighbors"
    pool_heads: Annotated[int, Range(0)] = 0
    pool_features: Annotated[int, Range(0)] = 0
    crop_rest: bool = False

    pools = ("token", "mean", "attention")
    moves_token = False
    learned_positions = False  # `_with_positions` has its own table

    INITS = TRUNCATED_INITS

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("activation", self.activation, ACTIVATIONS)
        if self.pool == "token" and not self.class_token:
            raise ValueError("class_token=False: pool='token' reads it; allowed: True, or another pool")

    @property
    def final_norm(self) -> bool:
        """Whether a norm of all tokens follows the last block."""
        return self.last_norm == "tokens"

    def _block_fields(self) -> dict[str, Any]:
        return {
            "activation": nn.silu if self.swiglu else ACTIVATIONS[self.activation],
            "qkv_bias": self.qkv_bias,
            "mlp_norm": self.mlp_norm,
            "out_norm": self.epsilon if self.attention_norm else None,
            "branch_norm": self.branch_norm,
            "layer_scale": None if self.branch_norm else self.layer_scale,
            "rotary_pairs": self.rotary_pairs,
        }

    def _relation(self, i: int, grid: tuple[int, int]) -> dict[str, jax.Array]:
        features = self.width // self.num_heads
        if self.rotary == "none":
            return {}
        if self.rotary == "centers":
            return {"angles": center_angles(grid, features, self.rotary_period)}
        if self.rotary == "mixed":
            rows, columns = jnp.meshgrid(*(jnp.arange(n, dtype=jnp.float32) for n in grid), indexing="ij")
            across, down = self.get_variable("params", "rope_freqs")[:, i]
            return {"angles": rows.reshape(-1, 1, 1) * down + columns.reshape(-1, 1, 1) * across}
        scales = [self.rotary_grid / n if self.rotary_grid else 1.0 for n in grid]
        rows, columns = (
            (jnp.arange(n, dtype=jnp.float32) + self.rotary_offset) * s for n, s in zip(grid, scales, strict=True)
        )
        return {"angles": axial_angles(rows, columns, features, self.rotary_period, self.rotary == "columns")}

    def _embed(self, x: jax.Array, features: int, dtype: Any) -> jax.Array:
        patch = (self.patch_size, self.patch_size)
        return vit.Conv(
            *(features, patch, patch),
            padding="VALID",
            use_bias=not self.pre_norm,
            dtype=dtype,
            kernel_init=self.INITS["patch"],
            name="patch_embed",
        )(x)

    def _with_positions(self, x: jax.Array, front: dict[str, Any], grid: tuple[int, int]) -> jax.Array:
        counts = dict.fromkeys(front, 1) | ({"register_tokens": self.num_registers} if self.num_registers else {})
        extra = [self.param(name, self.INITS["token"], (1, n, x.shape[-1])) for name, n in counts.items()]
        leading = sum(counts.values()) if self.positions == "all" else 0
        rows = self.image_size // self.patch_size
        table = LearnedPositions((rows, rows), leading, antialias=True, name="pos_embed")
        if self.positions == "patches":
            x = table(x, grid)
        x = jnp.concatenate([*(self._on_each(x, tokens) for tokens in extra), x], 1)
        if self.positions == "all":
            x = table(x, grid)
        return self._norm("norm_pre", x.dtype)(x) if self.pre_norm else x

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        if self.rotary == "mixed":
            shape = (2, self.depth, self.num_heads, self.width // self.num_heads // 2)
            self.param("rope_freqs", functools.partial(mixed_frequencies, period=self.rotary_period), shape)
        if self.crop_rest:
            x = x[
                :, : x.shape[1] // self.patch_size * self.patch_size, : x.shape[2] // self.patch_size * self.patch_size
            ]
        return self._encode(x, train, {"cls_token": self.INITS["token"]} if self.class_token else {})

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        patches = x if self.pools_all else x[:, self.class_token + self.num_registers :]
        if self.pool == "token":
            x = x[:, 0]
        elif self.pool == "mean":
            x = patches.astype(acc_dtype_of(x.dtype)).mean(1)
        else:
            units = self.pool_features or self.mlp_features
            heads, dtype = self.pool_heads or self.num_heads, acc_dtype_of(x.dtype)
            x = LatentPool(heads, units, self.activation, self.epsilon, dtype, name="attn_pool")(patches)
        x = self._norm("fc_norm", acc_dtype_of(x.dtype))(x) if self.last_norm == "pooled" else x
        return self._classify(x, "head")


def _variant(width: int, depth: int, num_heads: int, mlp_features: int, patch_size: int, **fields: Any):
    return functools.partial(
        *(GeneralViT,),
        width=width,
        depth=depth,
        num_heads=num_heads,
        mlp_features=mlp_features,
        patch_size=patch_size,
        **fields,
    )


MODELS = {
    "vit_base_patch16_clip_224": _variant(768, 12, 12, 3072, 16, pre_norm=True, epsilon=1e-5),
    "vit_base_patch16_siglip_224": _variant(768, 12, 12, 3072, 16, class_token=False, pool="attention"),
    "deit3_base_patch16_224": _variant(768, 12, 12, 3072, 16, positions="patches", layer_scale=1e-6),
    "vit_medium_patch16_reg4_gap_256": _variant(
        *(512, 12, 8, 2048, 16),
        image_size=256,
        class_token=False,
        num_registers=4,
        positions="patches",
        pool="mean",
        last_norm="pooled",
        layer_scale=1e-5,
    ),
    "beit3_base_patch16_224": _variant(
        *(768, 12, 12, 3072, 16),
        pool="mean",
        last_norm="pooled",
        mlp_norm=True,
        attention_norm=True,
        epsilon=1e-5,
    ),
    "eva_giant_patch14_224": _variant(*(1408, 40, 16, 6144, 14), pool="mean", last_norm="pooled", qkv_bias="qv"),
    "vit_pe_core_base_patch16_224": _variant(
        *(768, 12, 12, 3072, 16),
        num_classes=0,
        pool="attention",
        pools_all=True,
        pool_heads=8,
        pre_norm=True,
        epsilon=1e-5,
        rotary="columns",
        rotary_grid=14,
        rotary_offset=1.0,
    ),
}
INPUT_SHAPES = {"vit_medium_patch16_reg4_gap_256": (256, 256, 3)}
