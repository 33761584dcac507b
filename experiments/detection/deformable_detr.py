"""Detect colored shapes, or the classes of a data set in COCO's format, with Deformable DETR.

python -m experiments.detection.deformable_detr        (mAP 82.7 %, AP50 95.6 %; 1,500 steps in 44 min on one core)
python -m experiments.detection.deformable_detr --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 \\
    --epochs=100 --deformable_detr.num_queries=100 --eval_every=512    (not run)

For the second D is as for experiments.detection.fcos. Queries look at a few points of a pyramid, and each layer refines
the boxes of the one before. The published form has the fields' defaults in dlcore.detection.deformable_detr;
`dlcore.models.from_pretrained` reads its weights.
"""

from functools import partial

from dlcore.detection import deformable_detr
from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import SMOKE, QueryBoxes

SMALL = {
    "stages": ("stage2", "stage3", "stage4"),
    "num_levels": 3,
    "num_queries": 24,
    "features": 64,
    "num_heads": 4,
    "hidden_features": 128,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "box_refine": True,
    "dropout_rate": 0.0,
}

experiment = Experiment(
    __file__,
    __doc__,
    deformable_detr.learner,
    task=QueryBoxes(modules={"deformable_detr": partial(deformable_detr.DeformableDETR, **SMALL)}),
    optimizer=AveragedAdamW(weight_decay=1e-4, clip_norm=0.1),
    defaults={"epochs": 12.0, "learning_rate": 1e-3, "detections_per_img": 12},
    smoke={
        **SMOKE,
        "detections_per_img": 10,
        "deformable_detr.features": 32,
        "deformable_detr.hidden_features": 16,
        "deformable_detr.decoder_layers": 1,
    },
)

if __name__ == "__main__":
    main(experiment)
