"""Flags from signatures: a setting's name, type, default and help are written once, where the function is.

Keyword parameters of type bool, int, float, str, Literal, tuple or Optional of these become flags; `Annotated[float,
Range(0, 1)]` limits a number, and the docstring's `Args` is the `--help`. Every parse builds its own absl FlagValues, so
importing an experiment defines nothing and many experiments can run in one process.
"""

import dataclasses
import difflib
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from absl import flags

from dlcore.learner import Range

__all__ = ["FlagError", "Flags", "Setting", "kind_name", "model_settings", "module_settings", "parse", "settings_of"]

SIMPLE = (bool, int, float, str)
GIVEN = frozenset({"num_classes", "axis_name", "dtype", "parent", "name"})
"""Fields of a module that the experiment passes itself, or that flax adds."""


class FlagError(ValueError):
    """A flag is unknown or its value is not allowed."""


class Setting(NamedTuple):
    """A flag.

    Args:
      default: its value where nothing else gives one.
      help: what it means, one or two lines.
      type: its type; that of the default where None.
      limits: the allowed values of a number.
      identity: whether it changes what is learned, and so belongs to the run's identity.
      essential: whether `--help` shows it first.
    """

    default: Any
    help: str = ""
    type: Any = None
    limits: Range = Range()
    identity: bool = True
    essential: bool = False


class _Kind(NamedTuple):
    """A type taken apart. base: bool, int, float, str, or a tuple of bases for a tuple of fixed length."""

    base: Any
    optional: bool = False
    choices: tuple = ()
    many: bool = False
    limits: Range = Range()


def _kind(annotation: Any) -> _Kind | None:
    """How to read a value of this type from text; None where the type is not simple."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in SIMPLE:
        return _Kind(annotation)
    if origin is Annotated:
        inner = _kind(args[0])
        limits = next((a for a in args[1:] if isinstance(a, Range)), Range())
        return inner and inner._replace(limits=limits)
    if origin is Literal:
        return _Kind(type(args[0]), choices=args)
    if origin in (typing.Union, types.UnionType) and type(None) in args and len(args) == 2:
        inner = _kind(next(a for a in args if a is not type(None)))
        return inner and inner._replace(optional=True)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis and args[0] in SIMPLE:
            return _Kind(args[0], many=True)
        if args and all(a is args[0] for a in args) and args[0] in SIMPLE:
            return _Kind((args[0],) * len(args), many=True)
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
      name: of the flag.
      setting: the flag.

    Returns:
      The text after `--name=` in `--help`, such as "int", "train|valid|test" or "float,...".
    """
    kind = _kind_of_setting(name, setting)
    base = kind.base[0] if isinstance(kind.base, tuple) else kind.base
    return "|".join(map(str, kind.choices)) or base.__name__ + (",..." if kind.many else "")


def _read(name: str, kind: _Kind, text: Any) -> Any:
    """A value from its text (or checked, where it is one already)."""
    if text is None or (kind.optional and text in ("None", "none", "")):
        if kind.optional:
            return None
        raise FlagError(f"--{name}: a value is missing; allowed: --{name}=VALUE")
    if not kind.many:
        return _scalar(name, kind.base, text, kind)
    if isinstance(text, tuple | list):
        parts = list(text)
    else:
        parts = [part.strip() for part in str(text).strip("()[] ").split(",") if part.strip()]
    bases = kind.base if isinstance(kind.base, tuple) else (kind.base,) * len(parts)
    if len(parts) != len(bases):
        raise FlagError(f"--{name}={text}: {len(parts)} values; allowed: {len(bases)} values")
    return tuple(_scalar(name, base, part, kind) for base, part in zip(bases, parts, strict=True))


