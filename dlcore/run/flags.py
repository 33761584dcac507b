"""Flags from signatures: a setting's name, type, default and help are written once, where the function is.

Keyword parameters of type bool, int, float, str, Literal, tuple or Optional of these become flags; `Annotated[float,
Range(0, 1)]` limits a number. Every parse builds its own absl FlagValues, so importing a page defines nothing and many
pages can run in one process.
"""

import dataclasses
import difflib
import functools
import inspect
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from absl import flags

from dlcore.learner import Range

__all__ = ["FlagError", "Flags", "Setting", "model_settings", "parse", "read_config", "settings_of", "wants_smoke"]

SIMPLE = (bool, int, float, str)


class FlagError(ValueError):
    """A flag is unknown or its value is not allowed."""


class Setting(NamedTuple):
    """A flag: its default, what it means, its type (from the default where None) and its limits."""

    default: Any
    help: str = ""
    type: Any = None
    limits: Range = Range()


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
        raise TypeError(f"setting {name!r} has the type {annotation}, which cannot be a flag")
    return kind if setting.limits == Range() else kind._replace(limits=setting.limits)


def _read(name: str, kind: _Kind, text: Any) -> Any:
    """A value from its text (or checked, where it is one already)."""
    if text is None or (kind.optional and text in ("None", "none", "")):
        if kind.optional:
            return None
        raise FlagError(f"--{name} needs a value")
    if kind.many:
        parts = (
            list(text)
            if isinstance(text, tuple | list)
            else [p.strip() for p in str(text).strip("()[] ").split(",") if p.strip()]
        )
        bases = kind.base if isinstance(kind.base, tuple) else (kind.base,) * len(parts)
        if len(parts) != len(bases):
            raise FlagError(f"--{name}={text} must have {len(bases)} values")
        return tuple(_scalar(name, base, part, kind) for base, part in zip(bases, parts, strict=True))
    return _scalar(name, kind.base, text, kind)


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
        raise FlagError(f"--{name}={text} is not {'an' if base is int else 'a'} {base.__name__}") from None
    if kind.choices and value not in kind.choices:
        near = difflib.get_close_matches(str(value), [str(c) for c in kind.choices], 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise FlagError(f"--{name}={value} is unknown{hint}; allowed are {', '.join(map(str, kind.choices))}")
    if base in (int, float) and not kind.limits.low <= value <= kind.limits.high:
        low, high = kind.limits
        allowed = f"at least {low:g}" if high == float("inf") else f"in [{low:g}, {high:g}]"
        raise FlagError(f"--{name}={value} must be {allowed}")
    return value


def settings_of(function: Callable) -> dict[str, Setting]:
    """The parameters of a function that can be flags, with the help its docstring has under Args."""
    hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    helps = _helps(inspect.getdoc(function) or "")
    return {
        name: Setting(parameter.default, helps.get(name, ""), hints[name])
        for name, parameter in inspect.signature(function).parameters.items()
        if name in hints and parameter.default is not parameter.empty and name != "axis" and _kind(hints[name])
    }


def _helps(doc: str) -> dict[str, str]:
    """`name: text` entries of a docstring, continuation lines joined."""
    found, name = {}, None
    for line in doc.split("\n"):
        if match := re.match(r"^\s{0,4}([a-z_0-9]+): (.*)$", line):
            name = match[1]
            found[name] = match[2].strip()
        elif name and line.strip() and line.startswith("   "):
            found[name] += " " + line.strip()
        else:
            name = None
    return found


def model_settings(name: str, given: tuple[str, ...] = ("num_classes", "axis_name", "dtype")) -> dict[str, Setting]:
    """The simple fields of a model as settings `model.FIELD`; those that the page gives itself are left out.

    Raises:
      FlagError: there is no such model; close names are listed.
    """
    from dlcore.models import list_models
    from dlcore.models.registry import MODELS

    if name not in MODELS:
        near = difflib.get_close_matches(name, list_models())
        raise FlagError(
            f"--model={name} is unknown" + (f"; did you mean {' or '.join(near)}?" if near else "")
            + f"; `dlcore models` lists all {len(MODELS)}"
        )  # fmt: skip
    variant = MODELS[name]
    keywords = variant.keywords if isinstance(variant, functools.partial) else {}
    cls = variant.func if isinstance(variant, functools.partial) else variant
    hints = typing.get_type_hints(cls, include_extras=True)
    helps = _helps(inspect.getdoc(cls) or "")
    return {
        f"model.{f.name}": Setting(keywords.get(f.name, f.default), helps.get(f.name, ""), hints[f.name])
        for f in dataclasses.fields(cls)
        if f.name not in (*given, "parent", "name")
        and _kind(hints.get(f.name))
        and (f.default is not dataclasses.MISSING or f.name in keywords)
    }


class Flags(Mapping):
    """Settings: `flags.batch_size`, `flags["model.width"]`, and groups of them by the function they go to."""

    def __init__(
        self, values: dict[str, Any], groups: dict[str, tuple[str, ...]] | None = None, given: frozenset = frozenset()
    ):
        self._values, self._groups, self.given = dict(values), groups or {}, given

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

    def group(self, name: str) -> dict[str, Any]:
        """The settings of one group under the names its function knows: `flags.group("learner")`."""
        return {key.removeprefix(f"{name}."): self._values[key] for key in self._groups.get(name, ())}

    def replace(self, **values: Any) -> "Flags":
        """Other values for some settings; names with a dot go in as `**{"model.width": 8}`."""
        unknown = set(values) - set(self._values)
        if unknown:
            raise FlagError(f"no flag {min(unknown)!r}; there are {', '.join(self._values)}")
        return Flags({**self._values, **values}, self._groups)


def parse(
    groups: dict[str, dict[str, Setting]], argv: list[str], config: dict[str, Any] | None = None, *, usage: str = ""
) -> Flags:
    """Read `argv` (without the program) over `config` (an earlier run's settings) over the settings' defaults.

    Raises:
      FlagError: a name is unknown (close names are given), a value is not allowed, or a word is left over.
      SystemExit: `--help` was asked for and printed.
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
    if any(word in ("--help", "-help", "-h", "--helpfull") for word in argv):
        print(usage.strip() + "\n\n" + _help_text(groups, kinds))
        raise SystemExit(0)
    _check_names(argv, settings)
    try:
        rest = values(["page", *argv])[1:]
    except flags.Error as error:
        raise FlagError(str(error)) from None
    if rest:
        raise FlagError(f"{rest[0]!r} is not a flag; flags look like --name=value")
    given = frozenset(name for name in settings if values[name].present)
    for name in config or {}:
        if name not in settings:
            raise FlagError(f"the configuration sets {name!r}, which is unknown{_near(name, settings)}")
    resolved = {}
    for name, setting in settings.items():
        raw = values[name].value if name in given else (config or {}).get(name, setting.default)
        resolved[name] = None if raw is None and setting.default is None else _read(name, kinds[name], raw)
    return Flags(resolved, {group: tuple(entries) for group, entries in groups.items()}, given)


def _define(values: flags.FlagValues, name: str, setting: Setting, kind: _Kind) -> None:
    if kind.base is bool and not kind.many and not kind.optional:
        flags.DEFINE_boolean(name, setting.default, setting.help, flag_values=values)
    else:
        flags.DEFINE_string(name, None, setting.help, flag_values=values)


def _check_names(argv: list[str], settings: dict[str, Setting]) -> None:
    for word in argv:
        if re.match(r"-[A-Za-z]", word):
            raise FlagError(
                f"{word} has one dash; flags look like --name=value{_near(word[1:].split('=')[0], settings)}"
            )
        if word.startswith("--") and len(word) > 2:
            name = word[2:].split("=")[0]
            negated = name.removeprefix("no")
            if name not in settings and not (negated in settings and isinstance(settings[negated].default, bool)):
                raise FlagError(f"--{name} is unknown{_near(name, settings)}; --help lists all")


def _near(name: str, names: Any) -> str:
    near = difflib.get_close_matches(name, list(names), 3, 0.5)
    return f" (did you mean {', '.join(near)}?)" if near else ""


def _help_text(groups: dict[str, dict[str, Setting]], kinds: dict[str, _Kind]) -> str:
    lines = []
    for group, entries in groups.items():
        if entries:
            lines.append(f"{group}:")
        for name, setting in entries.items():
            kind = kinds[name]
            base = kind.base[0] if isinstance(kind.base, tuple) else kind.base
            what = "|".join(map(str, kind.choices)) or base.__name__ + (",..." if kind.many else "")
            default = ",".join(map(str, setting.default)) if isinstance(setting.default, tuple) else setting.default
            lines.append(
                f"  --{name}={what}  (default {default})" + (f"\n      {setting.help}" if setting.help else "")
            )
    return "\n".join(lines)


def read_config(path: str | Path) -> dict[str, Any]:
    """The settings of an earlier run from its folder or its config.json.

    Raises:
      FlagError: the file is not there or holds no settings.
    """
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    try:
        content = json.loads(path.read_text())
    except OSError:
        raise FlagError(f"there is no configuration at {path}") from None
    except json.JSONDecodeError as error:
        raise FlagError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise FlagError(f"{path} holds no settings")
    return content


def wants_smoke(argv: list[str]) -> bool:
    """Whether a command line asks for `--smoke`, before it can be parsed: smoke values are defaults of other flags."""
    said = [word for word in argv if word == "--nosmoke" or word.split("=")[0] == "--smoke"]
    return bool(said) and said[-1].lower() in ("--smoke", "--smoke=true", "--smoke=t", "--smoke=1")
