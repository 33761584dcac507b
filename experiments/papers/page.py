"""The page of papers' tables: each number of a paper beside ours."""

import json
import pathlib
import statistics
from collections.abc import Mapping

from experiments.papers.table import Run, Table

__all__ = ["VALUES", "numbers_of", "read_values", "render", "same"]

VALUES = pathlib.Path(__file__).with_name("values.jsonl")
"""A line for each run that was measured."""


def read_values(path: pathlib.Path = VALUES) -> dict[tuple[str, str], dict]:
    """Read what was measured: (key of the table, name of the run) -> its line; empty where there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {(line["table"], line["run"]): line for line in map(json.loads, lines)}


def numbers_of(line: Mapping | None, name: str) -> list[float]:
    """Collect the values of a number over the seeds of a line."""
    return [values[name] for values in line["values"].values()] if line else []


def same(table: Table, published: float, spread: float | None, values: list[float]) -> bool:
    """Whether our mean is where the paper's number is: within twice its spread, or within the table's margin.

    Of spreads and margin the larger counts; our own standard error is added in quadrature.
    """
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    allowed = max(table.margin, 2 * (spread or 0.0))
    return abs(statistics.fmean(values) - published) <= (allowed**2 + (2 * error) ** 2) ** 0.5


def render(tables: Mapping[str, Table], values: Mapping[tuple[str, str], dict]) -> str:
    """Render the tables as Markdown."""
    measured = [
        (table, published, spread, ours_by_seed)
        for table in tables.values()
        for run in table.runs
        for name, (published, spread) in run.numbers().items()
        if (ours_by_seed := numbers_of(values.get((table.key, run.name)), name))
    ]
    equal = sum(same(*row) for row in measured)
    head = (
        "# Papers' tables, run again\n\n"
        "<!-- Written by `python -m experiments.papers --write`. -->\n\n"
        f"{len(measured)} published numbers of {len({table.key for table, *_ in measured})} tables stand beside ours; "
        f"{equal} are met. A number is met where our mean is within twice the paper's spread or, where it has none, "
        "within the margin that each table names. Ours are means over seeds, with the standard deviation. "
        "CIFAR-10 is a copy that was recompressed.\n"
    )
    return head + "".join(f"\n{_section(table, values)}" for table in tables.values())


def _section(table: Table, values: Mapping[tuple[str, str], dict]) -> str:
    lines = [
        f"## {table.paper}: {table.place}",
        "",
        f"{table.setting} Numbers: {table.source}. Run by `python -m experiments.papers {table.key}`"
        + (f". Different here: {table.differs}" if table.differs else ""),
        "",
        f"| {table.metric} | paper | here | met within {table.margin:g} |",
        "| --- | --- | --- | --- |",
    ]
    for run in table.runs:
        line = values.get((table.key, run.name))
        for name, (published, spread) in run.numbers().items():
            lines.append(_row(table, run, name, published, spread, numbers_of(line, name)))
    seconds = sum(sum(line["seconds"].values()) for (key, _), line in values.items() if key == table.key)
    time = f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
    lines += ["", f"{table.verdict} ({time} in all.)".strip() if seconds else "Not run yet.", ""]
    return "\n".join(lines)


def _row(table: Table, run: Run, name: str, published: float, spread: float | None, ours_by_seed: list[float]) -> str:
    paper = f"{published:.6g}" + (f" ± {spread:g}" if spread else "")
    message = f" ({run.differs})" if run.differs else ""
    if not ours_by_seed:
        return f"| {name}{message} | {paper} | not run | |"
    ours = f"{statistics.fmean(ours_by_seed):.4g}"
    if len(ours_by_seed) > 1:
        ours += f" ± {statistics.stdev(ours_by_seed):.2g} ({len(ours_by_seed)} seeds)"
    return f"| {name}{message} | {paper} | {ours} | {'yes' if same(table, published, spread, ours_by_seed) else 'no'} |"
