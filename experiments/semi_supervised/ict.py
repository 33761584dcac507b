"""ICT (interpolation consistency training): semi-supervised learning by consistency between mixed images.

python -m experiments.semi_supervised.ict                               (89.4 %, its twin 83.4 %)
python -m experiments.semi_supervised.ict --dataset=mnist --data_dir=D --augment=auto --steps=3000 \\
    --labels_per_class=10 --batch_size=64 --ramp_steps=1500

One seed; the second command was not run.
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.semi_supervised import ict
from dlcore.tasks.few_labels import SMOKE, FewLabels

experiment = Experiment(
    __file__,
    __doc__,
    ict.learner,
    task=FewLabels(unlabeled_ratio=4),
    optimizer=AdamW(weight_decay=0.01),
    defaults={"ramp_steps": 200, "unlabeled_weight": 30.0, "ema_decay": 0.99, "steps": 400},
    smoke=SMOKE,
)

if __name__ == "__main__":
    main(experiment)
