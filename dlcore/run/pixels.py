"""What pages share whose parameters are images: the frozen network, an optimiser for pixels, pictures in the report."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import optax

from dlcore.learner import Learner, Range
from dlcore.run.flags import Flags, Setting
from dlcore.run.network import Network, load_network
from dlcore.run.page import Page, Setup

__all__ = ["SETTINGS", "build", "network", "optimizer", "panels"]

SETTINGS = {
    "network": Setting(
        None, "folder of a run of experiments.classification.supervised; by default the small VGG that comes along",
        str | None,
    ),
    "optimizer": Setting("lbfgs", "of the pixels", Literal["lbfgs", "adam"]),
    "learning_rate": Setting(0.05, "adam: constant; lbfgs searches for its own",
                             limits=Range(0)),
}  # fmt: skip


def build(make: Callable[..., Learner], setup: Setup, page: Page, **fields: Any) -> Learner:
    """The learner that `make` gives for the network, optimiser and settings that the flags name.

    fields: of the model, where it has them, that differ from those it was trained with.
    """
    found = network(setup.flags, page)
    return make(
        model=found.model.clone(**{name: value for name, value in fields.items() if hasattr(found.model, name)}),
        variables=found.variables,
        optimizer=optimizer(setup),
        mean=found.mean,
        std=found.std,
        axis=setup.axis,
        **setup.flags.group("learner"),
    )


def network(flags: Flags, page: Page) -> Network:
    """The network that `--network` names. page: of the runs that it may name."""
    return load_network(flags.network, page)


def optimizer(setup: Setup) -> optax.GradientTransformationExtraArgs:
    """L-BFGS of memory 10 with a zoom line search, or Adam."""
    if setup.flags.optimizer == "lbfgs":
        return optax.lbfgs(memory_size=10)
    return optax.with_extra_args_support(optax.adam(setup.flags.learning_rate))


def panels(context: Any, images: dict[str, np.ndarray], title: str, note: str = "") -> list:
    """Images by name, each as large as it is, and the curves. images: name -> [H, W, 3] uint8 or float in [0, 1]."""
    from dlcore.diagnostics.curves import curves
    from dlcore.diagnostics.pictures import examples, to_uint8

    shown = np.stack([to_uint8(np.asarray(image)[None])[0] for image in images.values()])
    return [examples(shown, list(images), title, note, count=len(shown)), curves(context.history)]
