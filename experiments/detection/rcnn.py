"""Detect colored shapes with R-CNN: a call of the backbone for every region of selective search.

python -m experiments.detection.rcnn        (mAP 0.418, mAP@.5 0.533, 12 minutes on one core)
python -m experiments.detection.rcnn --classifier=svm        (an SVM a class in place of the softmax; not run)
python -m experiments.detection.rcnn --max_proposals=120 --segmentation_scales=50,100,200        (more regions; not run)

Selective search takes 0.2 processor seconds a scene before training starts. How many training boxes its regions find
is printed. `experiments.studies.rcnn_lineage` compares R-CNN with its successors.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import rcnn, two_stage
from dlcore.detection.proposals import RegionProposals
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
    technique=partial(two_stage.learner, box_batch_size_per_image=24, box_bg_iou_thresh=0.3, detections_per_img=30),
    data=BoxImages(
        "scenes",
        image_size=(96, 96),
        num_scenes=1000,
        flip="both",
        resizing=None,
        mixing=None,
        proposals=RegionProposals(max_proposals=60, segmentation_scales=(50.0, 100.0)),
    ),
    network=OnBackbone(
        partial(rcnn.RCNN, region_size=32, box_channels=128),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(
        learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.05, clip_norm=5.0, ema=0.99
    ),
    length=Epochs(8, batch_size=32, eval_every=500, eval_batch_size=16, select="last"),
    measures=[BoxMAP()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={
        **BOXES,
        "num_scenes": 10,
        "batch_size": 4,
        "max_proposals": 10,
        "segmentation_scales": (100.0,),
        "image_size": (48, 48),
        "rcnn.region_size": 16,
        "rcnn.box_channels": 16,
        "box_batch_size_per_image": 6,
        "detections_per_img": 10,
    },
)

if __name__ == "__main__":
    main(experiment)
