"""Detect colored shapes, or the classes of a data set in COCO's format, with DETR: set prediction without NMS.

python -m experiments.detection.detr        (mAP 76.7 %, AP50 96.2 %; 47 min on a shared core)
python -m experiments.detection.detr --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 --epochs=300 \\
    --detr.num_queries=40 --eval_every=512    (not run)

For the second D is as for experiments.detection.fcos. DETR learns slowly: watch the curve of the mAP, and expect
several times the epochs of the other detectors. The settings are those that help on few images: auxiliary losses, a
gradient of norm 0.1 at most, norms in front of the branches, few queries (more than an image has objects), and no
dropout. The published form has the fields' defaults in dlcore.detection.detr.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import detr
from dlcore.evaluators import box_results
from dlcore.evaluators.box_measures import BoxMAP
from dlcore.evaluators.box_results import DetectObjects
from dlcore.evaluators.query_maps import QueryMaps
from dlcore.experiment import Epochs, Experiment, Sanity
from dlcore.main import main
from dlcore.models import OnBackbone, Zoo
from dlcore.optim import AveragedAdamW
from dlcore.weights.start import DenseAdaptation, ModuleWeights
from experiments.smoke import BOXES

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(detr.learner, detections_per_img=12),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both"),
    network=OnBackbone(
        partial(
            detr.DETR,
            stage="stage3",
            num_queries=12,
            features=96,
            num_heads=4,
            hidden_features=256,
            encoder_layers=2,
            decoder_layers=3,
            pre_norm=True,
            dropout_rate=0.0,
        ),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(
        learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4, clip_norm=0.1, ema=0.99
    ),
    length=Epochs(36, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[BoxMAP()],
    report=[box_results.panels, QueryMaps()],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={
        **BOXES,
        "detections_per_img": 10,
        "detr.features": 16,
        "detr.hidden_features": 16,
        "detr.encoder_layers": 1,
        "detr.decoder_layers": 1,
    },
)

if __name__ == "__main__":
    main(experiment)
