"""Arrays on disk: the weights of a run as they were tested, and the folders of `dlcore convert`.

Such a folder holds a model's variables (orbax) and `model.json`, which describes the model:

dlcore convert resnet50.safetensors --model=resnet50 --out=weights/resnet50
python -m experiments.classification.supervised --model=resnet50 --init_from=weights/resnet50

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
from dlcore.run.checksums import checksums, find_damage
from dlcore.run.json_files import read_json
from dlcore.run.orbax_output import stderr_kept_on_success
from dlcore.run.sharding import path_of

__all__ = ["TestedWeights", "load_weights", "read_tested_weights", "save_weights"]

ABOUT, VARIABLES = "model.json", "variables"

Keys = tuple[str, ...]
"""Keys of a nested dict that lead to a leaf."""


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
    folder: str | Path,
    *,
    mode: str | None = "max",
    step: int | None = None,
    average: bool = False,
    fields: Sequence[str] = (),
) -> TestedWeights:
    """Read the weights that a run was tested with; a damaged checkpoint is replaced by the newest that can be read.

    Args:
      folder: the run's folder.
      mode: whether the best step has the largest ("max") or smallest ("min") score; None reads `step`.
      step: step to read without `mode`; None reads the last one.
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
    newest, best = store.steps()[::-1], store.best_step() if mode else step
    if not newest:
        raise FileNotFoundError(f"there is no checkpoint in {folder}")
    reason = ""
    for saved in newest if best not in newest else [best, *(other for other in newest if other != best)]:
        try:
            return _read(store.folder / str(saved), average, fields)
        except _Damaged as damage:
            reason = str(damage)
            logging.warning("checkpoint %d in %s is damaged (%s): trying another", saved, store.folder, reason)
    raise OSError(f"none of the checkpoints {newest} in {store.folder} can be read; the last one: {reason}")


class _Damaged(Exception):
    """A file of the checkpoint cannot be read."""


def _read(folder: Path, average: bool, fields: Sequence[str]) -> TestedWeights:
    import orbax.checkpoint as ocp

    try:
        metadata = json.loads((folder / NOTE / "metadata").read_text())
        shapes = {path: _shape_of(text) for path, text in metadata[LEAVES].items() if not text.startswith("key<")}
        with stderr_kept_on_success(), ocp.PyTreeCheckpointer() as reader:
            saved = reader.metadata(folder / STATE)
            saved = getattr(saved.item_metadata, "tree", saved.item_metadata)
    except Exception as error:  # orbax raises a bare Exception for a short file
        raise _Damaged(_first_words(error)) from None
    leaves = _Leaves({_keys(path) for path, _ in jax.tree_util.tree_leaves_with_path(saved, is_leaf=_is_unsaved)})
    if missing := shapes.keys() - set(map("/".join, leaves)):
        raise _Damaged(f"{min(missing)} is missing")
    keys_of_field = _field_keys(leaves)
    params = leaves.below(keys_of_field("params"))
    if not params:
        raise ValueError(f"folder={str(folder)!r}: its state has no params; allowed: a run of a learner with params")
    averages = _averages(leaves, keys_of_field("opt_state"), set(params)) if average else params
    rest = {name: leaves.below(keys_of_field(name)) for name in ("model_state", *fields)}
    selected = {keys for keys_of in (averages, *rest.values()) for keys in keys_of.values()}
    arrays = _read_leaves(folder, saved, {path: shapes[path] for path in map("/".join, selected)})
    if path := find_damage(unflatten_dict(arrays), metadata.get(CHECKSUMS, {})):
        raise _Damaged(f"{path} differs from its checksum")
    tested = {name: arrays[averages[name]].astype(shapes["/".join(keys)].dtype) for name, keys in params.items()}
    trees = {name: unflatten_dict({k: arrays[keys] for k, keys in below.items()}) for name, below in rest.items()}
    return TestedWeights(unflatten_dict(tested), trees.pop("model_state"), trees)


