"""The spatial transformer: a network that predicts how to rotate, shift and scale an image, and samples it so.

Jaderberg, Simonyan, Zisserman & Kavukcuoglu 2015, arXiv:1506.02025.

    theta = f(x),   y = x sampled on the grid theta (x_p, y_p, 1)

`dlcore.ops.affine_grid` and `grid_sample` are differentiable, so f learns from the loss of the layers that follow.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.nn._checked import CheckedModule
from dlcore.nn.dense import Dense
from dlcore.ops.grid_sample import affine_grid, grid_sample

__all__ = ["SpatialTransformer", "rotation_theta"]


def rotation_theta(angle: jax.Array) -> jax.Array:
    """Affine matrices that rotate images counter-clockwise, as one sees them.

    The grid itself rotates the other way: rows run downwards, and the matrix maps output to input locations.

    Args:
      angle: [...], radians.

    Returns:
      [..., 2, 3], `theta` for `affine_grid`.
    """
    c, s, zero = jnp.cos(angle), jnp.sin(angle), jnp.zeros_like(angle)
    return jnp.stack([jnp.stack([c, -s, zero], -1), jnp.stack([s, c, zero], -1)], -2)


class SpatialTransformer(CheckedModule):
    """Spatial transformer: x [B, H, W, C] -> (transformed [B, *size, C], theta [B, 2, 3]).

    A dense layer `theta` of zero weights follows the localization network, so the transformer starts as the identity.

    Args:
      localization: module from x to features [B, D].
      kind: "affine" (six numbers), "rotation" (an angle) or "similarity" (angle, log scale, shift).
      size: (H', W') of the output; None means that of x.
      method: interpolation, "bilinear", "nearest" or "bicubic".
      padding_mode: values outside the image, "zeros", "border" or "reflection".
      align_corners: -1 and 1 are the centers of the border pixels instead of their outer edges.
      dtype: dtype of the dense layer; None means by promotion.
    """

    localization: nn.Module
    kind: Literal["affine", "rotation", "similarity"] = "affine"
    size: tuple[int, int] | None = None
    method: str = "bilinear"
    padding_mode: str = "zeros"
    align_corners: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Predict the transformation, then sample.

        Args:
          x: [B, H, W, C].

        Returns:
          (transformed images [B, *size, C], theta [B, 2, 3]).
        """
        check_choice("kind", self.kind, ("affine", "rotation", "similarity"))
        counts = {"affine": 6, "rotation": 1, "similarity": 4}
        features = self.localization(x)
        outputs = Dense(counts[self.kind], kernel_init=nn.initializers.zeros, dtype=self.dtype, name="theta")(features)
        if self.kind == "affine":
            theta = outputs.reshape(-1, 2, 3) + np.eye(2, 3, dtype=np.float32)
        else:
            theta = rotation_theta(outputs[:, 0])
        if self.kind == "similarity":
            theta = theta * jnp.exp(outputs[:, 1])[:, None, None]
            theta = theta.at[:, :, 2].set(outputs[:, 2:])
        grid = affine_grid(theta, x.shape[1:3] if self.size is None else self.size, self.align_corners)
        return grid_sample(x, grid, self.method, self.padding_mode, self.align_corners), theta
