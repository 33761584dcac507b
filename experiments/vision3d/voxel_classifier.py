"""Classify voxel grids with 3-D convolutions (VoxNet): solids that a program draws, or ModelNet10.

python -m experiments.vision3d.voxel_classifier                     (94.5 % in a minute on two cores)
python -m experiments.vision3d.voxel_classifier --data_dir=D        (ModelNet10: 86.9 %)

The solids are six kinds of random extent, position, yaw and tilt. D holds modelnet10_train.npz and
modelnet10_test.npz, or the original tree of .off files; a voxel is occupied where a point of the cloud lies in it.
Training grids are turned by random quarters about the vertical axis. The number to beat is the label of the training
grid that differs in the fewest voxels: 71.4 % of the solids, 84.0 % of ModelNet10.
"""

from dlcore.classification import supervised
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.voxels import VoxelGrids
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    supervised.learner,
    task=VoxelGrids(),
    optimizer=AveragedAdamW(),
    defaults={"epochs": 15.0, "batch_size": 64, "eval_every": 100, "voxnet.features": 16},
    smoke={**few_steps(3), "num_solids": 40, "resolution": 8, "voxnet.features": 4, "voxnet.hidden": 8},
)

if __name__ == "__main__":
    main(experiment)
