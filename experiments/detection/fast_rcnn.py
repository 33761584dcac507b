"""Detect colored shapes with Fast R-CNN on given proposals: windows of a few sizes all over the image.

python -m experiments.detection.fast_rcnn        (mAP 0.830, mAP@.5 0.987, 7 minutes on one core)
python -m experiments.detection.fast_rcnn --fast_rcnn.scales=2,3        (fewer windows; not run)
python -m experiments.detection.fast_rcnn --fast_rcnn.pool=roi_pool     (the paper's pooling; not run)

How many training boxes the windows can find is printed before training.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from dlcore.detection import two_stage
from dlcore.detection.fast_rcnn import FastRCNN, window_proposals
from dlcore.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits
from dlcore.kits.detection import anchor_recall, detection_results, detectors
from dlcore.kits.detection import two_stage_settings as kit
from dlcore.kits.training import backbone
from dlcore.main import main


def proposals_for(images: dict, windows: np.ndarray) -> dict:
    """The arrays of a split, with the same windows for each image."""
    count = len(images["image"])
    return {
        **images,
        "proposals": np.broadcast_to(windows, (count, *windows.shape)),
        "proposal_mask": np.ones((count, len(windows)), bool),
    }


def windows_of(spec: dict) -> np.ndarray:
    return window_proposals(tuple(spec["image_shape"][:2]), **spec["windows"])


def data(flags: Flags) -> Splits:
    splits = detectors.data(flags)
    windows = {name: flags[f"fast_rcnn.{name}"] for name in ("scales", "aspect_ratios")}
    spec = {**splits.spec, "windows": windows}
    parts = (replace(part, arrays=proposals_for(part.arrays, windows_of(spec))) for part in splits[:3])
    return Splits(*parts, spec, splits.notes)


def inputs(flags: Flags, spec: dict):
    source, paths = detection_results.inputs(flags, spec)
    return replace(source, arrays=proposals_for(source.arrays, windows_of(spec))), paths


def build(setup: Setup):
    model = FastRCNN(
        backbone=backbone.build(setup),
        num_classes=setup.spec["num_classes"],
        dtype=setup.dtype,
        **setup.flags.group("fast_rcnn"),
    )
    return detectors.build(setup, two_stage.learner, model)


def notes(setup: Setup, splits: Splits) -> list[str]:
    return [anchor_recall.recall_note("windows", windows_of(splits.spec), splits)]


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=two_stage.learner,
    build=build,
    modules={
        "fast_rcnn": partial(FastRCNN, **{**kit.SMALL, "scales": (2.0, 2.5, 3.0), "stages": ("stage3", "stage4")})
    },
    defaults=kit.DEFAULTS,
    smoke={**kit.SMOKE, "fast_rcnn.channels": 16, "fast_rcnn.box_channels": 16},
    notes=notes,
    **{**detectors.FIELDS, "settings": detectors.SETTINGS, "data": data, "inputs": inputs},
)

if __name__ == "__main__":
    main(experiment)
