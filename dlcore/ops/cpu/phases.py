"""Convolution of an input with gaps between its pixels, by phases: no product with the zeros in the gaps.

    y[d a + r] = sum_j k[t + d j] x[a + j + (r + t - l) / d],   t = (l - r) mod d

d - 1 zeros lie between two pixels of x, l is the low padding. One convolution for each remainder r along rows and
columns, with every d-th tap of the kernel; the d x d results are interleaved. A transposed convolution is one, and the
gradient of a strided one by its input.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax

__all__: list[str] = []


def conv_by_phases(
    convolve: Callable[[jax.Array, jax.Array, tuple, Sequence[int]], jax.Array],
    x: jax.Array,
    kernel: jax.Array,
    padding: Sequence[tuple[int, int]],
    dilation: tuple[int, ...],
) -> jax.Array:
    """Convolve an input with gaps.

    Args:
      convolve: `(x, kernel, padding, counts) -> [N, *counts, O]`, a convolution without gaps; x or the kernel may have
        no pixels.
      x: [N, H, W, C].
      kernel: [kh, kw, C, O].
      padding: pixels (before, after) of rows and columns; negative ones crop.
      dilation: d of rows and columns; d - 1 zeros lie between two pixels.

    Returns:
      [N, H', W', O], of the size that the input with its zeros has.
    """
    sides = zip(x.shape[1:3], kernel.shape[:2], padding, dilation, strict=True)
    sizes = [((n - 1) * d + 1 if n else 0) + low + high - k + 1 for n, k, (low, high), d in sides]
    counts = [-(-size // d) for size, d in zip(sizes, dilation, strict=True)]

    def phase(*remainders: int) -> jax.Array:
        image, taps, pads = x, kernel, []
        for axis in range(2):
            d, r, low = dilation[axis], remainders[axis], padding[axis][0]
            first = (low - r) % d
            taps = lax.slice_in_dim(taps, min(first, taps.shape[axis]), None, d, axis)
            start = (r + first - low) // d
            end = counts[axis] + taps.shape[axis] - 1 + start
            before, after = max(start, 0), min(end, x.shape[axis + 1])
            image = lax.slice_in_dim(image, min(before, after), after, 1, axis + 1)
            pads.append((before - start, end - after))
        return convolve(image, taps, tuple(pads), counts)

    rows, columns = (range(d) for d in dilation)
    y = jnp.stack([jnp.stack([phase(r, s) for s in columns], 3) for r in rows], 2)
    y = y.reshape(y.shape[0], *(n * d for n, d in zip(counts, dilation, strict=True)), -1)
    return y[:, : sizes[0], : sizes[1]]
