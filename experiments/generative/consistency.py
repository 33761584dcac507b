"""Consistency models: generate digits in one step of the network.

python -m experiments.generative.consistency
python -m experiments.generative.consistency --init_from=RUN_OF_EDM --s0=17 --s1=17
python -m experiments.generative.consistency --mode=evaluate --run=RUN --num_inference_steps=2

The first command trains on images alone. The second distills a run of `experiments.generative.edm`, whose network must
have the same fields: it follows the paths of that network, between 18 noise levels, and starts from its weights.
One seed of it ended at a Fréchet distance of 1.17 by one step and 0.83 by two. Its teacher has 0.70 by 35 calls of the
network, and 69.3 and 69.1 by one and two steps of Euler, which are DDIM's.
"""

import dataclasses
from typing import Any, ClassVar

from dlcore.experiment import Experiment, Setup
from dlcore.generative import consistency
from dlcore.main import main
from dlcore.tasks.distilled_images import OPTIMIZER, DistilledImages
from experiments.classification.supervised import experiment as classifier
from experiments.smoke import few_samples


@dataclasses.dataclass(frozen=True)
class OneStepImages(DistilledImages):
    """Generated images, and a teacher that an earlier run trained."""

    teacher_page: ClassVar = "generative.edm"
    teacher_use: ClassVar = "which is distilled; by default the images alone teach"
    teacher_facts: ClassVar = ("sigma_data",)
    teacher_identity: ClassVar = True

    def arguments(self, setup: Setup) -> dict[str, Any]:
        """Build the networks, and count the steps of the training."""
        return {**super().arguments(setup), "num_steps": setup.steps}


experiment = Experiment(
    __file__,
    __doc__,
    consistency.learner,
    task=OneStepImages(classifier=classifier),
    optimizer=OPTIMIZER,
    smoke={**few_samples(3), "unet.width": 8, "unet.channel_multipliers": (1,)},
)

if __name__ == "__main__":
    main(experiment)
