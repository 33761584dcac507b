"""Published settings at full scale, as experiments; marked "recipe, not run" where we had no machine for them.

Each is an experiment of experiments.classification with another model and other defaults, so all its flags work. The
embedded digits stand in for ImageNet under --smoke. Images that exceed --memory_limit stay on disk and are streamed.
"""

import dataclasses
from typing import Any

from dlcore.experiment import Epochs, Experiment
from dlcore.models import Zoo
from dlcore.optim import AveragedAdamW

__all__ = ["SMALL_VIT", "imagenet"]

SMALL_VIT = {"model.image_size": 32, "model.depth": 2, "model.width": 48}
"""Fields of a vision transformer under --smoke."""


def imagenet(
    experiment: Experiment, file: str, doc: str, model: str, defaults: dict[str, Any], smoke: dict[str, Any]
) -> Experiment:
    """Set an experiment to a model on ImageNet at 224 x 224; under --smoke to digits at 32 x 32."""
    return dataclasses.replace(
        experiment,
        technique=experiment.parts.technique,
        network=Zoo(model),
        optimizer=AveragedAdamW(),
        length=Epochs(10),
        file=file,
        doc=doc,
        defaults={"dataset": "imagenet2012", "input_size": 224, **defaults},
        smoke={**experiment.smoke, "dataset": "digits", "input_size": 32, **smoke},
    )
