"""A simple method: the data and the measure of rows of the ledger, and what a person would try first on them."""

import dataclasses
import functools
import importlib
import os
from collections.abc import Callable, Sequence
from typing import Literal

from dlcore.data.splits import Splits
from dlcore.experiment.resolve import resolve
from experiments import find_experiment

__all__ = ["FILES", "SimpleMethod", "all_methods", "data_dir", "page_splits"]

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


def data_dir() -> str:
    """Name the folder of the data sets that are files, from the environment variable DATA_DIR."""
    if "DATA_DIR" not in os.environ:
        raise ValueError("DATA_DIR: not set; allowed: the folder of the prepared data sets")
    return os.environ["DATA_DIR"]
