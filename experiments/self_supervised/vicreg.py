"""VICReg: learn features by invariance to views, and by variance and covariance of their projections.

python -m experiments.self_supervised.vicreg      (k-NN 98.1 %, three seeds, untrained 82.0; rank 19.0, untrained 7.6)
python -m experiments.self_supervised.vicreg --variance_weight=0      (collapse, see experiments.studies.collapse)

The report tells whether the features collapse by their effective rank (`rank`, beside `rank_untrained`).
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import vicreg
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.unlabeled_images import SiameseViews

experiment = Experiment(
    __file__,
    __doc__,
    vicreg.learner,
    task=SiameseViews(),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"head.proj_dim": 256, "head.layers": 3, "head.predictor_features": 0, "steps": 500, "batch_size": 128},
    smoke={**SMOKE, "head.hidden_features": 8, "head.proj_dim": 4},
)

if __name__ == "__main__":
    main(experiment)
