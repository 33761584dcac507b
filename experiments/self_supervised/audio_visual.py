"""Audio-visual correspondence: learn features by telling whether a sound belongs to a clip.

python -m experiments.self_supervised.audio_visual              (pretext 99 %; k-NN 98.6 %, untrained 85.0 %; 12 min)
python -m experiments.self_supervised.audio_visual --num_clips=8000 --model.width=16 --steps=4000            (not run)

A ball bounces in a box and clicks at each contact. Features are those of single frames, judged by which wall the ball
touches, which the pretext never names.
"""

import numpy as np

from dlcore.data.bounces import CONTACTS, bounces
from dlcore.experiment import Experiment
from dlcore.kits.training import backbone
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.self_supervised import audio_visual
from dlcore.tasks.encoders import SMOKE
from dlcore.tasks.pretext import PretextClips


class SoundAndFrames(PretextClips):
    """A clip with its own sound, or with a displaced one."""

    modules = {"head": audio_visual.AudioVisual}
    dataset = "bounces"
    frame_classes = CONTACTS

    def clips(self, count, seed):
        """Draw clips; `image` is the middle frame and `label` the wall that is touched in it."""
        return bounces(count, seed, frames=8, size=24, samples=16)

    def num_classes(self, setup):
        return audio_visual.NUM_CLASSES

    def network(self, setup):
        return audio_visual.AudioVisual(backbone.build(setup, num_classes=1), **setup.flags.group("head"))

    def pretext(self, flags):
        return audio_visual.correspondence(flags.shift)

    def class_names(self, flags):
        return ("displaced", "its own")

    def picture(self, pieces):
        """Frames with a bar below that is the brighter, the louder."""
        frames, loud = pieces["frames"], np.clip(np.abs(pieces["sound"]).max(-1), 0, 1)
        level = np.broadcast_to(loud[:, :, None, None, None], (*frames.shape[:2], 4, *frames.shape[3:]))
        return np.concatenate([frames, level], 2)


experiment = Experiment(
    __file__,
    __doc__,
    audio_visual.learner,
    task=SoundAndFrames(),
    optimizer=AdamW(weight_decay=1e-4),
    defaults={"steps": 1000, "batch_size": 64},
    smoke={**SMOKE, "num_clips": 150},
)

if __name__ == "__main__":
    main(experiment)
