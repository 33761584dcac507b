"""Energy-based model of a ring of Gaussians, trained by contrastive divergence with a replay buffer.

python -m experiments.generative.energy_based                      (distance 0.008; untrained 1.24)
python -m experiments.generative.energy_based --class_weight=1     (JEM: the logits classify the modes as well; 0.005)
python -m experiments.generative.energy_based --mode=evaluate --run=RUN --sampling_steps=1000

The default run covers 8 of 8 modes in 30 s (`modes`); 98.0 % of the samples lie within three standard deviations of a
mode (`high_quality`; untrained 18.3 %, real points 98.9 %). `frechet_distance` is over the two coordinates. Samples
start from uniform noise.
"""

import dataclasses
from typing import ClassVar

from dlcore.experiment import Experiment, Setup
from dlcore.experiment.settings import ONLY_F32
from dlcore.generative import energy_based
from dlcore.generative.ring import PointClassifier
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from experiments.generative.ring_gan import RingPoints


@dataclasses.dataclass(frozen=True)
class WideRingPoints(RingPoints):
    """Points of modes that are wide enough for Langevin's steps."""

    std: ClassVar[float] = 0.2

    def arguments(self, setup: Setup) -> dict:
        return {
            "model": PointClassifier(**setup.flags.group("energy")),
            "shape": (2,),
            "encode": lambda batch: batch["point"],
            "decode": lambda x: x,
        }


experiment = Experiment(
    __file__,
    __doc__,
    energy_based.learner,
    task=WideRingPoints(),
    optimizer=AdamW(learning_rate=1e-3, weight_decay=0.0, clip_norm=1.0),
    modules={"energy": PointClassifier},
    settings=ONLY_F32,
    defaults={
        "energy_penalty": 0.01,
        "start_range": 3.0,
        "steps": 2000,
        "batch_size": 256,
        "eval_every": 1000,
        "select": "last",
    },
    smoke={"steps": 2, "batch_size": 8, "eval_every": 2, "langevin_steps": 2, "sampling_steps": 2, "buffer_size": 16},
)

if __name__ == "__main__":
    main(experiment)
