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
from dlcore.run.sharding import path_of

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
        metadata = json.loads((folder / NOTE / "metadata").read_text())
        leaves = metadata[LEAVES]
    except (OSError, ValueError, KeyError) as error:
        raise _Damaged(str(error)) from None
    path_of_field = _field_paths(leaves)
    prefix = f"{path_of_field('params')}/"
    names = [path.removeprefix(prefix) for path in leaves if path.startswith(prefix)]
    if not names:
        raise ValueError(f"folder={str(folder)!r}: its state has no params; allowed: a run of a learner with params")
    fields = ("model_state", *fields)
    params = _average_paths(leaves, path_of_field("opt_state"), names) if average else {n: prefix + n for n in names}
    inside = tuple(f"{path_of_field(name)}/" for name in fields)
    selected = {*params.values(), *(path for path in leaves if path.startswith(inside))}
    arrays = _read_leaves(folder, {path: leaves[path] for path in selected}, metadata.get(CHECKSUMS, {}))
    trees = {}
    for name, start in zip(fields, inside, strict=True):
        trees[name] = _nested({path: leaf for path, leaf in arrays.items() if "/".join(path).startswith(start)}, start)
    keys_of = {"/".join(path): path for path in arrays}
    tested = {}
    for name, path in params.items():
        network, _, rest = ("", "", name) if path.endswith(f"/{name}") else name.partition("/")
        keys = keys_of[path][path.removesuffix(rest).count("/") :]
        dtype = _shape_of(leaves[prefix + name]).dtype
        tested[(network, *keys) if network else keys] = arrays[keys_of[path]].astype(dtype)
    return TestedWeights(unflatten_dict(tested), trees.pop("model_state"), trees)


def _field_paths(leaves: Mapping[str, str]) -> Callable[[str], str]:
    """Say where a field of the state is saved; beside a supervised baseline, as `TwinState` saves the technique's."""
    if not any(path.startswith("state/others/technique/") for path in leaves):
        return lambda name: f"state/{name}"
    split = {"params": "state/params/technique", "opt_state": "state/opt_state/technique"}
    return lambda name: split.get(name, f"state/others/technique/{name}")


def _average_paths(leaves: Mapping[str, str], opt_state: str, names: Sequence[str]) -> dict[str, str]:
    """Find the average of each parameter in the optimizer's state; networks with an optimizer each have one each."""
    networks = {name.split("/")[0] for name in names}
    if {path.removeprefix(f"{opt_state}/").split("/")[0] for path in leaves if path.startswith(opt_state)} == networks:
        paths = {}
        for network in sorted(networks):
            relative = [name.removeprefix(f"{network}/") for name in names if name.startswith(f"{network}/")]
            averages = _average_paths(leaves, f"{opt_state}/{network}", relative)
            paths |= {f"{network}/{name}": path for name, path in averages.items()}
        return paths
    prefixes = [path.removesuffix(names[0]) for path in leaves if path.endswith(f"/ema/{names[0]}")]
    whole = [p for p in prefixes if p.startswith(f"{opt_state}/") and all(p + name in leaves for name in names)]
    if len(whole) != 1:
        raise ValueError(f"ema: the optimizer's state holds {len(whole)} averages of the parameters; allowed: one")
    return {name: whole[0] + name for name in names}


def _read_leaves(folder: Path, leaves: Mapping[str, str], expected: Mapping[str, int]) -> dict[tuple[str, ...], Any]:
    """Read some leaves of a checkpoint by the keys of their paths; orbax does not save arrays of size zero."""
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
            restored = reader.restore(folder / STATE, args=ocp.args.PyTreeRestore(item=target, restore_args=as_numpy))
    except Exception as error:  # orbax raises a bare Exception for a short file
        raise _Damaged(re.split(r"\n|\. See full", str(error).strip())[0][:200]) from None
    by_path = jax.tree_util.tree_leaves_with_path(restored)
    arrays = {_keys(path): leaf for path, leaf in by_path if path_of(path) in shapes}
    arrays |= {tuple(path.split("/")): np.zeros(s.shape, s.dtype) for path, s in shapes.items() if not s.size}
    restored_leaves = {"/".join(keys): leaf for keys, leaf in arrays.items()}
    for path, shape in shapes.items():
        if (
            path not in restored_leaves
            or restored_leaves[path].shape != shape.shape
            or restored_leaves[path].dtype != shape.dtype
        ):
            raise _Damaged(f"{path} is missing, or of another shape or dtype than was saved")
    if path := find_damage(unflatten_dict(arrays), expected):
        raise _Damaged(f"{path} differs from its checksum")
    return arrays


def _keys(path: tuple[Any, ...]) -> tuple[str, ...]:
    """Return the keys of a path one by one, since a key may contain a slash."""
    return tuple(path_of((key,)) for key in path)


def _shape_of(text: str) -> jax.ShapeDtypeStruct:
    """Read the description of a leaf, such as float32[3, 3]."""
    dtype, sizes = text.removesuffix("]").split("[")
    return jax.ShapeDtypeStruct(tuple(int(size) for size in sizes.split(",") if size), np.dtype(dtype))


def _nested(arrays: Mapping[tuple[str, ...], Any], start: str) -> dict[str, Any]:
    """Nest the arrays below a path."""
    return unflatten_dict({keys[start.count("/") :]: leaf for keys, leaf in arrays.items()})