def _scalar(name: str, base: type, text: Any, kind: _Kind) -> Any:
    try:
        if base is bool:
            value = {"true": True, "1": True, "false": False, "0": False}[str(text).strip().lower()]
        elif base is int:
            number = float(text)
            if number != int(number):
                raise ValueError
            value = int(str(text).strip()) if not isinstance(text, float) and "e" not in str(text) else int(number)
        else:
            value = base(text)
    except (ValueError, KeyError, OverflowError):
        raise FlagError(f"--{name}={text}: not {'an' if base is int else 'a'} {base.__name__}") from None
    if kind.choices and value not in kind.choices:
        hint = did_you_mean(str(value), [str(c) for c in kind.choices], 1)
        raise FlagError(f"--{name}={value}: unknown{hint}; allowed: {', '.join(map(str, kind.choices))}")
    if base in (int, float) and not kind.limits.low <= value <= kind.limits.high:
        low, high = kind.limits
        allowed = f"at least {low:g}" if high == float("inf") else f"{low:g} to {high:g}"
        raise FlagError(f"--{name}={value}: out of range; allowed: {allowed}")
    return value


def settings_of(function: Callable) -> dict[str, Setting]:
    """Collect the parameters of a function that can be flags.

    Args:
      function: whose keyword parameters have types, defaults and a line each under `Args` of the docstring.

    Returns:
      {parameter: setting}.
    """
    hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    helps = _helps(inspect.getdoc(function) or "")
    return {
        name: Setting(parameter.default, helps.get(name, ""), hints[name])
        for name, parameter in inspect.signature(function).parameters.items()
        if name in hints and parameter.default is not parameter.empty and name != "axis" and _kind(hints[name])
    }


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


def module_settings(prefix: str, module: Callable, given: frozenset[str] = GIVEN) -> dict[str, Setting]:
    """Collect the simple fields of a flax module as flags `--PREFIX.FIELD`.

    Args:
      prefix: what stands before the dot.
      module: a module's class, or a `functools.partial` of one, whose keywords become defaults.
      given: fields that the experiment passes itself.

    Returns:
      {"PREFIX.FIELD": setting}.
    """
    keywords = module.keywords if isinstance(module, functools.partial) else {}
    cls = module.func if isinstance(module, functools.partial) else module
    hints = typing.get_type_hints(cls, include_extras=True)
    helps = _helps(inspect.getdoc(cls) or "")
    return {
        f"{prefix}.{f.name}": Setting(keywords.get(f.name, f.default), helps.get(f.name, ""), hints[f.name])
        for f in dataclasses.fields(cls)
        if f.name not in {*given, "parent", "name"}
        and _kind(hints.get(f.name))
        and (f.default is not dataclasses.MISSING or f.name in keywords)
    }


def model_settings(name: str) -> dict[str, Setting]:
    """Collect the simple fields of a model of the zoo as flags `--model.FIELD`.

    Args:
      name: of `dlcore.models.list_models()`.

    Returns:
      {"model.FIELD": setting}.

    Raises:
      FlagError: there is no such model; close names are listed.
    """
    from dlcore.models.registry import MODELS

    if name not in MODELS:
        raise FlagError(
            f"--model={name}: unknown{did_you_mean(name, MODELS)}; allowed: the {len(MODELS)} names of `dlcore models`"
        )
    return module_settings("model", MODELS[name])


