"""Classify voxel grids with 3-D convolutions (VoxNet): solids that a program draws, or ModelNet10.

python -m experiments.vision3d.voxel_classifier                     (94.5 % in a minute on two cores)
python -m experiments.vision3d.voxel_classifier --data_dir=D        (ModelNet10: 86.9 %)

The solids are six kinds of random extent, position, yaw and tilt. D holds modelnet10_train.npz and
modelnet10_test.npz, or the original tree of .off files; a voxel is occupied where a point of the cloud lies in it.
Training grids are turned by random quarters about the vertical axis. The number to beat is the label of the training
grid that differs in the fewest voxels: 71.4 % of the solids, 84.0 % of ModelNet10.
"""

import math

import jax.numpy as jnp

from dlcore.classification import supervised
from dlcore.experiment import Experiment, Setting, Setup
from dlcore.kits.images import labeled_images
from dlcore.kits.training import optimizer
from dlcore.kits.vision3d import voxels
from dlcore.main import main
from dlcore.vision3d.voxnet import VoxNet, quarter_turn


def build(setup: Setup):
    flags = setup.flags
    learner = supervised.learner(
        model=VoxNet(setup.spec["num_classes"], dtype=setup.dtype, **flags.group("voxnet")),
        optimizer=optimizer.build(setup),
        preprocess=lambda grids: grids.astype(jnp.float32),
        augment=quarter_turn if flags.quarter_turns else None,
        **flags.group("learner"),
    )
    return optimizer.evaluate_ema(learner, setup)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=supervised.learner,
    data=voxels.grids,
    build=build,
    modules={"voxnet": VoxNet},
    settings={
        **voxels.SETTINGS,
        "valid_fraction": labeled_images.SETTINGS["valid_fraction"],
        "data_dir": Setting(None, "folder of ModelNet; by default solids are drawn", str | None, essential=True),
        "quarter_turns": Setting(True, "turn training grids about the vertical axis by 0, 90, 180 or 270 degrees"),
        **optimizer.SETTINGS,
    },
    defaults={"epochs": 15.0, "batch_size": 64, "eval_every": 100, "voxnet.features": 16},
    smoke={
        "steps": 3,
        "num_solids": 40,
        "resolution": 8,
        "batch_size": 8,
        "eval_every": 3,
        "voxnet.features": 4,
        "voxnet.hidden": 8,
    },
    expected_loss=lambda setup: math.log(setup.spec["num_classes"]),
    plain={"quarter_turns": False, "label_smoothing": 0.0, "l2": 0.0, "weight_decay": 0.0, "voxnet.dropout": 0.0},
    regularizer="l2",
    overfit=1e-2,
    check=voxels.check,
    panels=voxels.classification_panels,
    schedule=optimizer.schedule,
)

if __name__ == "__main__":
    main(experiment)
