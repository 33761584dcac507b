"""Saved weights: a folder with a model's variables (orbax) and `model.json`, which describes the model.

dlcore convert resnet50.safetensors --model=resnet50 --out=weights/resnet50
python -m experiments.classification.supervised --model=resnet50 --init_from=weights/resnet50
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.run.checksums import checksums, find_damage
from dlcore.run.json_files import read_json
from dlcore.run.orbax_output import stderr_kept_on_success
from dlcore.run.sharding import leaf_paths, path_of

__all__ = ["fit_weights", "load_weights", "save_weights"]

ABOUT, VARIABLES, CHECKSUMS = "model.json", "variables", "checksums"
NAMED = 5
"""Number of leaves that an error names; it counts the rest."""


def save_weights(folder: str | Path, variables: Any, about: dict) -> None:
    """Write the variables of a model to a folder.

    Args:
      folder: a new or empty folder.
      variables: variables of the model.
      about: JSON-able facts, including the model's name as `model`.

    Raises:
      ValueError: `folder` is not empty.
    """
    import orbax.checkpoint as ocp

    folder = Path(folder).absolute()
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder={str(folder)!r}: not empty; allowed: a new or empty folder")
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

    Raises:
      ValueError: the folder has no weights, or they are damaged.
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
    differ = [path for path in targets if path not in leaves or leaves[path].shape != targets[path].shape]
    kept_paths = [path for path in differ if "head" in path.split("/")]
    mismatches = [f"{path} is missing" for path in differ if path not in leaves and path not in kept_paths]
    mismatches += [f"{path} is left over" for path in leaves if path not in targets]
    mismatches += [
        f"{p} is {leaves[p].shape}, not {targets[p].shape}" for p in differ if p in leaves and p not in kept_paths
    ]
    if mismatches:
        more = f"; and {len(mismatches) - NAMED} more" if len(mismatches) > NAMED else ""
        raise ValueError(
            f"{name}: does not fit the model: {'; '.join(mismatches[:NAMED])}{more}; allowed: weights of the same model"
        )

    def fitted(path: tuple, leaf: Any) -> Any:
        return leaf if path_of(path) in kept_paths else leaves[path_of(path)].astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(fitted, variables), kept_paths
