"""ICT (interpolation consistency training): semi-supervised learning by consistency between mixed images.

python -m experiments.semi_supervised.ict                               (89.4 %, its twin 83.4 %)
python -m experiments.semi_supervised.ict --dataset=mnist --data_dir=D --augment=auto --steps=3000 \\
    --labels_per_class=10 --batch_size=64 --ramp_steps=1500

One seed; the second command was not run.
"""

from functools import partial

from dlcore.experiment import Experiment
from dlcore.kits.semi_supervised import classifiers
from dlcore.main import main
from dlcore.semi_supervised import ict

experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=ict.learner,
    build=partial(classifiers.build, ict.learner),
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
