"""iBOT: learn features by predicting an EMA teacher's output on hidden patches and on other crops.

python -m experiments.self_supervised.ibot                               (k-NN 56.2 %, three seeds, untrained 49.3)
python -m experiments.self_supervised.ibot --patch_weight=0                      (class tokens alone, as DINO)

`class_loss` is DINO's, of crops with hidden patches, and `patch_loss` that of the hidden patches. Watch `entropy` (the
teacher's, by its largest: 1 is a collapse to uniform outputs) and `usage` (0: one output for all images). As with DINO,
a small network needs prototypes that stand still (`--freeze`, in epochs): where they learn, the entropy rises to 0.99
in 210 steps.
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import ibot
from dlcore.tasks.image_crops import SMALL_TOKENS, SMALLEST_TOKENS, TokenCrops

experiment = Experiment(
    __file__,
    __doc__,
    ibot.learner,
    task=TokenCrops(
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
