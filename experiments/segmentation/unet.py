"""Segment colored shapes, or your own images and masks, with a U-Net.

python -m experiments.segmentation.unet        (mean IoU 0.965; after 8 epochs 0.921)
python -m experiments.segmentation.unet --dataset=folder --data_dir=D --batch_size=8 --epochs=60 \\
    --unet.widths=24,48,96,128,128 --eval_every=460        (CamVid at 180 x 240: mean IoU 0.460, 59 min on one core)
python -m experiments.segmentation.unet --dataset=folder --data_dir=D --batch_size=8 --epochs=40 \\
    --unet.widths=24,48,96,128,128 --eval_every=460 --class_weights=median                 (CamVid: mean IoU 0.411)
python -m experiments.segmentation.unet --dataset=folder --data_dir=D --batch_size=8 --epochs=60 \\
    --unet.widths=24,48,96,128,128 --eval_every=460 --jitter=0.6 --zoom=0.5,2 --overlap=dice            (CamVid: 0.449)
python -m experiments.segmentation.unet --dataset=folder --data_dir=D --batch_size=8 --epochs=80 \\
    --unet.widths=24,48,96,128,128 --eval_every=460 --unet.stem_stride=1     (CamVid: 0.515; 12 min on a shared H100)
python -m experiments.segmentation.unet --run=RUN --mode=predict --input=IMAGES --output=FOLDER        (masks, overlays)

D holds train, val and test, folders or .zip files with images/ and masks/ of the same names, and classes.json with the
names of the classes; or the tree of Cityscapes or ADE20K. `--unet.stem_stride=1` computes at the full size too, at four
times the cost. Masks hold the number of each pixel's class, 255 for void; for others, such as 0 and 255, classes.json
has "values". Images are predicted at the size of training, at their own by `--own_size`.
"""

from functools import partial

from dlcore.data.mask_images import PLAIN, MaskImages
from dlcore.evaluators.accuracy import log_classes
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import Network
from dlcore.optim import AveragedAdamW
from dlcore.report import mask_results
from dlcore.report.mask_results import ClassIoU, SegmentImages
from dlcore.segmentation import semantic
from dlcore.segmentation.unet import UNet
from dlcore.weights.start import ModuleWeights
from experiments.smoke import MASKS

experiment = Experiment(
    __file__,
    __doc__,
    technique=semantic.learner,
    data=MaskImages("scenes", num_scenes=4000, class_weights="none", flip="auto"),
    network=Network(partial(UNet, widths=(16, 32, 64, 96), stem_stride=2), of_data=("num_classes",)),
    optimizer=AveragedAdamW(learning_rate=4e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(16, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[ClassIoU()],
    report=[mask_results.panels],
    use=SegmentImages(),
    start=ModuleWeights(),
    sanity=Sanity(expected_loss=log_classes, tolerance=0.25, plain=PLAIN),
    smoke={**MASKS, "unet.widths": (4, 8)},
)

if __name__ == "__main__":
    main(experiment)
