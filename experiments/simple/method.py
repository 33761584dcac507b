"""A simple method: the data and the measure of rows of the ledger, and what a person would try first on them."""

import dataclasses
import functools
import importlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from dlcore.data.splits import Splits
from dlcore.experiment.resolve import resolve
from experiments import find_experiment

__all__ = ["FILES", "VALUES", "SimpleMethod", "all_methods", "of_rows", "page_splits", "read_values"]

VALUES = pathlib.Path(__file__).with_name("values.jsonl")
"""One JSON object a line: what was measured of each method."""

FILES = ("images", "generation", "sequences", "clips", "scenes", "control")
"""The files of this folder that have `METHODS`."""


@dataclasses.dataclass(frozen=True)
class SimpleMethod:
    """A method that needs no technique of the catalogue, beside the rows that have its data and its measure.

    Args:
      key: its name on the command line, such as digits-knn.
      rows: ids of rows of results.jsonl.
      metric: the measure, as those rows have it, such as "test knn".
      better: whether a higher or a lower value is better.
      method: the method, for tables: "1-NN on raw pixels".
      measure: seed -> value, on the test split that the rows have; choices, such as k, are made on the validation split
      seeds: seeds to measure; a method without randomness, on data that no seed changes, has one.
      knows: what the method knows of the program that draws the data, such as "how shapes are drawn"; "" for nothing.
      is_control: whether it says what the measure can tell, and is nothing to beat, such as copies of training images.
    """

    key: str
    rows: tuple[str, ...]
    metric: str
    better: Literal["higher", "lower"]
    method: str
    measure: Callable[[int], float]
    seeds: tuple[int, ...] = (0,)
    knows: str = ""
    is_control: bool = False


def all_methods() -> dict[str, SimpleMethod]:
    """Collect the methods of all files: key -> method."""
    methods = [method for name in FILES for method in importlib.import_module(f"experiments.simple.{name}").METHODS]
    keys = [method.key for method in methods]
    if repeated := {key for key in keys if keys.count(key) > 1}:
        raise ValueError(f"{sorted(repeated)[0]}: two methods of one key; allowed: unique keys")
    return {method.key: method for method in methods}


@functools.cache
def page_splits(page: str, words: Sequence[str] = (), seed: int = 0) -> Splits:
    """Load the data of a page, with its own validation split.

    Args:
      page: such as self_supervised.byol.
      words: flags of the page, such as ("--dataset=fashion_mnist",).
      seed: `--seed`.
    """
    experiment = find_experiment(page)
    return experiment.run(resolve(experiment, [*words, f"--seed={seed}"]), {}, 1, None).load()


def read_values(path: str | pathlib.Path = VALUES) -> dict[str, dict[str, Any]]:
    """Read what was measured: key -> {"key", "rows", "metric", "better", "method", "knows", "values", "mean", ...}."""
    path = pathlib.Path(path)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {value["key"]: value for value in map(json.loads, lines)}


def of_rows(values: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Find the best simple method of each row of the ledger, without controls: id -> its value."""
    best: dict[str, Mapping[str, Any]] = {}
    for value in (value for value in values.values() if not value.get("is_control")):
        sign = 1 if value["better"] == "higher" else -1
        for row in value["rows"]:
            if row not in best or sign * value["mean"] > sign * best[row]["mean"]:
                best[row] = value
    return best
