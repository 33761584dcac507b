"""Settings of an experiment for a command line.

Precedence: command line, `--config_json` (or `--run`) of an earlier run, `--smoke`, experiment, signature. Epochs and
steps are one setting, the length of the run: either replaces the other if that has lower precedence.
"""

import functools
import math
from pathlib import Path
from typing import Any

from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags, parse
from dlcore.experiment.published import Published, backbone_name, find_published, published_defaults
from dlcore.experiment.settings import RUN
from dlcore.json_content import parse_json
from dlcore.models.network import model_settings
from dlcore.setting import FlagError, Setting, module_settings, settings_of

__all__ = ["last_value", "read_config", "resolve", "split_runs", "wants_smoke"]


def resolve(experiment: Experiment, argv: list[str], mode: dict[str, Setting] | None = None) -> Flags:
    """Resolve the settings of an experiment.

    Args:
      argv: the command line without the program.
      mode: flags of the mode.

    Raises:
      FlagError: a name or value is not allowed.
      TypeError: the experiment sets a flag that does not exist.
    """
    config = _config(experiment, argv)
    published = find_published(experiment, functools.partial(last_value, argv))
    argv = _without_published(argv, published)
    groups = {"mode": mode or {}, "experiment": dict(experiment.settings)}
    groups["learner"] = settings_of(experiment.parts.technique)
    defaults = dict(experiment.values)
    if experiment.model is not None:
        name = last_value(argv, "model") or (config or {}).get("model") or experiment.model
        groups["experiment"]["model"] = Setting(experiment.model, "a name of `dlcore models`", essential=True)
        groups["model"] = model_settings(name)
        if name != experiment.model:
            defaults = _without_model(defaults)
        if config and config.get("model", experiment.model) != name:
            config = _without_model(config)
    for prefix, module in experiment.modules.items():
        groups[prefix] = module_settings(prefix, module)
    groups["run"] = {k: v for k, v in RUN.items() if k not in experiment.settings}
    names = {name for entries in groups.values() for name in entries}
    if unknown := set(experiment.external_fields) - names:
        raise TypeError(f"{experiment.name} has external_fields {sorted(unknown)}, but no module has such fields")
    if wants_smoke(argv):
        defaults |= {k: v for k, v in experiment.smoke.items() if not k.startswith("model.") or k in names}
    defaults |= published_defaults(experiment, published, names)
    if unknown := set(defaults) - names:
        raise TypeError(f"{experiment.name} sets {sorted(unknown)}, but has no such flags")
    groups = {
        group: {
            name: s._replace(default=defaults.get(name, s.default), external=name in experiment.external_fields)
            for name, s in entries.items()
        }
        for group, entries in groups.items()
    }
    flags = parse(groups, argv, config, usage=experiment.doc, config_name=_config_name(argv))
    if flags.patience and experiment.parts.monitor is None:
        raise FlagError(f"--patience={flags.patience}: {experiment.name} compares no validations; allowed: 0")
    if (
        "data_dir" in flags.given
        and flags.data_dir is not None
        and not experiment.parts.resolved(flags).data.reads_files
    ):
        raise FlagError(
            f"--data_dir={flags.data_dir}: --dataset={flags.dataset} reads no files; allowed: another --dataset, or no "
            "--data_dir"
        )
    return _with_looks_at_log_steps(_with_one_length(flags, config or {}))


def _without_published(argv: list[str], published: Published | None) -> list[str]:
    """Replace `--model=hf:ORG/NAME`, or a folder as a hub serves it, by the name of the network or of its backbone."""
    if published is None or published.flag != "model":
        return argv
    words, is_value = [], False
    for word in argv:
        if not is_value and not word.startswith("--model=") and word != "--model":
            words.append(word)
        is_value = word == "--model"
    return [*words, f"--model={backbone_name(published.about.model, published.about.fields)}"]


def _with_one_length(flags: Flags, config: dict[str, Any]) -> Flags:
    """Let epochs replace steps of lower precedence."""
    if {"epochs", "steps"} <= flags.given and flags.steps is not None:
        raise FlagError(f"--epochs={flags.epochs:g} --steps={flags.steps}: both are given; allowed: one of them")
    above = flags.given if flags.given & {"epochs", "steps"} else config
    return flags.replace(steps=None) if "epochs" in above and "steps" not in above else flags


