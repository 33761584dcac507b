"""The ledger of measured results: `results.jsonl`, one JSON object a line.

id             the row's name: "classification.supervised-digits"
command        "python -m experiments. ...", without the seed and the folders
dataset        its name
metric         its name, such as "test accuracy"
values         {seed: number}; empty in a recipe
mean           of the values; null in a recipe
tolerance      the largest difference between a rerun's number and the recorded one of its seed
wall_seconds   {seed: seconds}
hardware       one line
versions       {"python": ..., "jax": ..., ...}
commit, date   of the runs
baseline       {"value": number, "name": text, "better": "higher" or "lower"}: what the number must beat, such as the
               untrained network, the most frequent class, or the same training without the technique; null where
               nothing is learned
published      {"value": number, "source": text}, or null
status         "measured", or "recipe, not run"
note           text, may be empty

A study's row has three fields more. One run of it measures all seeds, so that wall_seconds is {"all": seconds}, values
is {"all": number} where there are no seeds, and the tolerance is that of the mean.

claim          the first line of its docstring
holds          whether the claim held; null where there is none
verdict        its sentences

A measured row comes from the `result.json` files that finished runs write to their folders, one a seed; nothing but
`baseline`, `published` and `note` is entered by hand. A run under `--smoke`, or on code that no commit of HEAD's
history holds, makes no row. A recipe is a command that is too expensive to run here. `not_run.json` names the files
without a row, and why.
"""

import json
import math
import os
import pathlib
import re
import shlex
import statistics
import subprocess
from collections.abc import Container, Mapping, Sequence
from typing import Any

from dlcore.report.measures import better_direction
from dlcore.run.json_files import read_json

__all__ = [
    "MEASURED",
    "RECIPE",
    "SIMPLE",
    "admit",
    "append",
    "baseline_field",
    "beats_baseline",
    "beats_simple",
    "best_simple",
    "candidate",
    "default_id",
    "drop_reason",
    "history",
    "launched",
    "learned",
    "merge",
    "page",
    "read",
    "read_not_run",
    "read_simple",
    "replace",
    "seedless",
    "unaccounted",
    "validate",
]

