"""Flags: resolved settings, read from a command line.

Every parse builds its own absl FlagValues, so importing an experiment defines no flags, and many experiments can run
in one process.
"""

import re
from collections.abc import Mapping
from typing import Any

from absl import flags

from dlcore.experiment.help import help_text
from dlcore.setting import ALIASES, FlagError, Setting, did_you_mean, kind_name, read_value

__all__ = ["Flags", "check_names", "parse"]


class Flags(Mapping):
    """Resolved settings: `flags.batch_size`, `flags["model.width"]`, and groups by the function that takes them.

    Args:
      values: {name: value}.
      groups: {group: names}.
      given: names that the command line gave.
      identity: names that belong to the run's identity.
      records: {name: (parameter, class)} of the flags that are fields of a record.
    """

    def __init__(
        self,
        values: dict[str, Any],
        groups: dict[str, tuple[str, ...]] | None = None,
        given: frozenset[str] = frozenset(),
        identity: frozenset[str] = frozenset(),
        records: dict[str, tuple[str, type]] | None = None,
    ):
        self._values, self._groups, self.given, self._identity = dict(values), groups or {}, given, identity
        self._records = records or {}

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
        """The settings that decide what is learned, as JSON values."""
        values = {name: self._values[name] for name in self._values if name in self._identity}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def group(self, name: str) -> dict[str, Any]:
        """Select the settings of one group.

        Args:
          name: name of the group, such as "learner" or "model".

        Returns:
          {name without the group's prefix: value}: the keyword arguments of the group's function, with records
          assembled.
        """
        arguments, fields = {}, {}
        for key in self._groups.get(name, ()):
            if key in self._records:
                fields.setdefault(self._records[key], {})[key] = self._values[key]
            else:
                arguments[key.removeprefix(f"{name}.")] = self._values[key]
        return arguments | {parameter: record(**values) for (parameter, record), values in fields.items()}

    def replace(self, **values: Any) -> "Flags":
        """Change some settings.

        Args:
          **values: new values; a name with a dot is passed as `**{"model.width": 8}`.

        Raises:
          FlagError: there is no such flag.
        """
        if unknown := set(values) - set(self._values):
            raise FlagError(f"no flag {min(unknown)!r}; allowed: {', '.join(self._values)}")
        return Flags({**self._values, **values}, self._groups, self.given, self._identity, self._records)


def parse(
    groups: dict[str, dict[str, Setting]],
    argv: list[str],
    config: dict[str, Any] | None = None,
    *,
    usage: str = "",
    config_name: str = "config",
) -> Flags:
    """Parse a command line; other settings come from an earlier run, then from the defaults.

    Args:
      groups: {group: {name: setting}}.
      argv: the command line without the program.
      config: {name: value} of an earlier run.
      usage: first lines of `--help`.
      config_name: text of the flag that names the earlier run, with its value, for errors.

    Raises:
      FlagError: a name is unknown (the message lists close names), a value is not allowed, or an argument is no flag.
      SystemExit: `--help` was asked for and printed.
      TypeError: two settings have one name.
    """
    values, settings = flags.FlagValues(), {}
    for entries in groups.values():
        for name, setting in entries.items():
            if name in settings:
                raise TypeError(f"two settings are called {name!r}")
            settings[name] = setting
            if setting.external:
                continue
            if kind_name(name, setting) == "bool" and isinstance(setting.default, bool):
                flags.DEFINE_boolean(name, setting.default, setting.help, flag_values=values)
            else:
                flags.DEFINE_string(name, None, setting.help, flag_values=values)
    if any(word.split("=")[0] in ("--help", "-help", "-h", "--helpfull") for word in argv):
        print(usage.strip() + "\n\n" + help_text(groups, everything="--help=all" in argv or "--helpfull" in argv))
        raise SystemExit(0)
    public_settings = {name: setting for name, setting in settings.items() if not setting.external}
    argv = [_long_name(word, public_settings) for word in argv]
    check_names(argv, public_settings)
    try:
        rest = values(["experiment", *argv])[1:]
    except flags.Error as error:
        raise FlagError(str(error)) from None
    if rest:
        raise FlagError(f"{rest[0]!r}: not a flag; allowed: --name=value")
    explicit = frozenset(name for name in public_settings if values[name].present)
    for name in config or {}:
        if name not in settings:
            hint = did_you_mean(name, settings)
            raise FlagError(f"{config_name}: sets {name!r}, which is unknown{hint}; allowed: the names of --help=all")
    resolved, earlier = {}, config or {}
    for name, setting in settings.items():
        if name in explicit or name not in earlier:
            resolved[name] = read_value(name, setting, values[name].value if name in explicit else setting.default)
            continue
        try:
            resolved[name] = read_value(name, setting, earlier[name])
        except FlagError as error:
            raise FlagError(f"{config_name}: sets {error}") from None
    identity = frozenset(
        name
        for name, setting in settings.items()
        if setting.identity is True or (setting.identity == "if changed" and resolved[name] != setting.default)
    )
    records = {name: setting.record for name, setting in settings.items() if setting.record}
    return Flags(resolved, {group: tuple(entries) for group, entries in groups.items()}, explicit, identity, records)


def _long_name(word: str, settings: Mapping[str, Setting]) -> str:
    """Return --learning_rate=0.1 for --lr=0.1."""
    name, equals, value = word.removeprefix("--").partition("=")
    is_short = word.startswith("--") and name not in settings and ALIASES.get(name) in settings
    return f"--{ALIASES[name]}{equals}{value}" if is_short else word


def check_names(argv: list[str], settings: Mapping[str, Setting]) -> None:
    """Check that every flag of a command line exists, and that values of bool flags are bools, before absl parses it.

    Args:
      argv: the command line.
      settings: {name: setting}.

    Raises:
      FlagError: a flag is unknown (the message lists close names), or a value is not a bool.
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
            if "=" in word and name in settings and isinstance(settings[name].default, bool):
                read_value(name, settings[name], word.split("=", 1)[1])
