"""Relative patch prediction: learn features by predicting the position of a patch relative to another.

python -m experiments.self_supervised.relative_patch                       (pretext 92 %; k-NN 78.8 %, untrained 86.6 %)
python -m experiments.self_supervised.relative_patch --gap=0 --jitter=0 --by_piece=false    (borders may tell; not run)
python -m experiments.self_supervised.relative_patch --dataset=cifar10 --data_dir=D --input_size=33 --model.width=32 \\
    --steps=5000 --fine_tune=500,5000                                                                        (not run)
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import relative_patch
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.pretext import PretextImages


class PatchPairs(PretextImages):
    """Pairs of patches of an image, with the direction from one to the other."""

    nearest = True

    def num_classes(self, setup):
        return relative_patch.NUM_CLASSES

    def pretext(self, flags):
        return relative_patch.relative_patch(**flags.group("learner"))

    def class_names(self, flags):
        return ("above left", "above", "above right", "left", "right", "below left", "below", "below right")


experiment = Experiment(
    __file__,
    __doc__,
    relative_patch.learner,
    task=PatchPairs(input_size=24),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"head.hidden": 256, "head.side": 2, "steps": 2000},
    smoke=SMOKE,
)

if __name__ == "__main__":
    main(experiment)
