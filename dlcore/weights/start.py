"""`--init_from`: the trained weights that an experiment starts from.

    experiment                   takes from the weights                             starts anew
    a classifier                 all layers                                         a head of other classes
    a detector or a segmenter    the modules that both networks have, or the        other modules, and layers of
                                 backbone of a classifier or a pretext              other classes
    a pretext                    the backbone, also for a teacher or key encoder    other modules
    a network of its own         the modules that both networks have                other modules

python -m experiments.detection.mask_rcnn --dataset=coco --data_dir=D --init_from=RUN

Published weights set the fields of a network of its own, such as `--mae.width`, see `dlcore.experiment.published`; a
run has the fields of its own command, which are given again.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.models import described_model
from dlcore.models.backbone import HEADS
from dlcore.optim.ema import init_average
from dlcore.run.progress import say
from dlcore.setting import Setting
from dlcore.transfer import adapter_flags
from dlcore.transfer.adapters import Adapted
from dlcore.weights.fit import fit_modules, fit_weights, headless
from dlcore.weights.network import classifier_variables, num_classes, open_classifier, require_classifier
from dlcore.weights.open import Weights, open_weights

__all__ = [
    "CLASSIFIER",
    "MODULES",
    "NETWORK",
    "BackboneWeights",
    "ClassifierWeights",
    "DenseAdaptation",
    "ModuleWeights",
    "NetworkWeights",
    "Start",
    "open_classifier_of_model",
    "open_modules",
    "start_backbone",
    "start_classifier",
    "start_modules",
    "start_network",
]

INIT_FROM = Setting(
    None,
    "weights to start from: the folder of a run (of a classifier, or the backbone of a pretext, a detector or a "
    "segmenter), a folder of `dlcore convert` or a packed .npz; a head of other classes starts anew",
    str | None,
    essential=True,
    origin=lambda flags: open_classifier_of_model(flags),
)
CLASSIFIER = {"init_from": INIT_FROM}
"""The flag of a classifier."""

MODULES = {
    "init_from": INIT_FROM._replace(
        help="weights to start from: the folder of a run, of which the modules that both networks have are taken; of a "
        "classifier or a pretext for the backbone, also as a packed .npz; or a folder of `dlcore convert` with either",
        origin=lambda flags: open_modules(flags),
    )
}
"""The flag of a network of modules: a detector, a segmenter or a pretext."""

NETWORK = {
    "init_from": INIT_FROM._replace(
        help="weights to start from: hf:ORG/NAME or a folder as a hub serves it, which set the network's fields too, "
        "or the folder of a run of this page; what they lack starts anew",
        identity="if changed",
        origin=lambda flags: None if flags.init_from is None else open_weights(flags.init_from, "init_from"),
    )
}
"""The flag of a network that is no backbone of the zoo: MAE, CLIP, an autoencoder."""

_NAMED = 5
"""Number of classes that a message names; it counts the rest."""


class Start(NamedTuple):
    """State -> State initialized from weights, for the `start` of a part.

    Args:
      replace: State -> State on the host, once, after `init`.
      check: abstract state -> None; raises ValueError if the weights do not fit its shapes; called before anything is
        compiled or written.
    """

    replace: Callable[[Any], Any]
    check: Callable[[Any], None]

    def __call__(self, state: Any) -> Any:
        """Replace the initial weights.

        Args:
          state: initial state.

        Returns:
          The state with the weights.
        """
        return self.replace(state)


def open_classifier_of_model(flags: Flags) -> Weights | None:
    """Open the weights of `--init_from` for a classifier.

    Returns:
      The weights, of `--model` where it is given; None without `--init_from`.
    """
    if flags.init_from is None:
        return None
    weights = open_classifier(flags.init_from, "init_from", headless=True)
    if flags.model not in (None, weights.model):
        raise ValueError(f"{weights.name}: weights of {weights.model}; allowed: of {flags.model}, as --model here")
    return weights.in_model(flags.group("model"))


def open_modules(flags: Flags) -> Weights | None:
    """Open the weights of `--init_from` for a network of modules.

    Returns:
      The weights; None without `--init_from`.
    """
    if flags.init_from is None:
        return None
    weights = open_weights(flags.init_from, "init_from")
    backbone = weights.backbone
    # A detector or a segmenter without a backbone of `dlcore models` may share other modules.
    has_modules = backbone is None and bool(weights.topics & {"detection", "segmentation"})
    if flags.get("model") not in (None, backbone) and not has_modules:
        problem = f"a run of {weights.page}, without a backbone" if backbone is None else f"its backbone is {backbone}"
        raise ValueError(f"{weights.name}: {problem}; allowed: {flags.model}, as --model here")
    return weights


def _start(run: Run, fit: Callable[[dict], tuple[dict, list[str]]], adapted: Adapted | None = None) -> Start:
    """Build the start from `fit`, initial variables -> (variables, messages); the optimizer starts anew."""

    def fitted(state: Any) -> tuple[dict, list[str]]:
        initial = {"params": state.params, **getattr(state, "model_state", {})}
        if adapted is None:
            return fit(initial)
        network, messages = fit(adapted.network_variables(initial))
        return adapted.rebase(initial, network), messages

    def replace(state: Any) -> Any:
        variables, messages = fitted(state)
        for message in messages:
            say(message)
        params, model_state = variables["params"], {name: v for name, v in variables.items() if name != "params"}
        statistics = {"model_state": model_state} if model_state else {}
        return state.replace(params=params, opt_state=jax.jit(run.optimizer().init)(params), **statistics)

    return Start(replace, lambda state: fitted(state) and None)


def start_classifier(
    run: Run,
    open_source: Callable[[Flags], Weights | None] = open_classifier_of_model,
    keep_unnamed: bool = True,
    new_head: bool = False,
    adapted: Adapted | None = None,
) -> Start | None:
    """Start a classifier from the weights of `--init_from`.

    A head for other classes is initialized anew, even if their number is the same.

    Args:
      open_source: opens the weights of the flags, of the model that `--model` names; called only when they are needed,
        so not in a resumed run.
      keep_unnamed: keep a head with the right number of classes if their names were not recorded.
      new_head: initialize the head anew whatever its classes.
      adapted: the model, where an adapter learns in place of the network.

    Returns:
      State -> State with the weights and a new optimizer; it logs what starts anew. None without `--init_from`.
    """
    if run.flags.get("init_from") is None:
        return None
    name, class_names = f"init_from={run.flags.init_from!r}", run.spec.get("class_names")

    @functools.cache
    def load() -> tuple[Weights, dict]:
        weights = open_source(run.flags)
        assert weights is not None
        return weights, classifier_variables(weights)

    def fit(initial: dict) -> tuple[dict, list[str]]:
        weights, variables = load()
        unnamed = weights.class_names is None
        same = keep_unnamed if unnamed else list(weights.class_names or ()) == list(class_names or ())
        has_other_classes = class_names is not None and not same
        if has_other_classes or new_head:
            leaves = flatten_dict(variables)
            variables = unflatten_dict({path: leaf for path, leaf in leaves.items() if not HEADS & {*path}})
        fitted, new_leaves = fit_weights(variables, initial, name)
        if new_leaves:
            reason = ": its classes are others" if has_other_classes and not unnamed else ""
            return fitted, [f"{name}: gives all but the head ({', '.join(new_leaves)}), which starts anew{reason}"]
        if unnamed:
            return fitted, [
                f"{name}: gives a head of {num_classes(weights)} classes without names, taken for the data's"
            ]
        return fitted, []

    return _start(run, fit, adapted)


def start_modules(run: Run, adapted: Adapted | None = None) -> Start | None:
    """Start a network of modules from the weights of `--init_from`.

    Args:
      adapted: the model, where an adapter of its backbone learns.

    Returns:
      State -> State with the weights and a new optimizer; it logs what starts anew. None without `--init_from`.
    """
    source = run.flags.get("init_from")
    if source is None:
        return None
    name, names = f"init_from={source!r}", run.spec.get("class_names")
    class_names = None if names is None else list(names)
    load = functools.cache(lambda: _load(source))

    def fit(initial: dict) -> tuple[dict, list[str]]:
        weights, classes = _in_modules(*load(), run.flags.get("model"), initial, name)
        classes = None if class_names is None else classes  # data without classes, such as depth
        variables, anew = fit_modules(weights, initial, classes == class_names, name)
        messages = [f"{name}: does not give {', '.join(anew)}, which start anew"] if anew else []
        gives_classes = (initial["params"].keys() & weights["params"].keys()) - {"backbone"}
        if classes not in (None, class_names) and gives_classes and not any("/" in module for module in anew):
            messages.append(
                f"{name}: its layers of classes are kept, though they told {_listed(classes)} apart, "
                f"not {_listed(class_names or [])}"
            )
        return variables, messages

    return _start(run, fit, adapted)


def start_backbone(run: Run) -> Start | None:
    """Start the backbone of a pretext from the weights of `--init_from`; other modules are initialized anew.

    A teacher or a key encoder starts as a copy of the student.

    Returns:
      State -> State with the backbone's weights and a new optimizer; None without `--init_from`.
    """
    source = run.flags.get("init_from")
    if source is None:
        return None
    name, load = f"init_from={source!r}", functools.cache(lambda: _load(source))

    def fit(initial: dict) -> tuple[dict, list[str]]:
        trained, _ = _in_modules(*load(), run.flags.model, initial, name)
        fitted, _ = fit_modules(headless(trained), headless(initial), False, name)
        backbones = {kind: initial[kind]["backbone"] | modules["backbone"] for kind, modules in fitted.items()}
        return {**initial, **{kind: initial[kind] | {"backbone": new} for kind, new in backbones.items()}}, []

    start = _start(run, fit)

    def replace(state: Any) -> Any:
        state = start(state)
        for copy in ("teacher", "key"):
            if hasattr(state, f"{copy}_params"):
                copies = {f"{copy}_params": state.params, f"{copy}_model_state": state.model_state}
                state = state.replace(**init_average(copies))
        return state

    return Start(replace, start.check)


def start_network(run: Run, without: Sequence[str] = ()) -> Start | None:
    """Start a network of its own from the weights of `--init_from`, module by module.

    Args:
      without: modules that start anew whatever the weights hold, such as an embedding of another vocabulary.

    Returns:
      State -> State with the weights and a new optimizer; it logs what starts anew. None without `--init_from`.
    """
    source = run.flags.init_from
    if source is None:
        return None
    name, load = f"init_from={source!r}", functools.cache(lambda: open_weights(source, "init_from").variables())

    def fit(initial: dict) -> tuple[dict, list[str]]:
        params = {module: tree for module, tree in load()["params"].items() if module not in without}
        variables, anew = fit_modules({"params": params}, {"params": initial["params"]}, True, name)
        return variables, [f"{name}: does not give {', '.join(anew)}, which start anew"] if anew else []

    return _start(run, fit)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (f", ... ({len(names)})" if len(names) > _NAMED else "")


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


class ClassifierWeights:
    """Weights of a classifier, whose head starts anew where its classes are others."""

    settings = CLASSIFIER

    def start(self, run: Run) -> Any:
        """Start from the weights of `--init_from`."""
        return start_classifier(run)


class ModuleWeights:
    """Weights of those modules of a detector or a segmenter that both networks have."""

    settings = MODULES

    def start(self, run: Run) -> Any:
        """Start from the weights of `--init_from`."""
        return start_modules(run, adapter_flags.dense_adapter(run.flags))


class DenseAdaptation:
    """A frozen backbone with an adapter, where `--adapt` names one."""

    settings = adapter_flags.DENSE_SETTINGS

    def adapt(self, model: nn.Module, run: Run) -> Any:
        """Freeze the backbone and add the adapter.

        Args:
          model: the network.

        Returns:
          The network, or `Adapted` with `--adapt`.
        """
        return adapter_flags.adapt_dense(model, run.flags)

    def check(self, run: Run) -> None:
        """Check that the backbone has the maps that the network reads, and that the adapter fits it."""
        described_model.check_stages(run.parts.network.modules, run.flags)
        adapter_flags.check_dense(run.flags)


class BackboneWeights:
    """Weights of the backbone of a pretext."""

    settings = MODULES

    def start(self, run: Run) -> Any:
        """Start from the weights of `--init_from`."""
        return start_backbone(run)


class NetworkWeights:
    """Weights of the network of this page, published or of a run, which set its fields too."""

    settings = NETWORK

    def start(self, run: Run) -> Any:
        """Start from the weights of `--init_from`; what they lack starts anew."""
        return start_network(run)
