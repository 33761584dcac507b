"""The weights that an experiment starts from, as a part: the flag `--init_from`."""

from typing import Any

from flax import linen as nn

from dlcore.experiment.parts import Run
from dlcore.kits.training import adapters, backbone, init_from, init_network

__all__ = ["BackboneWeights", "ClassifierWeights", "DenseAdaptation", "ModuleWeights", "NetworkWeights"]


class ClassifierWeights:
    """Weights of a classifier, whose head starts anew where its classes are others."""

    settings = init_from.CLASSIFIER

    def start(self, run: Run) -> Any:
        """Start from the weights of `--init_from`."""
        return init_from.start_classifier(run.setup)


class ModuleWeights:
    """Weights of those modules of a detector or a segmenter that both networks have."""

    settings = init_from.MODULES

    def start(self, run: Run) -> Any:
        """Start from the weights of `--init_from`."""
        return init_from.start_modules(run.setup)


class DenseAdaptation:
    """A frozen backbone with an adapter, where `--adapt` names one."""

    settings = adapters.DENSE_SETTINGS

    def adapt(self, model: nn.Module, run: Run) -> Any:
        """Freeze the backbone and add the adapter."""
        return adapters.adapt_dense(model, run.setup.flags)

    def check(self, run: Run) -> None:
        """Check that the backbone has the maps that the network reads, and that the adapter fits it."""
        backbone.check_stages(run.parts.network.modules, run.setup.flags)
        adapters.check_dense(run.setup.flags)


class BackboneWeights:
    """Weights of the backbone of a pretext."""

    settings = init_from.MODULES

    def start(self, run: Run) -> Any:
        """Start from the weights of `--init_from`."""
        return init_from.start_backbone(run.setup)


class NetworkWeights:
    """Weights of the network of this page, published or of a run, which set its fields too."""

    settings = init_network.SETTINGS

    def start(self, run: Run) -> Any:
        """Start from the weights of `--init_from`; what they lack starts anew."""
        return init_network.start_network(run.setup)
