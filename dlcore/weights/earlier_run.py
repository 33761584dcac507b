"""Pages of two phases: the first is a run of another page, found where it is finished and trained where it is not."""

from pathlib import Path
from typing import Any, NamedTuple

from dlcore.experiment.experiment import Experiment
from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.experiment.resolve import read_config
from dlcore.setting import FlagError
from dlcore.weights.open import Weights, open_weights

__all__ = ["EarlierPhase", "check_facts", "check_same", "check_settings", "find_or_train", "load", "origin", "words_of"]


class EarlierPhase(NamedTuple):
    """A finished run.

    Args:
      weights: the run, with its settings and facts of its data.
      params: its parameters as they were tested: their average where the run keeps one.
      model_state: its other variables, such as running statistics; {} where there are none.
      fields: further fields of its state that `load` was asked for, such as a codebook.
    """

    weights: Weights
    params: Any
    model_state: dict[str, Any] = {}
    fields: dict[str, Any] = {}

    @property
    def flags(self) -> Flags:
        """Settings of the run."""
        return self.weights.flags

    @property
    def spec(self) -> dict:
        """Facts of the run's data."""
        return self.weights.spec


def find_or_train(flags: Flags, argument: str, page: Experiment | None, words: list[str]) -> Path:
    """Find the run that a flag names; without one, run the page of the first phase.

    That is a run like any other, so that it is found finished the next time.

    Args:
      flags: resolved settings of the second phase; `seed`, `smoke`, `runs` and `progress` are passed on.
      argument: the flag, such as autoencoder, with a run's folder or None.
      page: the first page; None trains none.
      words: the first page's command line.

    Returns:
      The run's folder.
    """
    if flags.get(argument) is not None:
        return Path(flags.get(argument))
    if page is None:
        raise FlagError(f"--{argument}=None: the page names no other to train it by; allowed: the folder of a run")
    passed = [f"--{key}={flags.get(key)}" for key in ("seed", "runs", "progress") if flags.get(key) is not None]
    of_data = {f"--{field}" for field in page.external_fields}  # which the data give there too
    words = [word for word in words if word.split("=")[0] not in of_data]
    return page.trained([*(["--smoke"] if flags.smoke else []), *words, *passed], "phase 1")


def origin(flags: Flags, argument: str, name: str, *modules: str) -> Weights | None:
    """Read where the run comes from that a flag names.

    Args:
      flags: resolved settings of the second phase.
      argument: the flag, such as autoencoder.
      name: name of the first page.
      *modules: modules whose fields must be the same.

    Returns:
      The origin; None where the flag names none and the first page is run.
    """
    given = flags.get(argument)
    if given is None:
        return None
    folder = Path(given)
    page = read_config(folder).get("experiment") if (folder / "config.json").exists() else None
    if page != name:
        problem = "no such run" if page is None else f"a run of {page}"
        raise ValueError(f"{argument}={given!r}: {problem}; allowed: the folder of a run of {name}")
    found = open_weights(folder, argument)
    check_settings(found, {f"{m}.{field}": value for m in modules for field, value in flags.group(m).items()})
    return found


def check_settings(found: Weights, values: dict[str, Any]) -> None:
    """Check that a run was trained with the settings that the second phase has.

    Args:
      found: the run.
      values: setting -> value of the second phase; a setting that the run did not record is not compared.
    """
    _compare(found.name, found.settings, values)


def _compare(what: str, trained: dict[str, Any], values: dict[str, Any]) -> None:
    for name, value in values.items():
        if (before := trained.get(name, value)) != value:
            raise ValueError(f"{what}: trained with {name}={before}; allowed: {value}, as in this run")


def load(folder: Path, *fields: str) -> EarlierPhase:
    """Load a run.

    Args:
      folder: folder of the run.
      *fields: further fields of its state to load.

    Returns:
      Its settings, facts and variables; of a technique and its supervised twin those of the technique.
    """
    weights = open_weights(folder, "run")
    return EarlierPhase(weights, *weights.read(*fields))


def words_of(flags: Flags, *modules: str) -> list[str]:
    """Repeat the flags of modules on a command line.

    Args:
      flags: resolved settings of the second phase.
      *modules: such as unet, whose flags are `--unet.FIELD`.

    Returns:
      Words; a field that is None is left out.
    """
    fields = {f"{module}.{name}": value for module in modules for name, value in flags.group(module).items()}
    written = {name: ",".join(map(str, v)) if isinstance(v, tuple) else v for name, v in fields.items()}
    return [f"--{name}={value}" for name, value in written.items() if value is not None]


def check_same(
    what: str, phase: EarlierPhase, run: Run, *modules: str, facts: tuple[str, ...] = ("image_shape",)
) -> None:
    """Check that the first phase's networks have the form that the second's flags say.

    Args:
      what: names the run, for errors.
      phase: the first.
      run: facts of the second phase.
      *modules: modules whose fields must be the same.
      facts: facts of both specs that must be the same.
    """
    check_facts(what, phase.spec, run.spec, *facts)
    for module in modules:
        before, now = ({f"{module}.{k}": v for k, v in x.flags.group(module).items()} for x in (phase, run))
        _compare(what, before, now)


def check_facts(what: str, before: dict, now: dict, *facts: str) -> None:
    """Check that facts of the data of two phases are the same.

    Args:
      what: names the first phase, for errors.
      before: spec of the first.
      now: spec of the second.
      *facts: such as image_shape.
    """
    for name in facts:
        if before[name] != now[name]:
            raise ValueError(f"{what}: trained with {name}={before[name]}; allowed: {now[name]}")
