"""A table of a paper: its setting, its numbers, and the runs that give ours."""

import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Literal

__all__ = ["Run", "Table", "all_tables"]


@dataclasses.dataclass(frozen=True)
class Run:
    """One training, or one fit, that gives one or more numbers of a table.

    Args:
      name: unique in its table, such as "MLP 800-800"; the row of the table where it gives one number.
      measure: seed -> value, or seed -> {name of the number: value}.
      published: the paper's number, or {name of the number: the paper's number}.
      spread: the paper's standard deviation or standard error, or {name of the number: it}; None where it gives none.
      seeds: seeds to measure.
      differs: what this run has otherwise than the paper, beside what the table says; "" for nothing.
    """

    name: str
    measure: Callable[[int], float | Mapping[str, float]]
    published: float | Mapping[str, float]
    spread: float | Mapping[str, float] | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    differs: str = ""

    def numbers(self) -> dict[str, tuple[float, float | None]]:
        """Name of each number -> (the paper's value, its spread or None)."""
        if not isinstance(self.published, Mapping):
            return {self.name: (self.published, self.spread if isinstance(self.spread, float) else None)}
        spread = self.spread if isinstance(self.spread, Mapping) else {}
        return {name: (value, spread.get(name)) for name, value in self.published.items()}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a paper.

    Args:
      key: its name on the command line, such as fashion-mnist-benchmark.
      paper: authors, year, title.
      place: the table's or section's number in the paper, such as "Table 3".
      source: where the paper's numbers were read, such as "arXiv 1708.07747".
      setting: the paper's setting: data, network, optimizer, length, what is measured.
      metric: what the numbers are, with their unit, such as "test error, %".
      better: whether a higher or a lower number is better; "neither" for numbers that are to be met.
      margin: how far our mean may be from the paper's number, in the unit of the metric, to count as met, where the
        paper has no spread: what seeds and versions of a library change.
      runs: what is measured.
      differs: what is otherwise than in the paper: data, epochs, sizes; "" for nothing.
      verdict: what our numbers say about the paper's, in a sentence or two.
    """

    key: str
    paper: str
    place: str
    source: str
    setting: str
    metric: str
    better: Literal["higher", "lower", "neither"]
    margin: float
    runs: tuple[Run, ...]
    differs: str = ""
    verdict: str = ""


def all_tables() -> dict[str, Table]:
    """Collect the `TABLES` of all files of this folder: key -> table."""
    package = importlib.import_module("experiments.papers")
    files = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    without_tables = ("__main__", "page", "table", "training")
    modules = [importlib.import_module(f"experiments.papers.{name}") for name in files if name not in without_tables]
    tables = [table for module in modules for table in module.TABLES]
    keys = [table.key for table in tables]
    if repeated := {key for key in keys if keys.count(key) > 1}:
        raise ValueError(f"{sorted(repeated)[0]}: two tables of one key; allowed: unique keys")
    return {table.key: table for table in tables}
