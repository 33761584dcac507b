"""SimSiam: learn features by predicting another view's projection, without labels, negatives and a slow target.

python -m experiments.self_supervised.simsiam      (k-NN 96.1 %, three seeds, untrained 81.4; rank 16.9, 7.6)
python -m experiments.self_supervised.simsiam --head.layers=3 --head.norm_output --head.predictor_features=32 \\
    --steps=1000                                                             (the paper's heads; k-NN 73.2 %)
python -m experiments.self_supervised.simsiam --nostop_gradient      (collapse, see experiments.studies.collapse)

The report tells whether the features collapse by their effective rank (`rank`, beside `rank_untrained`).
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import simsiam
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.unlabeled_images import SiameseViews

experiment = Experiment(
    __file__,
    __doc__,
    simsiam.learner,
    task=SiameseViews(),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"head.predictor_features": 256, "steps": 1500, "batch_size": 64},
    smoke={**SMOKE, "head.hidden_features": 8, "head.proj_dim": 4, "head.predictor_features": 8},
)

if __name__ == "__main__":
    main(experiment)
