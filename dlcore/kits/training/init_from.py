"""`--init_from`: the trained weights that an experiment starts from.

    experiment                   takes from the weights                             starts anew
    a classifier                 all layers                                         a head of other classes
    a detector or a segmenter    the modules that both networks have, or the        other modules, and layers of
                                 backbone of a classifier or a pretext              other classes
    a pretext                    the backbone, also for a teacher or key encoder    other modules

python -m experiments.detection.mask_rcnn --dataset=coco --data_dir=D --init_from=RUN
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.weights import Start, Weights, open_weights
from dlcore.kits.training import adapters
from dlcore.kits.training.pretrained_network import (
    backbone_of,
    classifier_variables,
    num_classes,
    open_classifier,
    require_classifier,
)
from dlcore.models.backbone import HEADS
from dlcore.optim.ema import init_average
from dlcore.run.weights import fit_modules, fit_weights
from dlcore.transfer.adapters import Adapted

__all__ = [
    "CLASSIFIER",
    "MODULES",
    "headless",
    "open_classifier_of_model",
    "open_modules",
    "start_backbone",
    "start_classifier",
    "start_modules",
]

CLASSIFIER = {
    "init_from": Setting(
        None,
        "weights to start from: the folder of a run (of a classifier, or the backbone of a pretext, a detector or a "
        "segmenter), a folder of `dlcore convert` or a packed .npz; a head of other classes starts anew",
        str | None,
        essential=True,
        origin=lambda flags: open_classifier_of_model(flags),
    ),
}
"""The flag of a classifier."""

MODULES = {
    "init_from": Setting(
        None,
        "weights to start from: the folder of a run, of which the modules that both networks have are taken; of a "
        "classifier or a pretext for the backbone, also as a packed .npz; or a folder of `dlcore convert` with either",
        str | None,
        essential=True,
        origin=lambda flags: open_modules(flags),
    ),
}
"""The flag of a network of modules: a detector, a segmenter or a pretext."""

_NAMED = 5
"""Number of classes that a message names; it counts the rest."""


def open_classifier_of_model(flags: Flags) -> Weights | None:
    """Open the weights of `--init_from` for a classifier.

    Args:
      flags: `init_from`, `model` and its fields; a `model` of None is that of the weights.

    Returns:
      The weights; None without `--init_from`.
    """
    if flags.init_from is None:
        return None
    weights = open_classifier(flags.init_from, "init_from", headless=True)
    if flags.model not in (None, weights.model):
        raise ValueError(f"{weights.name}: weights of {weights.model}; allowed: of {flags.model}, as --model here")
    return weights.in_model(flags.group("model"))


def open_modules(flags: Flags) -> Weights | None:
    """Open the weights of `--init_from` for a network of modules.

    Args:
      flags: `init_from`, and `model` if the experiment has a backbone.

    Returns:
      The weights; None without `--init_from`.
    """
    if flags.init_from is None:
        return None
    weights = open_weights(flags.init_from, "init_from")
    backbone, page = weights.backbone, weights.page
    # A detector or a segmenter without a backbone of `dlcore models` may share other modules.
    has_modules = backbone is None and bool(weights.topics & {"detection", "segmentation"})
    if flags.get("model") not in (None, backbone) and not has_modules:
        problem = f"a run of {page}, without a backbone" if backbone is None else f"its backbone is {backbone}"
        raise ValueError(f"{weights.name}: {problem}; allowed: {flags.model}, as --model here")
    return weights


def start_classifier(
    setup: Setup,
    open_source: Callable[[Flags], Weights | None] = open_classifier_of_model,
    keep_unnamed: bool = True,
    new_head: bool = False,
    adapted: Adapted | None = None,
) -> Start | None:
    """Start a classifier from the weights of `--init_from`.

    A head for other classes is initialized anew, even if their number is the same.

    Args:
      setup: facts of the run; errors name its flag `init_from`, its spec has the class names.
      open_source: opens the weights of the flags, of the model that `--model` names; called only when they are needed,
        so not in a resumed run.
      keep_unnamed: keep a head with the right number of classes if their names were not recorded.
      new_head: initialize the head anew whatever its classes.
      adapted: the model, where an adapter learns in place of the network.

    Returns:
      State -> State with the weights and a new optimizer state; it logs what is initialized anew. None without
      `--init_from`.

    Raises:
      ValueError: when applied or checked: the weights are of another model, or do not fit.
    """
    if setup.flags.get("init_from") is None:
        return None
    name, class_names = f"init_from={setup.flags.init_from!r}", setup.spec.get("class_names")

    @functools.cache
    def load():
        weights = open_source(setup.flags)
        assert weights is not None
        return weights, classifier_variables(weights)

    def fitted(state):
        weights, variables = load()
        if class_names is None:
            has_other_classes = False
        elif weights.class_names is None:
            has_other_classes = not keep_unnamed
        else:
            has_other_classes = list(weights.class_names) != list(class_names)
        if has_other_classes or new_head:
            leaves = flatten_dict(variables)
            variables = unflatten_dict({path: leaf for path, leaf in leaves.items() if not HEADS & {*path}})
        initial = {"params": state.params, **state.model_state}
        if adapted is None:
            return *fit_weights(variables, initial, name), has_other_classes
        network, new_leaves = fit_weights(variables, adapted.network_variables(initial), name)
        return adapted.rebase(initial, network), new_leaves, has_other_classes

    def replace(state):
        from dlcore.run.progress import say

        variables, new_leaves, has_other_classes = fitted(state)
        weights, _ = load()
        if new_leaves:
            reason = ": its classes are others" if has_other_classes and weights.class_names is not None else ""
            say(f"{name}: gives all but the head ({', '.join(new_leaves)}), which starts anew{reason}")
        elif weights.class_names is None:
            say(f"{name}: gives a head of {num_classes(weights)} classes without names, taken for the data's")
        return _restarted(state, variables, setup)

    return Start(replace, lambda state: fitted(state) and None)


def _restarted(state: Any, variables: dict[str, Any], setup: Setup) -> Any:
    """Put variables into a state, and initialize its optimizer."""
    params, model_state = variables["params"], {name: v for name, v in variables.items() if name != "params"}
    return state.replace(params=params, model_state=model_state, opt_state=jax.jit(setup.transformation().init)(params))


def start_modules(setup: Setup) -> Start | None:
    """Start a network of modules from the weights of `--init_from`.

    Args:
      setup: facts of the run; its flags must contain MODULES.

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
    model = adapters.adapt_dense(nn.Module(), setup.flags)
    adapted = model if isinstance(model, Adapted) else None

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
        return _restarted(state, variables, setup)

    return Start(replace, lambda state: fitted(state) and None)


