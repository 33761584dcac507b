"""Every experiment and study of the checkout, found by name."""

import difflib
import functools
import json
import re
import textwrap
from collections.abc import Callable
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
    "listing",
    "matching_entries",
    "read_measured_numbers",
]


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


@functools.cache
def _is_experiment(path: Path) -> bool:
    """Find out whether a file assigns `experiment`, without importing it."""
    return any(line.startswith("experiment = ") for line in path.read_text(encoding="utf-8").splitlines())


def experiment_names() -> list[Entry]:
    """List the experiments and studies of the checkout.

    Raises:
      FlagError: there is no checkout to import from.
    """
    files = sorted(_folder().glob("*/*.py"))
    return [Entry(f"{path.parent.name}.{path.stem}", path) for path in files if _is_experiment(path)]


def first_line(entry: Entry) -> str:
    """Read the first line of an experiment's docstring.

    Args:
      entry: an entry of `experiment_names`.
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


def _words(text: str) -> str:
    """Normalize a text for the search: lower case, one space for all between letters and digits."""
    return " " + re.sub(r"[\W_]+", " ", text).lower() + " "


@functools.cache
def _docstrings(path: Path) -> str:
    """Read all docstrings of a file as `_words`, without parsing it, which takes ten times as long."""
    return _words(" ".join(re.findall(r'"""(.*?)"""', path.read_text(encoding="utf-8"), re.DOTALL)))


@functools.cache
def _own_text(entry: Entry) -> str:
    """The name and the docstrings of an experiment and of the technique of the same name, as `_words`."""
    technique = Path(__file__).resolve().parents[1] / entry.path.parent.name / entry.path.name
    return _words(entry.name) + "".join(_docstrings(path) for path in (entry.path, technique) if path.exists())


@functools.cache
def _imported_text(entry: Entry) -> str:
    """The docstrings of the files of dlcore's topics, models, losses and the like that an experiment imports itself."""
    package, paths = Path(__file__).resolve().parents[1], []
    imports = r"^from dlcore\.([\w.]+) import \(?([\w, \n]+)"
    for module, names in re.findall(imports, entry.path.read_text(encoding="utf-8"), re.MULTILINE):
        if module.split(".")[0] not in ("experiment", "kits", "main", "learner", "run"):
            folder = package / module.replace(".", "/")
            paths += [folder.with_suffix(".py"), *(folder / f"{name}.py" for name in re.findall(r"\w+", names))]
    return "".join(_docstrings(path) for path in paths if path.exists())


def matching_entries(word: str) -> list[Entry]:
    """Find the experiments that a word is about.

    Args:
      word: a word, or several that follow each other; case, hyphens and line breaks do not matter.

    Returns:
      The entries with the word in their name, in a docstring of their file, or in one of the technique of the same
      name. If there are none, those with a word that begins like it; if there are none either, those that import a
      technique whose docstrings have it.
    """
    entries, start = experiment_names(), _words(word).rstrip()

    def having(text_of: Callable[[Entry], str]) -> list[Entry]:
        whole = [entry for entry in entries if any(f"{start}{end} " in text_of(entry) for end in ("", "s"))]
        return whole or [entry for entry in entries if start in text_of(entry)]

    return having(_own_text) or having(_imported_text)


def listing(word: str = "", columns: int = 80) -> str:
    """List every experiment and study by topic, with its first line and its measured number.

    Args:
      word: word to filter by, see `matching_entries`.
      columns: largest length of a line in characters.

    Raises:
      FlagError: there is no checkout, or no entry contains the word.
    """
    numbers, lines, topic = read_measured_numbers(), [], None
    for entry in matching_entries(word) if word else experiment_names():
        if entry.path.parent.name != topic:
            topic = entry.path.parent.name
            lines += ["", topic]
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
        names = [entry.name.rpartition(".")[2] for entry in experiment_names()]
        similar = difflib.get_close_matches(word, dict.fromkeys(names), 3, 0.8)
        hint = f" (did you mean {', '.join(similar)}?)" if similar else ""
        raise _error(f"word={word!r}: no experiment has it{hint}; allowed: words of `dlcore experiments`")
    return "\n".join(lines[1:])
