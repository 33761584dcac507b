"""Segment colored shapes, or your images and masks, without downsampling; here below trees on regions.

python -m experiments.segmentation.full_resolution        (mean IoU 0.201: it sees parts of a shape only; 7 min)
python -m experiments.segmentation.full_resolution --full.layers=16        (not run)

Each layer of L widens what a pixel sees by 2, to 1 + 2 L: 17 pixels with 8 layers, where a shape has up to 48, so that
the network sees parts of it. What each layer costs: `--mode=profile`. Your own images: as for
experiments.segmentation.unet.
"""

from functools import partial

from dlcore.data.mask_images import PLAIN, MaskImages
from dlcore.evaluators.accuracy import log_classes
from dlcore.experiment import Experiment, Sanity, Steps
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AveragedAdamW
from dlcore.report import mask_results
from dlcore.report.mask_results import ClassIoU, SegmentImages
from dlcore.segmentation import semantic
from dlcore.segmentation.full_resolution import FullResolutionNet
from dlcore.weights.start import ModuleWeights
from experiments.smoke import MASKS

experiment = Experiment(
    __file__,
    __doc__,
    technique=semantic.learner,
    data=MaskImages("scenes", num_scenes=4000, class_weights="none", flip="auto"),
    network=Network(partial(FullResolutionNet, layers=8, channels=16), of_data=("num_classes",), prefix="full"),
    optimizer=AveragedAdamW(learning_rate=4e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Steps(400, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[ClassIoU()],
    report=[mask_results.panels],
    use=SegmentImages(),
    start=ModuleWeights(),
    sanity=Sanity(expected_loss=log_classes, tolerance=0.25, plain=PLAIN),
    defaults={"epochs": 8.0},  # not used beside steps, but in the identity of runs
    smoke={**MASKS, "full.layers": 2, "full.channels": 4},
)

if __name__ == "__main__":
    main(experiment)
