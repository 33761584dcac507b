"""Pages of two phases: the first is a run of another page, which is reused if it is finished and trained if not."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.core import FrozenDict

from dlcore.experiment.catalog import find_experiment
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.origin import Origin, read_origin
from dlcore.experiment.resolve import read_config
from dlcore.experiment.resolved_run import open_run, restore_state
from dlcore.semi_supervised.twin import TwinState

__all__ = ["EarlierPhase", "check_facts", "check_same", "check_settings", "find_or_train", "load", "origin", "words_of"]


class EarlierPhase(NamedTuple):
    """A finished run.

    Args:
      flags: its settings.
      spec: facts of its data, `Splits.spec`.
      params: its parameters as they were tested: their average where the run keeps one.
      model_state: its other variables, such as running statistics; {} where there are none.
      fields: further fields of its state that `load` was asked for, such as a codebook.
    """

    flags: Flags
    spec: dict
    params: Any
    model_state: Any = FrozenDict()
    fields: dict[str, Any] = {}


def find_or_train(flags: Flags, argument: str, name: str, words: list[str]) -> Path:
    """Find the run that a flag names; without one, run the page of the first phase.

    That is a run like any other, so that the next call reuses it.

    Args:
      flags: resolved settings of the second phase; `seed`, `smoke`, `runs` and `progress` pass to the first.
      argument: name of the flag that holds a run's folder or None, such as autoencoder.
      name: name of the first phase's page, such as generative.autoencoder_kl.
      words: arguments of the first page's command line.

    Returns:
      The run's folder.

    Raises:
      ValueError: the folder is no run of that page.
    """
    if (run_origin := origin(flags, argument, name)) is not None:
        return run_origin.path
    from dlcore.modes.train import train_page

    shared = [f"--{key}={flags.get(key)}" for key in ("seed", "runs", "progress") if flags.get(key) is not None]
    return train_page(name, [*(["--smoke"] if flags.smoke else []), *words, *shared], "phase 1")


def origin(flags: Flags, argument: str, name: str, *modules: str) -> Origin | None:
    """Read the origin of the run that a flag names.

    Args:
      flags: resolved settings of the second phase.
      argument: name of the flag, such as autoencoder.
      name: name of the first phase's page.
      *modules: names of the modules whose fields must agree.

    Returns:
      The origin; None if the flag names none, so that the first page runs.

    Raises:
      ValueError: the folder is no run of that page, or its modules have other fields.
    """
    folder_name = flags.get(argument)
    if folder_name is None:
        return None
    folder = Path(folder_name)
    page = read_config(folder).get("experiment") if (folder / "config.json").exists() else None
    if page != name:
        problem = "no such run" if page is None else f"a run of {page}"
        raise ValueError(f"{argument}={given!r}: {problem}; allowed: the folder of a run of {name}")
    found = read_origin(folder, argument)
    check_settings(found, {f"{m}.{field}": value for m in modules for field, value in flags.group(m).items()})
    return found


def check_settings(found: Origin, values: dict[str, Any]) -> None:
    """Check that a run was trained with the settings that the second phase has.

    Args:
      found: the run.
      values: setting -> value of the second phase; a setting that the run did not record is not compared.

    Raises:
      ValueError: one differs; the message says which.
    """
    for name, value in values.items():
        trained = found.settings.get(name, value)
        if trained != value:
            raise ValueError(f"{found.name}: trained with {name}={trained}; allowed: {value}, as in this run")


def load(folder: Path, *fields: str) -> EarlierPhase:
    """Load a run.

    Args:
      folder: of the run.
      *fields: further fields of its state to load.

    Returns:
      Its settings, facts and variables; of a technique with a supervised baseline those of the technique.

    Raises:
      FileNotFoundError: the run has no checkpoint.
    """
    from dlcore.optim import parameter_ema

    experiment = find_experiment(read_config(folder)["experiment"])
    run = open_run(folder, experiment)
    flags, spec = run.flags, run.config()["spec"]
    _, state = restore_state(run, experiment.build(run.setup(spec)), run.example(spec), flags.select)
    if isinstance(state, TwinState):
        state = state.technique
    params = parameter_ema(state.opt_state, state.params) if flags.get("ema") else state.params
    held = params, getattr(state, "model_state", {}), {name: getattr(state, name) for name in fields}
    return EarlierPhase(flags, spec, *jax.tree.map(np.asarray, jax.device_get(held)))


def words_of(flags: Flags, *modules: str) -> list[str]:
    """Format the flags of modules as command-line arguments.

    Args:
      flags: resolved settings of the second phase.
      *modules: names of modules, such as unet, whose flags are `--unet.FIELD`.

    Returns:
      Arguments; fields that are None are left out.
    """
    fields = {f"{module}.{name}": value for module in modules for name, value in flags.group(module).items()}
    values = {name: ",".join(map(str, v)) if isinstance(v, tuple) else v for name, v in fields.items()}
    return [f"--{name}={value}" for name, value in values.items() if value is not None]


def check_same(
    what: str, phase: EarlierPhase, setup: Setup, *modules: str, facts: tuple[str, ...] = ("image_shape",)
) -> None:
    """Check that the first phase's networks have the fields of the second's flags.

    Args:
      what: name of the run, for errors.
      phase: the first phase.
      setup: facts of the second phase's run.
      *modules: names of the modules whose fields must agree.
      facts: names of the facts that both specs must share.

    Raises:
      ValueError: they differ; the message names the difference.
    """
    check_facts(what, phase.spec, setup.spec, *facts)
    for module in modules:
        for name, value in phase.flags.group(module).items():
            if value != setup.flags.group(module)[name]:
                expected = setup.flags.group(module)[name]
                raise ValueError(f"{what}: trained with {module}.{name}={value}; allowed: {expected}, as in this run")


def check_facts(what: str, before: dict, now: dict, *facts: str) -> None:
    """Check that facts of the data of two phases are the same.

    Args:
      what: name of the first phase, for errors.
      before: spec of the first phase.
      now: spec of the second phase.
      *facts: names of facts, such as image_shape.

    Raises:
      ValueError: they differ; the message names the difference.
    """
    for name in facts:
        if before[name] != now[name]:
            raise ValueError(f"{what}: trained with {name}={before[name]}; allowed: {now[name]}")
