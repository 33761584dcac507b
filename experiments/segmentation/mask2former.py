"""Mask2Former: semantic, instance and panoptic maps of drawn scenes from one set of queries, without boxes or merging.

python -m experiments.segmentation.mask2former                          (PQ 74.4 %, mAP of masks 49.3 %; 33 min)
python -m experiments.segmentation.mask2former --network=maskformer
python -m experiments.segmentation.mask2former --network=eomt
python -m experiments.segmentation.mask2former --run=RUN --mode=predict --input=IMAGES --output=FOLDER  (COCO's form)

The scenes and the measures are those of experiments.segmentation.panoptic, whose Mask R-CNN and U-Net reach a PQ
(panoptic quality) of 89.0 % in 28 processor minutes. In 3,000 steps, which take 33 minutes of a shared core,
Mask2Former reaches 74.4 %: 97.2 % of the stuff and 60.8 % of the things. The class's mean mask in the detected boxes
has an mAP of 28.1 %. Queries learn slowly: after 600 steps at twice the learning rate the PQ is still 0. The numbers
are of one seed. The networks are small: masks of stride 4, three layers of queries and 128 points for each mask. The
classes of the networks have the published values as defaults.
"""

from functools import partial

from dlcore.experiment import Experiment
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.segmentation import mask_queries
from dlcore.segmentation.eomt import EoMT
from dlcore.segmentation.mask2former import Mask2Former
from dlcore.segmentation.maskformer import MaskFormer
from dlcore.tasks.boxes import SMOKE
from dlcore.tasks.segments import QuerySegments

DECODER = {
    "stages": ("stage2", "stage3", "stage4", "stage5"),
    "stage_norms": False,
    "num_queries": 10,
    "features": 64,
    "num_heads": 4,
    "hidden_features": 128,
    "pixel_features": 32,
    "mask_features": 32,
}
MASK2FORMER = {**DECODER, "decoder_layers": 3, "encoder_layers": 1, "encoder_hidden_features": 64}
MASKFORMER = {**DECODER, "decoder_layers": 3}
EOMT = {
    "patch_size": 8,
    "depth": 4,
    "query_blocks": 3,
    "width": 96,
    "num_heads": 4,
    "mlp_features": 192,
    "num_queries": 10,
    "num_registers": 0,
    "num_upscale": 1,
}

experiment = Experiment(
    __file__,
    __doc__,
    mask_queries.learner,
    task=QuerySegments(
        modules={
            "mask2former": partial(Mask2Former, **MASK2FORMER),
            "maskformer": partial(MaskFormer, **MASKFORMER),
            "eomt": partial(EoMT, **EOMT),
        }
    ),
    optimizer=AveragedAdamW(weight_decay=1e-4, clip_norm=1.0),
    defaults={
        "model.stages": (1, 1, 1, 1, 1),
        "learning_rate": 1e-3,
        "steps": 3000,
        "num_points": 128,
        "score_thresh": 0.5,
        "min_visible": 0.5,
        "detections_per_img": 20,
    },
    smoke={
        **SMOKE,
        "num_points": 16,
        "mask2former.features": 16,
        "mask2former.hidden_features": 16,
        "mask2former.encoder_hidden_features": 16,
        "mask2former.decoder_layers": 1,
        "maskformer.features": 16,
        "maskformer.hidden_features": 16,
        "maskformer.decoder_layers": 1,
        "eomt.width": 16,
        "eomt.mlp_features": 16,
        "eomt.depth": 1,
        "eomt.query_blocks": 1,
    },
)

if __name__ == "__main__":
    main(experiment)
