"""Pseudo-labels: semi-supervised learning on the network's own confident predictions.

python -m experiments.semi_supervised.pseudo_label                              (95.2 %, its twin 83.2 %)
python -m experiments.semi_supervised.pseudo_label --weighting=threshold
python -m experiments.semi_supervised.pseudo_label --weighting=confidence
python -m experiments.semi_supervised.pseudo_label --generation=100           (self-training: labels in rounds)
python -m experiments.semi_supervised.pseudo_label --dataset=mnist --data_dir=D --augment=auto --steps=3000 \\
    --labels_per_class=10 --batch_size=64 --ramp_steps=1500                     (95.5 %, its twin 86.2 %)

One seed; the other commands were not run.
"""

import dataclasses

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.semi_supervised import pseudo_label
from dlcore.tasks.few_labels import SMOKE, FewLabels


@dataclasses.dataclass(frozen=True)
class GrowingWeight(FewLabels):
    """Few labels, of which the loss at initialization holds a little of the guesses: their weight starts at e^-5."""

    loss_tolerance = 0.02


experiment = Experiment(
    __file__,
    __doc__,
    pseudo_label.learner,
    task=GrowingWeight(unlabeled_ratio=4),
    optimizer=AdamW(weight_decay=0.01),
    defaults={"ramp_steps": 200, "steps": 400},
    smoke=SMOKE,
)

if __name__ == "__main__":
    main(experiment)
