"""Pi-model: semi-supervised learning by consistency between two augmented views.

python -m experiments.semi_supervised.pi_model                          (94.0 %, its twin 83.2 %)
python -m experiments.semi_supervised.pi_model --dataset=mnist --data_dir=D --augment=auto --steps=3000 \\
    --labels_per_class=10 --batch_size=64 --ramp_steps=1500

One seed; the second command was not run.
"""

from functools import partial

from dlcore.experiment import Experiment
from dlcore.kits.semi_supervised import classifiers
from dlcore.main import main
from dlcore.semi_supervised import pi_model

experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=pi_model.learner,
    build=partial(classifiers.build, pi_model.learner),
    defaults={
        **classifiers.DEFAULTS,
        "ramp_steps": 200,
        "unlabeled_weight": 30.0,
        "unlabeled_ratio": 4,
        "steps": 400,
    },
    smoke=classifiers.SMOKE,
    **classifiers.SHARED,
)

if __name__ == "__main__":
    main(experiment)