SIMPLE = pathlib.Path(__file__).with_name("simple") / "values.jsonl"
"""What `experiments.simple` measured."""
MEASURED, RECIPE = "measured", "recipe, not run"
_TEXT = ("id", "command", "dataset", "metric", "note")
_WHEN_MEASURED = ("hardware", "commit", "date")
_NUMBERS = ("values", "mean", "tolerance", "wall_seconds")
_FIELDS = {*_TEXT, *_WHEN_MEASURED, *_NUMBERS, "versions", "baseline", "published", "status"}
_BASELINE = '{"value": number, "name": text, "better": "higher" or "lower"}'
_OF_A_STUDY = {"claim", "holds", "verdict"}
_CANDIDATE = {
    "experiment": str,
    "command": str,
    "dataset": str,
    "metric": str,
    "wall_seconds": int | float,
    "hardware": str,
    "versions": dict,
    "commit": str,
    "changed_files": list,
    "smoke": bool,
    "date": str,
}
_SEED_CANDIDATE = _CANDIDATE | {"seed": int, "value": int | float}
_STUDY_CANDIDATE = _CANDIDATE | {"values": dict, "tolerance": int | float, "claim": str, "verdict": str}
_RUN_FLAGS = {"seed", "run_dir", "runs", "fresh", "progress", "log_every", "traceback"}
_LAUNCHED = re.compile(r"^(experiment = |if __name__ == ['\"]__main__['\"])", re.MULTILINE)
_SWITCHES = {"fresh", "nofresh", "progress", "noprogress", "traceback", "notraceback"}


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Read and validate the rows of results.jsonl; a missing file has none, a repeated id is a ValueError."""
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
        raise ValueError(f"{path}: id={repeated[0]!r}: occurs more than once; allowed: unique ids")
    return rows


def append(row: dict[str, Any], path: str | os.PathLike) -> None:
    """Add a row at the end of the ledger; an id that is taken is a ValueError."""
    validate(row)
    if row["id"] in {old["id"] for old in read(path)}:
        raise ValueError(f"id={row['id']!r}: is in {path} already; allowed: a new id")
    with pathlib.Path(path).open("a", encoding="utf-8") as file:
        file.write(_line(row))


def replace(row: dict[str, Any], path: str | os.PathLike) -> None:
    """Replace the row with the same id, or add one at the end."""
    validate(row)
    rows = {old["id"]: old for old in read(path)} | {row["id"]: row}
    temporary = pathlib.Path(f"{path}.tmp")
    temporary.write_text("".join(map(_line, rows.values())), encoding="utf-8")
    os.replace(temporary, path)


def candidate(run_dir: str | os.PathLike) -> dict[str, Any]:
    """Read the number of a finished run, `run_dir/result.json`, and check the types of its fields.

    `values` is {seed: number}. A run that has not finished, or was not tested, is a FileNotFoundError.
    """
    path = pathlib.Path(run_dir) / "result.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: the run has not finished, or was not tested")
    line = read_json(path)
    for name, kind in (_STUDY_CANDIDATE if "claim" in line else _SEED_CANDIDATE).items():
        if name not in line:
            raise ValueError(f"{path}: {name} is missing")
        if not isinstance(line[name], kind) or (isinstance(line[name], bool) and kind is not bool):
            raise ValueError(f"{path}: {name}={line[name]!r}: wrong type; allowed: {getattr(kind, '__name__', kind)}")
        if kind == int | float and not math.isfinite(line[name]):
            raise ValueError(f"{path}: {name}={line[name]}: not finite; allowed: finite numbers")
    line.setdefault("values", {str(line.get("seed")): line.get("value")})
    if not all(map(_finite, line["values"].values())):
        raise ValueError(f"{path}: values={line['values']}: not finite; allowed: finite numbers")
    return line


def history(folder: str | os.PathLike) -> frozenset[str] | None:
    """List the hashes of the commits that HEAD contains.

    None where the folder is in no checkout of git, or in one without the older commits.
    """

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout

    try:
        complete = git("rev-parse", "--is-shallow-repository").strip() == "false"
        return frozenset(git("rev-list", "HEAD").split()) if complete else None
    except (OSError, subprocess.CalledProcessError):
        return None


def admit(line: dict[str, Any], commits: Container[str] | None = None) -> None:
    """Check that a line of `candidate` may become a row: that its command proves it.

    A ValueError names a smoke run, code that differs from its commit, a commit that `commits` (of `history`; None does
    not compare) lacks, or a command of another page.
    """
    if line["smoke"]:
        raise ValueError("smoke=True: a run of a few steps measures nothing; allowed: runs without --smoke")
    changed = line["changed_files"]
    if changed or "+" in line["commit"]:
        changes_text = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        raise ValueError(
            f"commit={line['commit']}: no commit holds what ran, {changes_text or 'uncommitted changes'}; "
            "allowed: runs of committed code"
        )
    if commits is not None and line["commit"] not in commits:
        raise ValueError(
            f"commit={line['commit']}: not in the history of HEAD; allowed: runs of commits that HEAD contains "
            "(rebase first, then run)"
        )
    runs = page(line["command"])
    if line["experiment"] != runs:
        raise ValueError(
            f"experiment={line['experiment']}: the command runs {runs}; allowed: runs of the command's page"
        )


def merge(
    candidates: Sequence[dict[str, Any]],
    name: str | None = None,
    tolerance: float | None = None,
    published: dict[str, Any] | None = None,
    note: str = "",
    baseline: dict[str, Any] | None = None,
    commits: Container[str] | None = None,
) -> dict[str, Any]:
    """Join the results of several seeds into one row.

    Args:
      candidates: candidates of `candidate`, one a seed.
      name: the row's id; None takes the candidate's own `id`, or experiment-dataset.
      tolerance: None takes the spread of the seeds, and 1% of the mean at least; for a study, its own.
      published: {"value": number, "source": text} of the literature.
      note: a remark for readers.
      baseline: what the number must beat, of `baseline_field`; None takes the runs' own, of several seeds the mean.
      commits: those that HEAD contains, of `history`; None does not compare.

    Returns:
      The validated row.

    Raises:
      ValueError: a run may not become a row (`admit`), a seed occurs twice, the runs differ in command, dataset,
        metric, hardware or versions, a learned number has no baseline, or there are several runs of a study.
    """
    if not candidates:
        raise ValueError("candidates=[]: empty; allowed: at least one run")
    for line in candidates:
        admit(line, commits)
    if "claim" in candidates[0]:
        return _study_row(candidates, name, tolerance, published, note, baseline)
    seeds = [str(line["seed"]) for line in candidates]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seed={', '.join(seeds)}: repeated; allowed: each run must have a seed of its own")
    first = candidates[0] | {"command": seedless(candidates[0]["command"])}
    for line in candidates:
        for field in ("command", "dataset", "metric", "hardware", "versions"):
            value = seedless(line[field]) if field == "command" else line[field]
            if value != first[field]:
                raise ValueError(
                    f"{field}={value!r}: the runs differ in {field}; allowed: that of the first, {first[field]!r}"
                )
    values = dict(zip(seeds, (line["value"] for line in candidates), strict=True))
    mean = statistics.fmean(values.values())
    if tolerance is None:
        tolerance = float(f"{max(max(values.values()) - min(values.values()), 0.01 * abs(mean)):.2g}")
    row = {
        "id": name or default_id(first),
        **{field: first[field] for field in ("command", "dataset", "metric")},
        "values": values,
        "mean": mean,
        "tolerance": tolerance,
        "wall_seconds": dict(zip(seeds, (line["wall_seconds"] for line in candidates), strict=True)),
        "hardware": first["hardware"],
        "versions": first["versions"],
        "commit": ", ".join(dict.fromkeys(line["commit"] for line in candidates)),
        "date": max(line["date"] for line in candidates),
        "baseline": baseline or _mean_baseline(candidates),
        "published": published,
        "status": MEASURED,
        "note": note,
    }
    return validate(row)


def default_id(line: dict[str, Any]) -> str:
    """Name the row of a line of `candidate`: its own `id`, or experiment-dataset; of a study, the experiment."""
    return line["experiment"] if "claim" in line else line.get("id") or f"{line['experiment']}-{line['dataset']}"


def _study_row(
    candidates: Sequence[dict[str, Any]],
    name: str | None,
    tolerance: float | None,
    published: dict[str, Any] | None,
    note: str,
    baseline: dict[str, Any] | None,
) -> dict[str, Any]:
    if len(candidates) > 1:
        raise ValueError(f"candidates: {len(candidates)} runs of a study; allowed: one, which measures all seeds")
    (line,) = candidates
    same = ("dataset", "metric", "values", "hardware", "versions", "commit", "date", "claim", "holds", "verdict")
    row = {
        "id": name or default_id(line),
        "command": seedless(line["command"], keep_seed=True),
        **{field: line[field] for field in same},
        "mean": statistics.fmean(line["values"].values()),
        "tolerance": line["tolerance"] if tolerance is None else tolerance,
        "wall_seconds": {"all": line["wall_seconds"]},
        "baseline": baseline or line.get("baseline"),
        "published": published,
        "status": MEASURED,
        "note": note,
    }
    return validate(row)


def baseline_field(value: float, name: str, metric: str, better: str | None = None) -> dict[str, Any]:
    """Make a baseline: what a number of a row must beat.

    name: what has it, such as "the most frequent class" or "the untrained network". better: "higher" or "lower"; None
    looks the metric up in `dlcore.report.measures`.
    """
    direction = better or better_direction(metric)
    if direction not in ("higher", "lower"):
        raise ValueError(f"better={better}: which way {metric!r} is better is not known; allowed: higher, lower")
    return {"value": value, "name": name, "better": direction}


def learned(row: dict[str, Any]) -> bool:
    """Whether a row is the number of something trained, which says little without a baseline.

    True for measured rows that are neither studies, which name what they compare, nor benches, which time.
    """
    return row["status"] == MEASURED and "claim" not in row and not page(row["command"]).startswith("bench.")


def beats_baseline(row: dict[str, Any], digits: int = 4) -> bool | None:
    """Whether a row's mean beats its baseline in so many digits; None where there is no baseline or no number."""
    baseline = row["baseline"]
    return None if baseline is None else _beats(row["mean"], baseline["value"], baseline["better"], digits)


