"""Weights to start from: a folder with a model's variables (orbax) and `model.json`, which says what they are of.

dlcore convert resnet50.safetensors --model=resnet50 --out=weights/resnet50
python -m experiments.classification.supervised --model=resnet50 --init_from=weights/resnet50 --replace_head
"""

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dlcore.run.sharding import leaf_paths, path_of

__all__ = ["initial_variables", "load_weights", "save_weights"]

ABOUT, VARIABLES = "model.json", "variables"


def save_weights(folder: str | Path, variables: Any, about: dict) -> None:
    """Write the variables of a model and `about`, JSON-able facts with its name as `model`.

    Raises ValueError where there is something in `folder`.
    """
    import orbax.checkpoint as ocp

    folder = Path(folder).absolute()
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"folder {folder} is not empty: choose another")
    folder.mkdir(parents=True, exist_ok=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder / VARIABLES, variables)
    (folder / ABOUT).write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")


def load_weights(folder: str | Path) -> tuple[dict, Any]:
    """(about, variables as numpy arrays) of a folder that `save_weights` wrote; ValueError where it is none."""
    import orbax.checkpoint as ocp

    folder = Path(folder).absolute()
    if not (folder / ABOUT).exists():
        raise ValueError(f"{folder} holds no {ABOUT}: `dlcore convert` makes such a folder from a file of weights")
    about = json.loads((folder / ABOUT).read_text())
    with ocp.StandardCheckpointer() as checkpointer:
        metadata = checkpointer.metadata(folder / VARIABLES)
        metadata = getattr(metadata, "item_metadata", metadata)
        wanted = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), metadata)
        variables = checkpointer.restore(folder / VARIABLES, getattr(wanted, "tree", wanted))
    return about, jax.tree.map(np.asarray, variables)


def initial_variables(folder: str | Path, model: str, variables: Any, replace_head: bool = False) -> Any:
    """The weights of `folder` in place of `variables`, the ones that the model `model` was initialised with.

    replace_head: a head of another number of classes keeps its initial values.

    Raises:
      ValueError: the weights are of another model, or leaves are missing, left over or of another shape; all are named.
    """
    about, found = load_weights(folder)
    if about["model"] != model:
        raise ValueError(f"init_from={str(folder)!r} holds weights of {about['model']!r}, not of model={model!r}")
    leaves, wanted = dict(leaf_paths(found)), dict(leaf_paths(variables))
    odd = [f"{path} is missing" for path in wanted if path not in leaves]
    odd += [f"{path} is left over" for path in leaves if path not in wanted]
    shapes = [path for path in wanted if path in leaves and leaves[path].shape != wanted[path].shape]
    head = [path for path in shapes if "head" in path.split("/")] if replace_head else []
    odd += [f"{p} is {leaves[p].shape}, not {wanted[p].shape}" for p in shapes if p not in head]
    if odd:
        hint = " (--replace_head keeps the initial values of a head of another size)" if shapes else ""
        raise ValueError(f"init_from={str(folder)!r} does not fit: {'; '.join(odd[:20])}{hint}")

    def chosen(path: tuple, leaf: Any) -> Any:
        return leaf if path_of(path) in head else leaves[path_of(path)].astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(chosen, variables)
