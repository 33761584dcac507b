"""`--init_from` of an experiment whose network is no backbone of the zoo: MAE, CLIP, an autoencoder.

python -m experiments.self_supervised.mae --dataset=folder --data_dir=D --input_size=224 \\
    --init_from=hf:facebook/vit-mae-base

Published weights set the fields of the network, such as `--mae.width`, see `dlcore.experiment.published`; a run has
the fields of its own command, which are given again.
"""

import functools
from collections.abc import Sequence

import jax

from dlcore.experiment.experiment import Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.weights import Start, Weights, open_weights
from dlcore.run.weights import fit_modules

__all__ = ["SETTINGS", "origin", "start_network"]

SETTINGS = {
    "init_from": Setting(
        None,
        "weights to start from: hf:ORG/NAME or a folder as a hub serves it, which set the network's fields too, or the "
        "folder of a run of this page; what they lack starts anew",
        str | None,
        essential=True,
        identity="if changed",
        origin=lambda flags: origin(flags),
    ),
}
"""The flag."""


def origin(flags: Flags) -> Weights | None:
    """Read where the weights of `--init_from` come from.

    Args:
      flags: `init_from`.

    Returns:
      The weights; None without `--init_from`.

    Raises:
      ValueError: there are no weights.
    """
    return None if flags.init_from is None else open_weights(flags.init_from, "init_from")


def start_network(setup: Setup, without: Sequence[str] = ()) -> Start | None:
    """Start a network from the weights of `--init_from`, module by module.

    Args:
      setup: facts of the run, with the flag of SETTINGS.
      without: modules that start anew whatever the weights hold, such as an embedding of another vocabulary.

    Returns:
      State -> State with the weights and a new optimizer state, which logs what is initialized anew; None without
      `--init_from`.

    Raises:
      ValueError: when applied or checked: there are no such weights, or they do not fit.
    """
    source = setup.flags.init_from
    if source is None:
        return None
    name = f"init_from={source!r}"

    @functools.cache
    def load():
        params = open_weights(source, "init_from").variables()["params"]
        return {"params": {module: tree for module, tree in params.items() if module not in without}}

    def fitted(state):
        return fit_modules(load(), {"params": state.params}, True, name)

    def replace(state):
        from dlcore.run.progress import say

        variables, anew = fitted(state)
        if anew:
            say(f"{name}: does not give {', '.join(anew)}, which start anew")
        params = variables["params"]
        return state.replace(params=params, opt_state=jax.jit(setup.transformation().init)(params))

    return Start(replace, lambda state: fitted(state) and None)
