"""Detect colored shapes, or the classes of a data set in COCO's format, with DETR: set prediction without NMS.

python -m experiments.detection.detr        (mAP 76.7 %, AP50 96.2 %; 47 min on a shared core)
python -m experiments.detection.detr --dataset=coco --data_dir=D --image_size=240,320 --batch_size=8 --epochs=300 \\
    --detr.num_queries=40 --eval_every=512    (not run)

For the second D is as for experiments.detection.fcos. DETR learns slowly: watch the curve of the mAP, and expect
several times the epochs of the other detectors. The settings are those that help on few images: auxiliary losses, a
gradient of norm 0.1 at most, norms in front of the branches, few queries (more than an image has objects), and no
dropout. The published form has the fields' defaults in dlcore.detection.detr.
"""

import dataclasses
from functools import partial
from types import SimpleNamespace

import numpy as np

from dlcore.detection import detr
from dlcore.detection.padding import zero_padding
from dlcore.experiment import Experiment
from dlcore.interpretability.attention_maps import query_attention_maps
from dlcore.kits.images import labeled_images
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import SMOKE, QueryBoxes

SMALL = {
    "stage": "stage3",
    "num_queries": 12,
    "features": 96,
    "num_heads": 4,
    "hidden_features": 256,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "pre_norm": True,
    "dropout_rate": 0.0,
}


@dataclasses.dataclass(frozen=True)
class MappedBoxes(QueryBoxes):
    """Boxes, each of a query, with maps of where it looks."""

    def panels(self, context):
        """Show beside the other panels where the query of each detection looks."""
        from dlcore.optim import parameter_ema
        from dlcore.report.vision_language import attention_strips

        setup = SimpleNamespace(flags=context.flags, spec=context.spec, dtype=None)
        names, arrays = context.spec["class_names"], context.data.test.arrays
        images, sizes = arrays["image"][:4], arrays["image_size"][:4] if "image_size" in arrays else None
        state = context.state
        params = parameter_ema(state.opt_state, state.params) if context.flags.ema else state.params
        variables = {"params": params, **state.model_state}
        inputs = zero_padding(labeled_images.preprocess(setup)(images), {} if sizes is None else {"image_size": sizes})
        scores, labels, maps = query_attention_maps(self.detector(setup), variables, inputs, sizes)
        words, weights = [], []
        for score, label, weight in zip(scores, labels, maps, strict=True):
            claims = [i for i in np.argsort(-score) if score[i] >= 0.5]
            words.append([f"{names[label[i]]} {100 * score[i]:.0f}" for i in claims])
            weights.append(weight[claims])
        titles = [f"Test image {i}" for i in range(len(images))]
        caption = (
            "Weights of the last decoder layer, the mean over its heads, of each query with a score of at least 50."
        )
        return [
            *super().panels(context),
            attention_strips(images, words, weights, titles, "Where the queries look", caption),
        ]


experiment = Experiment(
    __file__,
    __doc__,
    detr.learner,
    task=MappedBoxes(modules={"detr": partial(detr.DETR, **SMALL)}),
    optimizer=AveragedAdamW(weight_decay=1e-4, clip_norm=0.1),
    defaults={"epochs": 36.0, "learning_rate": 1e-3, "detections_per_img": 12},
    smoke={
        **SMOKE,
        "detections_per_img": 10,
        "detr.features": 16,
        "detr.hidden_features": 16,
        "detr.encoder_layers": 1,
        "detr.decoder_layers": 1,
    },
)

if __name__ == "__main__":
    main(experiment)
