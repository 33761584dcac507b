"""Barlow Twins: learn features whose projections' cross-correlation between two views is the identity matrix.

python -m experiments.self_supervised.barlow_twins  (k-NN 95.2 %, three seeds, untrained 82.0; rank 17.6, untrained 7.6)

The report tells whether the features collapse by their effective rank (`rank`, beside `rank_untrained`).
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import barlow_twins
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.unlabeled_images import SiameseViews

experiment = Experiment(
    __file__,
    __doc__,
    barlow_twins.learner,
    task=SiameseViews(),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"head.proj_dim": 256, "head.layers": 3, "head.predictor_features": 0, "steps": 500, "batch_size": 128},
    smoke={**SMOKE, "head.hidden_features": 8, "head.proj_dim": 4},
)

if __name__ == "__main__":
    main(experiment)
