"""The weights that an experiment starts from, as a part: the flag `--init_from`."""

from typing import Any

from flax import linen as nn

from dlcore.experiment.parts import Run
from dlcore.kits.training import adapters, backbone
from dlcore.weights.start import (
    CLASSIFIER,
    MODULES,
    NETWORK,
    start_backbone,
    start_classifier,
    start_modules,
    start_network,
)

__all__ = ["BackboneWeights", "ClassifierWeights", "DenseAdaptation", "ModuleWeights", "NetworkWeights"]


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
        return start_modules(run, adapters.dense_adapter(run.flags))


class DenseAdaptation:
    """A frozen backbone with an adapter, where `--adapt` names one."""

    settings = adapters.DENSE_SETTINGS

    def adapt(self, model: nn.Module, run: Run) -> Any:
        """Freeze the backbone and add the adapter.

        Args:
          model: the network.

        Returns:
          The network, or `Adapted` with `--adapt`.
        """
        return adapters.adapt_dense(model, run.flags)

    def check(self, run: Run) -> None:
        """Check that the backbone has the maps that the network reads, and that the adapter fits it."""
        backbone.check_stages(run.parts.network.modules, run.flags)
        adapters.check_dense(run.flags)


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
