"""Frame-order verification: learn features by telling whether three frames of a clip are in order.

python -m experiments.self_supervised.frame_order              (pretext 100 %; k-NN 60.4 %, untrained 31.6 %; 12 min)
python -m experiments.self_supervised.frame_order --model.width=16 --num_clips=8000 --steps=4000             (not run)

The clips show a colored shape that moves over a textured ground. Features are those of single frames, judged by what
they say of the shape and its color, which the pretext never names. With `--stride=1` the order was not learnt in 1,000
steps (50.6 %).
"""

import math
from functools import partial

from dlcore.data.clips import clips
from dlcore.data.scenes import SHAPES
from dlcore.data.shape_grid import COLORS
from dlcore.data.source import Source
from dlcore.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits
from dlcore.kits.self_supervised import pretext_classifiers
from dlcore.main import main
from dlcore.self_supervised import frame_order

FRAMES, SIZE = 8, 32


def data(flags: Flags) -> Splits:
    """Draw clips; `image` is the middle frame and `label` the color and shape."""
    names = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)

    def source(count: int, seed: int) -> Source:
        drawn = clips(count, seed, frames=FRAMES, size=SIZE).arrays
        arrays = {"clip": drawn["clip"], "image": drawn["clip"][:, FRAMES // 2], "label": drawn["appearance"]}
        return Source(arrays, class_names=names, name="clips of a moving shape")

    return pretext_classifiers.clip_splits(flags, source, "clips", names)


def build(setup: Setup):
    return pretext_classifiers.build(frame_order.learner, setup, frame_order.NUM_CLASSES)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=frame_order.learner,
    build=build,
    defaults={
        **pretext_classifiers.DEFAULTS,
        "stride": 3,
        "head.hidden": 256,
        "head.side": 4,
        "steps": 400,
        "batch_size": 64,
    },
    expected_loss=lambda setup: math.log(frame_order.NUM_CLASSES),
    panels=partial(
        pretext_classifiers.panels,
        task=lambda flags: frame_order.frame_order(**flags.group("learner")),
        names=("out of order", "in order"),
    ),
    **{
        **pretext_classifiers.CLIPS,
        "data": data,
    },
)

if __name__ == "__main__":
    main(experiment)
