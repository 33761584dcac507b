"""Detect colored shapes, or the classes of a data set in COCO's format, with CenterNet: objects are peaks of heat maps.

python -m experiments.detection.center_net        (mAP 84.8 %, AP50 99.5 %; 6 min)
python -m experiments.detection.center_net --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=30 --center_net.channels=64 --learning_rate=0.002 --eval_every=128        (BCCD's blood cells: not run)

For the second D is as for experiments.detection.fcos. There is no suppression of boxes: `--score_thresh` and
`--detections_per_img` alone choose among the peaks. Two objects of one class whose centers share a cell of 4 x 4 pixels
are one peak.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import center_net
from dlcore.evaluators import box_results
from dlcore.evaluators.box_measures import BoxMAP
from dlcore.evaluators.box_results import DetectObjects
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.optim import AveragedAdamW
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.smoke import BOXES

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(center_net.learner, detections_per_img=50),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both"),
    network=OnBackbone(
        partial(center_net.CenterNet, stages=("stage2", "stage3", "stage4"), channels=48),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(learning_rate=4e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, ema=0.99),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[BoxMAP()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={**BOXES, "detections_per_img": 10, "center_net.channels": 8},
)

if __name__ == "__main__":
    main(experiment)
