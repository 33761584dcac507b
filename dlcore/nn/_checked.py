"""Layers name a number that they cannot have where they are built."""

import dataclasses
import functools
from typing import Any, get_type_hints

from flax import linen as nn

from dlcore.learner import Range, check_range
from dlcore.ops.checks import check_shapes


class CheckedModule(nn.Module):
    """A flax module whose float fields are finite and within the `Range` of their annotation.

    Raises:
      ValueError: one is not.
    """

    def __post_init__(self) -> None:
        for name, limits in _float_fields(type(self)):
            value = getattr(self, name)
            check_shapes(**{name: (value, "finite")})
            for limit in limits:
                check_range(name, value, limit)
        super().__post_init__()


@functools.cache
def _float_fields(module: Any) -> tuple[tuple[str, tuple[Range, ...]], ...]:
    hints = get_type_hints(module, include_extras=True)
    fields = [(field.name, hints[field.name]) for field in dataclasses.fields(module)]
    return tuple(
        (name, tuple(limits for limits in getattr(hint, "__metadata__", ()) if isinstance(limits, Range)))
        for name, hint in fields
        if hint is float or float in getattr(hint, "__args__", ()) or getattr(hint, "__origin__", None) is float
    )
