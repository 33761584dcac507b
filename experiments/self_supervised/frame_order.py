"""Frame-order verification: learn features by telling whether three frames of a clip are in order.

python -m experiments.self_supervised.frame_order              (pretext 100 %; k-NN 60.4 %, untrained 31.6 %; 12 min)
python -m experiments.self_supervised.frame_order --model.width=16 --num_clips=8000 --steps=4000             (not run)

The clips show a colored shape that moves over a textured ground. Features are those of single frames, judged by what
they say of the shape and its color, which the pretext never names. With `--stride=1` the order was not learnt in 1,000
steps (50.6 %).
"""

from dlcore.data.clips import clips
from dlcore.data.scenes import SHAPES
from dlcore.data.shape_grid import COLORS
from dlcore.data.source import Source
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import frame_order
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.pretext import PretextClips

FRAMES, SIZE = 8, 32


class OrderedFrames(PretextClips):
    """Three frames of a clip, in order or not."""

    dataset = "clips"
    frame_classes = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)

    def clips(self, count, seed):
        """Draw clips; `image` is the middle frame and `label` the color and shape."""
        arrays = clips(count, seed, frames=FRAMES, size=SIZE).arrays
        frames = {"clip": arrays["clip"], "image": arrays["clip"][:, FRAMES // 2], "label": arrays["appearance"]}
        return Source(frames, class_names=self.frame_classes, name="clips of a moving shape")

    def num_classes(self, setup):
        return frame_order.NUM_CLASSES

    def pretext(self, flags):
        return frame_order.frame_order(**flags.group("learner"))

    def class_names(self, flags):
        return ("out of order", "in order")


experiment = Experiment(
    __file__,
    __doc__,
    frame_order.learner,
    task=OrderedFrames(),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"stride": 3, "head.hidden": 256, "head.side": 4, "steps": 400, "batch_size": 64},
    smoke={**SMOKE, "num_clips": 150},
)

if __name__ == "__main__":
    main(experiment)
