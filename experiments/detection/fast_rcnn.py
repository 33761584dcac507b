"""Detect colored shapes with Fast R-CNN on given proposals: windows of a few sizes all over the image.

python -m experiments.detection.fast_rcnn        (mAP 0.830, mAP@.5 0.987, 7 minutes on one core)
python -m experiments.detection.fast_rcnn --fast_rcnn.scales=2,3        (fewer windows; not run)
python -m experiments.detection.fast_rcnn --fast_rcnn.pool=roi_pool     (the paper's pooling; not run)

How many training boxes the windows can find is printed before training.
"""

import dataclasses
from functools import partial

import numpy as np

from dlcore.detection import two_stage
from dlcore.detection.fast_rcnn import FastRCNN, window_proposals
from dlcore.experiment import Experiment, Setup
from dlcore.experiment.flags import Flags
from dlcore.experiment.splits import Splits
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.anchor_recall import recall_note
from dlcore.tasks.boxes import StretchedBoxes
from dlcore.tasks.two_stage_settings import DEFAULTS, SMALL, SMOKE


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


@dataclasses.dataclass(frozen=True)
class WindowBoxes(StretchedBoxes):
    """Boxes, and windows all over the image as proposals."""

    def data(self, flags: Flags) -> Splits:
        splits = super().data(flags)
        windows = {name: flags[f"fast_rcnn.{name}"] for name in ("scales", "aspect_ratios")}
        spec = {**splits.spec, "windows": windows}
        parts = (dataclasses.replace(part, arrays=proposals_for(part.arrays, windows_of(spec))) for part in splits[:3])
        return Splits(*parts, spec, splits.notes)

    def inputs(self, flags: Flags, spec: dict):
        source, paths = super().inputs(flags, spec)
        return dataclasses.replace(source, arrays=proposals_for(source.arrays, windows_of(spec))), paths

    def notes(self, setup: Setup, splits: Splits) -> list[str]:
        return [recall_note("windows", windows_of(splits.spec), splits)]


NETWORK = partial(FastRCNN, **{**SMALL, "scales": (2.0, 2.5, 3.0), "stages": ("stage3", "stage4")})

experiment = Experiment(
    __file__,
    __doc__,
    two_stage.learner,
    task=WindowBoxes(modules={"fast_rcnn": NETWORK}),
    optimizer=AveragedAdamW(),
    defaults=DEFAULTS,
    smoke={**SMOKE, "fast_rcnn.channels": 16, "fast_rcnn.box_channels": 16},
)

if __name__ == "__main__":
    main(experiment)