class _Leaves(set[Keys]):
    """The leaves of a state, each by the keys that lead to it."""

    def below(self, start: Keys) -> dict[Keys, Keys]:
        """Return {keys from `start` on: all keys} of the leaves below `start`."""
        return {keys[len(start) :]: keys for keys in self if keys[: len(start)] == start != keys}


def _field_keys(leaves: _Leaves) -> Callable[[str], Keys]:
    """Say where a field is saved: of several seeds in `SeedsState`, beside a supervised baseline in `TwinState`."""
    if leaves.below(("state", "inner")):
        return lambda name: ("state", "inner", name)
    if not leaves.below(("state", "others", "technique")):
        return lambda name: ("state", name)
    split = {name: ("state", name, "technique") for name in ("params", "opt_state")}
    return lambda name: split.get(name, ("state", "others", "technique", name))


def _averages(leaves: _Leaves, opt_state: Keys, names: set[Keys]) -> dict[Keys, Keys]:
    """Find the average of each parameter in the optimizer's state; networks with an optimizer each have one each."""
    networks = {name[0] for name in names}
    if {keys[0] for keys in leaves.below(opt_state)} == networks:
        averages = {}
        for network in networks:
            own_names = {name[1:] for name in names if name[0] == network}
            in_network = _averages(leaves, (*opt_state, network), own_names)
            averages |= {(network, *name): keys for name, keys in in_network.items()}
        return averages
    first = next(iter(names))
    starts = [keys[: -len(first)] for keys in leaves if keys[-len(first) - 1 :] == ("ema", *first)]
    whole = [s for s in starts if s[: len(opt_state)] == opt_state and all((*s, *name) in leaves for name in names)]
    if len(whole) != 1:
        raise ValueError(f"ema: the optimizer's state holds {len(whole)} averages of the parameters; allowed: one")
    return {name: (*whole[0], *name) for name in names}


def _read_leaves(folder: Path, saved: Any, shapes: Mapping[str, jax.ShapeDtypeStruct]) -> dict[Keys, np.ndarray]:
    """Read some leaves of a checkpoint; orbax does not save arrays of size zero."""
    import orbax.checkpoint as ocp

    target = jax.tree_util.tree_map_with_path(
        lambda path, _: shapes.get(path_of(path), ocp.PLACEHOLDER), saved, is_leaf=_is_unsaved
    )
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), target)
    try:
        with stderr_kept_on_success(), ocp.PyTreeCheckpointer() as reader:
            restored = reader.restore(folder / STATE, args=ocp.args.PyTreeRestore(item=target, restore_args=as_numpy))
    except Exception as error:  # orbax raises a bare Exception for a short file
        raise _Damaged(_first_words(error)) from None
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(restored, is_leaf=_is_unsaved):
        if (shape := shapes.get(path_of(path))) is None:
            continue
        array = leaf if shape.size else np.zeros(shape.shape, shape.dtype)
        if array.shape != shape.shape or array.dtype != shape.dtype:
            raise _Damaged(f"{path_of(path)} came back as {array.dtype}{array.shape}")
        arrays[_keys(path)] = array
    return arrays


def _is_unsaved(leaf: Any) -> bool:
    return leaf is None


def _keys(path: tuple[Any, ...]) -> Keys:
    """Return the keys of a path one by one, since a key may contain a slash."""
    return tuple(path_of((key,)) for key in path)


def _first_words(error: Exception) -> str:
    return re.split(r"\n|\. See full", str(error).strip())[0][:200]


def _shape_of(text: str) -> jax.ShapeDtypeStruct:
    """Read the description of a leaf, such as float32[3, 3]."""
    dtype, sizes = text.removesuffix("]").split("[")
    return jax.ShapeDtypeStruct(tuple(int(size) for size in sizes.split(",") if size), np.dtype(dtype))


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
