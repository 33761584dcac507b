"""Adversarial training: a classifier that withstands small changes of its input.

python -m experiments.adversarial.training                     (digits, PGD training: 68.2 %, clean 96.0 %)
python -m experiments.adversarial.training --defense=standard   (the twin without a defense: 23.2 %, clean 92.4 %)
python -m experiments.adversarial.training --defense=fast       (63.0 %, clean 96.6 %)
python -m experiments.adversarial.training --defense=trades     (73.0 %, clean 94.6 %)

`robust_accuracy` is the share of test images that are right before and after PGD of 40 steps from a random start,
within `--epsilon` of each pixel (images in [0, 1]); `max_change` is the largest change that the attack made.
`--early_stop` ends training where it falls, as fast FGSM's does when it overfits to its own attack.

References: Madry et al. 2017, arXiv:1706.06083; Wong, Rice & Kolter 2020, arXiv:2001.03994; Zhang et al. 2019,
arXiv:1901.08573.
"""

from functools import partial

from dlcore.adversarial import training
from dlcore.data.images import Images, Resizing
from dlcore.evaluators import attacked_images
from dlcore.evaluators.accuracy import log_classes
from dlcore.evaluators.attacked_images import RobustAccuracy
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.report.prediction import ClassifyImages
from dlcore.weights.start import ClassifierWeights

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(training.learner, defense="pgd", epsilon=0.15, attack_steps=10),
    data=Images("digits", valid_fraction=0.1, resizing=Resizing()),
    network=Zoo("small_cnn"),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.0),
    length=Epochs(40, batch_size=64, eval_every=200, select="best"),
    measures=[RobustAccuracy()],
    report=[attacked_images.panels],
    use=ClassifyImages(),
    start=ClassifierWeights(),
    sanity=Sanity(expected_loss=log_classes, plain={"defense": "standard", "weight_decay": 0.0}, overfit=1e-2),
    smoke={"steps": 4, "batch_size": 32, "eval_every": 4, "eval_batch_size": 500, "attack_steps": 2, "eval_steps": 3},
)

if __name__ == "__main__":
    main(experiment)
