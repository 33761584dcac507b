"""The line about anchors that a detector's experiment prints before it trains."""

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.detection.anchor_recall import recall_note
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from experiments.detection.single_stage import experiment


def splits_of(boxes):
    boxes = np.asarray(boxes, np.float32)[None]
    arrays = {"boxes": boxes, "box_mask": np.ones(boxes.shape[:2], bool)}
    return Splits(Source(arrays), None, None, {})


def test_it_tells_which_boxes_can_be_found():
    anchors = np.array([[0, 0, 10, 10]], np.float32)
    note = recall_note("anchors", anchors, splits_of([[0, 0, 10, 10], [0, 0, 10, 6]]))
    assert note == "1 anchors find at best 100.0 % of the training boxes at IoU 0.5; mean of each box's best IoU 0.80"
    note = recall_note("windows", anchors, splits_of([[0, 0, 10, 10], [0, 0, 40, 40]]))
    assert note.startswith("1 windows find at best 50.0 % of the training boxes")
    assert note.endswith("; choose other scales or aspect ratios")


@pytest.mark.covers("DE-14")
def test_an_experiment_reads_the_anchors_off_its_model():
    run = ResolvedRun(experiment, resolve(experiment, ["--smoke", "--single_stage.scales=2,3"]))
    data = run.experiment.run(run.flags).load()
    (note,) = run.training_of(data).messages(data)
    # Strides 8 and 16 of 96 pixels, two scales, three ratios.
    assert note.startswith(f"{(144 + 36) * 2 * 3} anchors find at best ")
