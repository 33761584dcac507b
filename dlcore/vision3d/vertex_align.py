"""Vertex-aligned features: what an image's feature maps hold where the vertices of a mesh are projected.

    f(vertex) = maps sampled bilinearly at K X / depth, coarse maps at coordinates of their own stride

Wang et al. 2018 (Pixel2Mesh), arXiv:1804.01654. Gradients reach the maps and, through the coordinates, the vertices.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from dlcore.ops.camera import project
from dlcore.ops.checks import check_size
from dlcore.ops.grid_sample import bilinear_sample

__all__ = ["vertex_align"]


def vertex_align(
    maps: Sequence[jax.Array], vertices: jax.Array, intrinsics: jax.Array, image_size: tuple[int, int]
) -> jax.Array:
    """Sample feature maps at the projections of vertices; outside of the image, at its border.

    Args:
      maps: [B, H_i, W_i, C_i] each, of the whole image at any stride.
      vertices: [B, V, 3] in the camera's coordinates, in front of it.
      intrinsics: [3, 3], of the image in pixels.
      image_size: (height, width) of the image in pixels.

    Returns:
      [B, V, sum of C_i].
    """
    check_size("image_size", image_size)
    if not maps:
        raise ValueError("maps: there are none; allowed: at least one")
    if vertices.ndim != 3 or vertices.shape[-1] != 3:
        raise ValueError(f"vertices.shape={vertices.shape}: no vertices; allowed: [B, V, 3]")
    if mismatched := [m.shape for m in maps if m.ndim != 4 or m.shape[0] != vertices.shape[0]]:
        raise ValueError(
            f"maps: shape {mismatched[0]}; allowed: [{vertices.shape[0]}, H, W, C], one for each set of vertices"
        )
    pixels, _ = project(vertices, intrinsics)
    sampled = []
    for features in maps:
        height, width = features.shape[1:3]
        # Centers of pixels are at whole numbers, so that u of the image is (u + 1/2) / stride - 1/2 of the map.
        columns = (pixels[..., 0] + 0.5) * (width / image_size[1]) - 0.5
        rows = (pixels[..., 1] + 0.5) * (height / image_size[0]) - 0.5
        sampled.append(bilinear_sample(features, jnp.clip(rows, 0, height - 1), jnp.clip(columns, 0, width - 1)))
    return jnp.concatenate(sampled, -1)
