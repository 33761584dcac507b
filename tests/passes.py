"""A statistic of a network that counts its passes in training, so that a test sees who keeps it."""

import flax.linen as nn
import numpy as np

PASSED = {"batch_stats": {"passes": np.float32(3)}}
"""The model state of a network that had three passes."""


def count_pass(network: nn.Module, train: bool, draws: bool = False) -> None:
    """Count a pass in training of a network whose model state is `PASSED`; others have no such number.

    With `draws`, that network takes a key of the stream "dropout".
    """
    if train and network.has_variable("batch_stats", "passes"):
        if draws:
            network.make_rng("dropout")
        network.put_variable("batch_stats", "passes", network.get_variable("batch_stats", "passes") + 1)


def passes(model_state: dict) -> float:
    """Return the number of passes."""
    return float(model_state["batch_stats"]["passes"])
