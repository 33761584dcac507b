"""Keypoints of regions: reading the maps as torchvision does, targets and loss by hand. test_two_stage.py has the
learner."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.keypoint_rcnn import KeypointHead, image_losses, keypoint_targets, read_keypoints
from dlcore.models import create_model
from tests.detection.detectors import GOLDENS, parameters
from tests.wiring import assert_wiring


@pytest.mark.slow
@pytest.mark.covers("SG-08")
def test_it_has_torchvisions_number_of_parameters():
    model = FasterRCNN(create_model("resnet50"), 1, keypoint_head=KeypointHead(17))
    assert parameters(model) == 59_137_258


@pytest.mark.covers("SG-08")
def test_the_head_has_eight_convolutions_and_a_transposed_one():
    shapes = jax.eval_shape(KeypointHead(17).init, jax.random.key(0), jnp.zeros((1, 1, 14, 14, 256)))
    convolutions = (9 * 256 + 1) * 512 + 7 * (9 * 512 + 1) * 512
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == convolutions + 16 * 512 * 17 + 17


@pytest.mark.covers("SG-08")
def test_maps_are_read_as_torchvision_does():
    golden = np.load(GOLDENS / "tvdet_postprocess.npz")
    maps, boxes = golden["keypoints/in.maps"].transpose(0, 2, 3, 1), golden["keypoints/in.rois"]
    size = tuple(int(n) for n in np.ceil(boxes[:, 2:] - boxes[:, :2]).max(0)[::-1])
    points, scores = jax.jit(lambda *image: read_keypoints(*image, size))(maps, boxes)
    np.testing.assert_allclose(points, golden["keypoints/out.xyv"], atol=1e-4)
    np.testing.assert_allclose(scores, golden["keypoints/out.scores"], atol=1e-5)


@jax.jit
def targets_and_losses(points, boxes, logits, positives):
    positions, counted = keypoint_targets(points, boxes)
    losses = jax.vmap(lambda positive: image_losses(logits, positions, counted, positive))(positives)
    return positions, counted, losses["keypoint"]


@pytest.mark.covers("SG-08")
def test_the_mask_of_a_keypoint_is_one_hot():
    """Two regions of 28 x 28 pixels, so two positions a pixel; one with neither height nor width; one on no object."""
    boxes = np.array([[10, 20, 38, 48]] * 2 + [[3, 3, 3, 3], [10, 20, 38, 48]], np.float32)
    points = np.array(
        [
            [[10, 20, 2], [24.2, 34.9, 1], [38, 48, 2]],  # corner, inside, the far corner's last position
            [[9.9, 30, 2], [30, 48.1, 2], [24, 34, 0]],  # left of the box, below it, not labeled
            [[3, 3, 2]] * 3,
            [[24.2, 34.9, 1]] * 3,
        ],
        np.float32,
    )
    logits = np.zeros((4, 56, 56, 3), np.float32)
    logits[0, 29, 28, 1] = 50
    positives = np.array([[True, True, True, False], [False, True, True, True]])
    positions, counted, (total, number) = targets_and_losses(points, boxes, logits, positives)
    np.testing.assert_array_equal(counted, [[True] * 3, [False] * 3, [False] * 3, [True] * 3])
    # (24.2 - 10) 2 = 28.4 and (34.9 - 20) 2 = 29.8: column 28 of row 29.
    np.testing.assert_array_equal(positions[0], [0, 29 * 56 + 28, 55 * 56 + 55])
    np.testing.assert_array_equal(positions[1:3], np.zeros((2, 3)))
    np.testing.assert_array_equal(number, [3, 3])
    # A softmax over all positions: nothing is lost where the logit of 50 is.
    np.testing.assert_allclose(total, [2 * np.log(56 * 56), 3 * np.log(56 * 56)], rtol=1e-5)


def test_the_wiring_of_the_keypoint_head_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(KeypointHead(3, channels=4, num_convs=2), (1, 2, 3, 5, 4), [16.317582, -0.01109])


@pytest.mark.slow
def test_maps_of_a_box_without_area_are_read():
    points, scores = read_keypoints(jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 4)), (8, 8))
    assert np.isfinite(points).all()
    assert np.isfinite(scores).all()
