"""Shape checks for losses: batch axes come first and agree, and every named axis has one size."""

import jax
import jax.numpy as jnp

__all__ = ["check_shapes", "describe"]


def describe(array: jax.Array) -> str:
    """An array's dtype and shape, as `float32[2, 3]`.

    Args:
      array: array or number.

    Returns:
      The text.
    """
    array = jnp.asarray(array)
    return f"{array.dtype}{list(array.shape)}"


def check_shapes(**arguments: tuple[jax.Array | float | None, str]) -> None:
    """Check each array against its axes: `labels=(labels, "int ... T")`.

    `...` stands for the batch axes, which must be the same for all; a name stands for one size, a number for itself;
    no axes mean a scalar; a leading `int` asks for an integer dtype. Nothing broadcasts.

    Args:
      **arguments: (array, axes) by the name of the argument; an array of None is not checked.

    Raises:
      ValueError: an array has another rank, size or dtype.
    """
    sizes: dict[str, tuple[int, ...]] = {}
    for name, (array, axes) in arguments.items():
        if array is None:
            continue
        words, shape = axes.split(), jnp.shape(array)
        is_integer = words[:1] == ["int"]
        words = words[is_integer:]
        example = [word for word in words if word != "..."]
        split = max(len(shape) - len(example), 0)
        size_of = dict(sizes)
        fits = len(shape) >= len(example) and ("..." in words or split == 0)
        pairs = [("...", shape[:split])] if "..." in words else []
        for axis, size in [*pairs, *((axis, (size,)) for axis, size in zip(example, shape[split:], strict=False))]:
            fits &= sizes.setdefault(axis, (int(axis),) if axis.isdigit() else size) == size
        if not fits or (is_integer and not jnp.issubdtype(jnp.asarray(array).dtype, jnp.integer)):
            allowed = ", ".join(str(size) for word in words for size in size_of.get(word, (word,)))
            kind = "int" if is_integer else ""
            raise ValueError(f"{name}={describe(array)}: wrong shape or dtype; allowed: {kind}[{allowed}]")
