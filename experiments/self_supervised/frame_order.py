"""Frame-order verification: learn features by telling whether frames are in order; here below k-NN on colors.

python -m experiments.self_supervised.frame_order              (pretext 100 %; k-NN 60.4 %, untrained 31.6 %; 12 min)
python -m experiments.self_supervised.frame_order --model.width=16 --num_clips=8000 --steps=4000             (not run)

The clips show a colored shape that moves over a textured ground. Features are those of single frames, judged by what
they say of the shape and its color, which the pretext never names. With `--stride=1` the order was not learnt in 1,000
steps (50.6 %).
"""

from functools import partial

from dlcore.data.clips import clips
from dlcore.data.frame_clips import FrameClips
from dlcore.data.scenes import SHAPES
from dlcore.data.shape_grid import COLORS
from dlcore.data.source import Source
from dlcore.evaluators.feature_measures import FeatureMeasures
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Zoo
from dlcore.optim import AdamW
from dlcore.self_supervised import frame_order
from dlcore.self_supervised.piece_network import Labels, PieceNetwork, log_labels
from dlcore.weights.start import BackboneWeights
from experiments.smoke import ENCODERS

FRAMES, SIZE = 8, 32
OBJECTS = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)


def draw(count: int, seed: int) -> Source:
    """Draw clips; `image` is the middle frame and `label` the color and shape."""
    arrays = clips(count, seed, frames=FRAMES, size=SIZE).arrays
    frames = {"clip": arrays["clip"], "image": arrays["clip"][:, FRAMES // 2], "label": arrays["appearance"]}
    return Source(frames, class_names=OBJECTS, name="clips of a moving shape")


experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(frame_order.learner, stride=3),
    data=FrameClips(draw, "clips", OBJECTS, num_clips=2000),
    network=PieceNetwork(
        Zoo("resnet8_cifar"),
        Labels(frame_order.frame_order, frame_order.NUM_CLASSES, ("out of order", "in order")),
        head={"hidden": 256, "side": 4},
    ),
    optimizer=AdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4),
    length=Steps(400, batch_size=64, eval_every=200, select="last"),
    measures=[FeatureMeasures(bank_size=5000, knn_k=20, fine_tune=(0.01, 0.1))],
    start=BackboneWeights(),
    sanity=Sanity(expected_loss=log_labels, tolerance=0.5),
    smoke={**ENCODERS, "num_clips": 150},
)

if __name__ == "__main__":
    main(experiment)
