"""The ledger of measured results: `results.jsonl`, one JSON object a line.

id             what a person calls the row: "classification.supervised-digits"
command        "python -m experiments. ...", without the seed and the folders
dataset        name
metric         name, such as "test accuracy"
values         {seed: number}; empty in a recipe
mean           of the values; null in a recipe
tolerance      a rerun's number may lie this far from the recorded one of its seed
wall_seconds   {seed: seconds}
hardware       one line
versions       {"python": ..., "jax": ..., ...}
commit, date   of the runs
published      {"value": number, "source": text}, or null
status         "measured", or "recipe, not run"
note           text, may be empty

A measured row is made from the `result.json` that finished runs leave in their folders, one a seed; nothing is entered
by hand. A recipe is a command that is too large to run here.
"""

import json
import math
import os
import pathlib
import shlex
import statistics
from collections.abc import Sequence
from typing import Any

__all__ = ["MEASURED", "RECIPE", "append", "candidate", "merge", "read", "replace", "seedless", "validate"]

MEASURED, RECIPE = "measured", "recipe, not run"
_TEXT = ("id", "command", "dataset", "metric", "note")
_WHEN_MEASURED = ("hardware", "commit", "date")
_FIELDS = {*_TEXT, *_WHEN_MEASURED, "values", "mean", "tolerance", "wall_seconds", "versions", "published", "status"}
_CANDIDATE = {
    "command": str, "seed": int, "dataset": str, "metric": str, "value": int | float, "wall_seconds": int | float,
    "hardware": str, "versions": dict, "commit": str, "date": str,
}  # fmt: skip
_OF_THE_OCCASION = {"seed", "run_dir", "runs", "fresh", "progress", "log_every", "traceback"}
_SWITCHES = {"fresh", "nofresh", "progress", "noprogress", "traceback", "notraceback"}


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The ledger's rows, validated; none where the file does not exist.

    Raises ValueError where a line is not JSON, a row is not valid, or an id occurs twice.
    """
    path = pathlib.Path(path)
    rows: list[dict[str, Any]] = []
    if not path.exists():
        return rows
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            rows.append(validate(json.loads(line)))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: {error}") from error
    ids = [row["id"] for row in rows]
    if repeated := sorted({name for name in ids if ids.count(name) > 1}):
        raise ValueError(f"{path}: ids must be unique; {', '.join(repeated)} occur more than once")
    return rows


def append(row: dict[str, Any], path: str | os.PathLike) -> None:
    """Add a row. Raises ValueError where it is not valid or its id is taken."""
    validate(row)
    if row["id"] in {old["id"] for old in read(path)}:
        raise ValueError(f"id {row['id']!r} is in {path} already")
    with pathlib.Path(path).open("a", encoding="utf-8") as file:
        file.write(_line(row))


def replace(row: dict[str, Any], path: str | os.PathLike) -> None:
    """Put a row in the place of the one of its id, or at the end. Raises ValueError where it is not valid."""
    validate(row)
    rows = {old["id"]: old for old in read(path)} | {row["id"]: row}
    temporary = pathlib.Path(f"{path}.tmp")
    temporary.write_text("".join(map(_line, rows.values())), encoding="utf-8")
    os.replace(temporary, path)


def candidate(run_dir: str | os.PathLike) -> dict[str, Any]:
    """The line that a finished run offers, `run_dir/result.json`.

    Raises FileNotFoundError where the run has not finished, ValueError where a field is missing or of a wrong type.
    """
    path = pathlib.Path(run_dir) / "result.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: the run has not finished, or was not tested")
    line = json.loads(path.read_text(encoding="utf-8"))
    for name, kind in _CANDIDATE.items():
        if name not in line:
            raise ValueError(f"{path}: {name} is missing")
        if not isinstance(line[name], kind) or isinstance(line[name], bool):
            raise ValueError(f"{path}: {name} is {line[name]!r}; it must be {getattr(kind, '__name__', kind)}")
        if kind == int | float and not math.isfinite(line[name]):
            raise ValueError(f"{path}: {name} is {line[name]}; it must be finite")
    return line


def merge(
    candidates: Sequence[dict[str, Any]],
    name: str | None = None,
    tolerance: float | None = None,
    published: dict[str, Any] | None = None,
    note: str = "",
) -> dict[str, Any]:
    """One row of several seeds' candidates.

    name: the row's id; by default the candidate's own `id`, or experiment-dataset. tolerance: by default the spread of the
    seeds, and 1 % of the mean at least. Raises ValueError where a seed occurs twice, or the runs differ in command,
    dataset, metric, hardware or versions.
    """
    if not candidates:
        raise ValueError("candidates is empty; a row needs at least one run")
    seeds = [str(line["seed"]) for line in candidates]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds {', '.join(seeds)}: each run must have a seed of its own")
    first = candidates[0] | {"command": seedless(candidates[0]["command"])}
    for line in candidates:
        for field in ("command", "dataset", "metric", "hardware", "versions"):
            value = seedless(line[field]) if field == "command" else line[field]
            if value != first[field]:
                raise ValueError(f"the runs differ in {field}: {first[field]!r} and {value!r}")
    values = dict(zip(seeds, (line["value"] for line in candidates), strict=True))
    mean = statistics.fmean(values.values())
    if tolerance is None:
        tolerance = float(f"{max(max(values.values()) - min(values.values()), 0.01 * abs(mean)):.2g}")
    experiment = first["command"].split()[2].removeprefix("experiments.")
    row = {
        "id": name or first.get("id") or f"{experiment}-{first['dataset']}",
        **{field: first[field] for field in ("command", "dataset", "metric")},
        "values": values,
        "mean": mean,
        "tolerance": tolerance,
        "wall_seconds": dict(zip(seeds, (line["wall_seconds"] for line in candidates), strict=True)),
        "hardware": first["hardware"],
        "versions": first["versions"],
        "commit": ", ".join(dict.fromkeys(line["commit"] for line in candidates)),
        "date": max(line["date"] for line in candidates),
        "published": published,
        "status": MEASURED,
        "note": note,
    }
    return validate(row)


def validate(row: Any) -> dict[str, Any]:
    """The row itself. Raises ValueError that names the field, what it is and what it must be."""
    if not isinstance(row, dict):
        raise ValueError(f"a row must be a JSON object, not {row!r}")
    if row.keys() != _FIELDS:
        odd = [f"{n} is missing" for n in sorted(_FIELDS - row.keys())]
        raise ValueError("; ".join(odd + [f"{n} is not a field of the ledger" for n in sorted(row.keys() - _FIELDS)]))
    measured = row["status"] == MEASURED
    _demand(row, "status", measured or row["status"] == RECIPE, f'"{MEASURED}" or "{RECIPE}"')
    for field in _TEXT + _WHEN_MEASURED * measured:
        _demand(row, field, isinstance(row[field], str) and (row[field] or field == "note"), "text")
    _demand(row, "command", row["command"].startswith("python -m experiments."), '"python -m experiments. ..."')
    _demand(row, "command", seedless(row["command"]) == row["command"], "without seed and folders")
    published = row["published"]
    good = published is None or (isinstance(published, dict) and published.keys() == {"value", "source"})
    _demand(row, "published", good, '{"value": ..., "source": ...} or null')
    numbers = [isinstance(row[f], dict) and all(map(_finite, row[f].values())) for f in ("values", "wall_seconds")]
    _demand(row, "values", numbers[0] and bool(row["values"]) == measured, "{seed: number}, empty in a recipe only")
    _demand(row, "wall_seconds", numbers[1] and row["wall_seconds"].keys() == row["values"].keys(), "of the same seeds")
    if measured:
        mean = statistics.fmean(row["values"].values())
        _demand(row, "mean", _finite(row["mean"]) and math.isclose(row["mean"], mean, rel_tol=1e-9), f"{mean}")
        _demand(row, "tolerance", _finite(row["tolerance"]) and row["tolerance"] >= 0, "a number of at least 0")
        _demand(row, "versions", isinstance(row["versions"], dict) and row["versions"], "{package: version}")
    else:
        _demand(row, "mean", row["mean"] is None, "null in a recipe")
    return row


def seedless(command: str) -> str:
    """A command without the flags of the occasion (seed, folders), and with `$DATA_DIR` for this machine's folder."""
    words = shlex.split(command)
    kept = []
    while words:
        word = words.pop(0)
        name, equals, _ = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in _OF_THE_OCCASION | _SWITCHES | {"data_dir"}:
            kept.append(shlex.quote(word))
            continue
        if not equals and name not in _SWITCHES and words:
            words.pop(0)
        if name == "data_dir":
            kept.append("--data_dir=$DATA_DIR")
    return " ".join(kept)


def _demand(row: dict[str, Any], field: str, good: Any, allowed: str) -> None:
    if not good:
        raise ValueError(f"{field} is {row[field]!r}; it must be {allowed}")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