def beats_simple(row: dict[str, Any], simple: Mapping[str, Any], digits: int = 3) -> bool | None:
    """Whether a row's mean beats a simple method in so many digits; None where the row has no number."""
    return _beats(row["mean"], simple["mean"], simple["better"], digits)


def _beats(mean: float | None, value: float, better: str, digits: int) -> bool | None:
    if mean is None:
        return None
    mean, value = (float(f"{number:.{digits}g}") for number in (mean, value))
    return mean > value if better == "higher" else mean < value


def read_simple(path: str | os.PathLike = SIMPLE) -> dict[str, dict[str, Any]]:
    """Read values.jsonl of `experiments.simple`: key -> line; empty where it does not exist."""
    path = pathlib.Path(path)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {value["key"]: value for value in map(json.loads, lines)}


def best_simple(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Find the best simple method of each row, without controls: id -> its line of values.jsonl."""
    best: dict[str, Mapping[str, Any]] = {}
    for value in (value for value in values.values() if not value["is_control"]):
        sign = 1 if value["better"] == "higher" else -1
        for row in value["rows"]:
            if row not in best or sign * value["mean"] > sign * best[row]["mean"]:
                best[row] = value
    return best


def _mean_baseline(candidates: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The baseline of several seeds: the mean, where all have one of the same name."""
    baselines = [line.get("baseline") for line in candidates]
    if None in baselines or len({(baseline["name"], baseline["better"]) for baseline in baselines}) > 1:
        return None
    return baselines[0] | {"value": statistics.fmean(baseline["value"] for baseline in baselines)}


def _check_baseline(row: dict[str, Any]) -> None:
    baseline = row["baseline"]
    if baseline is None:
        allowed = f"{_BASELINE} for what is learned (--baseline VALUE --baseline_name TEXT)"
        _demand(row, "baseline", not learned(row), allowed)
        return
    valid = isinstance(baseline, dict) and baseline.keys() == {"value", "name", "better"} and _finite(baseline["value"])
    valid = (
        valid and isinstance(baseline["name"], str) and baseline["name"] and baseline["better"] in ("higher", "lower")
    )
    _demand(row, "baseline", valid, f"{_BASELINE} or null")


def launched(folder: str | os.PathLike) -> set[str]:
    """List the files of experiments/ that can be launched and may have a row, as topic.stem.

    These are those in a topic's folder that define `experiment` or end in `if __name__ == "__main__"`.
    """
    folder = pathlib.Path(folder)
    files = (path for path in folder.glob("*/**/*.py") if not path.name.startswith("__"))
    scripts = (path for path in files if _LAUNCHED.search(path.read_text(encoding="utf-8")))
    return {".".join(path.relative_to(folder).with_suffix("").parts) for path in scripts}


def read_not_run(path: str | os.PathLike) -> dict[str, str]:
    """Read why files have no row, {topic.stem: reason}, from not_run.json; empty where it does not exist."""
    path = pathlib.Path(path)
    reasons = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if not isinstance(reasons, dict) or not all(isinstance(text, str) and text.strip() for text in reasons.values()):
        raise ValueError(f"{path}: no reasons; allowed: {{topic.stem: text}}")
    return reasons


def drop_reason(name: str, path: str | os.PathLike) -> None:
    """Remove the reason of a file, topic.stem, that has a row now."""
    reasons = read_not_run(path)
    if reasons.pop(name, None) is not None:
        pathlib.Path(path).write_text(json.dumps(reasons, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def unaccounted(folder: str | os.PathLike, rows: Sequence[dict[str, Any]], reasons: dict[str, str]) -> list[str]:
    """Find files of which the ledger says nothing, and reasons that are out of date: a sentence each."""
    files, measured = launched(folder), {page(row["command"]) for row in rows}
    problems = [f"{name}: neither a row nor a reason" for name in sorted(files - measured - reasons.keys())]
    problems += [f"{name}: has a row and a reason" for name in sorted(reasons.keys() & measured)]
    return problems + [f"{name}: a reason without a file" for name in sorted(reasons.keys() - files - measured)]


def validate(row: Any) -> dict[str, Any]:
    """Check every field of a row, and return the row; a ValueError names a field that is missing or not allowed."""
    if not isinstance(row, dict):
        raise ValueError(f"row={row!r}: wrong type; allowed: a JSON object")
    study = not _OF_A_STUDY.isdisjoint(row)
    fields = _FIELDS | _OF_A_STUDY if study else _FIELDS
    if row.keys() != fields:
        problems = [f"{n} is missing" for n in sorted(fields - row.keys())]
        problems += [f"{n} is not a field of the ledger" for n in sorted(row.keys() - fields)]
        raise ValueError(f"row: {', '.join(problems)}; allowed: {', '.join(sorted(fields))}")
    measured = row["status"] == MEASURED
    _demand(row, "status", measured or row["status"] == RECIPE, f'"{MEASURED}" or "{RECIPE}"')
    for field in _TEXT + _WHEN_MEASURED * measured:
        _demand(row, field, isinstance(row[field], str) and (row[field] or field == "note"), "text")
    _demand(row, "command", row["command"].startswith("python -m experiments."), '"python -m experiments. ..."')
    portable = seedless(row["command"], keep_seed=study) == row["command"]
    _demand(row, "command", portable, "without folders" if study else "without seed and folders")
    if study:
        _demand(row, "holds", row["holds"] is None or isinstance(row["holds"], bool), "true, false or null")
        for field in ("claim", "verdict"):
            _demand(row, field, isinstance(row[field], str) and row[field], "text")
    _check_baseline(row)
    published = row["published"]
    valid = published is None or (isinstance(published, dict) and published.keys() == {"value", "source"})
    if valid and published is not None:
        valid = _finite(published["value"]) and isinstance(published["source"], str) and published["source"]
    _demand(row, "published", valid, '{"value": number, "source": text} or null')
    numbers = [isinstance(row[f], dict) and all(map(_finite, row[f].values())) for f in ("values", "wall_seconds")]
    _demand(row, "values", numbers[0] and bool(row["values"]) == measured, "{seed: number}, empty in a recipe only")
    timed = {"all"} if study else row["values"].keys()
    _demand(row, "wall_seconds", numbers[1] and row["wall_seconds"].keys() == timed, "of the same seeds")
    if measured:
        _demand(row, "commit", "+" not in row["commit"], "commits without changes")
        mean = statistics.fmean(row["values"].values())
        _demand(row, "mean", _finite(row["mean"]) and math.isclose(row["mean"], mean, rel_tol=1e-9), f"{mean}")
        _demand(row, "tolerance", _finite(row["tolerance"]) and row["tolerance"] >= 0, "a number of at least 0")
        _demand(row, "versions", isinstance(row["versions"], dict) and row["versions"], "{package: version}")
    else:
        _demand(row, "mean", row["mean"] is None, "null in a recipe")
    return row


def seedless(command: str, keep_seed: bool = False) -> str:
    """Remove the flags that differ between runs of one row: seed, folders and what only prints.

    `$DATA_DIR` stands for this machine's folder of data; `keep_seed` keeps `--seed`, as in a study's row.
    """
    words = shlex.split(command)
    dropped = (_RUN_FLAGS | _SWITCHES | {"data_dir"}) - ({"seed"} if keep_seed else set())
    words_left = []
    while words:
        word = words.pop(0)
        name, equals, _ = word.removeprefix("--").partition("=")
        if not word.startswith("--") or name not in dropped:
            words_left.append(shlex.quote(word))
            continue
        if not equals and name not in _SWITCHES and words:
            words.pop(0)
        if name == "data_dir":
            words_left.append("--data_dir=$DATA_DIR")
    return " ".join(words_left)


def page(command: str) -> str:
    """Name the page that a command runs as topic.stem; the command itself where it runs no module."""
    words = shlex.split(command)
    return words[2].removeprefix("experiments.") if words[1:2] == ["-m"] and len(words) > 2 else command


def _demand(row: dict[str, Any], field: str, valid: Any, allowed: str) -> None:
    if not valid:
        raise ValueError(f"{field}={row[field]!r}: not valid; allowed: {allowed}")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
