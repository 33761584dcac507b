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

from dlcore.adversarial import training
from dlcore.experiment import Experiment, Range
from dlcore.experiment.setting import Setting
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.tasks.attacked_images import AttackedImages
from dlcore.weights.start import CLASSIFIER

experiment = Experiment(
    __file__,
    __doc__,
    training.learner,
    task=AttackedImages(),
    optimizer=AdamW(weight_decay=0.0),
    settings={
        **CLASSIFIER,
        "early_stop": Setting(
            None,
            "fall of the robust accuracy on validation images below its best, as a fraction, that ends training",
            float | None,
            Range(0.001, 1),
        ),
    },
    defaults={
        "epsilon": 0.15,
        "attack_steps": 10,
        "epochs": 40.0,
        "batch_size": 64,
        "eval_every": 200,
        "select": "best",
    },
    smoke={"steps": 4, "batch_size": 32, "eval_every": 4, "eval_batch_size": 500, "attack_steps": 2, "eval_steps": 3},
)

if __name__ == "__main__":
    main(experiment)
