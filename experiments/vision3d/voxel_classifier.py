"""VoxNet: classify voxel grids, of drawn solids or ModelNet10, by 3-D convolutions; here below histograms.

python -m experiments.vision3d.voxel_classifier                     (94.5 % in a minute on two cores)
python -m experiments.vision3d.voxel_classifier --data_dir=D        (ModelNet10: 86.9 %)

The solids are six kinds of random extent, position, yaw and tilt. D holds modelnet10_train.npz and
modelnet10_test.npz, or the original tree of .off files; a voxel is occupied where a point of the cloud lies in it.
Training grids are turned by random quarters about the vertical axis. The number to beat is the label of the training
grid that differs in the fewest voxels: 71.4 % of the solids, 84.0 % of ModelNet10.
"""

from functools import partial

from dlcore.classification import supervised
from dlcore.evaluators.accuracy import log_classes
from dlcore.experiment import Epochs, Experiment, Measure, Sanity
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AveragedAdamW
from dlcore.vision3d.voxel_grids import VoxelGrids, grid_panels
from dlcore.vision3d.voxnet import VoxNet
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=supervised.learner,
    data=VoxelGrids(num_solids=2000, resolution=16, quarter_turns=True),
    network=Network(partial(VoxNet, features=16), of_data=("num_classes",), prefix="voxnet"),
    optimizer=AveragedAdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.05),
    length=Epochs(15, batch_size=64, eval_every=100),
    measures=[Measure("accuracy")],
    report=[grid_panels],
    sanity=Sanity(
        expected_loss=log_classes,
        plain={"quarter_turns": False, "label_smoothing": 0.0, "l2": 0.0, "weight_decay": 0.0, "voxnet.dropout": 0.0},
        regularizer="l2",
        overfit=1e-2,
    ),
    smoke={**few_steps(3), "num_solids": 40, "resolution": 8, "voxnet.features": 4, "voxnet.hidden": 8},
)

if __name__ == "__main__":
    main(experiment)
