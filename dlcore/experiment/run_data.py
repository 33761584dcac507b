"""Data of a run: a fingerprint of every split, compared when the run is resumed or evaluated.

config.json holds, under "data", the number of examples of each split, a digest and its kind; data.npz beside it
holds the keys of the examples (`dlcore.data.fingerprint`), eight bytes each, so that changes can be counted:

    "data": {"train": {"examples": 1167, "digest": "5a0f...", "by": "content"}, "valid": {...}, "test": {...}}

Several training sources are "train/NAME". After `--changed_data` data.npz also holds, as "earlier", the keys of
examples that the run, or its initial weights, were trained on before.

    resume      on other training examples, or other classes: an error; other validation or test examples: a line
    evaluate    classes are mapped by name, unknown ones are an error; other examples than the run's: a line; examples
      that the run was trained on: an error, unless the split is train or the overlap is the run's own
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dlcore.activity import activity
from dlcore.data.fingerprint import Fingerprint, changes, count_shared
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.models.weight_files import read_npz
from dlcore.setting import FlagError, Setting, takes_several

__all__ = [
    "EARLIER",
    "Comparison",
    "check_resumed",
    "collect_training_keys",
    "compare_with_run",
    "data_for",
    "fingerprints",
    "known_data",
    "write_data",
]

DATA_FILE = "data.npz"
"""Keys of a run's examples, beside its config.json."""
EARLIER = "earlier"
"""Name in data.npz of the keys of examples that the run, or its initial weights, were trained on before."""
_CLASSES = {"class_names": ("label", "labels"), "vocabulary": ("text", "prompt")}
"""Facts that number classes, and the arrays that hold the numbers."""


class Comparison(NamedTuple):
    """Differences between an evaluated split and the run's.

    Args:
      changes: text that describes the changes; None if the split is the run's.
      trained_on: number of its examples that the run was trained on.
    """

    changes: str | None
    trained_on: int


def known_data(folder: Path, config: dict) -> dict[str, Fingerprint]:
    """Read the fingerprints that a run recorded of its examples.

    Args:
      folder: the run's folder.
      config: its config.json.

    Returns:
      Split -> fingerprint, with "earlier" if the run has one; empty if the run recorded nothing.
    """
    try:
        keys = read_npz(folder / DATA_FILE)
    except (OSError, ValueError):
        keys = {}
    try:
        fingerprints = {
            name: Fingerprint(entry["examples"], entry["digest"], entry["by"], keys.get(name))
            for name, entry in config.get("data", {}).items()
        }
    except (AttributeError, KeyError, TypeError):
        raise ValueError(f"{folder / 'config.json'}: data is damaged; allowed: the file that the run wrote") from None
    if EARLIER in keys:
        fingerprints[EARLIER] = Fingerprint(len(keys[EARLIER]), "", "", keys[EARLIER])
    return fingerprints


def collect_training_keys(prints: dict[str, Fingerprint]) -> np.ndarray:
    """Collect the keys of all training examples.

    Args:
      prints: split -> fingerprint, as `known_data` returns them.

    Returns:
      [N] uint64, the unique keys, including those of earlier training.
    """
    keys = [p.keys for name, p in prints.items() if name.split("/")[0] in ("train", EARLIER) and p.keys is not None]
    return np.unique(np.concatenate(keys)) if keys else np.zeros(0, np.uint64)


def fingerprints(splits: Splits) -> dict[str, Fingerprint]:
    """Fingerprint the splits.

    Returns:
      Split -> fingerprint; "train/NAME" for several sources.
    """
    prints: dict[str, Fingerprint] = {}

    def add(name: str, source: Any) -> None:
        if isinstance(source, dict):
            for key, part in source.items():
                add(f"{name}/{key}", part)
        elif source is not None:
            prints[name] = source.fingerprint

    for name in ("train", "valid", "test"):
        add(name, getattr(splits, name))
    return prints


def write_data(folder: Path, splits: Splits, known: dict[str, Fingerprint]) -> dict[str, dict]:
    """Write the keys of the splits to data.npz.

    Args:
      folder: the run's folder.
      known: `known_data` of the run so far; training examples missing in `splits` are kept as "earlier".

    Returns:
      The content of config.json under "data".
    """
    prints = fingerprints(splits)
    keys = {name: print_.keys for name, print_ in prints.items() if print_.keys is not None}
    earlier = np.setdiff1d(collect_training_keys(known), collect_training_keys(prints))
    if len(earlier):
        keys[EARLIER] = earlier
    temporary = folder / (DATA_FILE + ".tmp")
    with temporary.open("wb") as file:
        np.savez(file, **keys)  # pyright: ignore[reportArgumentType]
    os.replace(temporary, folder / DATA_FILE)
    return {name: {"examples": p.examples, "digest": p.digest, "by": p.by} for name, p in prints.items()}


