"""Detect colored shapes, or the classes of a data set in COCO's format, with D-FINE: the decoder refines distributions.

python -m experiments.detection.d_fine                         (mAP 86.8 %, AP50 98.2 %; 1,500 steps in 23 min)
python -m experiments.detection.d_fine --distillation_weight=0    (without self-distillation: not run to the end)
python -m experiments.detection.d_fine --dataset=coco --data_dir=D --image_size=224,320 --batch_size=8 --epochs=72 \\
    --d_fine.num_queries=100 --eval_every=512    (not run)

For the last D is as for experiments.detection.fcos, and the sides are multiples of 32. Steps, images, backbone and the
sizes of the network are those of experiments.detection.rt_detr, which this page is to be compared with. The published
form has the fields' defaults in dlcore.detection.d_fine; `dlcore.pretrained.from_pretrained` reads its weights.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import d_fine
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
    technique=partial(d_fine.learner, detections_per_img=12),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both"),
    network=OnBackbone(
        partial(
            d_fine.DFINE,
            stages=("stage2", "stage3", "stage4"),
            num_queries=24,
            features=64,
            num_heads=4,
            hidden_features=128,
            decoder_layers=2,
            encoder_features=64,
            encoder_heads=4,
            encoder_hidden_features=128,
            expansion=0.5,
            num_denoising=12,
            num_points=(4, 4, 4),
            encoder_blocks=1,
            num_bins=16,
        ),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
        prefix="d_fine",
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
        "d_fine.features": 16,
        "d_fine.hidden_features": 16,
        "d_fine.encoder_features": 16,
        "d_fine.encoder_hidden_features": 16,
        "d_fine.decoder_layers": 2,
        "d_fine.num_denoising": 4,
    },
)

if __name__ == "__main__":
    main(experiment)