def _with_looks_at_log_steps(flags: Flags) -> Flags:
    """Make `--watch` a multiple of `--log_every`, which follows it unless given."""
    watch, log_every = flags.watch, flags.log_every
    if not watch or (log_every and watch % log_every == 0):
        return flags
    if "log_every" in flags.given and log_every:
        allowed = f"multiples of --log_every={log_every}"
        raise FlagError(f"--watch={watch}: looks are taken where the log has a line; allowed: {allowed}")
    log_every = log_every or 50
    return flags.replace(log_every=watch if watch < log_every else math.gcd(watch, log_every))


def _without_model(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if not name.startswith("model.")}


def last_value(argv: list[str], name: str) -> str | None:
    """Find a flag's value before the command line is parsed.

    Args:
      argv: the command line.
      name: name of the flag.

    Returns:
      The text of its last occurrence; None without one.
    """
    value = None
    for i, word in enumerate(argv):
        if word.startswith(f"--{name}="):
            value = word.split("=", 1)[1]
        elif word == f"--{name}" and i + 1 < len(argv):
            value = argv[i + 1]
    return value


def wants_smoke(argv: list[str]) -> bool:
    """Find out whether a command line asks for `--smoke`, whose values are defaults of other flags.

    Args:
      argv: the command line.
    """
    words = [word for word in argv if word == "--nosmoke" or word.split("=")[0] == "--smoke"]
    return bool(words) and words[-1].lower() in ("--smoke", "--smoke=true", "--smoke=t", "--smoke=1")


def split_runs(argv: list[str], settings: dict[str, Setting]) -> list[str]:
    """Convert `--run=A,B,C` to `--run=A --members=B,C`.

    Args:
      argv: the command line.
      settings: flags of the mode.

    Returns:
      The command line; unchanged if `--run` is one folder.

    Raises:
      FlagError: there are several runs, and the mode takes one; or one of them stands there twice.
    """
    value = last_value(argv, "run")
    if value is None or "," not in value or Path(value).exists():
        return argv
    if "members" not in settings:
        raise FlagError(f"--run={value}: several runs; allowed: one, or several with --mode=evaluate or --mode=predict")
    first, *rest = value.split(",")
    folders: dict[Path, str] = {}
    for folder in (first, *rest):
        if (other := folders.setdefault(Path(folder).resolve(), folder)) is not folder:
            raise FlagError(f"--run={value}: {folder} is {other} once more; allowed: each run once")
    return [*argv, f"--run={first}", f"--members={','.join(rest)}"]


def _config(experiment: Experiment, argv: list[str]) -> dict | None:
    flag = _config_flag(argv)
    path = last_value(argv, flag)
    if path is None:
        return None
    config = read_config(path)
    if config.get("experiment", experiment.name) != experiment.name:
        raise FlagError(f"--{flag}={path}: a run of {config['experiment']}; allowed: runs of {experiment.name}")
    settings = config.get("identity", config.get("settings", config))
    if not isinstance(settings, dict):
        raise FlagError(f"{path}: holds no settings; allowed: the folder or config.json of a run")
    of_one_call = {"mode", *(name for name, setting in RUN.items() if not setting.identity)}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k not in of_one_call}


def _config_flag(argv: list[str]) -> str:
    return "run" if last_value(argv, "run") else "config_json"


def _config_name(argv: list[str]) -> str:
    flag = _config_flag(argv)
    return f"--{flag}={last_value(argv, flag)}"


def read_config(path: str | Path) -> dict[str, Any]:
    """Read the configuration of an earlier run.

    Args:
      path: the run's folder, or its config.json.

    Returns:
      The content.

    Raises:
      FlagError: there is no such file, or it holds no settings.
    """
    path = Path(path)
    path = path / "config.json" if path.is_dir() else path
    try:
        content = parse_json(path.read_bytes())
    except OSError:
        raise FlagError(f"{path}: no such file; allowed: the folder or config.json of a run") from None
    except ValueError as error:  # including bytes that are not UTF-8
        raise FlagError(f"{path}: not JSON ({error}); allowed: the folder or config.json of a run") from None
    if not isinstance(content, dict):
        raise FlagError(f"{path}: holds no settings; allowed: the folder or config.json of a run")
    return content
