"""Layers name a number or a word that they cannot have where they are built."""

import dataclasses
import functools
import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.learner import Range, check_range
from dlcore.ops.checks import check_shapes

Count = Annotated[int, Range(1)]


class CheckedModule(nn.Module):
    """A flax module whose fields of one kind are checked: numbers by the `Range` of their annotation, words by theirs.

    Args:
      features: output channels.
      num_heads: heads of the attention.
      dtype: dtype of the computation; None means by promotion.
      epsilon: added to the variance.
      use_bias: add a bias to each output channel.
      kernel_init: initializer of the kernel.
      bias_init: initializer of the bias.
    """

    def __post_init__(self) -> None:
        for name, kind, limits in _checked_fields(type(self)):
            value = getattr(self, name)
            if value is None:
                continue
            if kind is float:
                check_shapes(**{name: (value, "finite")})
            elif kind is int:
                low = limits[0].low if limits else float("-inf")
                check_whole_number(name, value, int(low) if low > float("-inf") else None)
            else:
                check_choice(name, value, kind)
            for limit in limits:
                check_range(name, value, limit)
        super().__post_init__()


@functools.cache
def _checked_fields(module: Any) -> tuple[tuple[str, Any, tuple[Range, ...]], ...]:
    """(name, kind, limits) of the fields that are floats, ints or words, or None."""
    hints, checked = get_type_hints(module, include_extras=True), []
    for field in dataclasses.fields(module):
        kinds = _kinds(hints[field.name])
        kinds.pop(type(None), None)
        if float in kinds:
            checked.append((field.name, float, kinds[float]))
        elif len(kinds) == 1 and (int in kinds or get_origin(next(iter(kinds))) is Literal):
            checked.append((field.name, *next(iter(kinds.items()))))
    return tuple(checked)


def _kinds(hint: Any) -> dict[Any, tuple[Range, ...]]:
    """Kinds that an annotation allows, with their limits."""
    if get_origin(hint) is Annotated:
        limits = tuple(limit for limit in hint.__metadata__ if isinstance(limit, Range))
        return dict.fromkeys(_kinds(get_args(hint)[0]), limits)
    if get_origin(hint) in (Union, types.UnionType):
        return {kind: limits for part in get_args(hint) for kind, limits in _kinds(part).items()}
    return {hint: ()}
