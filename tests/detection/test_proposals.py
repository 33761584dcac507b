"""Regions that a detector is given: the same windows for each image, or those of selective search."""

from types import SimpleNamespace

import chex
import numpy as np

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.detection.fast_rcnn import window_proposals
from dlcore.detection.proposals import RegionProposals, WindowProposals
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from experiments.detection import fast_rcnn, rcnn


def test_windows_are_the_same_for_each_image_and_have_the_scales_of_the_detector():
    network = SimpleNamespace(build=lambda num_classes: SimpleNamespace(scales=(2.0,), aspect_ratios=(1.0, 2.0)))
    run = SimpleNamespace(parts=SimpleNamespace(network=network))
    source = WindowProposals().add(Source({"image": np.zeros((3, 32, 48, 3), np.uint8)}), run)
    windows = window_proposals((32, 48), scales=(2.0,), aspect_ratios=(1.0, 2.0))
    chex.assert_shape(source.arrays["proposals"], (3, *windows.shape))
    np.testing.assert_array_equal(source.arrays["proposals"][2], windows)
    assert source.arrays["proposal_mask"].all()


def test_a_page_says_how_many_boxes_its_windows_find():
    run = ResolvedRun(fast_rcnn.experiment, resolve(fast_rcnn.experiment, ["--smoke", "--fast_rcnn.scales=2,3"]))
    splits = run.experiment.run(run.flags).load()
    (message,) = run.training_of(splits).messages(splits)
    # Strides 8 and 16 of 96 pixels, two scales, one ratio.
    assert message.startswith(f"{(144 + 36) * 2} windows find at best ")
    chex.assert_shape(splits.test.arrays["proposals"], (8, (144 + 36) * 2, 4))


def test_the_regions_of_a_page_are_those_of_its_flags():
    run = ResolvedRun(rcnn.experiment, resolve(rcnn.experiment, ["--smoke", "--max_proposals=7"]))
    splits = run.experiment.run(run.flags).load()
    for source in splits[:3]:
        chex.assert_shape(source.arrays["proposals"], (len(source), 7, 4))
    (message,) = run.training_of(splits).messages(splits)
    assert message.startswith("the regions find ")


def test_regions_that_lie_on_a_box_find_it():
    """One of two boxes has a region of its own; an image without boxes counts for nothing."""
    boxes = np.array([[[0, 0, 8, 8], [20, 20, 28, 28]], [[0, 0, 0, 0]] * 2], np.float32)
    arrays = {
        "boxes": boxes,
        "box_mask": np.array([[True, True], [False, False]]),
        "proposals": np.array([[[0, 0, 8, 7]], [[0, 0, 4, 4]]], np.float32),
        "proposal_mask": np.ones((2, 1), bool),
    }
    message = RegionProposals().message(Splits(Source(arrays), None, None, {}))
    assert message == "the regions find 50.0 % of the training boxes, 1 each"
