"""The model that an experiment's flags name, and the weights that it starts from."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.origin import Origin, Start
from dlcore.experiment.setting import FlagError, Setting
from dlcore.kits.training import optimizer

__all__ = ["SETTINGS", "build", "check_stages", "normalized_for", "origin", "start", "start_from"]

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

_STAGES = ("stage", "stages", "aux_stage", "fine", "coarse")
"""Fields of detectors and segmenters that name maps of the backbone."""


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


def check_stages(flags: Flags) -> None:
    """Check that the backbone of `--model` has the maps that a detector or a segmenter reads.

    Args:
      flags: resolved settings, with `--model`, its fields, and those of the network, such as `--deeplab.stage` or
        `--fcos.stages`.

    Raises:
      FlagError: it lacks one.
    """
    from dlcore.models import create_model, feature_info

    if "model" not in flags or not any(name == "model" or "." in name for name in flags.given):
        return
    try:
        maps = feature_info(create_model(flags.model, **flags.group("model")), (64, 64, 3))
    except Exception:  # of other fields; the network is checked again, on the data
        return
    for name, value in flags.items():
        if name.startswith("model.") or name.split(".")[-1] not in _STAGES:
            continue
        missing = [stage for stage in ((value,) if isinstance(value, str) else value or ()) if stage not in maps]
        if missing:
            raise FlagError(
                f"--model={flags.model}: no map {', '.join(missing)}, which --{name} names; allowed: --{name} of "
                f"{', '.join(maps)}, or a model with {', '.join(missing)}"
            )


def origin(flags: Flags) -> Origin | None:
    """Read where the weights of `--init_from` come from.

    Args:
      flags: `init_from`, `model` and its fields.

    Returns:
      The origin; None without `--init_from`.

    Raises:
      ValueError: there are no weights, or they are of another model.
    """
    from dlcore.kits.training.pretrained_network import classifier_origin

    if flags.init_from is None:
        return None
    found = classifier_origin(flags.init_from, "init_from", headless=True)
    if found.model != flags.model:
        raise ValueError(f"{found.name}: weights of {found.model}; allowed: of {flags.model}")
    return normalized_for(found, flags.group("model"))


def normalized_for(found: Origin, fields: dict[str, Any]) -> Origin:
    """Normalize images as published weights need it in a model of other fields, such as `transform_input`.

    Args:
      found: origin of the weights.
      fields: fields of the model that receives the weights.

    Returns:
      The origin, with the mean and standard deviation that the fields ask for.
    """
    from dlcore.models.normalization import normalization

    if found.page is not None or found.model is None or found.mean != normalization(found.model, found.fields).mean:
        return found
    wanted = normalization(found.model, found.fields | fields)
    return found._replace(mean=wanted.mean, std=wanted.std)


def start(setup: Setup) -> Start | None:
    """Start from the weights of `--init_from`.

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
) -> Start:
    """Start from the weights of a network.

    A head of other classes starts anew, also where it has as many.

    Args:
      load: gives a `TrainedNetwork` of the model that `--model` names; called once.
      setup: facts of the run, with the flag `init_from`, for errors, and the names of the classes.
      transformation: gives the optimizer, which starts anew.
      keep_unnamed: keep a head of as many classes whose names were not recorded.
      new_head: start the head anew whatever its classes.

    Returns:
      State -> State with the weights and a new optimizer state, which says what starts anew.

    Raises:
      ValueError: when applied or checked: the weights do not fit.
    """
    name = f"init_from={setup.flags.init_from!r}"
    network = functools.cache(load)

    def fitted(state):
        from dlcore.run.weights import fit_weights

        variables, own, wanted = network().variables, network().class_names, setup.spec.get("class_names")
        other = wanted is not None and (list(own) != list(wanted) if network().named else not keep_unnamed)
        if other or new_head:
            leaves = flatten_dict(variables)
            variables = unflatten_dict({path: leaf for path, leaf in leaves.items() if "head" not in path})
        return *fit_weights(variables, {"params": state.params, **state.model_state}, name), other

    def replace(state):
        from dlcore.run.progress import say

        weights, kept, other = fitted(state)
        if kept:
            why = ": its classes are others" if other and network().named else ""
            say(f"{name}: gives all but the head ({', '.join(kept)}), which starts anew{why}")
        elif not network().named:
            say(f"{name}: gives a head of {len(network().class_names)} classes without names, taken for the data's")
        params = weights.pop("params")
        opt_state = jax.jit(transformation().init)(params)
        return state.replace(params=params, model_state=weights, opt_state=opt_state)

    return Start(replace, lambda state: fitted(state) and None)
