"""Generate the voxels of a solid from one image, by 3-D deconvolution or by voxel tubes.

python -m experiments.vision3d.voxel_generator                              (IoU 0.647)
python -m experiments.vision3d.voxel_generator --generator.decoder=tubes    (IoU 0.649)

Each image shows a solid of six kinds, of random extent, position, yaw and tilt; what the camera does not see has to be
inferred. The measure is the mean IoU of occupied voxels, beside that of the mean shape, 0.448, and of retrieval, the
solid of the most similar training image, 0.549.
"""

from dlcore.experiment import Epochs, Experiment, Measure, Sanity
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AveragedAdamW
from dlcore.vision3d import voxel_generation
from dlcore.vision3d.voxel_generation import VoxelGenerator
from dlcore.vision3d.voxel_grids import VoxelImages, generated_panels
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=voxel_generation.learner,
    data=VoxelImages(num_solids=2000, resolution=16),
    network=Network(VoxelGenerator, of_data=("resolution",), prefix="generator"),
    optimizer=AveragedAdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.01),
    length=Epochs(20, batch_size=32, eval_every=200),
    measures=[Measure("iou")],
    report=[generated_panels],
    sanity=Sanity(plain={"weight_decay": 0.0, "ema": None}),
    smoke={**few_steps(3), "num_solids": 40, "resolution": 8, "generator.width": 2, "generator.latent_dim": 8},
)

if __name__ == "__main__":
    main(experiment)
