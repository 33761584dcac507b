"""Hiera for dense prediction, SAM 2's image encoder: attention in windows of any size, and in few blocks everywhere.

Ravi et al., "SAM 2: Segment anything in images and videos" (2024), arXiv:2408.00714.

    patches of 7 x 7, stride 4;   x = patches + resize(P) + tile(p),   p: positions in a window of the first stage
    block, pooling                as in `dlcore.models.hiera`; a stage's first block has windows of the stage before

Maps that a window does not divide are padded at the right and below with zeros after the norm, which take part in
attention, as in the published code.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.hiera import KERNEL_INIT, STRIDE, HieraBlock
from dlcore.models.inputs import check_images
from dlcore.nn import Conv
from dlcore.nn.precision import compute_dtype
from dlcore.ops.resize import resize

__all__ = ["HieraDet"]


class HieraDet(Backbone):
    """A Hiera with windows on [B, H, W, C]. Stages stage1 to stage4, of strides 4, 8, 16 and 32.

    Args:
      image_size: side in pixels of the square images.
      window_sizes: side of a window of each stage.
      global_blocks: indices, over all stages, of blocks with attention everywhere.
      positions: rows and columns of the map of positions that is stretched over the image.
      mlp_ratio: hidden units of a block's MLP, as a multiple of its channels.
    """

    num_classes: int = 0
    image_size: int = 1024
    stages: tuple[int, ...] = (1, 2, 7, 2)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    num_heads: tuple[int, ...] = (1, 2, 4, 8)
    window_sizes: tuple[int, ...] = (8, 4, 14, 7)
    global_blocks: tuple[int, ...] = (5, 7, 9)
    positions: tuple[int, int] = (7, 7)
    mlp_ratio: float = 4.0

    @property
    def patch_size(self) -> int:
        """Pixels of the image to a place of the map that masks are decoded from."""
        return 4 * STRIDE

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "patch_embed", smallest=STRIDE * self.window_sizes[0])
        dtype: Any = compute_dtype(self.dtype, x, self.variables)
        kernel = {"padding": 3, "dtype": dtype, "kernel_init": KERNEL_INIT, "name": "patch_embed"}
        x = Conv(self.widths[0], (7, 7), (STRIDE, STRIDE), **kernel)(x)
        x, maps, block = self._with_positions(x), {}, 0
        for i, blocks in enumerate(self.stages):
            for j in range(blocks):
                pool = i > 0 and j == 0
                x = HieraBlock(
                    self.widths[i],
                    self.num_heads[i],
                    int(self.widths[i] * self.mlp_ratio),
                    unit=0 if block in self.global_blocks else self.window_sizes[i - pool],
                    pool=pool,
                    dtype=dtype,
                    name=f"blocks_{block}",
                )(x, train)
                block += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _with_positions(self, x: jax.Array) -> jax.Array:
        _, *sides, width = x.shape
        size, init = self.window_sizes[0], nn.initializers.zeros
        everywhere = self.param("pos_embed", init, (1, *self.positions, width))
        in_window = self.param("pos_embed_window", init, (1, size, size, width))
        in_windows = jnp.tile(in_window, (1, sides[0] // size, sides[1] // size, 1))
        return x + (resize(everywhere, sides, "bicubic") + in_windows).astype(x.dtype)
