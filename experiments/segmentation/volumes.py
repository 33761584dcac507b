"""Segment organs in volumes with a 3-D U-Net: patches in training, sliding windows with Gaussian weights in use.

python -m experiments.segmentation.volumes        (mean Dice 0.935; 1 min)
python -m experiments.segmentation.volumes --dataset=folder --data_dir=D --window=32,96,96 --unet.widths=32,64,128,256
python -m experiments.segmentation.volumes --run=RUN --mode=predict --input=SCANS --output=FOLDER        (label maps)

D holds images/ and labels/ with files of the same names: NIfTI (.nii, .nii.gz; `pip install -e '.[volumes]'`), or .npz
with `image` or `labels` and `spacing`, the depth, height and width of a voxel in mm. Scans are resampled to
`--spacing`, by default the median of the training scans. `--window` is the size of patches and windows in voxels.

The planted organs have Dice 0.98, 0.87 and 0.95, their surfaces a mean distance of 0.15 mm from the true ones, where a
voxel has 2 x 1 x 1 mm. The best interval of intensity of each organ has a mean Dice of 0.35. One seed.
"""

from functools import partial

from dlcore.evaluators.organ_distances import OrganDistances
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AveragedAdamW
from dlcore.report.scan_results import SegmentScans, panels
from dlcore.segmentation import volumes
from dlcore.segmentation.scans import ScansWithLabels, equal_classes_loss
from dlcore.segmentation.unet_3d import UNet3D
from experiments.smoke import few_steps

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(volumes.learner, window=(8, 16, 16)),
    data=ScansWithLabels("planted", num_volumes=200),
    network=Network(partial(UNet3D, widths=(8, 16, 32)), prefix="unet", of_data=("num_classes", "spacing")),
    optimizer=AveragedAdamW(learning_rate=3e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Steps(600, batch_size=8, eval_every=300, eval_batch_size=8, select="last"),
    measures=[OrganDistances()],
    report=[panels],
    use=SegmentScans(),
    sanity=Sanity(expected_loss=equal_classes_loss, tolerance=0.25, plain={"weight_decay": 0.0, "ema": None}),
    smoke={**few_steps(2, 4), "num_volumes": 10, "unet.widths": (4, 8)},
)

if __name__ == "__main__":
    main(experiment)
