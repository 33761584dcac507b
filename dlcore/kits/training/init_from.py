"""Initial weights of a detector or a segmenter: another network with the same modules, or a backbone.

python -m experiments.detection.mask_rcnn --dataset=coco --data_dir=D --init_from=RUN
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen as nn

from dlcore.detection.torch_detectors import BACKBONES
from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.origin import Origin, Start, read_origin
from dlcore.experiment.setting import Setting
from dlcore.kits.training import adapters, optimizer, pretrained_network
from dlcore.models.registry import kind_of
from dlcore.optim.ema import init_average
from dlcore.run.weights import fit_modules

__all__ = ["SETTINGS", "headless", "origin", "start", "start_backbone"]

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
"""Number of leaves that an error names; it counts the rest."""


def origin(flags: Flags) -> Origin | None:
    """Read the origin of the weights of `--init_from`.

    Args:
      flags: `init_from`, and `model` if the page has a backbone.

    Returns:
      The origin; None without `--init_from`.

    Raises:
      ValueError: there are no weights, or their backbone is not `model`.
    """
    if flags.init_from is None:
        return None
    weights_origin = read_origin(flags.init_from, "init_from")
    backbone, is_dense_page = (
        _backbone(weights_origin),
        (weights_origin.page or "").partition(".")[0] in ("detection", "segmentation"),
    )
    # A detector or a segmenter without a backbone of the zoo may share other modules, which `start` looks at.
    if flags.get("model") not in (None, backbone) and not (backbone is None and is_dense_page):
        problem = (
            f"a run of {weights_origin.page}, without a backbone" if backbone is None else f"its backbone is {backbone}"
        )
        raise ValueError(f"{weights_origin.name}: {problem}; allowed: {flags.model}, as --model here")
    return weights_origin


def _backbone(weights_origin: Origin) -> str | None:
    """Return the name of the weights' backbone: a published detector's or segmenter's own, else the model's."""
    kind = None if weights_origin.page is not None or weights_origin.model is None else kind_of(weights_origin.model)
    if kind == "detection":
        return BACKBONES.get(weights_origin.model, weights_origin.model)
    return weights_origin.model.partition("_")[2] if kind == "segmentation" else weights_origin.model


def start(setup: Setup) -> Start | None:
    """Initialize from the weights of `--init_from`.

    Args:
      setup: facts of the run; its flags must contain SETTINGS and the optimizer's.

    Returns:
      State -> State with the weights and a new optimizer state, which logs what is initialized anew; None without
      `--init_from`.

    Raises:
      ValueError: when applied or checked: there are no such weights, or they do not fit.
    """
    source = setup.flags.get("init_from")
    if source is None:
        return None
    name, class_names = f"init_from={source!r}", list(setup.spec["class_names"])
    load = functools.cache(lambda: _load(source))
    adapted = adapters.adapt_dense(nn.Module(), setup.flags) if adapters.adapts_dense(setup.flags) else None

    def fitted(state):
        initial = {"params": state.params, **state.model_state}
        wanted = initial if adapted is None else adapted.network_variables(initial)
        weights, classes = _in_modules(*load(), setup.flags.get("model"), wanted, name)
        variables, anew = fit_modules(weights, wanted, classes == class_names, name)
        return variables if adapted is None else adapted.rebase(initial, variables), anew, classes

    def replace(state):
        from dlcore.run.progress import say

        variables, anew, classes = fitted(state)
        if anew:
            say(f"{name}: does not give {', '.join(anew)}, which start anew")
        if (
            classes not in (None, class_names)
            and not any("/" in module for module in anew)
            and _gives_classes(variables if adapted is None else adapted.network_variables(variables), load)
        ):
            say(
                f"{name}: its layers of classes are kept, though they told {_listed(classes)} apart, "
                f"not {_listed(class_names)}"
            )
        params = variables.pop("params")
        transformation = optimizer.build(setup)
        return state.replace(params=params, model_state=variables, opt_state=jax.jit(transformation.init)(params))

    return Start(replace, lambda state: fitted(state) and None)


def start_backbone(setup: Setup) -> Start | None:
    """Initialize a pretext task's backbone from the weights of `--init_from`; other modules are initialized anew.

    A teacher or a key encoder starts as a copy of the student.

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
        variables = {"params": state.params, **state.model_state}
        trained = _in_modules(*load(), setup.flags.model, variables, name)[0]
        return fit_modules(headless(trained), headless(variables), False, name)[0]

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
                state = state.replace(**init_average(copies))
        return state

    return Start(replace, lambda state: fitted(state) and None)


def headless(variables: dict) -> dict:
    """Select the backbone without its head, which models on a backbone do not use.

    Args:
      variables: collection -> module -> tree of arrays.

    Returns:
      The backbone of each collection without its head; `variables` if there is no backbone.
    """
    backbones = pretrained_network.backbone_of(variables)
    if not backbones:
        return variables  # `fit_modules` reports what they hold
    return {kind: {"backbone": layers} for kind, layers in backbones.items()}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f", ... ({len(names)})" if len(names) > _NAMED else "")


def _gives_classes(variables: dict, load: Callable) -> bool:
    """Return whether modules besides the backbone were loaded, which hold the layers of the classes."""
    return bool((variables["params"].keys() & load()[1]["params"].keys()) - {"backbone"})


def _load(source: str) -> tuple[str | None, dict, list[str] | None]:
    """Load (model name, variables, class names) of the weights."""
    found = read_origin(source, "init_from")
    pretext = (found.page or "").startswith("self_supervised.")
    if pretext:
        pretrained_network.classifier_origin(source, "init_from", headless=True)
    variables = pretrained_network.variables_of(found)
    if pretext:  # its other modules are of no use here
        return found.model, headless(variables), None
    return _backbone(found), variables, None if found.class_names is None else list(found.class_names)


def _in_modules(
    weights_model: str | None, variables: dict, classes: Any, model: str | None, target: dict, name: str
) -> tuple[dict, list[str] | None]:
    """Return the variables in modules named as in `target`, and their class names."""
    if weights_model is not None and "backbone" not in variables["params"] and "backbone" in target["params"]:
        variables = {kind: {"backbone": layers} for kind, layers in variables.items()}  # a classifier
    if "backbone" in variables["params"].keys() & target["params"].keys() and weights_model != model:
        raise ValueError(f"{name}: its backbone is {weights_model}; allowed: {model}, as --model here")
    return variables, classes
