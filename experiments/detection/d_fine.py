"""Detect colored shapes, or the classes of a data set in COCO's format, with D-FINE: the decoder refines distributions.

python -m experiments.detection.d_fine                         (mAP 86.8 %, AP50 98.2 %; 1,500 steps in 23 min)
python -m experiments.detection.d_fine --distillation_weight=0    (without self-distillation: not run to the end)
python -m experiments.detection.d_fine --dataset=coco --data_dir=D --image_size=224,320 --batch_size=8 --epochs=72 \\
    --d_fine.num_queries=100 --eval_every=512    (not run)

For the last D is as for experiments.detection.fcos, and the sides are multiples of 32. Steps, images, backbone and the
sizes of the network are those of experiments.detection.rt_detr, which this page is to be compared with. The published
form has the fields' defaults in dlcore.detection.d_fine; `dlcore.models.from_pretrained` reads its weights.
"""

from functools import partial

from dlcore.detection import d_fine
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import SMOKE, QueryBoxes
from experiments.detection import rt_detr

SMALL = {**rt_detr.SMALL, "num_points": (4, 4, 4), "encoder_blocks": 1, "num_bins": 16}

experiment = Experiment(
    __file__,
    __doc__,
    d_fine.learner,
    task=QueryBoxes(modules={"d_fine": partial(d_fine.DFINE, **SMALL)}),
    optimizer=AveragedAdamW(weight_decay=1e-4, clip_norm=0.1),
    defaults={"epochs": 12.0, "learning_rate": 1e-3, "detections_per_img": 12},
    smoke={
        **SMOKE,
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
