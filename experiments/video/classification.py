"""Classify clips with networks that join time early, late, slowly, by an LSTM, by optical flow, or not at all.

python -m experiments.video.classification
python -m experiments.video.classification --net.fusion=single --task=appearance
python -m experiments.video.classification --net.fusion=lstm --task=order
python -m experiments.video.classification --network=two_stream --two_stream.levels=1 --auxiliary_weight=1 --epochs=25
python -m experiments.video.classification --network=c3d                           (C3D; not run)
python -m experiments.video.classification --network=slowfast                 (SlowFast; not run)
python -m experiments.video.classification --network=r3d_18 --resnet_width=8
python -m experiments.video.classification --inflate_from=RUN_DIR   (I3D: of a run with --net.fusion=single)
python -m experiments.video.classification --data_dir=FOLDER --size=112 --clip_length=16 --short=loop
python -m experiments.video.classification --mode=predict --run=RUN_DIR --input=clip.mp4

A shape moves over a textured ground that wraps around. `--task` says what its label is: the direction, which no single
frame shows; the color, which each shows; or right against left, of which each is the other with its frames in reverse.
Training takes a clip of each video, whose start is a function of (video, epoch, seed); the test averages logits over
`--views` clips of each video, by its id. `--data_dir` reads own videos, one folder a class: folders of frames, GIFs, or
video files.
"""

import math

import jax.numpy as jnp

from dlcore.classification import supervised
from dlcore.evaluators.videos import accuracy_by_video
from dlcore.experiment import Experiment, Setup
from dlcore.kits.training import optimizer
from dlcore.kits.video import labeled_clips
from dlcore.main import main


def build(setup: Setup):
    flags = setup.flags
    learner = supervised.learner(
        model=labeled_clips.build_network(setup),
        optimizer=optimizer.build(setup),
        preprocess=lambda clips: clips.astype(jnp.float32) / 127.5 - 1,
        **flags.group("learner"),
    )
    return optimizer.evaluate_ema(learner, setup)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=supervised.learner,
    data=labeled_clips.data,
    build=build,
    modules=labeled_clips.MODULES,
    settings={
        **labeled_clips.SETTINGS,
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
    headline="accuracy_by_video",
    check=labeled_clips.check,
    inputs=labeled_clips.inputs,
    describe=labeled_clips.describe,
    evaluators=lambda setup, splits, split: [accuracy_by_video()],
    panels=labeled_clips.classification_panels,
    schedule=optimizer.schedule,
    start=labeled_clips.inflated_start,
)

if __name__ == "__main__":
    main(experiment)
