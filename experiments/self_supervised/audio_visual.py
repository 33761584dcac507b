"""Audio-visual correspondence: learn features by telling whether a sound belongs to a clip.

python -m experiments.self_supervised.audio_visual              (pretext 99 %; k-NN 98.6 %, untrained 85.0 %; 12 min)
python -m experiments.self_supervised.audio_visual --num_clips=8000 --model.width=16 --steps=4000            (not run)

A ball bounces in a box and clicks at each contact. Features are those of single frames, judged by which wall the ball
touches, which the pretext never names.
"""

import math
from functools import partial

import numpy as np

from dlcore.data.bounces import CONTACTS, bounces
from dlcore.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits
from dlcore.kits.self_supervised import pretext_classifiers
from dlcore.kits.training import backbone
from dlcore.main import main
from dlcore.self_supervised import audio_visual

FRAMES, SIZE, SAMPLES = 8, 24, 16


def data(flags: Flags) -> Splits:
    """Draw clips; `image` is the middle frame and `label` the wall that is touched in it."""

    return pretext_classifiers.clip_splits(
        flags, partial(bounces, frames=FRAMES, size=SIZE, samples=SAMPLES), "bounces", CONTACTS
    )


def build(setup: Setup):
    encoder = backbone.build(setup, num_classes=1)
    model = audio_visual.AudioVisual(encoder, **setup.flags.group("head"))
    return pretext_classifiers.build(audio_visual.learner, setup, model=model)


def picture(pieces: dict) -> np.ndarray:
    """Frames with a bar below that is the brighter, the louder."""
    frames, loud = pieces["frames"], np.clip(np.abs(pieces["sound"]).max(-1), 0, 1)
    bar = np.broadcast_to(loud[:, :, None, None, None], (*frames.shape[:2], 4, *frames.shape[3:]))
    return np.concatenate([frames, bar], 2)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=audio_visual.learner,
    build=build,
    defaults={**pretext_classifiers.DEFAULTS, "steps": 1000, "batch_size": 64},
    expected_loss=lambda setup: math.log(audio_visual.NUM_CLASSES),
    panels=partial(
        pretext_classifiers.panels,
        task=lambda flags: audio_visual.correspondence(flags.shift),
        names=("displaced", "its own"),
        picture=picture,
    ),
    **{
        **pretext_classifiers.CLIPS,
        "modules": {"head": audio_visual.AudioVisual},
        "data": data,
    },
)

if __name__ == "__main__":
    main(experiment)
