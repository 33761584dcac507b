"""SupCon: learn features by a contrastive loss whose positives are all images of the same label.

python -m experiments.self_supervised.supcon      (k-NN 99.1 %, three seeds, untrained 82.0; rank 19.8, untrained 7.6)

It uses the labels of all training images: compare its k-NN with those of techniques that use none.
"""

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import supcon
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.unlabeled_images import SiameseViews


class LabeledViews(SiameseViews):
    """Two views of each image, with its label."""

    uses_labels = True


experiment = Experiment(
    __file__,
    __doc__,
    supcon.learner,
    task=LabeledViews(),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"head.predictor_features": 0, "steps": 400, "batch_size": 128},
    smoke={**SMOKE, "head.hidden_features": 8, "head.proj_dim": 4},
)

if __name__ == "__main__":
    main(experiment)
