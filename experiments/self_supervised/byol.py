"""BYOL: learn features by predicting a slow average of the same network, without labels and negatives.

python -m experiments.self_supervised.byol      (k-NN 92.7 %, three seeds, untrained 81.4; rank 15.5, 7.6)
python -m experiments.self_supervised.byol --head.predictor_features=0      (collapse, see experiments.studies.collapse)

The report tells whether the features collapse by their effective rank (`rank`, beside `rank_untrained`).
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import byol
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.unlabeled_images import PredictedViews

experiment = Experiment(
    __file__,
    __doc__,
    byol.learner,
    task=PredictedViews(target_momentum=0.9),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"head.predictor_features": 256, "steps": 1000, "batch_size": 64},
    smoke={**SMOKE, "head.hidden_features": 8, "head.proj_dim": 4, "head.predictor_features": 8},
)

if __name__ == "__main__":
    main(experiment)
