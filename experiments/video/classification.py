"""Classify clips with networks that join time early, late, slowly, by an LSTM, or not at all.

python -m experiments.video.classification
python -m experiments.video.classification --net.fusion=single --task=appearance
python -m experiments.video.classification --net.fusion=lstm --task=order

A shape moves over a textured ground that wraps around. `--task` says what its label is: the direction, which no single
frame shows; the color, which each shows; or right against left, of which each is the other with its frames in reverse.
Training draws a clip of each video anew at each step; the test averages logits over `--views` clips of each video.
"""

import functools
import math

import jax.numpy as jnp

from dlcore.classification import supervised
from dlcore.experiment import Experiment, Setting, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import FlagError
from dlcore.kits import optimizer, video
from dlcore.learner import Range
from dlcore.main import main
from dlcore.video.clip_sampling import AverageOverClips, random_clip
from dlcore.video.fusion import ClipClassifier


def check(flags: Flags) -> None:
    if flags.stride * (flags.clip_length - 1) + 1 > flags.frames:
        raise FlagError(
            f"clip_length={flags.clip_length}: with stride {flags.stride} longer than a video of {flags.frames} "
            f"frames; allowed: at most {(flags.frames - 1) // flags.stride + 1}"
        )


def build(setup: Setup):
    flags = setup.flags
    net = ClipClassifier(setup.spec["num_classes"], dtype=setup.dtype, **flags.group("net"))
    learner = supervised.learner(
        model=AverageOverClips(net, flags.clip_length, flags.stride, flags.views),
        optimizer=optimizer.build(setup),
        preprocess=lambda videos: videos.astype(jnp.float32) / 127.5 - 1,
        augment=functools.partial(random_clip, length=flags.clip_length, stride=flags.stride),
        axis=setup.axis,
        **flags.group("learner"),
    )
    return optimizer.averaged(learner, setup)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=supervised.learner,
    data=video.drawn_clips,
    build=build,
    modules={"net": ClipClassifier},
    settings={
        **video.SETTINGS,
        "clip_length": Setting(6, "frames of a clip", limits=Range(1, 64), essential=True),
        "stride": Setting(1, "from frame to frame of a clip, in frames of the video", limits=Range(1, 16)),
        "views": Setting(3, "clips of each test video, whose logits are averaged", limits=Range(1, 30)),
        **optimizer.SETTINGS,
    },
    defaults={"epochs": 10.0, "batch_size": 64, "eval_every": 100, "learning_rate": 3e-3},
    smoke={
        "steps": 3,
        "num_clips": 40,
        "frames": 4,
        "clip_length": 3,
        "views": 2,
        "batch_size": 8,
        "eval_every": 3,
        "net.width": 4,
        "net.hidden": 8,
    },
    expected_loss=lambda setup: math.log(setup.spec["num_classes"]),
    plain={"label_smoothing": 0.0, "l2": 0.0, "weight_decay": 0.0},
    regularizer="l2",
    overfit=1e-2,
    check=check,
    example=video.example,
    panels=video.classification_panels,
    schedule=optimizer.schedule,
)

if __name__ == "__main__":
    main(experiment)
