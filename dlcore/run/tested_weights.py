"""The weights of a run as they were tested, read from its checkpoint alone.

A checkpoint lists its leaves by path (`state/params/dense/kernel`). So its parameters, running statistics and average
can be read without the program that saved them: no learner is built, no data are read, and the arrays of the optimizer
stay on the disk.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import logging
from flax.traverse_util import unflatten_dict

from dlcore.run.checkpoint import CHECKSUMS, LEAVES, NOTE, STATE, Checkpoints
from dlcore.run.checksums import find_damage
from dlcore.run.orbax_output import stderr_kept_on_success
from dlcore.run.sharding import leaf_paths, path_of

__all__ = ["TestedWeights", "read_tested_weights"]


class TestedWeights(NamedTuple):
    """Arrays of a run, nested dicts of NumPy arrays.

    Args:
      params: parameters as they were tested: their average where the run keeps one.
      model_state: collection -> other variables, such as running statistics; {} where there are none.
      fields: further fields of the state that were asked for, such as a codebook.
    """

    params: Any
    model_state: dict[str, Any]
    fields: dict[str, Any]

    @property
    def variables(self) -> dict[str, Any]:
        """The variables of the flax module."""
        return {"params": self.params, **self.model_state}


def read_tested_weights(
    folder: str | Path, *, mode: str | None = "max", average: bool = False, fields: Sequence[str] = ()
) -> TestedWeights:
    """Read the weights that a run was tested with; a damaged checkpoint is replaced by the newest that can be read.

    Args:
      folder: the run's folder.
      mode: whether the best step has the largest ("max") or smallest ("min") score; None reads the last step.
      average: whether the run was tested with the average of its parameters.
      fields: further fields of the state.

    Returns:
      The weights; of a technique with a supervised baseline those of the technique.

    Raises:
      FileNotFoundError: there is no checkpoint.
      OSError: no checkpoint can be read.
      ValueError: the state has no parameters, or not the one average.
    """
    store = Checkpoints(Path(folder) / "checkpoints", mode=mode or "max", read_only=True)
    newest, best = store.steps()[::-1], store.best_step() if mode else None
    if not newest:
        raise FileNotFoundError(f"there is no checkpoint in {folder}")
    reason = ""
    for step in newest if best is None else [best, *(step for step in newest if step != best)]:
        try:
            return _read(store.folder / str(step), average, fields)
        except _Damaged as damage:
            reason = str(damage)
            logging.warning("checkpoint %d in %s is damaged (%s): trying another", step, store.folder, reason)
    raise OSError(f"none of the checkpoints {newest} in {store.folder} can be read; the last one: {reason}")


class _Damaged(Exception):
    """A file of the checkpoint cannot be read."""


def _read(folder: Path, average: bool, fields: Sequence[str]) -> TestedWeights:
    try:
        note = json.loads((folder / NOTE / "metadata").read_text())
        leaves = note[LEAVES]
    except (OSError, ValueError, KeyError) as error:
        raise _Damaged(str(error)) from None
    place_of = _places(leaves)
    prefix = f"{place_of('params')}/"
    names = [path.removeprefix(prefix) for path in leaves if path.startswith(prefix)]
    if not names:
        raise ValueError(f"folder={str(folder)!r}: its state has no params; allowed: a run of a learner with params")
    places = {name: place_of(name) for name in ("params", "model_state", *fields)}
    if average:
        places["params"] = _average_of(leaves, place_of("opt_state"), names)
    wanted = {path: text for path, text in leaves.items() if path.startswith(tuple(f"{p}/" for p in places.values()))}
    tree = _read_leaves(folder, wanted, note.get(CHECKSUMS, {}))
    trees = {name: _subtree(tree, place) for name, place in places.items()}
    params = trees.pop("params")
    if average:
        dtypes = {name: _shape_of(leaves[prefix + name]).dtype for name in names}
        params = jax.tree.map(lambda leaf, dtype: leaf.astype(dtype), params, _nested(dtypes))
    return TestedWeights(params, trees.pop("model_state"), trees)


def _places(leaves: Mapping[str, str]) -> Callable[[str], str]:
    """Say where a field of the state stands; beside a supervised baseline, as `TwinState` saves the technique's."""
    if not any(path.startswith("state/others/technique/") for path in leaves):
        return lambda name: f"state/{name}"
    split = {"params": "state/params/technique", "opt_state": "state/opt_state/technique"}
    return lambda name: split.get(name, f"state/others/technique/{name}")


def _average_of(leaves: Mapping[str, str], opt_state: str, names: Sequence[str]) -> str:
    """Find the average of the parameters in the optimizer's state: `.../ema` beside `.../count`."""
    ends = [path.removesuffix(f"/{names[0]}") for path in leaves if path.endswith(f"/ema/{names[0]}")]
    averages = [p for p in ends if p.startswith(f"{opt_state}/") and all(f"{p}/{name}" in leaves for name in names)]
    if len(averages) != 1:
        raise ValueError(f"ema: the optimizer's state holds {len(averages)} averages of the parameters; allowed: one")
    return averages[0]


def _read_leaves(folder: Path, leaves: Mapping[str, str], expected: Mapping[str, int]) -> dict[str, Any]:
    """Read some leaves of a checkpoint as nested dicts; orbax does not save arrays of size zero."""
    import orbax.checkpoint as ocp

    shapes = {path: _shape_of(text) for path, text in leaves.items()}
    try:
        with stderr_kept_on_success(), ocp.PyTreeCheckpointer() as reader:
            saved = reader.metadata(folder / STATE)
            saved = getattr(saved.item_metadata, "tree", saved.item_metadata)
            target = jax.tree_util.tree_map_with_path(
                lambda path, _: shapes.get(path_of(path), ocp.PLACEHOLDER), saved, is_leaf=lambda x: x is None
            )
            as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), target)
            restored = reader.restore(
                folder / STATE, args=ocp.args.PyTreeRestore(item=target, restore_args=as_numpy)
            )
    except Exception as error:  # orbax raises a bare Exception for a short file
        raise _Damaged(re.split(r"\n|\. See full", str(error).strip())[0][:200]) from None
    arrays = {path: leaf for path, leaf in leaf_paths(restored) if path in shapes}
    arrays |= {path: np.zeros(shape.shape, shape.dtype) for path, shape in shapes.items() if not shape.size}
    for path, shape in shapes.items():
        if path not in arrays or arrays[path].shape != shape.shape or arrays[path].dtype != shape.dtype:
            raise _Damaged(f"{path} is missing, or of another shape or dtype than was saved")
    tree = _nested(arrays)
    if path := find_damage(tree, expected):
        raise _Damaged(f"{path} differs from its checksum")
    return tree


def _shape_of(text: str) -> jax.ShapeDtypeStruct:
    """Read the description of a leaf, such as float32[3, 3]."""
    dtype, sizes = text.removesuffix("]").split("[")
    return jax.ShapeDtypeStruct(tuple(int(size) for size in sizes.split(",") if size), np.dtype(dtype))


def _nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    return unflatten_dict({tuple(path.split("/")): leaf for path, leaf in leaves.items()})


def _subtree(tree: dict[str, Any], path: str) -> dict[str, Any]:
    for name in path.split("/"):
        tree = tree.get(name, {})
    return tree
