"""Settings from signatures: a flag's name, type, default and help are those of a function's parameter.

Keyword parameters of type bool, int, float, str, Literal, tuple or Optional of these become flags; `Annotated[float,
Range(0, 1)]` limits a number, and the docstring's `Args` are the `--help`. A parameter that is a record, such as
`gae: GAE = GAE()`, becomes a flag for each field, under the field's name; the record documents them.
"""

import dataclasses
import difflib
import functools
import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from flax import linen as nn

from dlcore.learner import MOST_SEED, Range, is_record

__all__ = [
    "ONLY_F32",
    "FlagError",
    "NonNegativeFloat",
    "PositiveInt",
    "Seed",
    "Setting",
    "did_you_mean",
    "field_settings",
    "flag_prefix",
    "kind_name",
    "module_settings",
    "part_settings",
    "read_value",
    "settings_of",
    "takes_several",
    "text_of",
    "with_flags",
]


def with_flags(part: Any, flags: Any) -> Any:
    """Replace the fields of a part, and of the parts in it, by the values of their flags.

    A field by the name of one of the part's `modules` is its class, or a dict of its fields: it takes `--NAME.FIELD`.

    Args:
      part: a part, or a tuple of parts; a function stays as it is.
      flags: resolved settings.

    Returns:
      The part.
    """
    if type(part) is tuple:
        return tuple(with_flags(inner, flags) for inner in part)
    if isinstance(part, nn.Module):
        return part.clone(**flags.group(flag_prefix(type(part))))
    if not _is_record(part):
        return part
    if hasattr(part, "with_flags"):
        return part.with_flags(flags)
    simple = {name: flags[name] for name in field_settings(part) if name in flags}
    modules = getattr(part, "modules", None)
    networks = {
        name: functools.partial(value, **flags.group(name)) if callable(value) else flags.group(name)
        for name, value in vars(part).items()
        if isinstance(modules, Mapping) and name in modules
    }
    inner = {
        field.name: with_flags(value, flags)
        for field in dataclasses.fields(part)
        if _is_record(value := getattr(part, field.name)) or isinstance(value, nn.Module | tuple)
    }
    return dataclasses.replace(part, **{**inner, **simple, **networks})


def _is_record(part: Any) -> bool:
    """Return whether a value is a part with fields: no flax module, and not the object of another page."""
    is_other = isinstance(part, nn.Module | type) or getattr(part, "is_page", False)
    return dataclasses.is_dataclass(part) and not is_other


SIMPLE = (bool, int, float, str)


BOOLS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


PositiveInt = Annotated[int, Range(1)]
"""A number of something, at least 1."""


NonNegativeFloat = Annotated[float, Range(0)]
"""A learning rate or a weight, at least 0."""


Seed = Annotated[int, Range(0, MOST_SEED)]
"""A seed that a key of jax distinguishes: seeds that are equal modulo 2^32 would be the same run."""


ALIASES = {"lr": "learning_rate", "bs": "batch_size", "wd": "weight_decay"}
"""Short names of flags, taken where an experiment has the long one and none of the short name."""


EXTERNAL_FIELDS = frozenset({"num_classes", "axis_name", "dtype", "parent", "name"})
"""Fields of a module that the experiment passes itself, or that flax adds."""


class FlagError(ValueError):
    """A flag is unknown or its value is not allowed."""


class Setting(NamedTuple):
    """A flag.

    Args:
      default: default value.
      help: help text, one or two lines.
      type: type of the value; None takes the default's.
      limits: the allowed values of a number.
      identity: whether it changes what is learned, and so belongs to the run's identity; "if changed": only if it
        differs from the default, so that earlier runs keep their folders when a setting is added.
      essential: whether `--help` shows it first.
      origin: for a flag that names trained weights: flags -> `dlcore.weights.open.Weights`, or None if the flag
        is unset; called before loading the data.
      check: check of a value beyond a range: value -> None, or a ValueError "NAME=VALUE: problem; allowed:
        ...".
      record: record for a field of a record: the parameter that takes the record, and the record's class.
      regularizes: whether the flag adds regularization, and its default adds none: checks without regularization reset
        it.
      external: whether the experiment sets the value itself, from its data: the command line has no such flag. The
        default stays in the run's identity, so that runs keep their folders.
    """

    default: Any
    help: str = ""
    type: Any = None
    limits: Range = Range()
    identity: bool | Literal["if changed"] = True
    essential: bool = False
    origin: Callable[[Any], Any] | None = None
    check: Callable[[Any], None] | None = None
    record: tuple[str, Any] | None = None
    regularizes: bool = False
    external: bool = False


