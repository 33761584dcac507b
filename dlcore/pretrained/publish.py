"""Files for others: a network that was trained here, under the names and with the configuration of its library.

The names are those of the published network that it started from. How its file becomes variables is a fixed movement
of numbers, whatever the library: the file is read three times with numbers that say where they stand (the entry, and
two digits of the place in it), and the variables then tell where each of their values belongs. What was written is
read again and compared, bit by bit, before it is kept.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.extras import require
from dlcore.models.registry import create_model, family_of
from dlcore.models.torch_weights import load_torch
from dlcore.pretrained.family import find_family, library_of, read_network
from dlcore.pretrained.snapshot import open_snapshot

__all__ = ["entries_of", "save_pretrained"]

DIGIT = 4096
"""Base of the digits of a place: places up to 2^24 times it are exact in float32."""


def save_pretrained(
    folder: str | Path, source: str | Path, variables: Any, class_names: tuple[str, ...] | None = None
) -> None:
    """Write a trained network as its library publishes it: config.json, model.safetensors and the processor's file.

    Args:
      folder: a new or empty folder.
      source: the published network that it started from: a hub id or a folder, see `from_pretrained`.
      variables: its variables.
      class_names: names of its classes, where its head is a new one; None keeps the published ones.

    Raises:
      ValueError: the folder is not empty, the names are not different words, one a class, the variables are not those
        of the network, or its file holds numbers that dlcore computes with while it reads them.
      FileNotFoundError: there is no such snapshot.
    """
    if not isinstance(folder, str | Path):
        raise ValueError(f"folder={folder!r}: a {type(folder).__name__}; allowed: paths")
    require("safetensors", what=f"folder={str(folder)!r}")
    from safetensors.numpy import save_file

    folder, snapshot = Path(folder), open_snapshot(source)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder={str(folder)!r}: a file, or not empty; allowed: a new or empty folder")
    family = find_family(snapshot.config, str(source))
    name, fields = read_network(family, snapshot.config)
    what, classes = f"source={str(source)!r}", fields.get("num_classes")
    if class_names is not None:
        is_list = isinstance(class_names, tuple | list) and all(isinstance(label, str) for label in class_names)
        if not is_list or len(set(class_names)) < len(class_names):
            raise ValueError(f"class_names={class_names!r}: no names; allowed: different words, one a class")
    if class_names is not None and not classes:
        raise ValueError(f"class_names={class_names}: {name} has no head there; allowed: None")

    def load(entries: Mapping[str, np.ndarray], num_classes: int | None) -> Any:
        model_fields = fields if num_classes is None else {**fields, "num_classes": num_classes}
        if family.load is not None:
            return family.load(create_model(name, **model_fields), snapshot.config, entries)
        return load_torch(name, entries, **model_fields)

    count = classes if class_names is None else len(class_names)
    entries = {key: np.asarray(value) for key, value in snapshot.weights.items()}
    if count != classes:
        entries = _with_other_classes(entries, lambda e: load(e, classes), variables, (classes, count), what)
    tied = getattr(family_of(name), "TORCH_TIED", {})
    entries = entries_of(lambda e: load(e, count), entries, variables, tied=tied, constants=family.constants, what=what)
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(entries, part / "model.safetensors", {"format": "pt"})
    config = _with_class_names(snapshot.config, class_names)
    files = {"config.json": config, "preprocessor_config.json": snapshot.processor}
    for file, content in files.items():
        if content:
            (part / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if folder.exists():
        folder.rmdir()
    part.rename(folder)


def entries_of(
    load: Callable[[Mapping[str, np.ndarray]], Any],
    entries: Mapping[str, np.ndarray],
    variables: Any,
    *,
    tied: Mapping[str, str] | None = None,
    constants: Sequence[str] = (),
    what: str = "entries",
) -> dict[str, np.ndarray]:
    """Invert a loader: find the file whose variables are these.

    Args:
      load: {name in the file: array} -> variables; it moves numbers and computes none.
      entries: a file that it reads; entries that it ignores are kept.
      variables: the variables to write.
      tied: {name of a copy: name of the entry that it must equal}.
      constants: names of entries that the loader checks and no variable holds; they are kept.
      what: what the file is, for errors.

    Returns:
      {name in the file: float32 array}.
    """
    names, tied = list(entries), {copy: key for copy, key in (tied or {}).items() if {copy, key} <= entries.keys()}
    number = {key: i + 1 for i, key in enumerate(names)}

    def numbered(values: Callable[[str, np.ndarray], np.ndarray]) -> list[np.ndarray]:
        def fill(key: str, value: np.ndarray) -> np.ndarray:
            if key in constants:
                return value
            filled = values(tied.get(key, key), value).astype(np.float32).reshape(value.shape)
            return filled if np.issubdtype(np.asarray(value).dtype, np.floating) or _is_half(value) else value

        return [np.asarray(leaf) for leaf in jax.tree.leaves(load({k: fill(k, v) for k, v in entries.items()}))]

    owners = numbered(lambda key, value: np.full(value.size, number[key]))
    low = numbered(lambda key, value: np.arange(value.size) % DIGIT)
    high = numbered(lambda key, value: np.arange(value.size) // DIGIT)
    leaves = [np.asarray(leaf, np.float32) for leaf in jax.tree.leaves(variables)]
    if [leaf.shape for leaf in leaves] != [owner.shape for owner in owners]:
        raise ValueError(f"{what}: variables of other shapes; allowed: those of the network that it holds")
    result = {key: np.array(value, np.float32 if _is_half(value) else None) for key, value in entries.items()}
    for leaf, owner, ones, thousands in zip(leaves, owners, low, high, strict=True):
        index = ones.astype(np.int64) + DIGIT * thousands.astype(np.int64)
        for key in {names[int(i) - 1] for i in np.unique(owner) if 1 <= i <= len(names) and i == int(i)}:
            is_own = owner == number[key]
            result[key].flat[index[is_own]] = leaf[is_own]
    result |= {copy: result[key] for copy, key in tied.items()}
    again = [np.asarray(leaf) for leaf in jax.tree.leaves(load(result))]
    if not all(np.array_equal(a, b) for a, b in zip(again, leaves, strict=True)):
        raise ValueError(f"{what}: its file cannot hold what was learned; allowed: networks that load alike")
    return result


def _is_half(value: np.ndarray) -> bool:
    return np.asarray(value).dtype.name in ("float16", "bfloat16")


def _with_other_classes(
    entries: dict[str, np.ndarray], load: Callable, variables: Any, counts: tuple[int, int], what: str
) -> dict[str, np.ndarray]:
    """Replace the entries of the head, whose first axis has the classes, by zeros for another number of classes."""
    old, new = counts
    if jax.tree.map(np.shape, jax.tree.leaves(load(entries))) == jax.tree.map(np.shape, jax.tree.leaves(variables)):
        raise ValueError(f"class_names: {new} names for a head of {old} classes; allowed: one name a class")
    numbers = {key: np.full(value.shape, i + 1, np.float32) for i, (key, value) in enumerate(entries.items())}
    loaded, names, result = jax.tree.leaves(load(numbers)), list(entries), dict(entries)
    for leaf, target in zip(loaded, jax.tree.leaves(variables), strict=True):
        if leaf.shape == target.shape:
            continue
        if leaf.shape[:-1] != target.shape[:-1] or (leaf.shape[-1], target.shape[-1]) != (old, new):
            raise ValueError(f"{what}: variables of other shapes; allowed: those of the network that it holds")
        for i in np.unique(np.asarray(leaf)).astype(int):
            result[names[i - 1]] = np.zeros((new, *entries[names[i - 1]].shape[1:]), np.float32)
    return result


def _with_class_names(config: Mapping[str, Any], class_names: tuple[str, ...] | None) -> dict[str, Any]:
    """Return the configuration with other classes."""
    if class_names is None:
        return dict(config)
    if library_of(config)[0] == "timm":
        parts = {
            key: {**config[key], "num_classes": len(class_names)}
            for key in ("model_args", "pretrained_cfg")
            if key in config
        }
        return {**config, **parts, "num_classes": len(class_names), "label_names": list(class_names)}
    labels = {str(i): name for i, name in enumerate(class_names)}
    return {**config, "id2label": labels, "label2id": {name: int(i) for i, name in labels.items()}}
