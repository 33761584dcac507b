"""Hard attention by REINFORCE, soft attention or a random glimpse: find the digit in a scene, and classify it.

python -m experiments.classification.hard_attention                     (looks 100 %, accuracy 96.6 %, 90 s of one core)
python -m experiments.classification.hard_attention --attention=soft                                          (not run)
python -m experiments.classification.hard_attention --attention=random --steps=600     (looks 7.9 %, accuracy 15.3 %)
python -m experiments.classification.hard_attention --clutter=4    (pieces of other digits lie about; not run)

A scene has 60 x 60 pixels of noise, of which a handwritten digit covers 16 x 16 (7.1 %). `looks` is the share of
glimpses whose center lies on the digit.
"""

from functools import partial

from dlcore.classification import hard_attention
from dlcore.data.digit_scenes import DigitScenes
from dlcore.evaluators.accuracy import log_classes
from dlcore.experiment import Experiment, Measure, Sanity, Steps
from dlcore.main import main
from dlcore.models.network import Network
from dlcore.optim import AdamW
from dlcore.report.glimpses import glimpse_panels
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=hard_attention.learner,
    data=DigitScenes(scene_size=60, clutter=0, num_scenes=8000, num_test_scenes=2000),
    network=Network(
        partial(hard_attention.GlimpseNetwork, grid=12, width=16), of_data=("num_classes",), prefix="network"
    ),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.01),
    length=Steps(1200, batch_size=64, eval_every=300, select="best"),
    measures=[Measure("accuracy")],
    report=[glimpse_panels],
    sanity=Sanity(expected_loss=log_classes),
    smoke={
        **few_steps(4),
        "eval_batch_size": 8,
        "scene_size": 24,
        "num_scenes": 64,
        "num_test_scenes": 32,
        "network.grid": 4,
        "network.width": 4,
    },
)

if __name__ == "__main__":
    main(experiment)
