"""The type that a function computes in, whatever the type that its arrays come in.

    bool, bytes, integers    compute in float32            the result is float32
    float16, bfloat16        compute in float32            the result comes back in their type, where it is data
    float32, float64         compute in their own type     float64 outside of jax's x64 mode becomes float32

Differences of unsigned numbers wrap, whole numbers cut scales and noise, and sums, norms, draws and floors lose their
digits in 8 or 11 bits: so a public function casts what it is given once, by `to_acc_dtype`, before its first equation.
Logits, losses and statistics stay in the type of the computation; images, points and features that a function changes
and returns go back by `.astype(result_dtype(x))`.

Coordinates far from 0 (a map's metres, milliseconds since 1970) lose their digits in the cast. A function that does not
depend on where the origin lies subtracts a center first: `centered` and `to_same_origin` do so in NumPy's float64,
before the cast.
"""

import functools
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

__all__ = [
    "acc_dtype_of",
    "add_center",
    "centered",
    "product",
    "result_dtype",
    "to_acc_dtype",
    "to_namespace",
    "to_same_origin",
]


def acc_dtype_of(*values: Any) -> Any:
    """Return the dtype that a function computes in: at least float32.

    Args:
      *values: arrays, numbers or dtypes.

    Returns:
      The dtype that they promote to, together with float32.
    """
    return jnp.promote_types(jnp.result_type(*map(_typed, values)), jnp.float32)


def result_dtype(*values: Any) -> Any:
    """Return the dtype of data that a function changes and gives back.

    Args:
      *values: arrays, numbers or dtypes.

    Returns:
      The dtype that they promote to where it is floating, else float32: whole numbers would cut the result.
    """
    dtype = jnp.result_type(*map(_typed, values))
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.dtype(jnp.float32)


def _typed(value: Any) -> Any:
    """Return a list as an array; numbers, dtypes and arrays have types of their own."""
    return np.asarray(value) if isinstance(value, list | tuple) else value


def to_acc_dtype(x: Any) -> jax.Array:
    """Cast an array to the dtype that a function computes in.

    Args:
      x: [...], numbers of any type.

    Returns:
      The same, at least float32.
    """
    if not isinstance(x, jax.Array) and np.asarray(x).dtype.kind in "iu":
        return jnp.asarray(np.asarray(x, np.float32))  # by jnp alone, what int32 cannot hold would wrap
    x = jnp.asarray(x)
    return x.astype(acc_dtype_of(x))


def centered(x: Any, *more_points: Any, center: Any = None) -> tuple[jax.Array, ...]:
    """Subtract a center from points before they are cast, so that those far from 0 keep their digits.

    Args:
      x: [N, D], points of any type.
      *more_points: [..., D], points of the same space.
      center: [D]; None for the mean of `x`, through which no gradient flows.

    Returns:
      (x - center, each of `more_points` - center, center), at least float32. The center is rounded to this dtype first,
      so that adding it (`add_center`) puts the points back where they were; it is NumPy's float64 where an array of the
      host has 64 bits.
    """
    arrays = (x, *more_points)
    is_wide = _are_wide(arrays)
    if any(isinstance(array, jax.core.Tracer if is_wide else jax.Array) for array in (*arrays, center)):
        arrays = tuple(to_acc_dtype(array) for array in arrays)
        center = jax.lax.stop_gradient(arrays[0].mean(0)) if center is None else to_acc_dtype(center)
        return (*(array - center for array in arrays), center)
    arrays64 = tuple(np.asarray(array, np.float64) for array in arrays)
    dtype = acc_dtype_of(*map(np.asarray, arrays))
    center = np.asarray(arrays64[0].mean(0) if center is None else center, dtype)
    center64 = center.astype(np.float64)
    moved = (jnp.asarray(array - center64, dtype) for array in arrays64)
    return (*moved, center64 if is_wide else jnp.asarray(center))


def _are_wide(arrays: tuple[Any, ...]) -> bool:
    """Whether one of the arrays is of the host and has 64 bits, which jax would cut."""
    return any(not isinstance(array, jax.Array) and np.asarray(array).dtype in ("f8", "i8", "u8") for array in arrays)


def to_same_origin(*points: Any, dim: int | None = None) -> tuple[jax.Array, ...]:
    """Cast points of which only the differences count: what float32 would round is first moved near to 0.

    Args:
      *points: [..., D] each, of any type.
      dim: numbers of a point; 2 for boxes, of two corners. None means D.

    Returns:
      The points, at least float32; those of the host that lose digits in it less the middle of them.
    """
    if not any(map(_loses_digits, points)) or any(isinstance(array, jax.core.Tracer) for array in points):
        return tuple(map(to_acc_dtype, points))
    rows = [np.asarray(array).reshape(-1, dim or np.shape(array)[-1]) for array in points]
    some = np.concatenate([row[:: len(row) // 1000 + 1] for row in rows]).astype(np.float64)
    center = np.sort(some, 0)[len(some) // 2] if len(some) else 0.0  # neither padding nor an infinity
    moved = centered(*rows, center=center)[:-1]
    return tuple(near.reshape(np.shape(array)) for near, array in zip(moved, points, strict=True))


def _loses_digits(points: Any) -> bool:
    """Whether a cast to float32 would round an array of the host."""
    if isinstance(points, jax.Array):
        return False
    points = np.asarray(points)
    return points.dtype == np.float64 or (
        points.dtype.kind in "iu" and np.abs(points.astype(float)).max(initial=0) > 2**24
    )


def add_center(points: jax.Array, center: Any) -> Any:
    """Put points back where they were before `centered`.

    Args:
      points: [..., D], relative to the center.
      center: [D], of `centered`.

    Returns:
      points + center, NumPy's float64 where the center is: a step of float32 is half a meter on a map.
    """
    if isinstance(center, np.ndarray) and not isinstance(points, jax.core.Tracer):
        return np.asarray(points, np.float64) + center
    return points + center


def product(*matrices: Any) -> Any:
    """Multiply matrices in full precision: on the host in NumPy's float64.

    Args:
      *matrices: [..., M, N], or vectors [N].

    Returns:
      Their matrix product.
    """
    xp, *factors = to_namespace(*matrices)
    return functools.reduce(functools.partial(xp.matmul, **({} if xp is np else {"precision": "highest"})), factors)


def to_namespace(*arrays: Any) -> tuple[Any, ...]:
    """Cast arrays to the type of one computation: on the host NumPy's float64, else that of `to_acc_dtype`.

    A matrix of float32 cannot hold a map's coordinates, wherever its points are centered: what a function fits to
    arrays of the host is therefore float64, and maps arrays of the host in float64.

    Args:
      *arrays: [...], numbers of any type; None stays None.

    Returns:
      (numpy where none is an array of jax, or none is traced and one of the host has 64 bits, else jax.numpy; each of
      the arrays).
    """
    if any(isinstance(array, jax.core.Tracer if _are_wide(arrays) else jax.Array) for array in arrays):
        return jnp, *(None if array is None else to_acc_dtype(array) for array in arrays)
    return np, *(None if array is None else np.asarray(array, np.float64) for array in arrays)
