"""Where a token stands: sines of its position, a learned table, or a bias on the attention between two positions.

    sinusoidal    PE(p, 2i) = sin(p / 10000^(2i / D)),   PE(p, 2i + 1) = cos(p / 10000^(2i / D))        added to x
    learned       x_p + E_p,  E: [1 + N, D] for N patches behind a class token
    relative      softmax(Q K^T / sqrt(D) + B),  B_h(i, j) = T_h[y_i - y_j, x_i - x_j]        for an M x M window

Attention without them does not see the order of tokens. PE(p + k) is a fixed linear function of PE(p): each pair of
channels is turned by an angle that depends on k alone. A learned table is resized to another grid by bicubic
interpolation, as torch does it (`interpolate(mode="bicubic", align_corners=False)`), tokens in front of the grid
excepted. The relative bias depends on the offset alone, so it does not change when the window moves.

Vaswani et al. 2017, arXiv:1706.03762; Dosovitskiy et al. 2020, arXiv:2010.11929; Liu et al. 2021, arXiv:2103.14030.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.nn.attention import Initializer
from dlcore.ops.resize import resize

__all__ = ["LearnedPositions", "RelativePositionBias", "interpolate_positions", "sinusoidal_encoding"]


def sinusoidal_encoding(positions: int | jax.Array, features: int, longest: float = 10_000.0) -> jax.Array:
    """[...] positions (a number N: 0 to N - 1) -> [..., features] sines and cosines in turn, at least float32.

    longest: the wave of the last channels is 2 pi times nearly this. Raises ValueError for an odd number of features.
    """
    if features < 2 or features % 2:
        raise ValueError(f"features is {features}: an even number is needed, a sine and a cosine of each wave")
    positions = jnp.arange(positions) if isinstance(positions, int) else jnp.asarray(positions)
    wide = jnp.promote_types(positions.dtype, jnp.float32)
    rates = longest ** (-np.arange(0, features, 2) / features)
    angles = positions[..., None].astype(wide) * jnp.asarray(rates, wide)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], -1).reshape(*angles.shape[:-1], features)


def interpolate_positions(
    table: jax.Array, grid: tuple[int, int], new_grid: tuple[int, int], prefix: int = 0
) -> jax.Array:
    """table: [..., prefix + h w, D] of a grid (h, w) -> [..., prefix + h' w', D] of another; bicubic, as torch.

    prefix: rows in front that belong to no place (the class token's), which stay. Raises ValueError where the table
    is not of that grid.
    """
    if table.ndim < 2 or table.shape[-2] != prefix + grid[0] * grid[1]:
        raise ValueError(f"table has shape {table.shape}: {prefix} + {grid[0]} x {grid[1]} rows are needed")
    if tuple(grid) == tuple(new_grid):
        return table
    front, places = table[..., :prefix, :], table[..., prefix:, :]
    places = resize(places.reshape(*table.shape[:-2], *grid, table.shape[-1]), new_grid, "bicubic")
    return jnp.concatenate([front, places.reshape(*table.shape[:-2], -1, table.shape[-1])], -2)


class LearnedPositions(nn.Module):
    """Add a learned vector to each token: `embedding: [1, prefix + h w, D]` for a grid (h, w)."""

    grid: tuple[int, int]
    prefix: int = 0
    init: Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, x: jax.Array, grid: tuple[int, int] | None = None) -> jax.Array:
        """x: [B, prefix + h' w', D]; grid: (h', w') where it is not the field's. Raises ValueError for other shapes."""
        grid = self.grid if grid is None else grid
        if x.shape[-2] != self.prefix + grid[0] * grid[1]:
            raise ValueError(f"x has {x.shape[-2]} tokens: {self.prefix} + {grid[0]} x {grid[1]} are needed")
        shape = (1, self.prefix + self.grid[0] * self.grid[1], x.shape[-1])
        table = self.param("embedding", self.init, shape)
        return x + interpolate_positions(table, self.grid, grid, self.prefix).astype(x.dtype)


class RelativePositionBias(nn.Module):
    """A bias for each head and each offset of two pixels of a window: `embedding: [(2M - 1)^2, num_heads]`."""

    window: tuple[int, int]
    num_heads: int
    init: Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self) -> jax.Array:
        """[num_heads, N, N], N = the window's pixels in row order: queries first, keys last."""
        height, width = self.window
        table = self.param("embedding", self.init, ((2 * height - 1) * (2 * width - 1), self.num_heads))
        y, x = (c.reshape(-1) for c in np.indices(self.window))
        down, right = (c[:, None] - c[None, :] + n - 1 for c, n in ((y, height), (x, width)))
        return table[down * (2 * width - 1) + right].transpose(2, 0, 1)
