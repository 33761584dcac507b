"""Every experiment and study of a package of pages, found by name; the caller names the package."""

import difflib
import functools
import json
import re
import textwrap
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from dlcore.experiment.experiment import Experiment
    from dlcore.experiment.study import Study

__all__ = [
    "Entry",
    "experiment_names",
    "find_experiment",
    "first_line",
    "flag_error",
    "listing",
    "overview",
    "read_measured_numbers",
    "topics",
]


HOW_TO_GO_ON = (
    "dlcore experiments TOPIC      its experiments with the numbers that they reached",
    "dlcore experiments WORD ...   pages, networks, losses, metrics, flags, chapters",
)


class Entry(NamedTuple):
    """A file of a package of pages.

    Args:
      name: `<topic>.<stem>`.
      path: path of the file.
    """

    name: str
    path: Path


def _folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise flag_error(
            f"{package}: none in this folder, as an installed package has none; "
            "allowed: in the folder of a checkout (git clone, then cd dlcore)"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def flag_error(message: str) -> ValueError:
    """Build a FlagError, importing its module only here: the module imports jax, which `dlcore experiments` avoids.

    Args:
      message: the message.

    Returns:
      The error.
    """
    from dlcore.setting import FlagError

    return FlagError(message)


@functools.cache
def _is_experiment(path: Path) -> bool:
    """Find out whether a file assigns `experiment`, without importing it."""
    return any(line.startswith("experiment = ") for line in path.read_text(encoding="utf-8").splitlines())


def experiment_names(package: str) -> list[Entry]:
    """List the experiments and studies of a package.

    Args:
      package: name of the package of the pages, such as experiments.

    Raises:
      FlagError: there is no checkout to import from.
    """
    files = sorted(_folder(package).glob("*/*.py"))
    return [Entry(f"{path.parent.name}.{path.stem}", path) for path in files if _is_experiment(path)]


def first_line(entry: Entry) -> str:
    """Read the first line of an experiment's docstring.

    Args:
      entry: an entry of `experiment_names`.
    """
    text = entry.path.read_text(encoding="utf-8")
    return text.partition('"""')[2].split("\n")[0].removesuffix('"""')


def find_experiment(name: str, package: str) -> "Experiment | Study":
    """Import an experiment by name.

    Args:
      name: `<topic>.<stem>`, with or without the package's name before it.
      package: name of the package of the pages, such as experiments.

    Returns:
      The object that its file names `experiment`.

    Raises:
      FlagError: no experiment has this name; the message lists close names.
    """
    name = name.removeprefix(f"{package}.").replace("/", ".").removesuffix(".py")
    names = [entry.name for entry in experiment_names(package)]
    if name not in names:
        stems = {other.rpartition(".")[2]: other for other in names}
        similar = [stems[s] for s in difflib.get_close_matches(name.rpartition(".")[2], stems, 3, 0.8)]
        similar += difflib.get_close_matches(name, names, 3, 0.6)
        hint = f" (did you mean {', '.join(list(dict.fromkeys(similar))[:3])}?)" if similar else ""
        raise flag_error(f"{name}: unknown{hint}; allowed: the names of `dlcore experiments`")
    return import_module(f"{package}.{name}").experiment


def read_measured_numbers(package: str) -> dict[str, str]:
    """Read the measured number of each experiment from the ledger.

    Args:
      package: name of the package of the pages, such as experiments.

    Returns:
      {name: text of its first row in results.jsonl, such as "accuracy 0.9897 on digits"; a study's text
      begins with whether its claim held}.
    """
    ledger, numbers = _folder(package) / "results.jsonl", {}
    for line in ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else []:
        row = json.loads(line)
        name = re.search(rf"{package}\.([\w.]+)", row["command"])
        if name and row.get("mean") is not None:
            metric = row["metric"].removeprefix("test ").replace("_", " ")
            outcome = {True: "the claim held: ", False: "the claim did not hold: "}.get(row.get("holds"), "")
            numbers.setdefault(name[1], []).append(
                (row["command"].count("--"), f"{outcome}{metric} {row['mean']:.4g} on {row['dataset']}")
            )
    return {name: min(values)[1] for name, values in numbers.items()}


def listing(package: str, topic: str = "", columns: int = 80) -> str:
    """List every experiment and study of a topic, with its first line and its measured number.

    Args:
      package: name of the package of the pages, such as experiments.
      topic: name of the topic; "" for all.
      columns: largest length of a line in characters.

    Raises:
      FlagError: there is no checkout, or no such topic.
    """
    numbers, lines, last = read_measured_numbers(package), [], None
    for entry in experiment_names(package):
        if topic not in ("", entry.path.parent.name):
            continue
        if entry.path.parent.name != last:
            last = entry.path.parent.name
            lines += ["", last]
        number = f" [{numbers[entry.name]}]" if entry.name in numbers else ""
        text = f"{entry.name}: {first_line(entry)}{number}"
        lines += textwrap.wrap(
            text,
            columns,
            initial_indent="  ",
            subsequent_indent=" " * 6,
            break_on_hyphens=False,
            break_long_words=False,
        )
    if not lines:
        raise flag_error(f"topic={topic!r}: unknown; allowed: {', '.join(topics(package))}")
    return "\n".join(lines[1:])


def topics(package: str) -> dict[str, list[str]]:
    """List the names of the experiments of each topic.

    Args:
      package: name of the package of the pages, such as experiments.

    Returns:
      {topic: names without the topic}, benches and studies last.

    Raises:
      FlagError: there is no checkout.
    """
    stems_of_topic: dict[str, list[str]] = {}
    for entry in sorted(experiment_names(package), key=lambda entry: entry.path.parent.name in ("bench", "studies")):
        stems_of_topic.setdefault(entry.path.parent.name, []).append(entry.path.stem)
    return stems_of_topic


def overview(package: str, columns: int = 80) -> str:
    """List the topics with their number of experiments, and how to go on: one screen.

    Args:
      package: name of the package of the pages, such as experiments.
      columns: largest length of a line in characters.

    Raises:
      FlagError: there is no checkout.
    """
    stems_of_topic = topics(package)
    lines = [f"{sum(map(len, stems_of_topic.values()))} experiments and studies:"]
    for topic, stems in stems_of_topic.items():
        names = textwrap.shorten(", ".join(stems), columns - 24, placeholder=" ...")
        lines.append(f"  {topic:16} {len(stems):3}  {names}")
    return "\n".join([*lines, *HOW_TO_GO_ON])