class Flags(Mapping):
    """Resolved settings: `flags.batch_size`, `flags["model.width"]`, and groups by the function they go to.

    Args:
      values: {name: value}.
      groups: {group: names}.
      given: names that the command line gave.
      identity: names that belong to the run's identity.
    """

    def __init__(
        self,
        values: dict[str, Any],
        groups: dict[str, tuple[str, ...]] | None = None,
        given: frozenset[str] = frozenset(),
        identity: frozenset[str] = frozenset(),
    ):
        self._values, self._groups, self.given, self._identity = dict(values), groups or {}, given, identity

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"no flag {name!r}; there are {', '.join(self._values)}") from None

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self):
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that decide what is learned, as JSON has them."""
        values = {name: self._values[name] for name in self._values if name in self._identity}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def group(self, name: str) -> dict[str, Any]:
        """Select the settings of one group.

        Args:
          name: of the group, such as "learner" or "model".

        Returns:
          {name without the group's prefix: value}: the keyword arguments of the group's function.
        """
        return {key.removeprefix(f"{name}."): self._values[key] for key in self._groups.get(name, ())}

    def replace(self, **values: Any) -> "Flags":
        """Change some settings.

        Args:
          **values: new values; a name with a dot goes in as `**{"model.width": 8}`.

        Returns:
          New flags.

        Raises:
          FlagError: there is no such flag.
        """
        if unknown := set(values) - set(self._values):
            raise FlagError(f"no flag {min(unknown)!r}; allowed: {', '.join(self._values)}")
        return Flags({**self._values, **values}, self._groups, self.given, self._identity)


def parse(
    groups: dict[str, dict[str, Setting]], argv: list[str], config: dict[str, Any] | None = None, *, usage: str = ""
) -> Flags:
    """Read a command line over an earlier run's settings over the settings' defaults.

    Args:
      groups: {group: {name: setting}}.
      argv: the command line without the program.
      config: {name: value} of an earlier run.
      usage: what `--help` begins with.

    Returns:
      The resolved settings.

    Raises:
      FlagError: a name is unknown (close names are given), a value is not allowed, or a word is left over.
      SystemExit: `--help` was asked for and printed.
      TypeError: two settings have one name.
    """
    values = flags.FlagValues()
    kinds, settings = {}, {}
    for entries in groups.values():
        for name, setting in entries.items():
            if name in settings:
                raise TypeError(f"two settings are called {name!r}")
            settings[name] = setting
            kinds[name] = _kind_of_setting(name, setting)
            _define(values, name, setting, kinds[name])
    if any(word.split("=")[0] in ("--help", "-help", "-h", "--helpfull") for word in argv):
        from dlcore.experiment.help import help_text

        print(usage.strip() + "\n\n" + help_text(groups, everything="--help=all" in argv or "--helpfull" in argv))
        raise SystemExit(0)
    check_names(argv, settings)
    try:
        rest = values(["experiment", *argv])[1:]
    except flags.Error as error:
        raise FlagError(str(error)) from None
    if rest:
        raise FlagError(f"{rest[0]!r}: not a flag; allowed: --name=value")
    given = frozenset(name for name in settings if values[name].present)
    for name in config or {}:
        if name not in settings:
            raise FlagError(f"the configuration sets {name!r}, which is unknown{did_you_mean(name, settings)}")
    resolved = {}
    for name, setting in settings.items():
        raw = values[name].value if name in given else (config or {}).get(name, setting.default)
        resolved[name] = None if raw is None and setting.default is None else _read(name, kinds[name], raw)
    identity = frozenset(name for name, setting in settings.items() if setting.identity)
    return Flags(resolved, {group: tuple(entries) for group, entries in groups.items()}, given, identity)


def _define(values: flags.FlagValues, name: str, setting: Setting, kind: _Kind) -> None:
    if kind.base is bool and not kind.many and not kind.optional:
        flags.DEFINE_boolean(name, setting.default, setting.help, flag_values=values)
    else:
        flags.DEFINE_string(name, None, setting.help, flag_values=values)


def check_names(argv: list[str], settings: Mapping[str, Setting]) -> None:
    """Check that every flag of a command line exists, before absl reads it.

    Args:
      argv: the command line.
      settings: {name: setting}.

    Raises:
      FlagError: a flag is unknown; close names are given.
    """
    for word in argv:
        if re.match(r"-[A-Za-z]", word):
            hint = did_you_mean(word[1:].split("=")[0], settings)
            raise FlagError(f"{word}: one dash{hint}; allowed: --name=value")
        if word.startswith("--") and len(word) > 2:
            name = word[2:].split("=")[0]
            negated = name.removeprefix("no")
            if name not in settings and not (negated in settings and isinstance(settings[negated].default, bool)):
                raise FlagError(f"--{name}: unknown{did_you_mean(name, settings)}; --help=all lists all flags")


def did_you_mean(name: str, names: Any, count: int = 3) -> str:
    """Suggest names for a misspelled one.

    Args:
      name: as it was written.
      names: all names.
      count: suggestions at most.

    Returns:
      " (did you mean a, b?)", or nothing where no name is close.
    """
    near = difflib.get_close_matches(name, list(names), count, 0.5)
    return f" (did you mean {', '.join(near)}?)" if near else ""
