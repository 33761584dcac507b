"""Every experiment and study of the checkout, found by name."""

import difflib
import json
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dlcore.experiment.experiment import Experiment
    from dlcore.experiment.study import Study

__all__ = ["Entry", "experiment_names", "find_experiment", "first_line", "listing", "read_measured_numbers"]


class Entry(NamedTuple):
    """A file of experiments/.

    Args:
      name: `<topic>.<stem>`.
      path: path of the file.
    """

    name: str
    path: Path


def _folder() -> Path:
    spec = find_spec("experiments")
    if spec is None or not spec.submodule_search_locations:
        raise _error(
            "experiments: not importable, as an installed package has none; "
            "allowed: a checkout of dlcore as the working directory"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _error(message: str) -> ValueError:
    """Build a FlagError, importing its module only here: the module imports jax, which `dlcore experiments` avoids."""
    from dlcore.experiment.setting import FlagError

    return FlagError(message)


def _is_experiment(path: Path) -> bool:
    """Find out whether a file assigns `experiment`, without importing it."""
    return any(line.startswith("experiment = ") for line in path.read_text(encoding="utf-8").splitlines())


def experiment_names() -> list[Entry]:
    """List the experiments and studies of the checkout.

    Returns:
      The entries by topic.

    Raises:
      FlagError: there is no checkout to import from.
    """
    files = sorted(_folder().glob("*/*.py"))
    return [Entry(f"{path.parent.name}.{path.stem}", path) for path in files if _is_experiment(path)]


def first_line(entry: Entry) -> str:
    """Read the first line of an experiment's docstring.

    Args:
      entry: an entry of `experiment_names`.

    Returns:
      The first line of the file's docstring.
    """
    text = entry.path.read_text(encoding="utf-8")
    return text.partition('"""')[2].split("\n")[0].removesuffix('"""')


def find_experiment(name: str) -> "Experiment | Study":
    """Import an experiment by name.

    Args:
      name: `<topic>.<stem>`, with or without "experiments." before it.

    Returns:
      The object that its file names `experiment`.

    Raises:
      FlagError: no experiment has this name; the message lists close names.
    """
    name = name.removeprefix("experiments.").replace("/", ".").removesuffix(".py")
    names = [entry.name for entry in experiment_names()]
    if name not in names:
        stems = {other.rpartition(".")[2]: other for other in names}
        similar = [stems[s] for s in difflib.get_close_matches(name.rpartition(".")[2], stems, 3, 0.8)]
        similar += difflib.get_close_matches(name, names, 3, 0.6)
        hint = f" (did you mean {', '.join(list(dict.fromkeys(similar))[:3])}?)" if similar else ""
        raise _error(f"{name}: unknown{hint}; allowed: the names of `dlcore experiments`")
    return import_module(f"experiments.{name}").experiment


def read_measured_numbers() -> dict[str, str]:
    """Read the measured number of each experiment from the ledger.

    Returns:
      {name: text of its first row in experiments/results.jsonl, such as "accuracy 0.9897 on digits"; a study's text
      begins with whether its claim held}.
    """
    ledger, numbers = _folder() / "results.jsonl", {}
    for line in ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else []:
        row = json.loads(line)
        name = re.search(r"experiments\.([\w.]+)", row["command"])
        if name and row.get("mean") is not None:
            metric = row["metric"].removeprefix("test ").replace("_", " ")
            outcome = {True: "the claim held: ", False: "the claim did not hold: "}.get(row.get("holds"), "")
            numbers.setdefault(name[1], []).append(
                (row["command"].count("--"), f"{outcome}{metric} {row['mean']:.4g} on {row['dataset']}")
            )
    return {name: min(values)[1] for name, values in numbers.items()}


def listing(word: str = "") -> str:
    """List every experiment and study by topic, with its first line and its measured number.

    Args:
      word: word to filter by: lists entries whose name or first line contains it.

    Returns:
      The text.

    Raises:
      FlagError: there is no checkout, or no entry contains the word.
    """
    numbers, lines, topic = read_measured_numbers(), [], None
    for entry in experiment_names():
        about = first_line(entry)
        if word.lower() not in f"{entry.name} {about}".lower():
            continue
        if entry.path.parent.name != topic:
            topic = entry.path.parent.name
            lines += ["", topic]
        number = f"  [{numbers[entry.name]}]" if entry.name in numbers else ""
        lines.append(f"  {entry.name:44}{about}{number}")
    if not lines:
        raise _error(f"word={word!r}: no experiment has it; allowed: words of `dlcore experiments`")
    return "\n".join(lines[1:])
