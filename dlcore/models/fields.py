"""Check the fields of networks by their annotations, where a network is built.

A whole number is a count, at least 1 where the field's default is not 0; a number is finite and at least 0. `Range` in
an annotation, or a limit by the field's name here, says otherwise. A tuple has an element where its default has one.
"""

import dataclasses
import functools
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import jax
import jax.core
from flax import linen as nn

from dlcore.choices import check_choice, check_whole_number
from dlcore.learner import Range, check_kind, check_range
from dlcore.nn.precision import check_float_dtype
from dlcore.setting import LIMITS

__all__ = ["CheckedFields", "check_fields"]

MOST_BLOCKS = 10_000
"""Blocks, layers or stages of a network, which is built block by block."""


LARGEST = 2**31 - 1
"""Of sizes of an axis."""


MAY_BE_EMPTY = frozenset({"hidden", "global_blocks", "residual_blocks", "attention_levels", "skips", "modules"})
"""Tuples that mean nothing of their kind where they are empty."""


class CheckedFields(nn.Module):
    """A flax module whose fields are what their annotations say, see `check_fields`.

    Args:
      features: output channels.
      num_heads: attention heads.
      mlp_features: hidden units of a block's MLP.
      drop_path: probability of dropping a branch of an example in training (stochastic depth).
      epsilon: added to variances by the norms.
      dtype: dtype of the computation, such as bfloat16; None: the type that x and the parameters promote to.
      axis_name: mapped axis (pmap, shard_map) over which batch statistics are averaged; None: each device by itself.
      remat: recomputation of each block in the backward pass, to save memory: none, products, weights or full.
    """

    def __post_init__(self) -> None:
        check_fields(type(self), {field: getattr(self, field) for field in _fields(type(self))})
        super().__post_init__()


def check_fields(module: Any, values: Mapping[str, Any]) -> None:
    """Check fields of a network by their annotations; traced numbers pass.

    Args:
      module: class of the network.
      values: values by the name of the field.
    """
    fields = _fields(module)
    for name, value in values.items():
        if name in fields:
            hint, default = fields[name]
            _check(name, value, hint, default, LIMITS.get(name))


@functools.cache
def _fields(module: Any) -> dict[str, tuple[Any, Any]]:
    """{name: (annotation, default)} of the fields of a module, or of a record."""
    hints = get_type_hints(module, include_extras=True)
    if not dataclasses.is_dataclass(module):
        return {name: (hints[name], module._field_defaults.get(name)) for name in module._fields}
    return {f.name: (hints[f.name], f.default) for f in dataclasses.fields(module) if f.name not in ("parent", "name")}


def _check(name: str, value: Any, hint: Any, default: Any, limits: Range | None) -> None:
    field = name.rpartition(".")[2].partition("[")[0]
    while get_origin(hint) is Annotated:
        limits = next((each for each in get_args(hint)[1:] if isinstance(each, Range)), limits)
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, types.UnionType):
        options = [option for option in get_args(hint) if option is not type(None)]
        if (value is None and len(options) < len(get_args(hint))) or len(options) > 1:
            return
        _check(name, value, options[0], default, limits)
    elif isinstance(value, jax.core.Tracer):
        return
    elif field == "dtype":
        check_float_dtype(name, value)
    elif hint is int:
        check_whole_number(name, value)
        most = MOST_BLOCKS if field.endswith(("depth", "depths", "layers", "blocks", "stages")) else LARGEST
        if value > most:
            raise ValueError(f"{name}={value}: too large; allowed: at most {most}")
        check_range(name, value, limits or Range(0 if default == 0 else 1))
    elif hint is float:
        check_kind(name, value, hint)
        check_range(name, value, limits or Range(0))
    elif hint is bool:
        check_kind(name, value, hint)
    elif get_origin(hint) is Literal:
        check_choice(name, value, hint)
    elif hint is str and not isinstance(value, str):
        raise ValueError(f"{name}={value!r}: no word; allowed: words")
    elif get_origin(hint) is tuple:
        _check_tuple(name, value, get_args(hint), default, limits)
    elif isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        if not isinstance(value, hint):
            raise ValueError(f"{name}={value!r}: no {hint.__name__}; allowed: {hint.__name__}(...)")
        for key, (kind, usual) in _fields(hint).items():
            _check(f"{name}.{key}", getattr(value, key), kind, usual, LIMITS.get(key))
    elif isinstance(hint, type) and issubclass(hint, nn.Module) and not isinstance(value, hint):
        raise ValueError(f"{name}={value!r}: no network; allowed: a {hint.__name__}")
    elif field.endswith("_init") and not callable(value):
        raise ValueError(f"{name}={value!r}: no initializer; allowed: functions such as flax.linen.initializers.zeros")
    elif field == "block" and not callable(value):
        raise ValueError(f"{name}={value!r}: no layer; allowed: classes of flax modules")


def _check_tuple(name: str, value: Any, hints: tuple[Any, ...], default: Any, limits: Range | None) -> None:
    if not isinstance(value, tuple | list):
        raise ValueError(f"{name}={value!r}: no tuple; allowed: tuples")
    if hints[-1] is not Ellipsis:
        if len(value) != len(hints):
            raise ValueError(f"{name}={value!r}: {len(value)} elements; allowed: {len(hints)}")
    else:
        hints = hints[:1] * len(value)
        if not value and default != () and name not in MAY_BE_EMPTY:
            raise ValueError(f"{name}={value!r}: empty; allowed: at least one element")
    for i, (element, hint) in enumerate(zip(value, hints, strict=True)):
        _check(f"{name}[{i}]", element, hint, None, limits)
