"""Pi-model: semi-supervised learning by consistency between two augmented views.

python -m experiments.semi_supervised.pi_model                          (94.0 %, its twin 83.2 %)
python -m experiments.semi_supervised.pi_model --dataset=mnist --data_dir=D --augment=auto --steps=3000 \\
    --labels_per_class=10 --batch_size=64 --ramp_steps=1500

One seed; the second command was not run.
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.semi_supervised import pi_model
from dlcore.tasks.few_labels import SMOKE, FewLabels

experiment = Experiment(
    __file__,
    __doc__,
    pi_model.learner,
    task=FewLabels(unlabeled_ratio=4),
    optimizer=AdamW(weight_decay=0.01),
    defaults={"ramp_steps": 200, "unlabeled_weight": 30.0, "steps": 400},
    smoke=SMOKE,
)

if __name__ == "__main__":
    main(experiment)
