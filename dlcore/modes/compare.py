"""`dlcore compare`: the curves of several runs on the same axes, the settings that differ, and the final metrics."""

import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlcore.json_content import parse_json
from dlcore.report.measures import better_direction
from dlcore.run.metrics_writer import METRICS_FILE, read_metrics

__all__ = ["compare", "differing_settings", "tabulate_metrics"]

CONFIG = "config.json"
_NOT_COMPARED = {"step", "split", "epoch", "seconds"}
MAX_NAME_LENGTH, MAX_SUBSETS = 48, 1000
"""Largest length of a run's name, and number of subsets of settings of one size to try for it."""
_LAST_METRICS = {"learning_rate", "examples_per_second"}


def compare(folders: Sequence[str | Path], out: Path, x: str = "step") -> str:
    """Compare runs: write an HTML page of their curves, and tabulate the settings that differ.

    Args:
      folders: folders of at least two runs.
      out: HTML file to write; its folder is created.
      x: "step" or "epoch", the horizontal axis.

    Returns:
      Two text tables: the settings that differ, and the last and best metrics. A run is named by its differing
      settings.
    """
    from dlcore.report.curves import curves
    from dlcore.report.html import render
    from dlcore.report.tables import table

    paths = [Path(folder) for folder in folders]
    if len(paths) < 2 or len({path.resolve() for path in paths}) < len(paths):
        run_args = " ".join(map(str, folders))
        raise ValueError(f"runs={run_args!r}: not two different folders; allowed: at least two, each given once")
    configs = [_config(path) for path in paths]
    names = _names(paths, configs)
    histories = [read_metrics(path) for path in paths]
    settings = differing_settings(names, configs)
    numbers = tabulate_metrics(names, histories)
    rows = [
        {x: row.get(x), "split": name, **{f"{row['split']} {k}": v for k, v in row.items() if _is_curve(row, k)}}
        for name, history in zip(names, histories, strict=True)
        for row in history
        if row.get("split") != "test"
    ]
    first = [f"{split} {name}" for split in ("valid", "train") for name in ("loss", "accuracy", "map", "return", "knn")]
    panels = [
        table(settings or {"": "none"}, "Settings that differ")._replace(half=True),
        table(numbers, "Numbers reached", "The best is that of validation, with its step.")._replace(half=True),
        curves(rows, x, headlines=first),
    ]
    kinds = list(dict.fromkeys(config["experiment"] for config in configs))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(render("Comparison", panels, {}, subtitle=f"{len(paths)} runs of {', '.join(kinds)}"))
    parts = [_lines(settings) if settings else "no setting differs", _lines(numbers), f"curves: {out}"]
    return "\n\n".join(parts)


def differing_settings(names: Sequence[str], configs: Sequence[dict]) -> list[dict[str, str]]:
    """List the settings whose values differ between runs.

    Args:
      names: names of the runs.
      configs: content of each config.json.

    Returns:
      Rows {"setting": flag, name of a run: value or "–" if the run lacks the flag, ...}, including the experiment if it
      differs.
    """
    settings_of_runs = [
        {"experiment": config["experiment"], **{f"--{k}": v for k, v in config["identity"].items()}}
        for config in configs
    ]
    all_settings = dict.fromkeys(setting for settings in settings_of_runs for setting in settings)
    rows = []
    for setting in all_settings:
        values = [json.dumps(s[setting]).strip('"') if setting in s else "–" for s in settings_of_runs]
        if len(set(values)) > 1:
            rows.append({"setting": setting, **dict(zip(names, values, strict=True))})
    return rows


def tabulate_metrics(names: Sequence[str], histories: Sequence[list[dict]]) -> list[dict[str, str]]:
    """Tabulate the last and the best value of each metric of each run.

    Args:
      names: names of the runs.
      histories: rows of each metrics.jsonl.

    Returns:
      Rows {"number": such as "valid accuracy, best", name of a run: value, ...}, blank if a run has none: the last
      value of "train", the last and the best of "valid" with its step, and the value of "test".
    """
    numbers_of: dict[str, dict[str, str]] = {}
    for name, history in zip(names, histories, strict=True):
        columns: dict[tuple[str, str], list[tuple[int, float]]] = {}
        for row in history:
            for key, value in row.items():
                if _is_curve(row, key) and key not in _LAST_METRICS and isinstance(value, int | float):
                    columns.setdefault((row["split"], key), []).append((row["step"], value))
        for (split, key), points in columns.items():
            label = f"{split} {key}"
            numbers_of.setdefault(f"{label}, last" if split != "test" else label, {})[name] = f"{points[-1][1]:.4g}"
            if split == "valid" and np.isfinite([value for _, value in points]).any():
                sign = 1 if better_direction(key) == "lower" else -1
                step, best = min((p for p in points if np.isfinite(p[1])), key=lambda p: sign * p[1])
                numbers_of.setdefault(f"{label}, best", {})[name] = f"{best:.4g} at {step}"
    numbers_of.setdefault("steps", {}).update(
        {name: str(max((row["step"] for row in h), default=0)) for name, h in zip(names, histories, strict=True)}
    )
    order = ("test", "valid", "train", "steps")
    labels = sorted(numbers_of, key=lambda label: order.index(label.split()[0]))
    return [{"number": label, **{name: numbers_of[label].get(name, "") for name in names}} for label in labels]


def _is_curve(row: dict, key: str) -> bool:
    return key not in _NOT_COMPARED and "/" not in key and "split" in row and not isinstance(row[key], list | str)


def _config(path: Path) -> dict[str, Any]:
    for name in (CONFIG, METRICS_FILE):
        if not (path / name).is_file():
            raise ValueError(
                f"runs={str(path)!r}: holds no {name}; allowed: the folder of a run that has begun to train"
            )
    try:
        config = parse_json((path / CONFIG).read_bytes())
        return {"experiment": config["experiment"], "identity": dict(config["identity"])}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path / CONFIG}: not the configuration of a run ({type(error).__name__}: {error})") from None


def _names(paths: Sequence[Path], configs: Sequence[dict]) -> list[str]:
    """Name runs by their differing settings, "learning_rate=0.1, seed=1", or the smallest unique subset.

    Runs with equal settings are named by the shortest unique ends of their paths.
    """
    columns = [str(number) for number in range(len(paths))]
    rows = differing_settings(columns, configs)
    cells = {row["setting"].removeprefix("--"): [row[column] for column in columns] for row in rows}
    labels = [_label(cells, cells, k) for k in range(len(paths))]
    if len(set(labels)) == len(paths):
        if max(map(len, labels)) <= MAX_NAME_LENGTH:
            return labels
        for count in range(1, len(cells) + 1):
            for subset in itertools.islice(itertools.combinations(cells, count), MAX_SUBSETS):
                names = [_label(cells, subset, k) for k in range(len(paths))]
                if len(set(names)) == len(paths) and max(map(len, names)) <= MAX_NAME_LENGTH:
                    return names
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _label(cells: dict[str, list[str]], subset: Iterable[str], run: int) -> str:
    return ", ".join(f"{setting}={cells[setting][run]}" for setting in subset)


def _lines(rows: Sequence[dict[str, str]]) -> str:
    """Format rows as an aligned text table."""
    table = [list(rows[0]), *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[k]) for row in table) for k in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table)
