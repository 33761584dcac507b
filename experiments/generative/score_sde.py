"""Score SDE: generate digits along the score of noisy images, by a stochastic equation, its flow, or Langevin's steps.

python -m experiments.generative.score_sde
python -m experiments.generative.score_sde --mode=evaluate --run=RUN --sampler=ode --num_inference_steps=50
python -m experiments.generative.score_sde --sde=ve --sampler=langevin --num_inference_steps=100

200 steps of the reverse equation call the network 200 times, 50 of the flow 100 times, and 100 levels of Langevin's 5
steps 501 times.
"""

import dataclasses
from typing import ClassVar

from dlcore.experiment import Experiment, Setup
from dlcore.generative import score_sde
from dlcore.generative.unet import UNet
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.image_generation import ImageGeneration
from experiments.smoke import few_samples


def arguments(setup: Setup) -> dict:
    return {"model": UNet(**setup.flags.group("unet"), dtype=setup.dtype), "shape": tuple(setup.spec["image_shape"])}


@dataclasses.dataclass(frozen=True)
class ScoredImages(ImageGeneration):
    """Generated images; the checks of the model switch averages off."""

    plain: ClassVar[dict] = {"ema": None, "weight_decay": 0.0}


experiment = Experiment(
    __file__,
    __doc__,
    score_sde.learner,
    task=ScoredImages(),
    optimizer=AveragedAdamW(learning_rate=1e-3, weight_decay=0.0, clip_norm=1.0, ema=0.999),
    arguments=arguments,
    modules={"unet": UNet},
    defaults={"epochs": 300.0, "eval_every": 1000, "select": "last"},
    smoke={**few_samples(3), "unet.width": 8, "unet.channel_multipliers": (1,), "num_inference_steps": 4},
)

if __name__ == "__main__":
    main(experiment)
