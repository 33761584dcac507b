"""Detect colored shapes, or the classes of a data set in COCO's format, with RT-DETR: queries are the best proposals.

python -m experiments.detection.rt_detr                         (mAP 87.8 %, AP50 98.4 %; 1,500 steps in 22 min)
python -m experiments.detection.rt_detr --epochs=2 --eval_every=1000    (250 steps: mAP 3.6 %, AP50 7.8 %)
python -m experiments.detection.rt_detr --dataset=coco --data_dir=D --image_size=224,320 --batch_size=8 --epochs=72 \\
    --rt_detr.num_queries=100 --eval_every=512    (not run)

For the last D is as for experiments.detection.fcos, and the sides are multiples of 32. Proposals of the encoder,
denoising queries and a varifocal loss learn in fewer steps: experiments.detection.detr has an mAP of 76.7 % after 4,500
steps on the same scenes, three times as many, and of 0.03 % after its first 250. No detection has 0. The numbers are of
one seed, on one core with other jobs. The published form has the fields' defaults in
dlcore.detection.rt_detr; `dlcore.pretrained.from_pretrained` reads its weights.
"""

from functools import partial

from dlcore.data.box_images import PLAIN, BoxImages
from dlcore.detection import rt_detr
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
    technique=partial(rt_detr.learner, detections_per_img=12),
    data=BoxImages("scenes", image_size=(96, 96), num_scenes=4000, flip="both"),
    network=OnBackbone(
        partial(
            rt_detr.RTDETR,
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
        ),
        backbone=Zoo("resnet8_cifar", {"stages": (1, 1, 1, 1), "stem_stride": 2, "width": 16}),
        adaptation=DenseAdaptation(),
        prefix="rt_detr",
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
        "rt_detr.features": 16,
        "rt_detr.hidden_features": 16,
        "rt_detr.encoder_features": 16,
        "rt_detr.encoder_hidden_features": 16,
        "rt_detr.decoder_layers": 1,
        "rt_detr.num_denoising": 4,
    },
)

if __name__ == "__main__":
    main(experiment)
