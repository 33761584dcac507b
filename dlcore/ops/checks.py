"""Check on the host what a measure or a learner is given: class labels, indices, and numbers that must be finite."""

from typing import Any

import jax
import jax.core
import numpy as np

__all__ = ["check_class_ids", "check_finite", "check_indices", "check_spread"]


def check_class_ids(name: str, labels: Any, num_classes: int, ignored: Any = None) -> None:
    """Check that labels are classes.

    Args:
      name: of the argument, for the message.
      labels: int [...]; traced ones pass.
      num_classes: C.
      ignored: a label that stands for none (void, padding), or several; None for no such label.

    Raises:
      ValueError: a label is outside [0, C) and not ignored; the first is named.
    """
    check_indices(name, labels, num_classes, "classes", ignored)


def check_indices(name: str, indices: Any, size: int, what: str, ignored: Any = None) -> None:
    """Check that indices lie within what they point into.

    Args:
      name: of the argument, for the message.
      indices: numbers [...]; traced ones pass.
      size: of what they point into.
      what: plural noun for it ("images").
      ignored: an index that stands for none, or several; None for no such index.

    Raises:
      ValueError: an index is outside [0, size) and not ignored, or no whole number; the first is named.
    """
    if isinstance(indices, jax.core.Tracer):
        return
    indices = np.asarray(indices)
    wrong = ~((indices >= 0) & (indices < size) & (indices == np.floor(indices)))
    if ignored is not None:
        wrong &= ~np.isin(indices, ignored)
    if wrong.any():
        at = np.unravel_index(wrong.argmax(), wrong.shape)
        also = "" if ignored is None else f", or {', '.join(map(str, np.atleast_1d(ignored)))}"
        place = f"[{', '.join(map(str, map(int, at)))}]" if at else ""
        raise ValueError(
            f"{name}{place}={indices[at]:g}: out of range; allowed: 0 to {size - 1}, of {size} {what}{also}"
        )


def check_finite(name: str, values: Any) -> None:
    """Check that numbers are finite.

    Args:
      name: of the argument, for the message.
      values: [...]; traced ones pass.

    Raises:
      ValueError: one is NaN or infinite; the first is named.
    """
    if isinstance(values, jax.core.Tracer):
        return
    values = np.asarray(values)
    if (wrong := ~np.isfinite(values)).any():
        at = np.unravel_index(wrong.argmax(), wrong.shape)
        place = f"[{', '.join(map(str, map(int, at)))}]" if at else ""
        raise ValueError(f"{name}{place}={values[at]}: not finite; allowed: finite numbers")


def check_spread(name: str, points: Any, dimensions: int, allowed: str) -> None:
    """Check that points do not all lie on one place, line or plane.

    Args:
      name: of the argument, for the message.
      points: [N, D], finite; traced ones pass.
      dimensions: that they must span: 1 refuses one place, 2 a line, 3 a plane.
      allowed: what is allowed, for the message.

    Raises:
      ValueError: they span fewer dimensions.
    """
    if isinstance(points, jax.core.Tracer):
        return
    points = np.asarray(points, np.float64)
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if len(spread) < dimensions or spread[dimensions - 1] <= 1e-6 * max(spread[0], 1e-30):
        where = {1: "in one place", 2: "on one line", 3: "on one plane"}[dimensions]
        raise ValueError(f"{name}: {len(points)} points {where}; allowed: {allowed}")
