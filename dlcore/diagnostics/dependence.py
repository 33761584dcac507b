"""Dependence: the input positions that each element of a program's output depends on, computed from its jaxpr.

    S(x[t]) = {t},    S(f(a, b, ...)) = S(a) | S(b) | ...    over the elements that the operation reads

Sets are exact for elementwise operations, matrix products, convolutions, reductions, and operations that move elements;
loops are unrolled, so that a carry depends on what it has read so far. Elsewhere (gathers, slices at computed indices,
sorting) an element depends on everything that any operand depends on. Values are ignored: a weight that happens to be
zero, or a masked key, counts as read. `dlcore.cost.receptive_field` does the same by intervals, for large images.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from dlcore.choices import check_whole_number
from dlcore.diagnostics.jaxpr import inner_jaxpr, propagate, scan_counts
from dlcore.ops.checks import check_values

__all__ = ["dependence", "steps_to_see_all"]

Sets = np.ndarray | None
"""uint8 [*shape, ceil(N / 8)], one bit per position; None for an array without dependence (weights, constants)."""

MOVES = {
    "broadcast_in_dim",
    "concatenate",
    "copy",
    "expand_dims",
    "pad",
    "reshape",
    "rev",
    "slice",
    "split",
    "squeeze",
    "stack",
    "transpose",
}
CUMULATIVE = {"cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum"}
MIXES = {"dynamic_update_slice", "fft", "scatter", "scatter-add", "scatter_add", "sort", "top_k", "triangular_solve"}


def dependence(function: Callable[[jax.Array], jax.Array], x: Any, axis: int = 0) -> np.ndarray:
    """Compute the input positions that each element of the output depends on.

    Args:
      function: function from one array to one array; it is only traced.
      x: the input, or its shape and dtype.
      axis: input axis; its N indices are the positions.

    Returns:
      bool [*output shape, N].
    """
    if not callable(function) or not hasattr(x, "shape"):
        raise ValueError(f"function={function!r}, x={x!r}: no function of an array; allowed: both")
    check_whole_number("axis", axis)
    if not 0 <= axis < len(x.shape):
        raise ValueError(f"axis={axis}: x has {len(x.shape)} axes; allowed: 0 to {len(x.shape) - 1}")
    closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(x.shape, x.dtype))
    count = x.shape[axis]
    shape = [1] * len(x.shape) + [count]
    shape[axis] = count
    bits = np.packbits(np.eye(count, dtype=bool), axis=-1)
    shape[-1] = bits.shape[-1]
    (sets,) = _through(closed.jaxpr, [np.broadcast_to(bits.reshape(shape), (*x.shape, shape[-1]))])
    if sets is None:
        return np.zeros((*closed.out_avals[0].shape, count), bool)
    return np.unpackbits(sets, axis=-1, count=count).astype(bool)


def steps_to_see_all(dependence_masks: np.ndarray) -> int | None:
    """Count the steps until a state depends on all positions.

    Args:
      dependence_masks: bool [steps, ..., N], dependence of the states after each step (`dependence`).

    Returns:
      The first step, counted from 1, after which every element depends on all N; None if there is none.
    """
    dependence_masks = np.asarray(dependence_masks)
    if dependence_masks.ndim < 2 or not dependence_masks.size:
        raise ValueError(f"dependence_masks={dependence_masks.shape}: wrong shape; allowed: [steps, ..., N], not empty")
    check_values("dependence_masks", dependence_masks, (0, 1))
    complete = dependence_masks.reshape(len(dependence_masks), -1).all(1)
    return int(complete.argmax()) + 1 if complete.any() else None


def _through(jaxpr: Any, arguments: Sequence[Sets]) -> list[Sets]:
    """Propagate the sets of the arguments to the results."""
    return propagate(jaxpr, arguments, _equation)


def _equation(eqn: Any, sets: list[Sets]) -> list[Sets]:
    name, p = eqn.primitive.name, eqn.params
    if all(s is None for s in sets):
        return [None] * len(eqn.outvars)
    if name == "scan":
        return _scan(eqn, sets)
    if name == "while":
        return _while(eqn, sets)
    if name == "cond":
        results = [_through(branch.jaxpr, sets[1:]) for branch in p["branches"]]
        from_index = _all_positions(eqn, sets[:1]) if sets[0] is not None else [None] * len(eqn.outvars)
        return [_union(parts) for parts in zip(*results, from_index, strict=True)]
    inner = inner_jaxpr(eqn)
    if inner is not None:
        return _through(inner.jaxpr, sets)
    if name in MOVES:
        return _moved(eqn, sets)
    if name == "dynamic_slice" and all(isinstance(v, Literal) for v in eqn.invars[1:]):
        return [_static_slice(eqn, sets[0])]
    if name == "dot_general":
        return [_product(eqn, sets)]
    if name == "conv_general_dilated":
        return _convolution(eqn, sets)
    if name in CUMULATIVE:
        return [_cumulative(eqn, sets[0])]
    axes, out = p.get("axes"), eqn.outvars[0].aval.shape
    if name.startswith(("reduce_", "arg")) and axes is not None and len(sets) == 1:
        return [np.bitwise_or.reduce(sets[0], axis=tuple(axes))]
    if name not in MIXES and all(spreads(v.aval.shape, out) for v in eqn.invars):
        return [np.broadcast_to(_union(sets), (*out, _width(sets)))] * len(eqn.outvars)
    return _all_positions(eqn, sets)


def spreads(shape: Sequence[int], over: Sequence[int]) -> bool:
    """Return whether `shape` broadcasts elementwise to `over`: equal, a scalar, or 1 along some axes."""
    return not shape or (len(shape) == len(over) and all(a in (1, b) for a, b in zip(shape, over, strict=True)))


def _union(parts: Sequence[Sets]) -> Sets:
    union = None
    for part in parts:
        if part is not None:
            union = part if union is None else union | part  # a scalar's set broadcasts to all elements
    return union


def _all_positions(eqn: Any, sets: Sequence[Sets]) -> list[Sets]:
    union = _union([np.bitwise_or.reduce(s.reshape(-1, s.shape[-1]), 0) for s in sets if s is not None])
    return [np.broadcast_to(union, (*v.aval.shape, len(union))) for v in eqn.outvars]


def _width(sets: Sequence[Sets]) -> int:
    return next(s.shape[-1] for s in sets if s is not None)


def _moved(eqn: Any, sets: list[Sets]) -> list[Sets]:
    """Move the sets as the operation moves elements."""
    width = _width(sets)
    operand_sets = [
        jnp.zeros((*v.aval.shape, width), jnp.uint8) if s is None else jnp.asarray(s)
        for v, s in zip(eqn.invars, sets, strict=True)
    ]
    results = jax.vmap(lambda *a: eqn.primitive.bind(*a, **eqn.params), -1, -1)(*operand_sets)
    return list(map(np.asarray, results if eqn.primitive.multiple_results else [results]))


def _static_slice(eqn: Any, sets: np.ndarray) -> Sets:
    """Slice the sets at a literal start, as in x[0]; like lax, clamp the start."""
    shape, sizes = eqn.invars[0].aval.shape, eqn.params["slice_sizes"]
    starts = [min(max(int(v.val), 0), n - size) for v, n, size in zip(eqn.invars[1:], shape, sizes, strict=True)]
    return sets[tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))]


def _product(eqn: Any, sets: list[Sets]) -> Sets:
    """Combine the sets of an element's row of one factor and its column of the other."""
    (contracted, batch), parts = eqn.params["dimension_numbers"], []
    shapes = [v.aval.shape for v in eqn.invars]
    free = [
        [a for a in range(len(shape)) if a not in used and a not in rows]
        for shape, used, rows in zip(shapes, contracted, batch, strict=True)
    ]
    lead = [shapes[0][a] for a in batch[0]]
    for i, s in enumerate(sets):
        if s is None:
            continue
        s = s.transpose(*batch[i], *free[i], *contracted[i], s.ndim - 1)
        s = np.bitwise_or.reduce(s, axis=tuple(range(len(batch[i]) + len(free[i]), s.ndim - 1)))
        sizes = [[shapes[k][a] if k == i else 1 for a in free[k]] for k in range(2)]
        parts.append(s.reshape(*lead, *sizes[0], *sizes[1], s.shape[-1]))
    union = _union(parts)
    return np.broadcast_to(union, (*eqn.outvars[0].aval.shape, union.shape[-1]))


