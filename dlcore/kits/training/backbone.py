"""The model of an experiment's flags, and its initial weights."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.origin import Origin, Start
from dlcore.experiment.setting import FlagError, Setting
from dlcore.kits.training import adapters, optimizer
from dlcore.transfer.adapters import Adapted

__all__ = ["SETTINGS", "adapt_normalization", "build", "build_on", "check_stages", "origin", "start", "start_from"]

SETTINGS = {
    "init_from": Setting(
        None,
        "weights to start from: the folder of a run (of a classifier, or the backbone of a pretext, a detector or a "
        "segmenter), a folder of `dlcore convert` or a packed .npz; a head of other classes starts anew",
        str | None,
        essential=True,
        origin=lambda flags: origin(flags),
    ),
}


def build(setup: Setup, **fields):
    """Build the model that the flags name, for the classes of the data.

    Args:
      setup: facts of the run; its flags must contain `--model` and its fields.
      **fields: fields of the model to change.

    Returns:
      The flax module.
    """
    from dlcore.models import create_model

    fields = {"num_classes": setup.spec.get("num_classes", 1), **fields}
    return create_model(setup.flags.model, dtype=setup.dtype, **fields, **setup.flags.group("model"))


def build_on(setup: Setup, network: Callable[..., nn.Module], prefix: str, **fields: Any) -> nn.Module | Adapted:
    """Build a detector or a segmenter, on the backbone of `--model` if the experiment has this flag.

    Args:
      setup: facts of the run, with `num_classes` in its spec.
      network: class of the network, or a `functools.partial` of it.
      prefix: prefix of the flags of its fields.
      **fields: other fields, such as heads.

    Returns:
      The flax module; with `--adapt` a model that applies it with a frozen backbone and an adapter.
    """
    if "model" in setup.flags:
        fields["backbone"] = build(setup)
    model = network(num_classes=setup.spec["num_classes"], dtype=setup.dtype, **fields, **setup.flags.group(prefix))
    return adapters.adapt_dense(model, setup.flags) if adapters.adapts_dense(setup.flags) else model


def check_stages(modules: Mapping[str, Callable[..., nn.Module]], flags: Flags) -> None:
    """Check that the backbone of `--model` has the maps that a detector or a segmenter reads.

    Args:
      modules: prefix of flags -> class of a network, or a `functools.partial` of it; `map_fields` of the class are the
        fields that name maps.
      flags: resolved settings, with `--model`, its fields, and those of the networks, such as `--deeplab.stage` or
        `--fcos.stages`.

    Raises:
      FlagError: the backbone lacks a map.
    """
    from dlcore.models import create_model, feature_info

    if "model" not in flags or not any(name == "model" or "." in name for name in flags.given):
        return
    try:
        maps = feature_info(create_model(flags.model, **flags.group("model")), (64, 64, 3))
    except Exception:  # other fields are wrong; the network is checked again, on the data
        return
    for prefix, network in modules.items():
        for field in getattr(getattr(network, "func", network), "map_fields", ()):
            name, value = f"{prefix}.{field}", flags[f"{prefix}.{field}"]
            missing = [stage for stage in ((value,) if isinstance(value, str) else value or ()) if stage not in maps]
            if missing:
                raise FlagError(
                    f"--model={flags.model}: no map {', '.join(missing)}, which --{name} names; allowed: --{name} of "
                    f"{', '.join(maps)}, or a model with {', '.join(missing)}"
                )


def origin(flags: Flags) -> Origin | None:
    """Read the origin of the weights of `--init_from`.

    Args:
      flags: `init_from`, `model` and its fields; a `model` of None is that of the weights.

    Returns:
      The origin; None without `--init_from`.

    Raises:
      ValueError: there are no weights, or they are of another model.
    """
    from dlcore.kits.training.pretrained_network import classifier_origin

    if flags.init_from is None:
        return None
    weights_origin = classifier_origin(flags.init_from, "init_from", headless=True)
    if flags.model not in (None, weights_origin.model):
        problem = f"weights of {weights_origin.model}; allowed: of {flags.model}, as --model here"
        raise ValueError(f"{weights_origin.name}: {problem}")
    return adapt_normalization(weights_origin, flags.group("model"))


def adapt_normalization(weights_origin: Origin, fields: dict[str, Any]) -> Origin:
    """Set the image statistics that published weights need in a model with other fields, such as `transform_input`.

    Args:
      weights_origin: origin of the weights.
      fields: fields of the model that receives the weights.

    Returns:
      The origin, with the mean and standard deviation for the fields.
    """
    from dlcore.models.normalization import normalization

    if (
        weights_origin.page is not None
        or weights_origin.model is None
        or weights_origin.mean != normalization(weights_origin.model, weights_origin.fields).mean
    ):
        return weights_origin
    statistics = normalization(weights_origin.model, weights_origin.fields | fields)
    return weights_origin._replace(mean=statistics.mean, std=statistics.std)


def start(setup: Setup) -> Start | None:
    """Initialize from the weights of `--init_from`.

    Args:
      setup: facts of the run; its flags must contain SETTINGS and the optimizer's.

    Returns:
      State -> State with the weights and a new optimizer state; None without `--init_from`.

    Raises:
      ValueError: when applied or checked: the weights are of another model, or do not fit.
    """
    if setup.flags.init_from is None:
        return None

    def load():
        from dlcore.kits.training.pretrained_network import load_network

        origin(setup.flags)
        return load_network(setup.flags.init_from, "init_from", headless=True)

    return start_from(load, setup, lambda: optimizer.build(setup))


def start_from(
    load: Callable[[], Any],
    setup: Setup,
    transformation: Callable[[], optax.GradientTransformation],
    keep_unnamed: bool = True,
    new_head: bool = False,
    adapted: Adapted | None = None,
) -> Start:
    """Initialize from the weights of a network.

    A head for other classes is initialized anew, even if their number is the same.

    Args:
      load: returns a `TrainedNetwork` of the model that `--model` names; called once.
      setup: facts of the run; errors name its flag `init_from`, its spec has the class names.
      transformation: returns the optimizer, whose state is initialized anew.
      keep_unnamed: keep a head with the right number of classes if their names were not recorded.
      new_head: initialize the head anew whatever its classes.
      adapted: the model, where an adapter learns in place of the network.

    Returns:
      State -> State with the weights and a new optimizer state; it logs what is initialized anew.

    Raises:
      ValueError: when applied or checked: the weights do not fit.
    """
    name = f"init_from={setup.flags.init_from!r}"
    network = functools.cache(load)

    def fitted(state):
        from dlcore.run.weights import fit_weights

        variables, trained_names, class_names = (
            network().variables,
            network().class_names,
            setup.spec.get("class_names"),
        )
        has_other_classes = class_names is not None and (
            list(trained_names) != list(class_names) if network().named else not keep_unnamed
        )
        if has_other_classes or new_head:
            leaves = flatten_dict(variables)
            variables = unflatten_dict({path: leaf for path, leaf in leaves.items() if "head" not in path})
        initial = {"params": state.params, **state.model_state}
        if adapted is None:
            return *fit_weights(variables, initial, name), has_other_classes
        weights, new_leaves = fit_weights(variables, adapted.network_variables(initial), name)
        return adapted.rebase(initial, weights), new_leaves, has_other_classes

    def replace(state):
        from dlcore.run.progress import say

        weights, new_leaves, has_other_classes = fitted(state)
        if new_leaves:
            reason = ": its classes are others" if has_other_classes and network().named else ""
            say(f"{name}: gives all but the head ({', '.join(new_leaves)}), which starts anew{reason}")
        elif not network().named:
            say(f"{name}: gives a head of {len(network().class_names)} classes without names, taken for the data's")
        params = weights.pop("params")
        opt_state = jax.jit(transformation().init)(params)
        return state.replace(params=params, model_state=weights, opt_state=opt_state)

    return Start(replace, lambda state: fitted(state) and None)
