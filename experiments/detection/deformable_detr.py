"""Detect colored shapes, or the classes of a data set in COCO's format, with Deformable DETR.

python -m experiments.detection.deformable_detr        (mAP 82.7 %, AP50 95.6 %; 1,500 steps in 44 min on one core)
python -m experiments.detection.deformable_detr --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=100 --deformable_detr.num_queries=100 --eval_every=512    (not run)

For the second D is as for experiments.detection.fcos. Queries look at a few points of a pyramid, and each layer refines
the boxes of the one before. The published form has the fields' defaults in dlcore.detection.deformable_detr;
`dlcore.pretrained.from_pretrained` reads its weights.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import deformable_detr
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
    technique=partial(deformable_detr.learner, detections_per_img=12),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both"),
    network=OnBackbone(
        partial(
            deformable_detr.DeformableDETR,
            stages=("stage2", "stage3", "stage4"),
            num_levels=3,
            num_queries=24,
            features=64,
            num_heads=4,
            hidden_features=128,
            encoder_layers=1,
            decoder_layers=2,
            box_refine=True,
            dropout_rate=0.0,
        ),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
    ),
    optimizer=AveragedAdamW(
        learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=1e-4, clip_norm=0.1, ema=0.99
    ),
    length=Epochs(12, batch_size=32, eval_every=500, eval_batch_size=64, select="last"),
    measures=[BoxMAP()],
    report=[box_results.panels],
    use=DetectObjects(),
    start=ModuleWeights(),
    sanity=Sanity(plain=PLAIN),
    smoke={
        **BOXES,
        "detections_per_img": 10,
        "deformable_detr.features": 32,
        "deformable_detr.hidden_features": 16,
        "deformable_detr.decoder_layers": 1,
    },
)

if __name__ == "__main__":
    main(experiment)
