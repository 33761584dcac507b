"""Detect colored shapes with R-CNN: a call of the backbone for every region of selective search.

python -m experiments.detection.rcnn        (mAP 0.418, mAP@.5 0.533, 12 minutes on one core)
python -m experiments.detection.rcnn --classifier=svm        (an SVM a class in place of the softmax; not run)
python -m experiments.detection.rcnn --max_proposals=120 --segmentation_scales=50,100,200        (more regions; not run)

Selective search takes 0.2 processor seconds a scene before training starts. How many training boxes its regions find
is printed. `experiments.studies.rcnn_lineage` compares R-CNN with its successors.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from dlcore.detection import rcnn, two_stage
from dlcore.detection.selective_search import propose
from dlcore.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.setting import Setting
from dlcore.experiment.splits import Splits
from dlcore.kits.detection import detection_results, detectors
from dlcore.kits.training import backbone
from dlcore.learner import Range
from dlcore.main import main

SETTINGS = {
    "max_proposals": Setting(60, "regions of an image at most", limits=Range(1)),
    "segmentation_scales": Setting((50.0, 100.0), "scales of the segmentations that selective search starts from"),
}


def with_proposals(source, count: int, scales: tuple[float, ...]):
    found = propose(source.arrays["image"], count, spaces=("lab",), scales=scales)
    return replace(source, arrays={**source.arrays, **found})


def data(flags: Flags) -> Splits:
    splits, settings = detectors.data(flags), (flags.max_proposals, flags.segmentation_scales)
    spec = {**splits.spec, "max_proposals": settings[0], "segmentation_scales": list(settings[1])}
    parts = [with_proposals(part, *settings) for part in splits[:3]]
    return Splits(*parts, spec, (*splits.notes, recall_note(parts[0].arrays)))


def recall_note(arrays: dict[str, np.ndarray]) -> str:
    """Say how many training boxes the regions find."""
    from dlcore.ops.boxes import box_iou

    names = ("boxes", "box_mask", "proposals")
    best = [np.asarray(box_iou(b[m], p)).max(1) for b, m, p in zip(*(arrays[n] for n in names), strict=True) if m.any()]
    share = float((np.concatenate(best) >= 0.5).mean()) if best else 0.0
    return (
        f"the regions find {100 * share:.1f} % of the training boxes, {arrays['proposal_mask'].sum(1).mean():.0f} each"
    )


def inputs(flags: Flags, spec: dict):
    source, paths = detection_results.inputs(flags, spec)
    return with_proposals(source, spec["max_proposals"], tuple(spec["segmentation_scales"])), paths


def build(setup: Setup):
    model = rcnn.RCNN(
        backbone=backbone.build(setup),
        num_classes=setup.spec["num_classes"],
        dtype=setup.dtype,
        **setup.flags.group("rcnn"),
    )
    return detectors.build(setup, two_stage.learner, model)


SMALL = {"region_size": 32, "box_channels": 128}

experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=two_stage.learner,
    build=build,
    modules={"rcnn": partial(rcnn.RCNN, **SMALL)},
    **{
        **detectors.FIELDS,
        "settings": {**detectors.SETTINGS, **SETTINGS},
        "data": data,
        "inputs": inputs,
    },
    defaults={
        **{name: value for name, value in detectors.DEFAULTS.items() if name != "topk_candidates"},
        "num_scenes": 1000,
        "learning_rate": 1e-3,
        "clip_norm": 5.0,
        "box_batch_size_per_image": 24,
        "box_bg_iou_thresh": 0.3,
        "detections_per_img": 30,
        "eval_batch_size": 16,
    },
    smoke={
        **{name: value for name, value in detectors.SMOKE.items() if name != "topk_candidates"},
        "num_scenes": 10,
        "batch_size": 4,
        "max_proposals": 10,
        "segmentation_scales": (100.0,),
        "image_size": (48, 48),
        "rcnn.region_size": 16,
        "rcnn.box_channels": 16,
        "box_batch_size_per_image": 6,
    },
)

if __name__ == "__main__":
    main(experiment)
