"""Receptive fields of any network: which pixels the elements of an array see, equation by equation of a jaxpr.

Araujo, Norris & Sim, "Computing receptive fields of convolutional neural networks" (Distill, 2019).

An element at index i of an array sees the pixels of an input axis between

    step . i + low   and   step . i + high          a convolution of stride s, dilation r, low padding l, K taps:
    step <- s step,   low <- low - l step,   high <- high + ((K - 1) r - l) step

so its receptive field is high - low + 1 pixels wide and its stride is `step`. Where paths meet, the interval is the
union. It is an upper bound: attention, gathers and other mixing count as seeing everything (width inf), and what is
known only after axes of several origins were merged (tokens of windows) is lost. A constant sees nothing and is None,
which also tells a product of two activations or weights from an averaging by constants.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from dlcore.diagnostics.dependence import spreads

__all__ = ["ANYWHERE", "Field", "Span", "after", "of_image"]


class Span(NamedTuple):
    """Pixels of one input axis: from sum(steps[a] index[a]) + low to the same + high, over axes a of the array.

    Args:
      steps: {axis of the array: pixels between two neighbors along it}.
      low: first pixel that the element at index 0 sees.
      high: last pixel that the element at index 0 sees.
    """

    steps: dict[int, float]
    low: float
    high: float


ANYWHERE = Span({}, -math.inf, math.inf)
Field = dict[int, Span] | None
"""{input axis: Span}, empty for what depends on weights alone, None for a constant."""


def of_image(shape: Sequence[int]) -> Field:
    """Field of an input image: along every spatial axis an element sees its own pixel.

    Args:
      shape: [B, ..., C].

    Returns:
      The field.
    """
    return {axis: Span({axis: 1.0}, 0.0, 0.0) for axis in range(1, len(shape) - 1)}


def after(eqn: Any, fields: Sequence[Field]) -> list[Field]:
    """Fields of an equation's results from those of its operands.

    Args:
      eqn: equation of a jaxpr, without an inner jaxpr.
      fields: receptive fields of its operands.

    Returns:
      A field for each result.
    """
    count = len(eqn.outvars)
    if all(field is None for field in fields):
        return [None] * count
    name, shapes = eqn.primitive.name, [v.aval.shape for v in eqn.invars]
    if name == "split":
        return _split(eqn, fields[0])
    rule = RULES.get(name)
    if name.startswith("reduce_window"):
        rule = _window
    elif "axes" in eqn.params and name.startswith(("reduce_", "arg")):
        rule = _reduce
    if rule is None and name not in MIXING and all(spreads(s, eqn.outvars[0].aval.shape) for s in shapes):
        rule = _elementwise
    return [(rule or _anywhere)(eqn, fields)] * count


def _map(field: Field, change: Callable[[Span], Span]) -> Field:
    return None if field is None else {axis: change(span) for axis, span in field.items()}


def _union(fields: Sequence[Field]) -> Field:
    fields = [field for field in fields if field is not None]
    axes = sorted({axis for field in fields for axis in field})
    return {axis: _join([field[axis] for field in fields if axis in field]) for axis in axes}


def _join(spans: list[Span]) -> Span:
    if all(span.steps == spans[0].steps for span in spans):
        return Span(spans[0].steps, min(s.low for s in spans), max(s.high for s in spans))
    steps: dict[int, set] = {}
    for span in spans:
        for axis, step in span.steps.items():
            steps.setdefault(axis, set()).add(step)
    return Span({axis: values.pop() for axis, values in steps.items() if len(values) == 1}, -math.inf, math.inf)


def _over(span: Span, axis: int, size: int) -> Span:
    """What all `size` elements along `axis` look at together."""
    reach = span.steps.get(axis, 0.0) * (size - 1)
    steps = {a: step for a, step in span.steps.items() if a != axis}
    return Span(steps, span.low + min(reach, 0.0), span.high + max(reach, 0.0))


def _moved(span: Span, positions: dict[int, int]) -> Span:
    """Rename the axes of a span; an axis without a new name has no step, or a single element."""
    return span._replace(steps={positions[axis]: step for axis, step in span.steps.items() if axis in positions})


def _slide(span: Span, axis: int, taps: int, stride: int, low: int, dilation: int, spread: int) -> Span:
    """Return a window over `axis`, of which `spread` - 1 zeros separate the elements (transposed convolution)."""
    if axis not in span.steps:
        return span
    step = span.steps[axis] / spread
    offsets = (-low * step, ((taps - 1) * dilation - low) * step)
    return Span({**span.steps, axis: step * stride}, span.low + min(offsets), span.high + max(offsets))


def _elementwise(eqn: Any, fields: Sequence[Field]) -> Field:
    axes = [{a: a for a, size in enumerate(v.aval.shape) if size != 1} for v in eqn.invars]
    return _union([_map(f, lambda span, k=k: _moved(span, k)) for f, k in zip(fields, axes, strict=True)])


def _anywhere(eqn: Any, fields: Sequence[Field]) -> Field:
    return _map(_union(fields), lambda _: ANYWHERE)


def _reduce(eqn: Any, fields: Sequence[Field]) -> Field:
    shape, axes = eqn.invars[0].aval.shape, eqn.params["axes"]
    positions = {a: i for i, a in enumerate(a for a in range(len(shape)) if a not in axes)}

    def change(span: Span) -> Span:
        for axis in axes:
            span = _over(span, axis, shape[axis])
        return _moved(span, positions)

    return _map(fields[0], change)


def _window(eqn: Any, fields: Sequence[Field]) -> Field:
    p = eqn.params

    def change(span: Span) -> Span:
        for a, taps in enumerate(p["window_dimensions"]):
            dilation, spread = p["window_dilation"][a], p["base_dilation"][a]
            span = _slide(span, a, taps, p["window_strides"][a], p["padding"][a][0], dilation, spread)
        return span

    return _map(fields[0], change)


def _conv(eqn: Any, fields: Sequence[Field]) -> Field:
    p, (x, kernel) = eqn.params, (v.aval.shape for v in eqn.invars)
    numbers = p["dimension_numbers"]

    def change(span: Span) -> Span:
        for i, (axis, tap_axis) in enumerate(zip(numbers.lhs_spec[2:], numbers.rhs_spec[2:], strict=True)):
            dilation, spread = p["rhs_dilation"][i], p["lhs_dilation"][i]
            span = _slide(span, axis, kernel[tap_axis], p["window_strides"][i], p["padding"][i][0], dilation, spread)
        span = _over(span, numbers.lhs_spec[1], x[numbers.lhs_spec[1]])
        return _moved(span, dict(zip(numbers.lhs_spec, numbers.out_spec, strict=True)))

    return _union([_map(fields[0], change), _map(fields[1], lambda _: ANYWHERE)])


def _dot(eqn: Any, fields: Sequence[Field]) -> Field:
    contracted, batch = eqn.params["dimension_numbers"]
    operands, first = [], len(batch[0])  # the free axes of either operand follow the batch axes in the result
    for i, field in enumerate(fields):
        free = [a for a in range(eqn.invars[i].aval.ndim) if a not in contracted[i] and a not in batch[i]]
        positions = dict(zip(batch[i], range(len(batch[i])), strict=True)) | {a: first + n for n, a in enumerate(free)}
        first += len(free)

        def change(span: Span, i: int = i, positions: dict = positions) -> Span:
            for axis in contracted[i]:
                span = _over(span, axis, eqn.invars[i].aval.shape[axis])
            return _moved(span, positions)

        operands.append(_map(field, change))
    return _union(operands)


def _reshape(eqn: Any, fields: Sequence[Field]) -> Field:
    old, new = eqn.invars[0].aval.shape, eqn.outvars[0].aval.shape
    return _map(fields[0], lambda span: _reshaped(span, old, new))


def _reshaped(span: Span, old: Sequence[int], new: Sequence[int]) -> Span:
    """Axes fall into groups of one size before and after; a group keeps steps that are those of a single axis."""
    before, behind = ([a for a, size in enumerate(shape) if size != 1] for shape in (old, new))
    steps: dict[int, float] = {}
    while before and behind and 0 not in old:
        group, into = [before.pop(0)], [behind.pop(0)]
        while (sizes := (math.prod(old[a] for a in group), math.prod(new[a] for a in into)))[0] != sizes[1]:
            group.append(before.pop(0)) if sizes[0] < sizes[1] else into.append(behind.pop(0))
        step = span.steps.get(group[-1], 0.0)
        flat = {a: step * math.prod(old[b] for b in group if b > a) for a in group}
        if all(span.steps.get(a, 0.0) == flat[a] for a in group):
            steps |= {a: step * math.prod(new[b] for b in into if b > a) for a in into if step}
        else:
            for a in group:
                span = _over(span, a, old[a])
    return Span(steps, span.low, span.high)


def _broadcast(eqn: Any, fields: Sequence[Field]) -> Field:
    old, p = eqn.invars[0].aval.shape, eqn.params
    axes = {a: to for a, to in enumerate(p["broadcast_dimensions"]) if old[a] == p["shape"][to]}
    return _map(fields[0], lambda span: _moved(span, axes))


def _transpose(eqn: Any, fields: Sequence[Field]) -> Field:
    """Also squeeze: both say which axes stay, and in which order."""
    p, rank = eqn.params, eqn.invars[0].aval.ndim
    axes = p["permutation"] if "permutation" in p else [a for a in range(rank) if a not in p["dimensions"]]
    return _map(fields[0], lambda span: _moved(span, {a: i for i, a in enumerate(axes)}))


def _at(field: Field, picked: dict[int, tuple[float, float]]) -> Field:
    """Of an array whose element i along an axis is element start + stride i of what `field` describes."""

    def change(span: Span) -> Span:
        for axis, (start, stride) in picked.items():
            step = span.steps.get(axis)
            if step is not None:
                steps = {**span.steps, axis: step * stride}
                span = Span(steps, span.low + start * step, span.high + start * step)
        return span

    return _map(field, change)


def _slice(eqn: Any, fields: Sequence[Field]) -> Field:
    starts, strides = eqn.params["start_indices"], eqn.params["strides"]
    return _at(fields[0], dict(enumerate(zip(starts, strides or [1] * len(starts), strict=True))))


def _pad(eqn: Any, fields: Sequence[Field]) -> Field:
    config = enumerate(eqn.params["padding_config"])
    return _at(fields[0], {axis: (-low / (inner + 1), 1 / (inner + 1)) for axis, (low, _, inner) in config})


def _reverse(eqn: Any, fields: Sequence[Field]) -> Field:
    shape = eqn.invars[0].aval.shape
    return _at(fields[0], {axis: (shape[axis] - 1, -1) for axis in eqn.params["dimensions"]})


def _concatenate(eqn: Any, fields: Sequence[Field]) -> Field:
    axis = eqn.params["dimension"]
    starts = itertools.accumulate((v.aval.shape[axis] for v in eqn.invars), initial=0)
    parts = zip(fields, starts, strict=False)  # the last start is the end
    return _union([_at(field, {axis: (-start, 1)}) for field, start in parts])


def _split(eqn: Any, field: Field) -> list[Field]:
    starts = itertools.accumulate(eqn.params["sizes"][:-1], initial=0)
    return [_at(field, {eqn.params["axis"]: (start, 1)}) for start in starts]


RULES = {
    "broadcast_in_dim": _broadcast,
    "concatenate": _concatenate,
    "conv_general_dilated": _conv,
    "dot_general": _dot,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _reverse,
    "slice": _slice,
    "squeeze": _transpose,
    "transpose": _transpose,
}
MIXING = {"cumlogsumexp", "cummax", "cummin", "cumprod", "cumsum", "dynamic_update_slice", "fft", "sort", "top_k"}
