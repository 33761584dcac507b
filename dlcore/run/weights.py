"""Saved weights: a folder with a model's variables (orbax) and `model.json`, which describes the model.

dlcore convert resnet50.safetensors --model=resnet50 --out=weights/resnet50
python -m experiments.classification.supervised --model=resnet50 --init_from=weights/resnet50
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.models.backbone import HEADS
from dlcore.run.checksums import checksums, find_damage
from dlcore.run.json_files import read_json
from dlcore.run.orbax_output import stderr_kept_on_success
from dlcore.run.sharding import leaf_paths, path_of

__all__ = ["fit_modules", "fit_weights", "load_weights", "save_weights"]

ABOUT, VARIABLES, CHECKSUMS = "model.json", "variables", "checksums"
NAMED = 5
"""Number of leaves that an error names; it counts the rest."""


def save_weights(folder: str | Path, variables: Any, about: dict) -> None:
    """Write the variables of a model to a folder.

    Args:
      folder: a new or empty folder.
      variables: variables of the model.
      about: JSON-able facts, including the model's name as `model`.
    """
    import orbax.checkpoint as ocp

    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"folder={str(folder)!r}: a file, or not empty; allowed: a new or empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / VARIABLES, variables)
    content = {**about, CHECKSUMS: checksums(variables)}
    (folder / ABOUT).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")


def load_weights(folder: str | Path) -> tuple[dict, Any]:
    """Read a folder that `save_weights` wrote.

    Args:
      folder: folder to read.

    Returns:
      (about, variables as NumPy arrays).
    """
    import orbax.checkpoint as ocp

    folder = Path(folder).absolute()
    if not (folder / ABOUT).exists():
        raise ValueError(f"folder={str(folder)!r}: holds no {ABOUT}; allowed: a folder that `dlcore convert` wrote")
    about = read_json(folder / ABOUT, ["model"])
    expected = about.pop(CHECKSUMS, {})
    try:
        with ocp.StandardCheckpointer() as checkpointer, stderr_kept_on_success():
            metadata = checkpointer.metadata(folder / VARIABLES)
            metadata = getattr(metadata, "item_metadata", metadata)
            targets = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), metadata)
            variables = checkpointer.restore(folder / VARIABLES, getattr(targets, "tree", targets))
    except Exception as error:  # orbax raises a bare Exception for a short file
        reason = str(error).strip().split("\n")[0][:100]
        raise ValueError(f"folder={str(folder)!r}: damaged ({reason}); allowed: a whole one") from None
    if path := find_damage(variables, expected):
        raise ValueError(f"folder={str(folder)!r}: damaged, {path} differs from its checksum; allowed: a whole one")
    return about, jax.tree.map(np.asarray, variables)


def fit_weights(weights: Any, variables: Any, name: str = "weights") -> tuple[Any, list[str]]:
    """Replace initial variables by weights; a head of another size, or without weights, keeps its initial values.

    Args:
      weights: pytree of arrays.
      variables: initial variables, which define structure, shapes and dtypes.
      name: name of the argument, for the error.

    Returns:
      (the variables with the weights, paths of the leaves that keep their initial values).

    Raises:
      ValueError: other leaves are missing, left over or of another shape; the message names a few.
    """
    leaves, targets = dict(leaf_paths(weights)), dict(leaf_paths(variables))
    initial = [
        path
        for path, leaf in targets.items()
        if HEADS & {*path.split("/")} and (path not in leaves or leaves[path].shape != leaf.shape)
    ]
    return _replace(leaves, variables, targets, initial, leaves, f"{name}: does not fit the model", "model"), initial


def fit_modules(weights: Any, variables: Any, same_classes: bool, name: str = "weights") -> tuple[Any, list[str]]:
    """Replace initial weights by trained ones, module by module.

    A module is a key of `params`, such as backbone or mask_head. Modules that only one of the two networks has do not
    change, nor do a backbone's head and unused stages.

    Args:
      weights: collection -> module -> tree of arrays.
      variables: the initial variables, in the same form.
      same_classes: False lets leaves differ in their last axis, the axis of the classes; these layers keep their
        initial values.
      name: name of the argument, for the error.

    Returns:
      (the variables with the weights, the modules and layers that keep their initial values).
    """
    common = weights["params"].keys() & variables["params"].keys()
    if not common:
        has, wants = (", ".join(sorted(tree["params"])) for tree in (weights, variables))
        raise ValueError(f"{name}: has the modules {has}; allowed: weights with one or more of {wants}")
    leaves = {path: leaf for path, leaf in leaf_paths(weights) if path.split("/")[1] in common}
    targets = {path: leaf for path, leaf in leaf_paths(variables) if path.split("/")[1] in common}
    class_layers = {
        _layer(path)
        for path, leaf in targets.items()
        if not same_classes and path in leaves and leaves[path].shape != leaf.shape
        if leaves[path].shape[:-1] == leaf.shape[:-1]
    }
    initial = [path for path in targets if _layer(path) in class_layers]
    required = [path for path in leaves if path.split("/")[1] != "backbone"]
    fitted = _replace(leaves, variables, targets, initial, required, name, "layers")
    return fitted, sorted({*(variables["params"].keys() - common), *(x.split("/", 1)[1] for x in class_layers)})


def _replace(
    leaves: dict, variables: Any, targets: dict, initial: Sequence[str], required: Iterable[str], what: str, same: str
) -> Any:
    """Replace the targets, but for those that keep their initial values, if they fit and no required leaf is left."""
    needed = {path: leaf for path, leaf in targets.items() if path not in initial}
    problems = [f"{path} is missing" for path in needed if path not in leaves]
    problems += [f"{path} is left over" for path in required if path not in targets]
    problems += [
        f"{path} is {leaves[path].shape}, not {leaf.shape}"
        for path, leaf in needed.items()
        if path in leaves and leaves[path].shape != leaf.shape
    ]
    if problems:
        more = f"; and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise ValueError(f"{what}: {'; '.join(problems[:NAMED])}{more}; allowed: weights of the same {same}")

    def leaf_of(path: tuple, leaf: Any) -> Any:
        return leaves[path_of(path)].astype(leaf.dtype) if path_of(path) in needed else leaf

    return jax.tree_util.tree_map_with_path(leaf_of, variables)


def _layer(path: str) -> str:
    return path.rpartition("/")[0]
