"""RoPE-ViT: a ViT whose attention turns queries and keys by row and column, in place of a table of positions.

Heo et al., "Rotary position embedding for vision transformer" (2024), arXiv:2403.13298.

    axial    half of a head's pairs of channels turn by column / 100^(4 i / D), the others by row / 100^(4 i / D)
    mixed    pair i of head h in block l turns by  a_lhi column + b_lhi row,   with learned a and b
    logits = head(LN(z)[class token]),   layer scale in every block

A score sees the offset of two patches alone, so that a model of 224 pixels reads larger images without a new table. The
pairs are neighboring channels; the class token does not turn. Weights are timm's (`vit_*_patch16_rope_*`).
"""

import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.choices import check_choice, is_whole_number
from dlcore.models.vit import TRUNCATED_INITS, ViT
from dlcore.nn.rotary import axial_angles
from dlcore.ops.checks import check_shapes

__all__ = ["MODELS", "RoPEViT", "mixed_frequencies"]

TORCH_NAMES = (
    (r"^patch_embed\.", "patch_embed.proj."),
    (r"^rope_freqs$", "rope.freqs"),
    (r"\.layer_scale(\d)$", r".gamma_\1"),
)


def mixed_frequencies(
    key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32, period: float = 10.0
) -> jax.Array:
    """Draw frequencies of columns and rows: those of axial positions, turned by a random angle for each head.

    Args:
      key: random key.
      shape: (2, blocks, heads, D / 2), D the channels of a head, a multiple of 4.
      dtype: dtype of the result.
      period: the wavelength of the last pair approaches 2 pi times this.

    Returns:
      [2, blocks, heads, D / 2]: of columns, then of rows. The second half of the pairs is orthogonal to the first.
    """
    if len(shape) != 4 or shape[0] != 2 or not all(is_whole_number(n) and n > 0 for n in shape):
        raise ValueError(f"shape={tuple(shape)}: no table of frequencies; allowed: (2, blocks, heads, D / 2)")
    check_shapes(period=(period, "> 0"))
    if shape[-1] % 2:
        raise ValueError(f"shape={shape}: {2 * shape[-1]} channels are not pairs for two axes; allowed: multiples of 4")
    lengths = period ** (-2 * np.arange(shape[-1] // 2) / shape[-1])
    angles = jax.random.uniform(key, (*shape[1:-1], 1), dtype, 0, 2 * np.pi)
    turns = jnp.concatenate([angles, angles + np.pi / 2], -1)[..., None]
    return (jnp.stack([jnp.cos(turns), jnp.sin(turns)]) * jnp.asarray(lengths, dtype)).reshape(shape)


class RoPEViT(ViT):
    """A ViT with rotary positions of the grid, on [B, H, W, C]; stages are those of `ViT`.

    All fields of `ViT`.

    Args:
      image_size: side in pixels of the images that initialize a model; others have the same angles, and more.
      layer_scale: initial factor of each channel of a block's branches, which is learned.
      frequencies: axial, fixed frequencies of rows and columns, or mixed, learned ones of both for each block and head.
    """

    layer_scale: float | None = 1e-5
    frequencies: Literal["axial", "mixed"] = "axial"

    pools = ("token",)
    moves_token = False
    learned_positions = False

    INITS = TRUNCATED_INITS

    def _block_fields(self) -> dict[str, Any]:
        return {"rotary_pairs": "neighbors"}

    def _relation(self, i: int, grid: tuple[int, int]) -> dict[str, jax.Array]:
        rows, columns = (jnp.arange(n, dtype=jnp.float32) for n in grid)
        features = self.width // self.num_heads
        if self.frequencies == "axial":
            return {"angles": axial_angles(rows, columns, features, 100.0, columns_first=True)}
        across, down = self.get_variable("params", "rope_freqs")[:, i]
        y, x = (axis.reshape(-1, 1, 1) for axis in jnp.meshgrid(rows, columns, indexing="ij"))
        return {"angles": x * across + y * down}

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_choice("frequencies", self.frequencies, ("axial", "mixed"))
        if self.frequencies == "mixed":
            shape = (2, self.depth, self.num_heads, self.width // self.num_heads // 2)
            self.param("rope_freqs", mixed_frequencies, shape)
        return self._encode(x, train, {"cls_token": self.INITS["token"]})


def _variants(name: str, **fields: Any) -> dict[str, functools.partial]:
    sizes = {"small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}
    return {
        f"vit_{size}_patch16_{name}_224": functools.partial(
            RoPEViT, width=width, depth=depth, num_heads=num_heads, mlp_features=4 * width, **fields
        )
        for size, (width, depth, num_heads) in sizes.items()
    }


MODELS = _variants("rope") | _variants("rope_mixed", frequencies="mixed")
