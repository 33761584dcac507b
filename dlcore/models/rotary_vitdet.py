"""SAM 3's image encoder, the perception encoder: a ViTDet with rotary positions.

Carion et al., "SAM 3: Segment anything with concepts" (2025), arXiv:2511.16719; Bolya et al., "Perception encoder"
(2025), arXiv:2504.13181.

    x = LN(patches + tile(P)),    P: positions of the images of pretraining, repeated over a larger one
    block   x = x + Attention(LN(x)),  x = x + MLP(LN(x));  attention in windows, in few blocks everywhere
    rotary  pairs of neighboring channels, the first half by the column and the others by the row; where attention is
            everywhere, a whole side counts as many steps as a window
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_images
from dlcore.models.swin import join_windows, windows
from dlcore.nn import Conv, LayerNorm, TransformerEncoderBlock, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.rotary import axial_angles

__all__ = ["RotaryViTDet"]


class RotaryViTDet(Backbone):
    """A ViTDet with rotary positions on [B, S, S, C]. Stages block1, block2, ... of the stride of a patch.

    Args:
      image_size: S, side in pixels of the square images; windows cover it.
      patch_size: side in pixels of a patch.
      depth: blocks.
      width: features of a token.
      pretrain_size: side in pixels of the square images whose added positions are learned.
      window_size: side of a window of attention, in patches.
      global_blocks: indices of the blocks whose attention is not in windows, from 0.
      period: of the rotary positions' slowest pair, about.
    """

    num_classes: int = 0
    image_size: int = 1008
    pretrain_size: int = 336
    patch_size: int = 14
    depth: int = 32
    width: int = 1024
    num_heads: int = 16
    mlp_features: int = 4736
    window_size: int = 24
    global_blocks: Annotated[tuple[int, ...], Range(0)] = (7, 15, 23, 31)
    period: float = 10_000.0

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "patch_embed", smallest=self.patch_size)
        patch, window = self.patch_size, self.window_size
        if x.shape[1:3] != (self.image_size,) * 2 or self.image_size % (patch * window):
            raise ValueError(f"{x.shape=}: no whole windows; allowed: image_size={self.image_size}, windows cover it")
        dtype: Any = compute_dtype(self.dtype, x, self.variables)
        kernel = {"padding": "VALID", "use_bias": False, "dtype": dtype, "name": "patch_embed"}
        x = Conv(self.width, (patch, patch), (patch, patch), **kernel)(x)
        side, grid, init = self.image_size // patch, self.pretrain_size // patch, nn.initializers.normal(0.02)
        positions = self.param("pos_embed", init, (1, grid**2, self.width)).reshape(grid, grid, self.width)
        repeats = -(-side // grid)
        x = x + jnp.tile(positions, (repeats, repeats, 1))[:side, :side].astype(dtype)
        x, maps = LayerNorm(1e-6, dtype=dtype, name="layer_norm")(x), {}
        for i in range(self.depth):
            size = side if i in self.global_blocks else window
            steps = jnp.arange(size) * (window / size)
            angles = axial_angles(steps, steps, self.width // self.num_heads, self.period, columns_first=True)
            settings = {"pre_norm": True, "activation": gelu, "epsilon": 1e-6, "rotary_pairs": "neighbors"}
            block = TransformerEncoderBlock(
                self.num_heads, self.mlp_features, **settings, dtype=dtype, name=f"blocks_{i}"
            )
            tokens = windows(x, size)  # [B, windows, size^2, C]
            y = block(tokens.reshape(-1, size**2, self.width), train, angles=angles)
            x = join_windows(y.reshape(tokens.shape), (side, side), size)
            x = maps[f"block{i + 1}"] = self.perturb(f"block{i + 1}", x)
        return x, maps