def start_backbone(setup: Setup) -> Start | None:
    """Start the backbone of a pretext from the weights of `--init_from`; other modules are initialized anew.

    A teacher or a key encoder starts as a copy of the student.

    Args:
      setup: facts of the run, with the flags of MODULES and `model`.

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
        opt_state = jax.jit(setup.transformation().init)(params)
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
    backbones = backbone_of(variables)
    if not backbones:
        return variables  # `fit_modules` reports what they hold
    return {kind: {"backbone": layers} for kind, layers in backbones.items()}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f", ... ({len(names)})" if len(names) > _NAMED else "")


def _gives_classes(variables: dict, load: Callable) -> bool:
    """Return whether modules besides the backbone were loaded, which hold the layers of the classes."""
    return bool((variables["params"].keys() & load()[1]["params"].keys()) - {"backbone"})


def _load(source: str) -> tuple[str | None, dict, list[str] | None]:
    """Load (name of the backbone, variables, class names) of the weights."""
    weights = open_weights(source, "init_from")
    if "self_supervised" in weights.topics:  # its other modules are of no use here
        require_classifier(weights, headless=True)
        return weights.model, headless(weights.variables()), None
    classes = None if weights.class_names is None else list(weights.class_names)
    return weights.backbone, weights.variables(), classes


def _in_modules(
    weights_model: str | None, variables: dict, classes: Any, model: str | None, target: dict, name: str
) -> tuple[dict, list[str] | None]:
    """Return the variables in modules named as in `target`, and their class names."""
    if weights_model is not None and "backbone" not in variables["params"] and "backbone" in target["params"]:
        variables = {kind: {"backbone": layers} for kind, layers in variables.items()}  # a classifier
    if "backbone" in variables["params"].keys() & target["params"].keys() and weights_model != model:
        raise ValueError(f"{name}: its backbone is {weights_model}; allowed: {model}, as --model here")
    return variables, classes