def check_resumed(run: ResolvedRun, config: dict, splits: Splits) -> list[str]:
    """Check that the data of a resumed or finished run are still those that it was trained on.

    Args:
      config: its config.json.
      splits: current data.

    Raises:
      FlagError: classes or training examples differ; `--changed_data` allows other examples.
    """
    for name in _CLASSES:
        before, now = config["spec"].get(name), splits.spec.get(name)
        if before is not None and now is not None and list(before) != list(now):
            raise FlagError(
                f"{run.folder}: trained on {_listed(before)}, and the data now has {_listed(now)}; allowed: the "
                "same classes, or another --run_dir"
            )
    recorded, prints = known_data(run.folder, config), fingerprints(splits)
    lines = []
    for name in sorted(set(recorded) & set(prints), key=list(prints).index):
        difference = changes(recorded[name], prints[name])
        if difference is None:
            continue
        if name.split("/")[0] == "train" and not run.flags.changed_data:
            raise FlagError(
                f"{run.folder}: its training data has changed: {difference}; allowed: the data of before, "
                "--changed_data to use this, or another --run_dir"
            )
        lines.append(f"the {name} split has changed since the run began: {difference}")
    return lines


def data_for(run: ResolvedRun, config: dict) -> Splits:
    """Load data to evaluate a trained run on: images of its size, classes in its order.

    Args:
      config: its config.json.

    Raises:
      FlagError: the data have classes that the run does not know, or images of another shape.
    """
    flags, spec = run.flags.replace(run=str(run.folder)), config["spec"]
    if "image_shape" in spec and flags.get("image_size", 0) is None:
        flags = flags.replace(image_size=_image_size(run.experiment.settings["image_size"], spec["image_shape"]))
    with activity("reading the data"):
        splits = run.load(flags)
    before, now = spec.get("image_shape"), splits.spec.get("image_shape")
    if before is not None and now is not None and list(before) != list(now):
        raise FlagError(f"{run.folder}: trained on images of {before}; allowed: such images, not {now}")
    for name, arrays in _CLASSES.items():
        before, now = spec.get(name), splits.spec.get(name)
        if before is not None and now is not None and list(before) != list(now):
            splits = _renumbered(splits, name, arrays, before, now, run.folder)
    return splits


def _image_size(setting: Setting, shape: Sequence[int]) -> int | tuple[int, int]:
    """Return the side of square images; height and width if they differ, or if the setting takes a pair."""
    pair = takes_several("image_size", setting) or shape[0] != shape[1]
    return (shape[0], shape[1]) if pair else shape[0]


def _renumbered(splits: Splits, fact: str, arrays: tuple[str, ...], before: Any, now: Any, folder: Path) -> Splits:
    """Renumber the classes in the order of `before`."""
    if unknown := [name for name in now if name not in before]:
        raise FlagError(f"{folder}: not trained on {_listed(unknown)}, which the data has; allowed: {_listed(before)}")
    table = np.array([list(before).index(name) for name in now])

    def numbered(value: np.ndarray) -> np.ndarray:
        return np.where(value >= 0, table[np.maximum(value, 0).astype(int)], value).astype(value.dtype)

    def renumber(source: Any) -> Any:
        if isinstance(source, dict):
            return {key: renumber(part) for key, part in source.items()}
        if source is None or not isinstance(source, Source):
            return source
        new = {key: numbered(value) if key in arrays else value for key, value in source.arrays.items()}
        return replace(source, arrays=new, class_names=tuple(before) if source.class_names else ())

    spec = {**splits.spec, fact: before} | ({"num_classes": len(before)} if "num_classes" in splits.spec else {})
    return splits._replace(
        train=renumber(splits.train),
        valid=renumber(splits.valid),
        test=renumber(splits.test),
        shown=renumber(splits.shown),
        spec=spec,
    )


def compare_with_run(run: ResolvedRun, config: dict, splits: Splits, split: str) -> Comparison:
    """Compare an evaluated split with the run's recorded data.

    Args:
      config: its config.json.
      splits: result of `data_for`.
      split: name of the split.

    Returns:
      The changes, and the number of examples that the run was trained on.

    Raises:
      FlagError: the run was trained on examples of a split other than train; `--changed_data` allows it.
    """
    recorded, now = known_data(run.folder, config), getattr(splits, split).fingerprint
    if split not in recorded:
        return Comparison("the run did not record its data", 0)
    difference = changes(recorded[split], now)
    if difference is None or split == "train" or now.keys is None:
        return Comparison(difference, 0)
    recorded_keys = recorded[split].keys
    new = now.keys if recorded_keys is None else now.keys[~np.isin(now.keys, recorded_keys)]
    num_seen = count_shared(new, collect_training_keys(recorded))
    if num_seen and not run.flags.changed_data:
        how = f" (same {now.by})" if now.by != "content" else ""
        raise FlagError(
            f"--split={split}: the run was trained on {num_seen:,} of its {now.examples:,} examples{how}: "
            f"{difference}; allowed: examples that it was not trained on, or --changed_data to measure these all the "
            "same"
        )
    return Comparison(difference, num_seen)


def _listed(names: Any) -> str:
    """List names or characters, at most the first twelve."""
    first = [repr(name) for name in list(names)[:12]]
    return ", ".join(first) + (f", ... ({len(names)})" if len(names) > len(first) else "")
