"""The model that an experiment's flags name, and the weights that it starts from."""

from typing import Any

import jax
import optax

from dlcore.experiment.experiment import Setup
from dlcore.experiment.setting import Setting
from dlcore.kits import optimizer

__all__ = ["SETTINGS", "build", "start", "start_from"]

SETTINGS = {
    "init_from": Setting(
        None,
        "weights to start from: the folder of a run (of a classifier, or the encoder of MoCo or SimCLR), a folder of "
        "`dlcore convert` or a packed .npz; a head of another number of classes starts anew",
        str | None,
        essential=True,
    ),
}


def build(setup: Setup, **fields):
    """Build the model that the flags name, for the classes of the data.

    Args:
      setup: with `--model` and its fields.
      **fields: of the model that differ.

    Returns:
      The flax module.
    """
    from dlcore.models import create_model

    fields = {"num_classes": setup.spec.get("num_classes", 1), "axis_name": setup.axis, **fields}
    return create_model(setup.flags.model, dtype=setup.dtype, **fields, **setup.flags.group("model"))


def start(setup: Setup):
    """Start from the weights of `--init_from`.

    Args:
      setup: with the flags of SETTINGS and the optimizer's.

    Returns:
      State -> State with the weights and a new optimizer state; None without `--init_from`.

    Raises:
      ValueError: when applied: the weights are of another model, or do not fit.
    """
    if setup.flags.init_from is None:
        return None

    def replace(state):
        from dlcore.kits.trained_network import load_network

        flags = setup.flags
        network = load_network(flags.init_from, "init_from", headless=True)
        if network.name != flags.model:
            raise ValueError(f"init_from={flags.init_from!r}: weights of {network.name}; allowed: of {flags.model}")
        return start_from(network, setup, optimizer.build(setup))(state)

    return replace


def start_from(network: Any, setup: Setup, transformation: optax.GradientTransformation):
    """Start from the weights of a network.

    Args:
      network: a `TrainedNetwork` of the model that `--model` names.
      setup: with the flag `init_from`, for errors.
      transformation: the optimizer, which starts anew.

    Returns:
      State -> State with the weights and a new optimizer state; a head of another size keeps its initial values.

    Raises:
      ValueError: when applied: the weights do not fit.
    """

    def replace(state):
        from dlcore.run.progress import say
        from dlcore.run.weights import fit_weights

        name = f"init_from={setup.flags.init_from!r}"
        weights, kept = fit_weights(network.variables, {"params": state.params, **state.model_state}, name)
        if kept:
            say(f"{name}: gives all but the head ({', '.join(kept)}), which starts anew")
        params = weights.pop("params")
        return state.replace(params=params, model_state=weights, opt_state=jax.jit(transformation.init)(params))

    return replace
