"""Pseudo-labels: semi-supervised learning on the network's own confident predictions.

python -m experiments.semi_supervised.pseudo_label                              (95.2 %, its twin 83.2 %)
python -m experiments.semi_supervised.pseudo_label --weighting=threshold
python -m experiments.semi_supervised.pseudo_label --weighting=confidence
python -m experiments.semi_supervised.pseudo_label --generation=100           (self-training: labels in rounds)
python -m experiments.semi_supervised.pseudo_label --dataset=mnist --data_dir=D --augment=auto --steps=3000 \\
    --labels_per_class=10 --batch_size=64 --ramp_steps=1500                     (95.5 %, its twin 86.2 %)

One seed; the other commands were not run.
"""

from functools import partial

from dlcore.experiment import Experiment
from dlcore.kits.semi_supervised import classifiers
from dlcore.main import main
from dlcore.semi_supervised import pseudo_label

experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=pseudo_label.learner,
    build=partial(classifiers.build, pseudo_label.learner),
    defaults={
        **classifiers.DEFAULTS,
        "ramp_steps": 200,
        "unlabeled_ratio": 4,
        "steps": 400,
    },
    smoke=classifiers.SMOKE,
    loss_tolerance=0.02,  # the weight of its guesses starts at e^-5 of the full one
    **classifiers.SHARED,
)

if __name__ == "__main__":
    main(experiment)
