"""Fit trained arrays into the initial variables of a network, leaf by leaf or module by module."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax

from dlcore.models.backbone import HEADS
from dlcore.run.sharding import leaf_paths, path_of

__all__ = ["backbone_of", "fit_modules", "fit_weights", "headless"]

NAMED = 5
"""Number of leaves that an error names; it counts the rest."""


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


def backbone_of(variables: dict[str, Any]) -> dict[str, Any]:
    """Take the backbone out of the variables of a pretext, a detector or a segmenter.

    Args:
      variables: collection -> module -> tree of arrays, with a module `backbone`.

    Returns:
      Collection -> layers of the backbone, without its head.
    """
    layers = {kind: modules["backbone"] for kind, modules in variables.items() if "backbone" in modules}
    return {kind: {name: v for name, v in named.items() if name not in HEADS} for kind, named in layers.items()}


def headless(variables: dict[str, Any]) -> dict[str, Any]:
    """Select the backbone without its head, which models on a backbone do not use.

    Args:
      variables: collection -> module -> tree of arrays.

    Returns:
      The backbone of each collection without its head; `variables` if there is no backbone.
    """
    backbones = backbone_of(variables)  # without one `fit_modules` reports what the variables hold
    return {kind: {"backbone": layers} for kind, layers in backbones.items()} or variables
