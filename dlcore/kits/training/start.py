"""The weights that an experiment starts from, as a part: the flag `--init_from`."""

from typing import Any

from dlcore.experiment.parts import Run
from dlcore.kits.training import init_from

__all__ = ["BackboneWeights", "ClassifierWeights", "ModuleWeights"]


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


class BackboneWeights:
    """Weights of the backbone of a pretext."""

    settings = init_from.MODULES

    def start(self, run: Run) -> Any:
        """Start from the weights of `--init_from`."""
        return init_from.start_backbone(run.setup)
