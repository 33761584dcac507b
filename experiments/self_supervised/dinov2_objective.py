"""DINOv2's objective: learn features by balanced targets of class tokens and hidden patches, spread by KoLeo.

python -m experiments.self_supervised.dinov2_objective                   (k-NN 65.3 %, three seeds, untrained 49.3)
python -m experiments.self_supervised.dinov2_objective --koleo_weight=0
python -m experiments.self_supervised.dinov2_objective --head.separate_heads             (patches have their own head)

`class_loss` is DINO's, of crops with hidden patches, `patch_loss` that of the hidden patches, and `koleo` tells how
near the nearest neighbors of features lie. Watch `entropy` (the teacher's, by its largest: 1 is a collapse to uniform
outputs); `usage` is near 1, as targets are balanced.
"""

from dlcore.experiment import Experiment, Flags
from dlcore.experiment.setting import FlagError
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import dinov2_objective
from dlcore.tasks.image_crops import SMALL_TOKENS, SMALLEST_TOKENS, TokenCrops


class BalancedCrops(TokenCrops):
    """Large and small crops of each image, whose targets are balanced over the batch."""

    def check(self, flags: Flags) -> None:
        """Raise a FlagError where there are more prototypes than large crops in a batch."""
        super().check(flags)
        crops = 2 * flags.batch_size
        if flags["head.outputs"] > crops:
            raise FlagError(
                f"--head.outputs={flags['head.outputs']}: more prototypes than the {crops} large crops of a batch; "
                f"allowed: at most {crops}"
            )


experiment = Experiment(
    __file__,
    __doc__,
    dinov2_objective.learner,
    task=BalancedCrops(
        freeze=100.0,
        teacher_momentum=0.99,
        teacher_temperature=(0.04, 0.04),
        global_area=(0.7, 1.0),
        local_area=(0.4, 0.8),
    ),
    optimizer=AdamW(learning_rate=1e-3, clip_norm=3.0),
    defaults=SMALL_TOKENS,
    smoke=SMALLEST_TOKENS,
)

if __name__ == "__main__":
    main(experiment)
