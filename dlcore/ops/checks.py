"""Check what a function is given: axes that agree, class labels, indices, finite numbers, boxes, probabilities.

Shapes are checked inside jit too; values only where they are concrete, so that no compiled program waits for the host.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from dlcore.choices import is_whole_number

__all__ = [
    "check_boxes",
    "check_broadcast",
    "check_class_ids",
    "check_classes",
    "check_counts",
    "check_finite",
    "check_indices",
    "check_keys",
    "check_logits",
    "check_mask",
    "check_probabilities",
    "check_range",
    "check_shapes",
    "check_size",
    "check_spacing",
    "check_spread",
    "check_values",
    "check_weights",
    "describe_array",
]

_RANGE = re.compile(r"(?:(?P<sign>>=?) )?(?P<low>-?\d[\d.]*)(?(sign)| to (?P<below><)?(?P<high>\d[\d.]*))")


def check_boxes(name: str, boxes: Any, valid: Any = None) -> None:
    """Check that boxes are finite and have their corners in order.

    Args:
      name: name of the argument, for the message.
      boxes: [..., 4] (x0, y0, x1, y1); traced ones pass.
      valid: [...], 0 or False for padding, which may hold anything; None means that all are valid.
    """
    if isinstance(boxes, jax.core.Tracer) or isinstance(valid, jax.core.Tracer):
        return
    boxes = _numbers(name, boxes)
    if boxes.shape[-1:] != (4,):
        raise ValueError(f"{name}={describe_array(boxes)}: no boxes; allowed: [..., 4]")
    counts = np.ones(boxes.shape[:-1], bool) if valid is None else np.asarray(valid, bool)
    check_finite(name, np.where(counts[..., None], boxes, 0))
    if (flipped := counts & (boxes[..., :2] > boxes[..., 2:]).any(-1)).any():
        at = np.unravel_index(flipped.argmax(), flipped.shape)
        raise ValueError(f"{name}{_place(at)}={boxes[at].tolist()}: flipped; allowed: x0 <= x1 and y0 <= y1")


def check_broadcast(**arguments: jax.Array | np.ndarray) -> None:
    """Check that all axes but the last broadcast.

    Args:
      **arguments: [..., D] by the name of the argument.
    """
    try:
        np.broadcast_shapes(*(np.shape(array)[:-1] for array in arguments.values()))
    except ValueError as error:
        text = ", ".join(f"{name}={describe_array(array)}" for name, array in arguments.items())
        raise ValueError(f"{text}: do not fit; allowed: axes that broadcast, but for the last") from error


def check_class_ids(name: str, labels: Any, num_classes: int | None, ignored: Any = None, valid: Any = None) -> None:
    """Check that labels are classes.

    Args:
      name: name of the argument, for the message.
      labels: int [...]; traced ones pass.
      num_classes: C; None for any number of classes.
      ignored: a label that stands for none (void, padding), or several; None for no such label.
      valid: [...], 0 or False for padding, whose label may be anything; None means that all are valid.
    """
    if isinstance(labels, jax.core.Tracer) or isinstance(valid, jax.core.Tracer):
        return
    if valid is not None:
        labels = np.where(np.asarray(valid, bool), labels, 0)
    if num_classes is None:
        check_range(name, labels, 0)
        return
    check_indices(name, labels, num_classes, "classes", ignored)


def check_indices(name: str, indices: Any, size: int, what: str, ignored: Any = None) -> None:
    """Check that indices lie within what they point into.

    Args:
      name: name of the argument, for the message.
      indices: numbers [...]; traced ones pass.
      size: size of what they point into.
      what: plural noun for it ("images").
      ignored: an index that stands for none, or several; None for no such index.
    """
    if isinstance(indices, jax.core.Tracer):
        return
    indices = _numbers(name, indices)
    invalid = ~((indices >= 0) & (indices < size) & (indices == np.floor(indices)))
    if ignored is not None:
        invalid &= ~np.isin(indices, ignored)
    if invalid.any():
        at = np.unravel_index(invalid.argmax(), invalid.shape)
        also = "" if ignored is None else f", or {', '.join(map(str, np.atleast_1d(ignored)))}"
        raise ValueError(
            f"{name}{_place(at)}={indices[at]:g}: out of range; allowed: 0 to {size - 1}, of {size} {what}{also}"
        )


def check_classes(name: str, labels: Any) -> None:
    """Check that labels, which are only compared with each other, name classes.

    Args:
      name: name of the argument, for the message.
      labels: [...], whole numbers or words; traced ones pass.
    """
    if isinstance(labels, jax.core.Tracer) or np.asarray(labels).dtype.kind != "f":
        return
    labels = np.asarray(labels)
    if (invalid := labels != np.floor(labels)).any():
        at = np.unravel_index(invalid.argmax(), invalid.shape)
        raise ValueError(f"{name}{_place(at)}={labels[at]:g}: no class; allowed: whole numbers")


def check_keys(name: str, record: Any, keys: Sequence[str]) -> None:
    """Check that a dict holds what is read from it.

    Args:
      name: name of the argument, for the message.
      record: the dict.
      keys: keys that it must have.
    """
    if not hasattr(record, "keys"):
        raise ValueError(f"{name}={type(record).__name__}: no dict; allowed: a dict with {', '.join(keys)}")
    if missing := [key for key in keys if key not in record]:
        raise ValueError(f"{name}: {', '.join(record) or 'nothing'} without {missing[0]!r}; allowed: {', '.join(keys)}")


def check_counts(name: str, counts: Any) -> None:
    """Check that numbers can be counts.

    Args:
      name: name of the argument, for the message.
      counts: [...]; traced ones pass.
    """
    if isinstance(counts, jax.core.Tracer):
        return
    counts = _numbers(name, counts)
    if (invalid := ~((counts >= 0) & np.isfinite(counts))).any():
        at = np.unravel_index(invalid.argmax(), invalid.shape)
        raise ValueError(f"{name}{_place(at)}={counts[at]:g}: no count; allowed: finite numbers, at least 0")


def check_finite(name: str, values: Any) -> None:
    """Check that numbers are finite.

    Args:
      name: name of the argument, for the message.
      values: [...]; traced ones pass.
    """
    if isinstance(values, jax.core.Tracer):
        return
    values = _numbers(name, values)
    if (invalid := ~np.isfinite(values)).any():
        at = np.unravel_index(invalid.argmax(), invalid.shape)
        raise ValueError(f"{name}{_place(at)}={values[at]}: not finite; allowed: finite numbers")


def check_range(name: str, values: Any, low: float, high: float = np.inf) -> None:
    """Check that numbers are between two limits.

    Args:
      name: name of the argument, for the message.
      values: [...]; traced ones pass.
      low: least number.
      high: largest number; infinity sets no limit.
    """
    if isinstance(values, jax.core.Tracer):
        return
    values = _numbers(name, values)
    slack = 1e-6 * max(abs(limit) for limit in (low, high) if np.isfinite(limit))  # of sums in float32
    if (invalid := ~((values >= low - slack) & (values <= high + slack))).any():
        at = np.unravel_index(invalid.argmax(), invalid.shape)
        allowed = f"{low:g} to {high:g}" if np.isfinite(high) else f"at least {low:g}"
        raise ValueError(f"{name}{_place(at)}={values[at]:g}: out of range; allowed: {allowed}")


def check_values(name: str, values: Any, allowed: tuple[float, ...]) -> None:
    """Check that numbers are of a few values.

    Args:
      name: name of the argument, for the message.
      values: [...], numbers or bools; traced ones pass.
      allowed: the values.
    """
    if isinstance(values, jax.core.Tracer):
        return
    values = _numbers(name, values)
    if (invalid := ~np.isin(values, allowed)).any():
        at = np.unravel_index(invalid.argmax(), invalid.shape)
        raise ValueError(f"{name}{_place(at)}={values[at]:g}: unknown; allowed: {', '.join(f'{v:g}' for v in allowed)}")


def check_logits(name: str, logits: Any) -> None:
    """Check that logits leave a choice: the largest of some with a NaN would be the NaN, and -inf rules a class out.

    Args:
      name: name of the argument, for the message.
      logits: [..., C] floats; the values of traced ones pass.
    """
    if not jnp.issubdtype(getattr(logits, "dtype", object), jnp.floating):
        raise ValueError(f"{name}={describe_array(logits)}: no array of floats; allowed: floats, such as float32")
    if isinstance(logits, jax.core.Tracer):
        return
    values = np.asarray(logits, np.float32)
    if (ruled_out := (values == -np.inf).all(-1)).any():
        at = list(map(int, np.argwhere(ruled_out)[0]))
        raise ValueError(f"{name}{at if at else ''}: -inf of all; allowed: a finite one at least")
    if (invalid := np.isnan(values) | (values == np.inf)).any():
        at = list(map(int, np.argwhere(invalid)[0]))
        raise ValueError(f"{name}{at}={values[tuple(at)]}: no logit; allowed: finite numbers, and -inf")


def check_mask(name: str, mask: Any) -> None:
    """Check that numbers say what counts: 0 for what does not, above 0 for what does.

    Args:
      name: name of the argument, for the message.
      mask: [...], numbers or bools; traced ones and None pass.
    """
    if mask is None or isinstance(mask, jax.core.Tracer):
        return
    mask = _numbers(name, mask)
    if (invalid := ~(mask >= 0)).any():
        at = np.unravel_index(invalid.argmax(), invalid.shape)
        raise ValueError(
            f"{name}{_place(at)}={mask[at]:g}: no mask; allowed: 0 for what does not count, 1 for what does"
        )


def check_probabilities(name: str, values: Any) -> None:
    """Check that numbers are distributions over their last axis.

    Args:
      name: name of the argument, for the message.
      values: [..., C]; traced ones pass.
    """
    if isinstance(values, jax.core.Tracer):
        return
    values = _numbers(name, values).astype(np.float64)
    total = values.sum(-1)
    if (invalid := ~((values >= 0).all(-1) & (np.abs(total - 1) <= 0.01))).any():
        at = np.unravel_index(invalid.argmax(), invalid.shape)
        problem = "a negative number" if (values[at] < 0).any() else f"sums to {total[at]:g}"
        raise ValueError(f"{name}{_place(at)}={values[at]}: {problem}; allowed: probabilities that sum to 1")


def check_size(name: str, size: Any, axes: str = "height, width") -> None:
    """Check the sides of an image, a map or a volume.

    Args:
      name: name of the argument, for the message.
      size: a whole number for each axis.
      axes: names of the axes.
    """
    sides = tuple(size) if np.ndim(size) == 1 else ()
    if len(sides) != len(axes.split(",")) or not all(is_whole_number(side) and side >= 1 for side in sides):
        raise ValueError(f"{name}={size}: no size; allowed: ({axes}), whole numbers from 1")


def check_spacing(spacing: Sequence[float]) -> np.ndarray:
    """Check the sides of a voxel.

    Args:
      spacing: (depth, height, width), in any unit of length.

    Returns:
      [3] float64.
    """
    sides = _numbers("spacing", spacing).astype(np.float64)
    if sides.shape != (3,) or not (np.isfinite(sides).all() and (sides > 0).all()):
        raise ValueError(f"spacing={tuple(spacing)}: not the sides of a voxel; allowed: three positive numbers")
    return sides


def check_spread(name: str, points: Any, dimensions: int, allowed: str) -> None:
    """Check that points do not all lie on one place, line or plane.

    Args:
      name: name of the argument, for the message.
      points: [N, D], finite; traced ones pass.
      dimensions: number of dimensions that they must span: 1 refuses one point, 2 a line, 3 a plane.
      allowed: what is allowed, for the message.
    """
    if isinstance(points, jax.core.Tracer):
        return
    points = np.asarray(points, np.float64)
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if len(spread) < dimensions or spread[dimensions - 1] <= 1e-6 * max(spread[0], 1e-30):
        where = {1: "in one place", 2: "on one line", 3: "on one plane"}[dimensions]
        raise ValueError(f"{name}: {len(points)} points {where}; allowed: {allowed}")


def check_weights(weights: Any, least: int) -> None:
    """Check that enough points count.

    Args:
      weights: [N], 0 leaves a point out; None counts all, and arrays of jax, of which RANSAC may leave none, pass.
      least: number of points that the answer takes.
    """
    if weights is None or isinstance(weights, jax.Array):
        return
    check_shapes(weights=(weights, "mask N"))
    if (count := int((np.asarray(weights) > 0).sum())) < least:
        raise ValueError(f"weights: above 0 for {count} of {len(weights)} points; allowed: for at least {least}")


def describe_array(array: jax.Array | np.ndarray | float) -> str:
    """Return an array's dtype and shape, as `float32[2, 3]`.

    Args:
      array: array or number.

    Returns:
      The text.
    """
    array = jnp.asarray(array)
    return f"{array.dtype}{list(array.shape)}"


def check_shapes(**arguments: tuple[Any, str]) -> None:
    """Check each array against its axes: `labels=(labels, "int ... T")`.

    `...` stands for the batch axes, which must be the same for all; a name stands for one size, a number for itself;
    no axes mean a scalar; a leading `int` asks for an integer dtype, a leading `mask` for numbers of at least 0.
    Nothing broadcasts. A scalar's range stands for its axes: `temperature=(temperature, "> 0")`, `">= 0"`, `"0 to 1"`
    or `"0 to <1"`, or `"finite"` where all finite numbers are allowed; a traced number is not compared. `"... 0 to 1"`
    is the range of each number of an array of batch axes, `"int >= 1"` that of a whole number.

    Args:
      **arguments: (array, axes) by the name of the argument; `"... C or None"` is of one that may be left out.
    """
    sizes: dict[str, tuple[int, ...]] = {}
    for name, (array, axes) in arguments.items():
        if axes.endswith("or None"):
            if array is None:
                continue
            axes = axes.removesuffix("or None").rstrip()
        limits = _RANGE.fullmatch(axes.removeprefix("int ").removeprefix("... "))
        if limits and axes.startswith("int "):
            _check_whole(name, array)
        _check_numbers(name, array)
        if limits:
            axes = "..." if axes.startswith("... ") else ""
            if not isinstance(array, jax.core.Tracer) and (axes or np.ndim(array) == 0):
                for value in np.ravel(array):
                    _check_number(name, float(value), *limits.groups())
        elif axes.endswith("finite"):
            axes = axes.removesuffix("finite").strip()
            if axes or np.ndim(array) == 0:
                check_finite(name, array)
        words, shape = axes.split(), np.shape(array)
        is_integer = words[:1] == ["int"]
        if words[:1] == ["mask"]:
            check_mask(name, array)
        words = words[1:] if words[:1] in (["int"], ["mask"]) else words
        example = [word for word in words if word != "..."]
        split = max(len(shape) - len(example), 0)
        size_of = dict(sizes)
        fits = len(shape) >= len(example) and ("..." in words or split == 0)
        pairs = [("...", shape[:split])] if "..." in words else []
        named = zip(example, shape[split:], strict=False)  # `fits` says where an axis is missing
        for axis, size in [*pairs, *((axis, (size,)) for axis, size in named)]:
            fits &= sizes.setdefault(axis, (int(axis),) if axis.isdigit() else size) == size
        if not fits or (is_integer and not jnp.issubdtype(jnp.asarray(array).dtype, jnp.integer)):
            allowed = ", ".join(str(size) for word in words for size in size_of.get(word, (word,)))
            kind = "int" if is_integer else ""
            raise ValueError(f"{name}={describe_array(array)}: wrong shape or dtype; allowed: {kind}[{allowed}]")


def _check_numbers(name: str, values: Any) -> None:
    """Refuse what `_numbers` refuses; arrays of jax, traced ones too, hold numbers."""
    if values is None or isinstance(values, list | tuple | str | np.ndarray):
        _numbers(name, values)


def _numbers(name: str, values: Any) -> np.ndarray:
    """NumPy's form of what is given; words, None and rows of unequal lengths are refused."""
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name}: rows of unequal lengths; allowed: numbers in rows of one length") from error
    if array.dtype.kind in "OSU":
        raise ValueError(f"{name}={values!r:.60}: no number; allowed: numbers")
    return array


def _check_whole(name: str, number: Any) -> None:
    """Refuse a fraction, a word or a bool; traced numbers and arrays of one integer pass."""
    if isinstance(number, jax.core.Tracer | jax.Array | np.ndarray):
        is_whole = np.ndim(number) == 0 and jnp.issubdtype(number.dtype, jnp.integer)
    else:
        is_whole = is_whole_number(number)
    if not is_whole:
        text = describe_array(number) if isinstance(number, jax.core.Tracer | jax.Array | np.ndarray) else number
        raise ValueError(f"{name}={text}: no whole number; allowed: whole numbers")


def _check_number(name: str, value: float, above: str | None, low: str, below: str | None, high: str | None) -> None:
    inside = value > float(low) if above == ">" else value >= float(low)
    if high is not None:
        inside &= value < float(high) if below else value <= float(high)
    if not inside:
        most = f" to {'below ' if below else ''}{high}" if high is not None else ""
        least = f"{'above' if above == '>' else 'at least'} {low}" if high is None else low
        raise ValueError(f"{name}={value:g}: out of range; allowed: {least}{most}")


def _place(at: tuple) -> str:
    return f"[{', '.join(map(str, map(int, at)))}]" if at else ""
