"""MixMatch: semi-supervised learning by sharpened pseudo-labels and mixup.

python -m experiments.semi_supervised.mixmatch                          (97.0 %, its twin 83.4 %)
python -m experiments.semi_supervised.mixmatch --dataset=mnist --data_dir=D --augment=auto --steps=3000 \\
    --labels_per_class=10 --batch_size=64 --ramp_steps=1500
python -m experiments.semi_supervised.mixmatch --dataset=cifar10 --data_dir=D --augment=auto --steps=5000 \\
    --labels_per_class=25 --batch_size=64 --ramp_steps=2500

One seed; the other commands were not run.
"""

from functools import partial

from dlcore.experiment import Experiment
from dlcore.kits.semi_supervised import classifiers
from dlcore.main import main
from dlcore.semi_supervised import mixmatch

experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=mixmatch.learner,
    build=partial(classifiers.build, mixmatch.learner),
    defaults={
        **classifiers.DEFAULTS,
        "ramp_steps": 200,
        "unlabeled_weight": 30.0,
        "ema_decay": 0.99,
        "unlabeled_ratio": 4,
        "steps": 400,
    },
    smoke=classifiers.SMOKE,
    **classifiers.SHARED,
)

if __name__ == "__main__":
    main(experiment)
