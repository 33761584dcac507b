"""MMDiT, the multimodal diffusion transformer: image and text in two streams that attend jointly (Stable Diffusion 3).

Esser et al. 2024, arXiv:2403.03206, in the form of the diffusers library, whose weights it takes
(`dlcore.generative.torch_diffusers`).

    x = W patches + positions,   context = W' text,   c = MLP(waves of t) + MLP(pooled text)
    x, context = block(x, context, c)           depth times, see `dlcore.generative.two_stream`
    prediction = unpatchify(W ((1 + scale) LN(x) + shift)),   scale, shift from silu(c)

The text is the words of the text encoders (CLIP and T5), the pooled text one vector of CLIP's. Positions are sines and
cosines of a large grid, whose center an image takes. The network predicts the velocity of flow matching
(`dlcore.generative.flow_matching`). In version 3.5 medium (MMDiT-X) the image of the first blocks attends to itself a
second time, beside the joint attention.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.generative.dit import modulate
from dlcore.generative.two_stream import Modulation, PooledConditioning, TwoStreamBlock, plain_norm
from dlcore.learner import Range
from dlcore.nn import Dense
from dlcore.nn.position import grid_positions
from dlcore.nn.precision import compute_dtype
from dlcore.ops.patches import patchify, unpatchify
from dlcore.ops.precision import acc_dtype_of

__all__ = ["MMDiT"]


class MMDiT(nn.Module):
    """Predicts an output of the input's shape from it, the timestep, a text and its pooled vector.

    Args:
      width: D, of a token; a multiple of 4.
      depth: blocks.
      num_heads: attention heads; divides width.
      patch_size: side of a patch.
      out_channels: number of channels of the prediction; None takes the input's.
      max_grid: patches on a side of the grid of positions, whose center an image takes.
      base_grid: patches on a side that the waves of the positions are made for; the large grid has as many periods.
      norm_keys: root-mean-square norm of each head's queries and keys, as in version 3.5.
      dual_attention_layers: indices of the blocks with a second attention of the image to itself, see `TwoStreamBlock`.
    """

    width: Annotated[int, Range(4)] = 64
    depth: Annotated[int, Range(1)] = 2
    num_heads: Annotated[int, Range(1)] = 4
    patch_size: Annotated[int, Range(1)] = 2
    out_channels: int | None = None
    max_grid: Annotated[int, Range(1)] = 192
    base_grid: Annotated[int, Range(1)] = 64
    norm_keys: bool = False
    dual_attention_layers: Annotated[tuple[int, ...], Range(0), "if changed"] = ()
    dtype: Any = None

    @nn.nowrap
    def positions(self) -> np.ndarray:
        """Compute the positions of the whole grid: [max_grid, max_grid, D] float32."""
        n, scale = self.max_grid, self.base_grid / self.max_grid
        return grid_positions(n, n, self.width, (scale, scale)).reshape(n, n, self.width)

    @nn.compact
    def __call__(self, x: jax.Array, t: jax.Array, context: jax.Array, pooled: jax.Array) -> jax.Array:
        """Predict the velocity.

        x [B, H, W, C] (H and W are multiples of patch_size); t [B], timesteps, 0 to 1000; context [B, T, E], the words
        of a text; pooled [B, P], one vector for a text -> [B, H, W, out_channels], at least float32.
        """
        _, height, width, channels = x.shape
        p, n, out = self.patch_size, self.max_grid, self.out_channels or channels
        if height % p or width % p:
            raise ValueError(f"x={height}x{width}: sides do not divide; allowed: multiples of patch_size={p}")
        rows, columns = height // p, width // p
        if max(rows, columns) > n:
            raise ValueError(f"x={height}x{width}: more patches than positions; allowed: sides to {n * p}")
        dtype = compute_dtype(self.dtype, x, self.variables)
        x = Dense(self.width, dtype=dtype, name="patch_embed")(patchify(x, p))
        top, left = (n - rows) // 2, (n - columns) // 2
        positions = self.positions()[top : top + rows, left : left + columns]
        x += jnp.asarray(positions.reshape(-1, self.width), x.dtype)
        c = PooledConditioning(self.width, dtype, name="time_text_embed")(t, pooled)
        context = Dense(self.width, dtype=dtype, name="context_embedder")(context)
        for k in range(self.depth):
            block = TwoStreamBlock(
                self.num_heads,
                self.norm_keys,
                k + 1 == self.depth,
                k in self.dual_attention_layers,
                dtype,
                name=f"transformer_blocks_{k}",
            )
            x, context = block(x, context, c)
        # The head starts at zero.
        scale, shift = Modulation(2, self.width, dtype, name="norm_out")(c)
        x = modulate(plain_norm(x, dtype), shift, scale).astype(acc_dtype_of(x.dtype))
        x = Dense(p * p * out, kernel_init=nn.initializers.zeros, name="proj_out")(x)
        return unpatchify(x, p, height, width)
