"""Dependence: which positions of its input each element of a program's output can see, read off its jaxpr.

    S(x[t]) = {t},    S(f(a, b, ...)) = S(a) | S(b) | ...    over the elements that the operation reads

Sets are exact for elementwise work, products, convolutions, reductions, and all that moves elements; loops are walked
turn by turn, so that a carry sees what it has read so far. Elsewhere (gathers, slices at computed places, sorting) an
element sees all that any operand sees. No values are looked at: a weight that happens to be zero, or a key that a mask
hides, counts as seen. `dlcore.cost.receptive_field` does the same by intervals, for the fields of large images.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from dlcore.diagnostics.jaxpr import inner_jaxpr, propagate

__all__ = ["dependence", "steps_to_see_all"]

Seen = np.ndarray | None
"""uint8 [*shape, ceil(N / 8)], a bit a position; None for an array that sees none (weights, constants)."""

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
    """Find which positions of the input each element of the output can see.

    Args:
      function: function from one array to one array; it is only traced.
      x: the input, or its shape and dtype.
      axis: input axis; its N indices are the positions.

    Returns:
      bool [*output shape, N].
    """
    closed = jax.make_jaxpr(function)(jax.ShapeDtypeStruct(x.shape, x.dtype))
    count = x.shape[axis]
    shape = [1] * len(x.shape) + [count]
    shape[axis] = count
    bits = np.packbits(np.eye(count, dtype=bool), axis=-1)
    shape[-1] = bits.shape[-1]
    (seen,) = _through(closed.jaxpr, [np.broadcast_to(bits.reshape(shape), (*x.shape, shape[-1]))])
    if seen is None:
        return np.zeros((*closed.out_avals[0].shape, count), bool)
    return np.unpackbits(seen, axis=-1, count=count).astype(bool)


def steps_to_see_all(seen: np.ndarray) -> int | None:
    """Count the steps until a state sees all positions.

    Args:
      seen: bool [steps, ..., N], of the states after each step (`dependence`).

    Returns:
      The number of the first step, counted from 1, after which every element sees all N; None where none does.
    """
    whole = seen.reshape(len(seen), -1).all(1)
    return int(whole.argmax()) + 1 if whole.any() else None


def _through(jaxpr: Any, arguments: Sequence[Seen]) -> list[Seen]:
    """What the results see, where `arguments` are what the arguments see."""
    return propagate(jaxpr, arguments, _equation)


def _equation(eqn: Any, seen: list[Seen]) -> list[Seen]:
    name, p = eqn.primitive.name, eqn.params
    if all(s is None for s in seen):
        return [None] * len(eqn.outvars)
    if name == "scan":
        return _scan(eqn, seen)
    if name == "while":
        return _while(eqn, seen)
    if name == "cond":
        results = [_through(branch.jaxpr, seen[1:]) for branch in p["branches"]]
        chosen = _everything(eqn, seen[:1]) if seen[0] is not None else [None] * len(eqn.outvars)
        return [_union(parts) for parts in zip(*results, chosen, strict=True)]
    inner = inner_jaxpr(eqn)
    if inner is not None:
        return _through(inner.jaxpr, seen)
    if name in MOVES:
        return _moved(eqn, seen)
    if name == "dynamic_slice" and all(isinstance(v, Literal) for v in eqn.invars[1:]):
        return [_fixed_slice(eqn, seen[0])]
    if name == "dot_general":
        return [_product(eqn, seen)]
    if name == "conv_general_dilated":
        return _convolution(eqn, seen)
    if name in CUMULATIVE:
        return [_cumulative(eqn, seen[0])]
    axes, out = p.get("axes"), eqn.outvars[0].aval.shape
    if name.startswith(("reduce_", "arg")) and axes is not None and len(seen) == 1:
        return [np.bitwise_or.reduce(seen[0], axis=tuple(axes))]
    if name not in MIXES and all(_spreads(v.aval.shape, out) for v in eqn.invars):
        return [np.broadcast_to(_union(seen), (*out, _width(seen)))] * len(eqn.outvars)
    return _everything(eqn, seen)


def _spreads(shape: Sequence[int], over: Sequence[int]) -> bool:
    """Whether an operand of `shape` is one of elementwise work on `over`: as large, a scalar, or 1 along some axes."""
    return not shape or (len(shape) == len(over) and all(a in (1, b) for a, b in zip(shape, over, strict=True)))


def _union(parts: Sequence[Seen]) -> Seen:
    whole = None
    for part in parts:
        if part is not None:
            whole = part if whole is None else whole | part  # a scalar's set spreads over all elements
    return whole


def _everything(eqn: Any, seen: Sequence[Seen]) -> list[Seen]:
    every = _union([np.bitwise_or.reduce(s.reshape(-1, s.shape[-1]), 0) for s in seen if s is not None])
    return [np.broadcast_to(every, (*v.aval.shape, len(every))) for v in eqn.outvars]


def _width(seen: Sequence[Seen]) -> int:
    return next(s.shape[-1] for s in seen if s is not None)


def _moved(eqn: Any, seen: list[Seen]) -> list[Seen]:
    """Move the sets as the operation moves elements."""
    width = _width(seen)
    sets = [
        jnp.zeros((*v.aval.shape, width), jnp.uint8) if s is None else jnp.asarray(s)
        for v, s in zip(eqn.invars, seen, strict=True)
    ]
    results = jax.vmap(lambda *a: eqn.primitive.bind(*a, **eqn.params), -1, -1)(*sets)
    return list(map(np.asarray, results if eqn.primitive.multiple_results else [results]))


def _fixed_slice(eqn: Any, seen: np.ndarray) -> Seen:
    """A slice whose start is written in the program, as that of x[0]; lax moves it inside."""
    shape, sizes = eqn.invars[0].aval.shape, eqn.params["slice_sizes"]
    starts = [min(max(int(v.val), 0), n - size) for v, n, size in zip(eqn.invars[1:], shape, sizes, strict=True)]
    return seen[tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))]


def _product(eqn: Any, seen: list[Seen]) -> Seen:
    """An element sees what its row of one factor and its column of the other do."""
    (contracted, batch), parts = eqn.params["dimension_numbers"], []
    shapes = [v.aval.shape for v in eqn.invars]
    free = [
        [a for a in range(len(shape)) if a not in used and a not in rows]
        for shape, used, rows in zip(shapes, contracted, batch, strict=True)
    ]
    lead = [shapes[0][a] for a in batch[0]]
    for i, s in enumerate(seen):
        if s is None:
            continue
        s = s.transpose(*batch[i], *free[i], *contracted[i], s.ndim - 1)
        s = np.bitwise_or.reduce(s, axis=tuple(range(len(batch[i]) + len(free[i]), s.ndim - 1)))
        sizes = [[shapes[k][a] if k == i else 1 for a in free[k]] for k in range(2)]
        parts.append(s.reshape(*lead, *sizes[0], *sizes[1], s.shape[-1]))
    whole = _union(parts)
    return np.broadcast_to(whole, (*eqn.outvars[0].aval.shape, whole.shape[-1]))


def _convolution(eqn: Any, seen: list[Seen]) -> list[Seen]:
    """An element sees what the elements under its taps do, in its group of channels."""
    p, x, kernel = eqn.params, seen[0], eqn.invars[1].aval.shape
    numbers, groups = p["dimension_numbers"], p["feature_group_count"]
    if x is None or seen[1] is not None or p["batch_group_count"] != 1 or min(itertools.chain(*p["padding"])) < 0:
        return _everything(eqn, seen)
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
    whole = np.zeros((batch, groups, *out[2:], width), np.uint8)
    strides = p["window_strides"]
    for offsets in itertools.product(*taps):
        window = (slice(o, o + (n - 1) * s + 1, s) for o, n, s in zip(offsets, out[2:], strides, strict=True))
        whole |= padded[:, :, *window]
    whole = whole.repeat(out[1] // groups, axis=1)
    return [whole.transpose(*np.argsort(numbers.out_spec), whole.ndim - 1)]


def _cumulative(eqn: Any, seen: np.ndarray) -> Seen:
    axis, reverse = eqn.params["axis"], eqn.params.get("reverse", False)
    seen = np.flip(seen, axis) if reverse else seen
    seen = np.bitwise_or.accumulate(seen, axis)
    return np.flip(seen, axis) if reverse else seen


def _scan(eqn: Any, seen: list[Seen]) -> list[Seen]:
    p = eqn.params
    constants, carried = p["num_consts"], p["num_consts"] + p["num_carry"]
    carry, turns = seen[constants:carried], []
    order = range(p["length"])
    for t in reversed(order) if p["reverse"] else order:
        slices = [None if s is None else s[t] for s in seen[carried:]]
        results = _through(p["jaxpr"].jaxpr, [*seen[:constants], *carry, *slices])
        carry, ys = results[: p["num_carry"]], results[p["num_carry"] :]
        turns.append(ys)
    if p["reverse"]:
        turns.reverse()
    width, stacked = _width(seen), []
    for i, v in enumerate(eqn.outvars[p["num_carry"] :]):
        shape = (*v.aval.shape[1:], width)
        parts = [ys[i] for ys in turns]
        whole = [np.zeros(shape, np.uint8) if s is None else s for s in parts]
        stacked.append(None if all(s is None for s in parts) else np.stack(whole))
    return [*carry, *stacked]


def _while(eqn: Any, seen: list[Seen]) -> list[Seen]:
    """How often it turns is not known: a carry sees what it may see after any number of turns."""
    p = eqn.params
    before, after = p["cond_nconsts"], p["cond_nconsts"] + p["body_nconsts"]
    carry = seen[after:]
    while True:
        (ends,) = _through(p["cond_jaxpr"].jaxpr, [*seen[:before], *carry])
        turned = _through(p["body_jaxpr"].jaxpr, [*seen[before:after], *carry])
        when = [None] * len(carry) if ends is None else _everything(eqn, [ends])
        larger = [_union(parts) for parts in zip(carry, turned, when, strict=True)]
        if all(a is b or (a is not None and np.array_equal(a, b)) for a, b in zip(carry, larger, strict=True)):
            return carry
        carry = larger