def _convolution(eqn: Any, sets: list[Sets]) -> list[Sets]:
    """Combine the sets of the elements under the kernel, in the element's channel group."""
    p, x, kernel = eqn.params, sets[0], eqn.invars[1].aval.shape
    numbers, groups = p["dimension_numbers"], p["feature_group_count"]
    if x is None or sets[1] is not None or p["batch_group_count"] != 1 or min(itertools.chain(*p["padding"])) < 0:
        return _all_positions(eqn, sets)
    x = x.transpose(*numbers.lhs_spec, x.ndim - 1)
    batch, channels, *space, width = x.shape
    x = np.bitwise_or.reduce(x.reshape(batch, groups, channels // groups, *space, width), axis=2)
    spread = [(size - 1) * d + 1 for size, d in zip(space, p["lhs_dilation"], strict=True)]
    padded = np.zeros(
        (batch, groups, *(n + sum(q) for n, q in zip(spread, p["padding"], strict=True)), width), np.uint8
    )
    inside = tuple(
        slice(low, low + n, d) for (low, _), n, d in zip(p["padding"], spread, p["lhs_dilation"], strict=True)
    )
    padded[:, :, *inside] = x
    out = [eqn.outvars[0].aval.shape[a] for a in numbers.out_spec]
    taps = [range(0, kernel[a] * d, d) for a, d in zip(numbers.rhs_spec[2:], p["rhs_dilation"], strict=True)]
    union = np.zeros((batch, groups, *out[2:], width), np.uint8)
    strides = p["window_strides"]
    for offsets in itertools.product(*taps):
        window = (slice(o, o + (n - 1) * s + 1, s) for o, n, s in zip(offsets, out[2:], strides, strict=True))
        union |= padded[:, :, *window]
    union = union.repeat(out[1] // groups, axis=1)
    return [union.transpose(*np.argsort(numbers.out_spec), union.ndim - 1)]


def _cumulative(eqn: Any, sets: np.ndarray) -> Sets:
    axis, reverse = eqn.params["axis"], eqn.params.get("reverse", False)
    sets = np.flip(sets, axis) if reverse else sets
    sets = np.bitwise_or.accumulate(sets, axis)
    return np.flip(sets, axis) if reverse else sets


def _scan(eqn: Any, sets: list[Sets]) -> list[Sets]:
    p = eqn.params
    constants, num_carry = scan_counts(eqn)
    carry_end = constants + num_carry
    carry, iterations = sets[constants:carry_end], []
    order = range(p["length"])
    for t in reversed(order) if p["reverse"] else order:
        slices = [None if s is None else s[t] for s in sets[carry_end:]]
        results = _through(p["jaxpr"].jaxpr, [*sets[:constants], *carry, *slices])
        carry, ys = results[:num_carry], results[num_carry:]
        iterations.append(ys)
    if p["reverse"]:
        iterations.reverse()
    width, stacked = _width(sets), []
    for i, v in enumerate(eqn.outvars[num_carry:]):
        shape = (*v.aval.shape[1:], width)
        parts = [ys[i] for ys in iterations]
        filled = [np.zeros(shape, np.uint8) if s is None else s for s in parts]
        stacked.append(None if all(s is None for s in parts) else np.stack(filled))
    return [*carry, *stacked]


def _while(eqn: Any, sets: list[Sets]) -> list[Sets]:
    """Iterate to a fixed point, since the number of iterations is unknown."""
    p = eqn.params
    cond_end, body_end = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
    carry = sets[body_end:]
    while True:
        (condition,) = _through(p["cond_jaxpr"].jaxpr, [*sets[:cond_end], *carry])
        after_body = _through(p["body_jaxpr"].jaxpr, [*sets[cond_end:body_end], *carry])
        from_condition = [None] * len(carry) if condition is None else _all_positions(eqn, [condition])
        larger = [_union(parts) for parts in zip(carry, after_body, from_condition, strict=True)]
        if all(a is b or (a is not None and np.array_equal(a, b)) for a, b in zip(carry, larger, strict=True)):
            return carry
        carry = larger
