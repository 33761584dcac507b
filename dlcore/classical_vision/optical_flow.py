"""Optical flow: where each point of an image has moved in the next.

    brightness constancy   I_x u + I_y v + I_t = 0             one equation for two unknowns (aperture problem)
    Lucas-Kanade           min over (u, v) of Σ_window (I_x u + I_y v + I_t)²: local, sparse or dense
    Horn-Schunck           min ∫ (I_x u + I_y v + I_t)² + α² (|∇u|² + |∇v|²): one energy of the whole image

Lucas & Kanade 1981, "An iterative image registration technique"; Horn & Schunck 1981, "Determining optical flow";
Bouguet 2001, "Pyramidal implementation of the Lucas Kanade feature tracker" (as in OpenCV). Gradients are those of the
first image, so that a window's matrix is computed once (inverse compositional). Images are gray, in [0, 1].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.ops.checks import check_broadcast, check_finite, check_shapes
from dlcore.ops.filters import correlate_separable, gaussian_filter
from dlcore.ops.grid_sample import bilinear_sample
from dlcore.ops.precision import centered, result_dtype, to_acc_dtype, to_same_origin
from dlcore.ops.square_root import safe_sqrt

__all__ = ["Flow", "dense_lucas_kanade", "endpoint_error", "horn_schunck", "image_pyramid", "lucas_kanade", "warp_back"]


class Flow(NamedTuple):
    """Motion from the first image to the second.

    Args:
      flow: [..., 2], (right, down) in pixels.
      mask: [...] bool; False where the window has no texture in some direction, or leaves the image.
      eigenvalue: [...], the smaller one of the mean of ∇I ∇Iᵀ over the window.
    """

    flow: jax.Array
    mask: jax.Array
    eigenvalue: jax.Array


def image_pyramid(image: jax.Array, levels: int) -> list[jax.Array]:
    """Halve an image repeatedly, each time blurred by (1, 4, 6, 4, 1) / 16.

    Args:
      image: [H, W].
      levels: number of images.

    Returns:
      `levels` images, the largest first; pixel i of one is pixel 2 i of the last.
    """
    kernel = np.array([1, 4, 6, 4, 1]) / 16
    images = [image]
    for _ in range(levels - 1):
        images.append(correlate_separable(images[-1], kernel, kernel, "nearest")[::2, ::2])
    return images


def lucas_kanade(
    first: jax.Array,
    second: jax.Array,
    points: jax.Array,
    window: int = 9,
    levels: int = 3,
    iterations: int = 10,
    min_eigenvalue: float = 1e-5,
) -> Flow:
    """Track points from one image to the next (sparse flow).

    Args:
      first: [H, W] in [0, 1].
      second: [H, W].
      points: [N, 2], (column, row) in the first image.
      window: odd side of the square around a point.
      levels: levels of the pyramid; 3 reach motions of about 8 pixels.
      iterations: number of iterations at each level.
      min_eigenvalue: least eigenvalue of a point that can be tracked.

    Returns:
      Flow of [N].
    """
    first, second = _checked(first, second, window, levels)
    points = to_acc_dtype(points)
    half = window // 2
    offsets = jnp.arange(-half, half + 1, dtype=first.dtype)
    across, down = jnp.meshgrid(offsets, offsets)
    flow, eigenvalue = jnp.zeros_like(points), None

    def sample(image: jax.Array, centers: jax.Array) -> jax.Array:
        """Windows [N, window, window] around centers [N, 2]; the image goes on beyond its edges."""
        columns = jnp.clip(centers[:, 0, None, None] + across, 0, image.shape[1] - 1)
        rows = jnp.clip(centers[:, 1, None, None] + down, 0, image.shape[0] - 1)
        return bilinear_sample(image[None, :, :, None], rows[None], columns[None])[0, ..., 0]

    pairs = list(zip(image_pyramid(first, levels), image_pyramid(second, levels), strict=True))
    for level in reversed(range(levels)):
        before, after = pairs[level]
        here = points / 2**level
        g_right, g_down = (sample(g, here) for g in _gradients(before))
        template = sample(before, here)
        # Structure tensor of each window, the mean of ∇I ∇Iᵀ.
        matrix = _Matrix(*(p.mean((1, 2)) for p in (g_right**2, g_right * g_down, g_down**2)))
        flow, eigenvalue = 2 * flow if level < levels - 1 else flow, matrix.min_eigenvalue()
        is_solvable = (eigenvalue >= min_eigenvalue)[:, None]

        def step(
            _, flow, here=here, template=template, matrix=matrix, g=(g_right, g_down), after=after, ok=is_solvable
        ):
            # Gauss-Newton step on the window's squared difference.
            difference = template - sample(after, here + flow)
            change = matrix.solve(*((d * difference).mean((1, 2)) for d in g))
            return flow + jnp.where(ok, change, 0)

        flow = jax.lax.fori_loop(0, iterations, step, flow)
    end, limit = points + flow, jnp.array([first.shape[1] - 1, first.shape[0] - 1], first.dtype)
    is_inside = ((end >= 0) & (end <= limit) & (points >= 0) & (points <= limit)).all(-1)
    return Flow(flow, is_inside & (eigenvalue >= min_eigenvalue), eigenvalue)


def dense_lucas_kanade(
    first: jax.Array,
    second: jax.Array,
    window: int = 9,
    levels: int = 3,
    iterations: int = 5,
    min_eigenvalue: float = 1e-5,
) -> Flow:
    """Estimate the motion of every pixel by windows.

    Args:
      first: [H, W] in [0, 1].
      second: [H, W].
      window: odd side of the square around a pixel.
      levels: levels of the pyramid; 3 reach motions of about 8 pixels.
      iterations: warps at each level.
      min_eigenvalue: least eigenvalue of a window whose motion is known; elsewhere the coarser level's flow stays.

    Returns:
      Flow of [H, W].
    """
    first, second = _checked(first, second, window, levels)
    box = np.full(window, 1 / window)

    def mean(x: jax.Array) -> jax.Array:
        return correlate_separable(x, box, box, "nearest")

    pairs = list(zip(image_pyramid(first, levels), image_pyramid(second, levels), strict=True))
    flow, eigenvalue = None, None
    for before, after in reversed(pairs):
        if flow is None:
            flow = jnp.zeros((*before.shape, 2), before.dtype)
        else:
            # The flow of the coarser level, in pixels of this one.
            flow = 2 * jnp.repeat(jnp.repeat(flow, 2, 0), 2, 1)[: before.shape[0], : before.shape[1]]
        right, down = _gradients(before)
        matrix = _Matrix(mean(right**2), mean(right * down), mean(down**2))
        eigenvalue = matrix.min_eigenvalue()
        is_solvable = (eigenvalue >= min_eigenvalue)[..., None]

        def step(_, flow, before=before, after=after, g=(right, down), matrix=matrix, ok=is_solvable):
            # Each pixel of a window has a flow of its own by now: the equations are those of the whole flow.
            rest = g[0] * flow[..., 0] + g[1] * flow[..., 1] + before - warp_back(after, flow)
            return jnp.where(ok, matrix.solve(mean(g[0] * rest), mean(g[1] * rest)), flow)

        flow = jax.lax.fori_loop(0, iterations, step, flow)
    rows, columns = jnp.arange(first.shape[0])[:, None] + flow[..., 1], jnp.arange(first.shape[1]) + flow[..., 0]
    is_inside = (rows >= 0) & (rows <= first.shape[0] - 1) & (columns >= 0) & (columns <= first.shape[1] - 1)
    return Flow(flow, is_inside & (eigenvalue >= min_eigenvalue), eigenvalue)


def horn_schunck(
    first: jax.Array, second: jax.Array, alpha: float = 0.02, iterations: int = 200, sigma: float = 0.5
) -> jax.Array:
    """Estimate a smooth motion of every pixel, of about a pixel at most, by one energy.

    Args:
      first: [H, W] in [0, 1].
      second: [H, W].
      alpha: weight of smoothness against brightness, in the units of the image's slope (of [0, 255]: 255 times).
      iterations: number of iterations of Jacobi's method.
      sigma: sigma of a Gaussian blur of both images, in pixels.

    Returns:
      [H, W, 2], (right, down) in pixels; defined everywhere, carried into what has no texture.
    """
    first, second = _checked(first, second, 1, 1)
    if not alpha > 0:
        raise ValueError(f"alpha={alpha}: out of range; allowed: above 0")
    first, second = gaussian_filter(first, sigma), gaussian_filter(second, sigma)
    right, down = (g / 2 for g in map(jnp.add, _gradients(first), _gradients(second)))
    change = second - first
    kernel = np.array([1.0, 2.0, 1.0])

    def neighbors(x: jax.Array) -> jax.Array:
        """Mean of the eight: 1/6 of the four next, 1/12 of the diagonal ones."""
        return (correlate_separable(x, kernel, kernel, "nearest") - 4 * x) / 12

    def step(_, flow):
        mean = jnp.stack([neighbors(flow[..., 0]), neighbors(flow[..., 1])], -1)
        # Jacobi step: the neighbors' mean, corrected along the gradient by the brightness constraint.
        rest = (right * mean[..., 0] + down * mean[..., 1] + change) / (alpha**2 + right**2 + down**2)
        return mean - rest[..., None] * jnp.stack([right, down], -1)

    return jax.lax.fori_loop(0, iterations, step, jnp.zeros((*first.shape, 2), first.dtype))


def warp_back(image: jax.Array, flow: jax.Array) -> jax.Array:
    """Draw the second image over the first: image[p + flow(p)].

    Args:
      image: [H, W], the second.
      flow: [H, W, 2], (right, down) in pixels.

    Returns:
      [H, W]; beyond the edges the image goes on.
    """
    height, width = image.shape
    dtype, image, flow = result_dtype(image), to_acc_dtype(image), to_acc_dtype(flow)
    rows = jnp.clip(jnp.arange(height)[:, None] + flow[..., 1], 0, height - 1)
    columns = jnp.clip(jnp.arange(width) + flow[..., 0], 0, width - 1)
    return bilinear_sample(image[None, :, :, None], rows[None], columns[None])[0, ..., 0].astype(dtype)


def endpoint_error(flow: jax.Array, target: jax.Array) -> jax.Array:
    """Distance between estimated and true motion (Baker et al. 2007).

    Args:
      flow: [..., 2].
      target: [..., 2].

    Returns:
      [...], in pixels; its gradient is 0 where the two are equal.
    """
    check_shapes(flow=(flow, "... 2"))
    check_shapes(target=(target, "... 2"))
    check_broadcast(flow=flow, target=target)
    flow, target = to_same_origin(flow, target)
    return safe_sqrt(jnp.square(flow - target).sum(-1))


class _Matrix(NamedTuple):
    """Symmetric 2x2 matrices [[xx, xy], [xy, yy]]."""

    xx: jax.Array
    xy: jax.Array
    yy: jax.Array

    def min_eigenvalue(self) -> jax.Array:
        root = jnp.sqrt((self.xx - self.yy) ** 2 + 4 * self.xy**2)
        return (self.xx + self.yy - root) / 2

    def solve(self, x: jax.Array, y: jax.Array) -> jax.Array:
        determinant = self.xx * self.yy - self.xy**2
        determinant = jnp.where(determinant > 0, determinant, 1)
        return jnp.stack([self.yy * x - self.xy * y, self.xx * y - self.xy * x], -1) / determinant[..., None]


def _gradients(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(right, down): central differences after (3, 10, 3) / 16 across (Scharr)."""
    smooth, difference = np.array([3, 10, 3]) / 16, np.array([-0.5, 0, 0.5])
    right = correlate_separable(image, smooth, difference, "nearest")
    return right, correlate_separable(image, difference, smooth, "nearest")


def _checked(first: jax.Array, second: jax.Array, window: int, levels: int) -> tuple[jax.Array, jax.Array]:
    if first.ndim != 2 or first.shape != second.shape or not jnp.issubdtype(first.dtype, jnp.floating):
        raise ValueError(
            f"first={first.dtype}{list(first.shape)}, second={second.dtype}{list(second.shape)}: do not fit; allowed: "
            "floating, both [H, W]"
        )
    if levels < 1 or window < 1 or window % 2 == 0 or min(first.shape) < window * 2 ** (levels - 1):
        raise ValueError(
            f"window={window}, levels={levels}: do not fit images of {first.shape}; allowed: an odd window, at most as "
            "large as the top level"
        )
    for name, image in (("first", first), ("second", second)):
        if not isinstance(image, jax.core.Tracer):
            check_finite(name, image)
    # No equation depends on the brightness itself, of which large values would lose the digits of the change.
    return centered(first, second, center=first.mean())[:2]
