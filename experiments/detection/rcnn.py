"""Detect colored shapes with R-CNN: a call of the backbone for every region of selective search.

python -m experiments.detection.rcnn        (mAP 0.418, mAP@.5 0.533, 12 minutes on one core)
python -m experiments.detection.rcnn --classifier=svm        (an SVM a class in place of the softmax; not run)
python -m experiments.detection.rcnn --max_proposals=120 --segmentation_scales=50,100,200        (more regions; not run)

Selective search takes 0.2 processor seconds a scene before training starts. How many training boxes its regions find
is printed. `experiments.studies.rcnn_lineage` compares R-CNN with its successors.
"""

import dataclasses
from functools import partial

import numpy as np

from dlcore.detection import rcnn, two_stage
from dlcore.detection.selective_search import propose
from dlcore.experiment import Experiment, PositiveInt
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.boxes import SMOKE, StretchedBoxes


def with_proposals(source, count: int, scales: tuple[float, ...]):
    proposals = propose(source.arrays["image"], count, spaces=("lab",), scales=scales)
    return dataclasses.replace(source, arrays={**source.arrays, **proposals})


def recall_note(arrays: dict[str, np.ndarray]) -> str:
    """Say how many training boxes the regions find."""
    from dlcore.ops.boxes import box_iou

    names = ("boxes", "box_mask", "proposals")
    best = [np.asarray(box_iou(b[m], p)).max(1) for b, m, p in zip(*(arrays[n] for n in names), strict=True) if m.any()]
    recall = float((np.concatenate(best) >= 0.5).mean()) if best else 0.0
    return (
        f"the regions find {100 * recall:.1f} % of the training boxes, {arrays['proposal_mask'].sum(1).mean():.0f} each"
    )


@dataclasses.dataclass(frozen=True)
class RegionBoxes(StretchedBoxes):
    """Boxes, and regions of selective search as proposals.

    Args:
      max_proposals: regions of an image at most
      segmentation_scales: scales of the segmentations that selective search starts from
    """

    max_proposals: PositiveInt = 60
    segmentation_scales: tuple[float, ...] = (50.0, 100.0)

    def data(self, flags: Flags) -> Splits:
        splits, settings = super().data(flags), (flags.max_proposals, flags.segmentation_scales)
        spec = {**splits.spec, "max_proposals": settings[0], "segmentation_scales": list(settings[1])}
        parts = [with_proposals(part, *settings) for part in splits[:3]]
        return Splits(*parts, spec, (*splits.notes, recall_note(parts[0].arrays)))

    def inputs(self, flags: Flags, spec: dict):
        source, paths = super().inputs(flags, spec)
        return with_proposals(source, spec["max_proposals"], tuple(spec["segmentation_scales"])), paths


experiment = Experiment(
    __file__,
    __doc__,
    two_stage.learner,
    task=RegionBoxes(modules={"rcnn": partial(rcnn.RCNN, region_size=32, box_channels=128)}, num_scenes=1000),
    optimizer=AveragedAdamW(clip_norm=5.0),
    defaults={
        "learning_rate": 1e-3,
        "box_batch_size_per_image": 24,
        "box_bg_iou_thresh": 0.3,
        "detections_per_img": 30,
        "eval_batch_size": 16,
    },
    smoke={
        **SMOKE,
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
