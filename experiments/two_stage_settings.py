"""The settings that the experiments of two-stage detectors share, for scenes of 96 x 96 on two cores."""

from experiments import smoke

__all__ = ["LEARNER", "SMALL", "SMALLEST", "SMOKE"]

SMALL = {
    "stages": ("stage2", "stage3", "stage4"),
    "channels": 48,
    "extra_blocks": "none",
    "scales": (3.0, 4.0, 5.0),
    "aspect_ratios": (1.0,),
    "box_channels": 128,
}
"""Fields of a detector on the small backbone: strides 4 to 16, and crops of boxes below 112 pixels from the first."""


SMALLEST = {
    "model.stages": (1, 1),
    "faster_rcnn.stages": ("stage2",),
    "faster_rcnn.channels": 8,
    "faster_rcnn.box_channels": 8,
}
"""Flags of a detector with one level, for `--smoke`."""


LEARNER = {
    "topk_candidates": 100,
    "num_proposals": 50,
    "rpn_batch_size_per_image": 64,
    "box_batch_size_per_image": 32,
    "detections_per_img": 50,
}
"""Arguments of the learner."""


SMOKE = {**smoke.DENSE_BOXES, "num_proposals": 10, "rpn_batch_size_per_image": 16, "box_batch_size_per_image": 8}
