"""Images as patches, and patches as images."""

import math

import jax

from dlcore.choices import check_whole_number, is_whole_number
from dlcore.ops.checks import check_shapes

__all__ = ["patch_grid", "patchify", "unpatchify"]


def patch_grid(x: jax.Array, patch_size: int) -> tuple[int, int]:
    """Count the patches along each side of images.

    Args:
      x: [B, H, W, C].
      patch_size: side of a patch.

    Returns:
      (rows, columns).
    """
    check_whole_number("patch_size", patch_size, 1)
    if x.ndim != 4 or any(side % patch_size for side in x.shape[1:3]):
        raise ValueError(
            f"x.shape={x.shape}: patches do not cover the image; allowed: [B, H, W, C] with multiples of "
            f"patch_size={patch_size}"
        )
    return x.shape[1] // patch_size, x.shape[2] // patch_size


def patchify(x: jax.Array, size: int) -> jax.Array:
    """Cut images into patches.

    Args:
      x: [B, H, W, C].
      size: p, side of a patch; divides H and W.

    Returns:
      [B, H W / p^2, p p C], row by row.
    """
    check_shapes(x=(x, "B H W C"))
    b, height, width, channels = x.shape
    if not is_whole_number(size) or size < 1 or height % size or width % size:
        raise ValueError(f"{size=}: patches do not cover {height} x {width} pixels; allowed: divisors of both")
    x = x.reshape(b, height // size, size, width // size, size, channels).swapaxes(2, 3)
    return x.reshape(b, -1, size * size * channels)


def unpatchify(patches: jax.Array, size: int, height: int, width: int) -> jax.Array:
    """Join patches to images, the inverse of `patchify`.

    Args:
      patches: [B, H W / p^2, p p C], or [B, H / p, W / p, p p C].
      size: p, side of a patch.
      height: H.
      width: W.

    Returns:
      [B, H, W, C].
    """
    for name, number in (("size", size), ("height", height), ("width", width)):
        check_whole_number(name, number, 1)
    rows, columns = height // size, width // size
    count = math.prod(patches.shape[1:-1])
    if rows * size != height or columns * size != width or count != rows * columns or patches.shape[-1] % size**2:
        raise ValueError(f"{patches.shape=}: no patches of {size=} of an image of its size; allowed: [B, N, p p C]")
    x = patches.reshape(patches.shape[0], height // size, width // size, size, size, -1).swapaxes(2, 3)
    return x.reshape(patches.shape[0], height, width, -1)