def part_settings(part: Any) -> dict[str, Setting]:
    """Collect the simple fields of a part, and of the parts in it, as flags.

    Args:
      part: a frozen dataclass; a function or a flax module has none.

    Returns:
      {field: setting}; `part.settings` adds flags that are no fields.
    """
    if not _is_record(part):
        return {} if getattr(part, "is_page", False) else dict(getattr(part, "settings", {}))
    settings = field_settings(part)
    for field in dataclasses.fields(part):
        settings |= part_settings(getattr(part, field.name))
    return settings | getattr(part, "settings", {})


MOST_BLOCKS = 10_000
"""Blocks, layers or stages of a network."""


LARGEST = {int: 2**63 - 1, float: 3.4e38}
"""Numbers that an int64 or a float32 holds; larger ones are allowed where a setting names a limit."""


class _Kind(NamedTuple):
    """A parsed type. base: bool, int, float, str, or a tuple of bases for a tuple of fixed length."""

    base: Any
    optional: bool = False
    choices: tuple = ()
    many: bool = False
    limits: Range = Range()

    @property
    def element(self) -> type:
        """The type of one value."""
        return self.base[0] if isinstance(self.base, tuple) else self.base


def _kind(annotation: Any) -> _Kind | None:
    """Parse a type annotation; None if the type is not simple."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in SIMPLE:
        return _Kind(annotation)
    if origin is Annotated:
        inner = _kind(args[0])
        return inner and inner._replace(limits=next((a for a in args[1:] if isinstance(a, Range)), inner.limits))
    if origin is Literal:
        return _Kind(type(args[0]), choices=args)
    if origin in (typing.Union, types.UnionType) and type(None) in args and len(args) == 2:
        inner = _kind(next(a for a in args if a is not type(None)))
        return inner and inner._replace(optional=True)
    if origin is tuple and args:
        # Words of a Literal and numbers of a Range are checked one by one.
        element = _kind(args[0])
        if element is None or element.many or element.optional:
            return None
        if len(args) == 2 and args[1] is Ellipsis:
            return element._replace(many=True)
        if all(a == args[0] for a in args):
            return element._replace(base=(element.base,) * len(args), many=True)
    return None


def _kind_of_setting(name: str, setting: Setting) -> _Kind:
    annotation = setting.type
    if annotation is None:
        value = setting.default
        annotation = tuple[type(value[0]), ...] if isinstance(value, tuple) and value else type(value)
    kind = _kind(annotation)
    if kind is None:
        raise TypeError(f"setting {name!r}: type {annotation} cannot be a flag; allowed: {SIMPLE}, tuples, Literal")
    return kind if setting.limits == Range() else kind._replace(limits=setting.limits)


def kind_name(name: str, setting: Setting) -> str:
    """Describe the values that a flag takes.

    Args:
      name: name of the flag.

    Returns:
      The text after `--name=` in `--help`, such as "int", "train|valid|test" or "float,...".
    """
    kind = _kind_of_setting(name, setting)
    return ("|".join(map(str, kind.choices)) or kind.element.__name__) + (",..." if kind.many else "")


def takes_several(name: str, setting: Setting) -> bool:
    """Find out whether a flag takes several values, such as a pair of height and width.

    Args:
      name: name of the flag.
    """
    return _kind_of_setting(name, setting).many


def _read(name: str, kind: _Kind, text: Any) -> Any:
    """Parse a value from its text, or check a value."""
    if text is None or (kind.optional and text in ("None", "none")):
        if kind.optional:
            return None
        raise FlagError(f"--{name}: a value is missing; allowed: --{name}=VALUE")
    if kind.optional and text == "":  # of a variable of the shell that is not set
        raise FlagError(f"--{name}=: empty; allowed: a value, or None")
    if not kind.many:
        return _scalar(name, kind.base, text, kind)
    if isinstance(text, tuple | list):
        parts = list(text)
    else:
        parts = [part.strip() for part in str(text).strip("()[] ").split(",") if part.strip()]
    if kind.choices and not parts:
        raise FlagError(f"--{name}={text}: no value; allowed: {', '.join(map(str, kind.choices))}")
    bases = kind.base if isinstance(kind.base, tuple) else (kind.base,) * len(parts)
    if len(parts) != len(bases):
        number = f"{len(parts)} value{'s' if len(parts) != 1 else ''}"
        raise FlagError(f"--{name}={text}: {number}; allowed: {len(bases)} values, with commas between them")
    return tuple(_scalar(name, base, part, kind) for base, part in zip(bases, parts, strict=True))


def _scalar(name: str, base: type, text: Any, kind: _Kind) -> Any:
    value: Any
    try:
        if base is bool:
            value = BOOLS[str(text).strip().lower()]
        elif isinstance(text, list | tuple | dict) or (base is not str and isinstance(text, bool)):
            raise ValueError
        elif base is int:
            number = float(text)
            if number != int(number):
                raise ValueError
            value = int(str(text).strip()) if not isinstance(text, float) and "e" not in str(text) else int(number)
        else:
            value = base(text)
    except (ValueError, KeyError, OverflowError):
        numbers = {int: "integers", float: "numbers"}.get(base, "one value")
        allowed = "true, false" if base is bool else numbers if kind.limits == Range() else _allowed(kind.limits)
        flag = f"--{name}={list(text) if isinstance(text, tuple) else text}"
        raise FlagError(f"{flag}: not {'an' if base is int else 'a'} {base.__name__}; allowed: {allowed}") from None
    if base is float and not math.isfinite(value):
        raise FlagError(f"--{name}={text}: not finite; allowed: {_allowed(kind.limits)}")
    if kind.choices and value not in kind.choices:
        hint = did_you_mean(str(value), [str(c) for c in kind.choices], 1)
        raise FlagError(f"--{name}={value}: unknown{hint}; allowed: {', '.join(map(str, kind.choices))}")
    if base in (int, float) and not kind.limits.low <= value <= kind.limits.high:
        raise FlagError(f"--{name}={value}: out of range; allowed: {_allowed(kind.limits)}")
    if base in LARGEST and math.isinf(kind.limits.high) and abs(value) > LARGEST[base]:
        raise FlagError(f"--{name}={text}: too large; allowed: at most {LARGEST[base]:,} in size")
    return value


def _allowed(limits: Range) -> str:
    low, high = (f"{int(x)}" if math.isfinite(x) and x == int(x) else f"{x:g}" for x in limits)
    if limits == Range():
        return "finite numbers"
    if math.isinf(limits.high):
        return f"at least {low}"
    return f"at most {high}" if math.isinf(limits.low) else f"{low} to {high}"


def settings_of(function: Callable) -> dict[str, Setting]:
    """Collect a function's parameters that can be flags, and the fields of parameters that are records.

    Args:
      function: function whose keyword parameters have types, defaults and a line each under `Args` of the docstring.

    Returns:
      {parameter, or field of a record: setting}.
    """
    hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    helps = _helps(inspect.getdoc(function) or "")
    for base in function.__mro__[1:] if isinstance(function, type) else ():
        helps = _helps(inspect.cleandoc(vars(base).get("__doc__") or "")) | helps
    settings = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint, default = hints.get(name), parameter.default
        if hint is None or default is parameter.empty:
            continue
        if is_record(hint):
            settings |= {key: s._replace(record=(name, hint)) for key, s in _fields(hint, default).items()}
        elif _kind(hint):
            settings[name] = Setting(default, helps.get(name, ""), hint, identity=_identity(hint))
    return settings


def _fields(record: type, values: Any) -> dict[str, Setting]:
    """Collect the fields of a record as flags, with their defaults."""
    hints = typing.get_type_hints(record, include_extras=True)
    helps = _helps(inspect.getdoc(record) or "")
    return {
        name: Setting(value, helps.get(name, ""), hint, identity=_identity(hint))
        for (name, value), hint in zip(values._asdict().items(), map(hints.get, values._fields), strict=True)
    }


def field_settings(record: Any) -> dict[str, Setting]:
    """Collect the fields of a dataclass instance as flags: its values are their defaults.

    A field has its help in the docstring's `Args`, of its own class or of one that it inherits from. Its type may be
    annotated: `Annotated[int, Range(1), "essential"]`; "essential" shows it first in `--help`, "if changed" and
    "no identity" are those of `Setting.identity`, "no flag" leaves it out, "regularizes" that of `Setting.regularizes`,
    and a function is its `Setting.check`. A field whose type cannot be a flag, such as a dict of modules, is none.

    Args:
      record: instance of a dataclass.

    Returns:
      {field: setting}, fields of base classes first.
    """
    cls = type(record)
    hints = typing.get_type_hints(cls, include_extras=True)
    helps: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        helps |= _helps(inspect.cleandoc(vars(base).get("__doc__") or ""))
    settings = {}
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        marks = getattr(hint, "__metadata__", ())
        if _kind(hint) is None or "no flag" in marks:
            continue
        settings[field.name] = Setting(
            getattr(record, field.name),
            helps.get(field.name, ""),
            hint,
            identity=False if "no identity" in marks else _identity(hint),
            essential="essential" in marks,
            check=next((mark for mark in marks if inspect.isfunction(mark)), None),
            regularizes="regularizes" in marks,
        )
    return settings


def _identity(hint: Any) -> bool | Literal["if changed"]:
    """What the type `Annotated[TYPE, "if changed"]` of a young parameter says."""
    return "if changed" if "if changed" in getattr(hint, "__metadata__", ()) else True


def _helps(doc: str) -> dict[str, str]:
    """`name: text` entries of a docstring, continuation lines joined."""
    entries, name = {}, None
    for line in doc.split("\n"):
        if match := re.match(r"^\s{0,4}([a-z_0-9]+): (.*)$", line):
            name = match[1]
            entries[name] = match[2].strip()
        elif name and line.strip() and line.startswith("   "):
            entries[name] += " " + line.strip()
        else:
            name = None
    return entries


def module_settings(prefix: str, module: Callable, given: frozenset[str] = EXTERNAL_FIELDS) -> dict[str, Setting]:
    """Collect the simple fields of a flax module as flags `--PREFIX.FIELD`.

    A field that is younger than published runs has the type `Annotated[TYPE, "if changed"]`, see `Setting.identity`; so
    has such a parameter in `settings_of`.

    Args:
      prefix: text before the dot.
      module: a module's class, or a `functools.partial` of one, whose keywords become defaults.
      given: fields that the experiment passes itself.

    Returns:
      {"PREFIX.FIELD": setting}.
    """
    keywords = module.keywords if isinstance(module, functools.partial) else {}
    cls: Any = module.func if isinstance(module, functools.partial) else module
    hints = typing.get_type_hints(cls, include_extras=True)
    helps: dict[str, str] = {}
    for base in reversed(cls.__mro__):  # a field that a class inherits keeps its help
        helps |= _helps(inspect.cleandoc(vars(base).get("__doc__") or ""))
    return {
        f"{prefix}.{f.name}": Setting(
            default := keywords.get(f.name, f.default),
            helps.get(f.name, ""),
            hints[f.name],
            limits=_field_limits(f.name, hints[f.name], default),
            identity=_identity(hints[f.name]),
        )
        for f in dataclasses.fields(cls)
        if f.name not in {*given, "parent", "name"}
        and _kind(hints.get(f.name))
        and (f.default is not dataclasses.MISSING or f.name in keywords)
    }


def _field_limits(name: str, annotation: Any, default: Any) -> Range:
    """Limits of the numbers of a field without ones of its own: it counts or measures something.

    A number may be negative where the default is. A network is built block by block, and a depth of millions would take
    for ever before any error.
    """
    kind = _kind(annotation)
    if kind is not None and kind.element is float and not kind.choices:
        return LIMITS.get(name, Range(0)) if kind.limits == Range() else Range()
    if kind is None or kind.element is not int or kind.choices or math.isfinite(kind.limits.high):
        return Range()
    values = default if isinstance(default, tuple) else () if default is None else (default,)
    if any(value < 0 for value in values):
        return Range()
    if name.endswith(("depth", "layers", "blocks", "stages")):
        return Range(max(0, kind.limits.low), MOST_BLOCKS)
    return Range(0, 2**31 - 1) if kind.limits == Range() else Range()


def read_value(name: str, setting: Setting, text: Any) -> Any:
    """Read a flag's value.

    Args:
      name: name of the flag.
      text: text from the command line, or a value, which is checked.

    Returns:
      The value in the flag's type.

    Raises:
      FlagError: the value is not allowed.
    """
    if text is None and setting.default is None:
        return None
    value = _read(name, _kind_of_setting(name, setting), text)
    if setting.check is not None:
        try:
            setting.check(value)
        except ValueError as error:
            raise FlagError(f"--{error}") from None
    return value


def text_of(value: Any) -> str:
    """Format a value for the command line.

    Args:
      value: value of a flag.

    Returns:
      The text after `--name=`.
    """
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def did_you_mean(name: str, names: Any, count: int = 3) -> str:
    """Suggest names for a misspelled one.

    Args:
      name: name as the user wrote it.
      names: all names.
      count: largest number of suggestions.

    Returns:
      " (did you mean a, b?)", or "" if no name is close.
    """
    names = list(names)
    if ALIASES.get(name) in names:
        return f" (did you mean {ALIASES[name]}?)"
    suggestions = difflib.get_close_matches(name, names, count, 0.5 if len(name) <= 3 else 0.65)
    ratios = [difflib.SequenceMatcher(None, name, other).ratio() for other in suggestions]
    suggestions = [other for other, ratio in zip(suggestions, ratios, strict=True) if ratio >= max(ratios) - 0.15]
    return f" (did you mean {', '.join(suggestions)}?)" if suggestions else ""


ONLY_F32 = {"precision": Setting("f32", "compute precision; this experiment has no other", Literal["f32"])}
"""In place of the setting of RUN, for an experiment whose `build` does not read `Run.dtype`."""


LIMITS = {
    **dict.fromkeys(("num_classes", "pad_token", "end_token", "position_features", "middle_blocks"), Range(0)),
    **dict.fromkeys(("global_blocks", "residual_blocks", "attention_levels", "encoder_levels"), Range(0)),
    **dict.fromkeys(("dropout", "attention_dropout", "aux_dropout", "conv_dropout", "input_dropout"), Range(0, 1)),
    **dict.fromkeys(("drop_path", "drop_connect", "momentum", "survival"), Range(0, 1)),
    "prior_probability": Range(1e-6, 0.999),
    **dict.fromkeys(("width_mult", "depth_mult", "mlp_ratio", "tokens_ratio", "channels_ratio"), Range(0.01)),
    **dict.fromkeys(("period", "aspect_ratios", "scales", "factors"), Range(1e-6)),
    "shift_factor": Range(),
}
"""Of fields that many networks have."""


def flag_prefix(module: Any) -> str:
    """Name the prefix of a module's flags: faster_rcnn for FasterRCNN, unet for UNet.

    Args:
      module: class of a flax module, or a `functools.partial` of one.
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", getattr(module, "func", module).__name__).lower()
