"""Weights that a detector or a segmenter starts from: another network with the same modules, or one as its backbone.

python -m experiments.detection.mask_rcnn --dataset=coco --data_dir=D --init_from=RUN
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from dlcore.detection.torch_detectors import BACKBONES
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.origin import Origin, Start, read_origin
from dlcore.experiment.setting import Setting
from dlcore.kits.training import earlier_run, optimizer, pretrained_network
from dlcore.models.registry import kind_of

__all__ = ["SETTINGS", "fit_modules", "headless", "origin", "start", "start_backbone"]

SETTINGS = {
    "init_from": Setting(
        None,
        "weights to start from: the folder of a run, of which the modules that both networks have are taken; of a "
        "classifier or a pretext for the backbone, also as a packed .npz; or a folder of `dlcore convert` with either",
        str | None,
        essential=True,
        origin=lambda flags: origin(flags),
    ),
}

_NAMED = 5
"""Leaves that an error names; it counts the others."""


def origin(flags: Flags) -> Origin | None:
    """Read where the weights of `--init_from` come from.

    Args:
      flags: `init_from`, and `model` where the page has a backbone.

    Returns:
      The origin; None without `--init_from`.

    Raises:
      ValueError: there are no weights, or those of another backbone than `model`.
    """
    if flags.init_from is None:
        return None
    found = read_origin(flags.init_from, "init_from")
    backbone, others = _backbone(found), (found.page or "").partition(".")[0] in ("detection", "segmentation")
    # A detector or a segmenter without a backbone of the zoo may share other modules, which `start` looks at.
    if flags.get("model") not in (None, backbone) and not (backbone is None and others):
        given = f"a run of {found.page}, without a backbone" if backbone is None else f"its backbone is {backbone}"
        raise ValueError(f"{found.name}: {given}; allowed: {flags.model}, as --model here")
    return found


def _backbone(found: Origin) -> str | None:
    """The name of the weights' backbone: of a published detector or segmenter its own, else the model's."""
    kind = None if found.page is not None or found.model is None else kind_of(found.model)
    if kind == "detection":
        return BACKBONES.get(found.model, found.model)
    return found.model.partition("_")[2] if kind == "segmentation" else found.model


def start(setup: Setup) -> Start | None:
    """Start from the weights of `--init_from`.

    Args:
      setup: facts of the run; its flags must contain SETTINGS and the optimizer's.

    Returns:
      State -> State with the weights and a new optimizer state, which says what starts anew; None without
      `--init_from`.

    Raises:
      ValueError: when applied or checked: there are no such weights, or they do not fit.
    """
    source = setup.flags.get("init_from")
    if source is None:
        return None
    name, own = f"init_from={source!r}", list(setup.spec["class_names"])
    load = functools.cache(lambda: _load(source))

    def fitted(state):
        wanted = {"params": state.params, **state.model_state}
        weights, classes = _in_modules(*load(), setup.flags.get("model"), wanted, name)
        return *fit_modules(weights, wanted, classes == own, name), classes

    def replace(state):
        from dlcore.run.progress import say

        variables, anew, classes = fitted(state)
        if anew:
            say(f"{name}: does not give {', '.join(anew)}, which start anew")
        if classes not in (None, own) and not any("/" in module for module in anew) and _gives_classes(variables, load):
            say(
                f"{name}: its layers of classes are kept, though they told {_listed(classes)} apart, not {_listed(own)}"
            )
        params = variables.pop("params")
        transformation = optimizer.build(setup)
        return state.replace(params=params, model_state=variables, opt_state=jax.jit(transformation.init)(params))

    return Start(replace, lambda state: fitted(state) and None)


def start_backbone(setup: Setup) -> Start | None:
    """Start the backbone of a pretext from the weights of `--init_from`; its other modules start anew.

    A teacher or a key encoder starts as the student, as without weights.

    Args:
      setup: facts of the run, with the flags of SETTINGS, `model`, and the optimizer's.

    Returns:
      State -> State with the backbone's weights and a new optimizer state; None without `--init_from`.

    Raises:
      ValueError: when applied or checked: there is no such backbone, or it does not fit.
    """
    source = setup.flags.get("init_from")
    if source is None:
        return None
    name, load = f"init_from={source!r}", functools.cache(lambda: _load(source))

    def fitted(state):
        wanted = {"params": state.params, **state.model_state}
        given = _in_modules(*load(), setup.flags.model, wanted, name)[0]
        return fit_modules(headless(given), headless(wanted), False, name)[0]

    def replace(state):
        weights = fitted(state)
        params, model_state = (
            jax.tree.map(lambda leaf: leaf, tree) for tree in (dict(state.params), dict(state.model_state))
        )
        for kind, modules in weights.items():
            tree = params if kind == "params" else model_state[kind]
            tree["backbone"] = {**tree["backbone"], **modules["backbone"]}
        opt_state = jax.jit(optimizer.build(setup).init)(params)
        state = state.replace(params=params, model_state=model_state, opt_state=opt_state)
        for copy in ("teacher", "key"):
            if hasattr(state, f"{copy}_params"):
                copies = {f"{copy}_params": params, f"{copy}_model_state": model_state}
                state = state.replace(**jax.tree.map(jnp.copy, copies))
        return state

    return Start(replace, lambda state: fitted(state) and None)


def headless(variables: dict) -> dict:
    """Take the backbone without its head, which what is built on a backbone does not use.

    Args:
      variables: collection -> module -> tree of arrays.

    Returns:
      Of each collection the backbone without its head; as they are where there is no backbone.
    """
    backbones = pretrained_network.backbone_of(variables)
    if not backbones:
        return variables  # `fit_modules` says what there is in its place
    return {kind: {"backbone": layers} for kind, layers in backbones.items()}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f", ... ({len(names)})" if len(names) > _NAMED else "")


def _gives_classes(variables: dict, load: Callable) -> bool:
    """Whether more than a backbone was taken: other modules hold the layers that name classes."""
    return bool((variables["params"].keys() & load()[1]["params"].keys()) - {"backbone"})


def _load(source: str) -> tuple[str | None, dict, list[str] | None]:
    """(Model, variables, names of the classes that they tell apart) of the weights."""
    found = read_origin(source, "init_from")
    if found.page is None and kind_of(found.model) in ("detection", "segmentation"):
        from dlcore.run.weights import load_weights

        return _backbone(found), load_weights(found.path)[1], None
    if found.page is None:
        network = pretrained_network.load_network(source, "init_from")
        return network.name, network.variables, list(network.class_names)
    pretext = found.page.startswith("self_supervised.")  # whose other modules serve nothing else
    if pretext:
        pretrained_network.classifier_origin(source, "init_from", headless=True)
    phase = earlier_run.load(Path(source))
    variables = {"params": phase.params, **phase.model_state}
    if pretext:
        held = {kind: modules["backbone"] for kind, modules in variables.items() if "backbone" in modules}
        return found.model, {kind: {"backbone": layers} for kind, layers in held.items()}, None
    return found.model, variables, phase.spec.get("class_names")


def _in_modules(
    given: str | None, variables: dict, classes: Any, model: str | None, wanted: dict, name: str
) -> tuple[dict, list[str] | None]:
    """Variables in modules named as in `wanted`, and the names of the classes that they tell apart."""
    if not variables["params"].keys() & wanted["params"].keys() and "backbone" in wanted["params"]:
        variables = {kind: {"backbone": layers} for kind, layers in variables.items()}  # a classifier
    if "backbone" in variables["params"].keys() & wanted["params"].keys() and given != model:
        raise ValueError(f"{name}: its backbone is {given}; allowed: {model}, as --model here")
    return variables, classes


def fit_modules(weights: Any, variables: Any, same_classes: bool, name: str = "weights") -> tuple[Any, list[str]]:
    """Put trained weights in place of initial ones, module by module.

    A module is a key of `params`, such as backbone or mask_head. Those that only one of the two networks has are left
    as they are; of a backbone also the head and the stages that the network does not use.

    Args:
      weights: collection -> module -> tree of arrays.
      variables: the initial variables, in the same form.
      same_classes: False lets leaves differ in their last axis, which is where layers name classes; these layers start
        anew.
      name: name of the argument, for the error.

    Returns:
      (the variables with the weights, the modules and layers that keep their initial values).

    Raises:
      ValueError: there is no common module, or in one a leaf is missing, left over or of another shape.
    """
    from dlcore.run.sharding import leaf_paths, path_of

    common = weights["params"].keys() & variables["params"].keys()
    if not common:
        has, wants = (", ".join(sorted(tree["params"])) for tree in (weights, variables))
        raise ValueError(f"{name}: has the modules {has}; allowed: weights with one or more of {wants}")
    leaves = {p: leaf for p, leaf in leaf_paths(weights) if p.split("/")[1] in common}
    wanted = {p: leaf for p, leaf in leaf_paths(variables) if p.split("/")[1] in common}
    differ = {p for p in leaves.keys() & wanted.keys() if leaves[p].shape != wanted[p].shape}
    ends = {_layer(p) for p in differ if not same_classes and leaves[p].shape[:-1] == wanted[p].shape[:-1]}
    anew = {p for p in wanted if _layer(p) in ends}
    bad = [f"{p} is missing" for p in wanted if p not in leaves]
    bad += [f"{p} is left over" for p in leaves if p not in wanted and p.split("/")[1] != "backbone"]
    bad += [f"{p} is {leaves[p].shape}, not {wanted[p].shape}" for p in sorted(differ - anew)]
    if bad:
        more = f"; and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise ValueError(f"{name}: {'; '.join(bad[:_NAMED])}{more}; allowed: weights of the same layers")

    def chosen(path: tuple, leaf: Any) -> Any:
        place = path_of(path)
        return leaves[place].astype(leaf.dtype) if place in wanted and place not in anew else leaf

    kept = sorted({*(variables["params"].keys() - common), *(layer.split("/", 1)[1] for layer in ends)})
    return jax.tree_util.tree_map_with_path(chosen, variables), kept


def _layer(path: str) -> str:
    return path.rpartition("/")[0]
