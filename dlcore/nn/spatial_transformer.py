"""The spatial transformer: a network looks at an image and says how to turn, move and scale it before it is read.

Jaderberg, Simonyan, Zisserman & Kavukcuoglu 2015, arXiv:1506.02025.

    theta = f(x),   y = x sampled on the grid theta (x_p, y_p, 1)

`dlcore.ops.affine_grid` and `grid_sample` are differentiable, so f learns from what comes after.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.ops.grid_sample import affine_grid, grid_sample

__all__ = ["SpatialTransformer", "rotation_theta"]


def rotation_theta(angle: jax.Array) -> jax.Array:
    """theta [..., 2, 3] that turns the picture by `angle` [...] in radians, counter-clockwise as one sees it.

    The grid is turned the other way: rows run downwards, and an output pixel says where it looks.
    """
    c, s, zero = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle)
    return jnp.stack([jnp.stack([c, -s, zero], -1), jnp.stack([s, c, zero], -1)], -2)


class SpatialTransformer(nn.Module):
    """x: [B, H, W, C] -> (what it shows, [B, *size, C], theta [B, 2, 3]).

    localization: a module from x to features [B, D]; a dense layer `theta` of zero weights follows, so that the
    transformer starts as the identity. kind: affine (six numbers), rotation (an angle), or similarity (angle, scale,
    shift). size: of the output, None for that of x.
    """

    localization: nn.Module
    kind: Literal["affine", "rotation", "similarity"] = "affine"
    size: tuple[int, int] | None = None
    method: str = "bilinear"
    padding: str = "zeros"
    align_corners: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Look, then sample. Raises ValueError for another kind."""
        counts = {"affine": 6, "rotation": 1, "similarity": 4}
        if self.kind not in counts:
            raise ValueError(f"kind is {self.kind!r}; it must be one of {', '.join(counts)}")
        features = self.localization(x)
        numbers = nn.Dense(counts[self.kind], kernel_init=nn.initializers.zeros, dtype=self.dtype, name="theta")(
            features
        )
        if self.kind == "affine":
            theta = numbers.reshape(-1, 2, 3) + np.eye(2, 3, dtype=np.float32)
        else:
            theta = rotation_theta(numbers[:, 0])
        if self.kind == "similarity":
            theta = theta * jnp.exp(numbers[:, 1])[:, None, None]
            theta = theta.at[:, :, 2].set(numbers[:, 2:])
        grid = affine_grid(theta, self.size or x.shape[1:3], self.align_corners)
        return grid_sample(x, grid, self.method, self.padding, self.align_corners), theta
