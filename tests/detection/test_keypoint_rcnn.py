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


@pytest.mark.slow
@pytest.mark.covers("SG-08")
def test_it_has_torchvisions_number_of_parameters():
    model = FasterRCNN(create_model("resnet50"), 1, keypoint_head=KeypointHead(17))
    assert parameters(model) == 59_137_258


@pytest.mark.covers("SG-08")
def test_maps_are_read_as_torchvision_does():
    golden = np.load(GOLDENS / "tvdet_postprocess.npz")
    maps, boxes = golden["keypoints/in.maps"].transpose(0, 2, 3, 1), golden["keypoints/in.rois"]
    size = tuple(int(n) for n in np.ceil(boxes[:, 2:] - boxes[:, :2]).max(0)[::-1])
    points, scores = jax.jit(lambda *image: read_keypoints(*image, size))(maps, boxes)
    np.testing.assert_allclose(points, golden["keypoints/out.xyv"], atol=1e-4)
    np.testing.assert_allclose(scores, golden["keypoints/out.scores"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SG-08")
def test_the_mask_of_a_keypoint_is_one_hot():
    boxes = jnp.array([[10.0, 20, 38, 48]] * 2)  # 28 x 28 pixels, so two positions a pixel
    points = jnp.array(
        [
            [[10.0, 20, 2], [24.2, 34.9, 1], [38, 48, 2]],  # corner, inside, the far corner's last position
            [[9.9, 30, 2], [30, 48.1, 2], [24, 34, 0]],  # left of the box, below it, not labeled
        ]
    )
    positions, counted = keypoint_targets(points, boxes, 56)
    np.testing.assert_array_equal(counted, [[True] * 3, [False] * 3])
    # (24.2 - 10) 2 = 28.4 and (34.9 - 20) 2 = 29.8: column 28 of row 29.
    np.testing.assert_array_equal(positions[0], [0, 29 * 56 + 28, 55 * 56 + 55])
    logits = jnp.zeros((2, 56, 56, 3)).at[0, 29, 28, 1].set(50.0)
    total, number = image_losses(logits, positions, counted, jnp.array([True, True]))["keypoint"]
    assert int(number) == 3
    assert float(total) == pytest.approx(2 * np.log(56 * 56), rel=1e-5)  # a softmax over all positions
    assert int(image_losses(logits, positions, counted, jnp.array([False, True]))["keypoint"][1]) == 0


@pytest.mark.slow
def test_boxes_without_area_have_no_keypoints():
    _, counted = keypoint_targets(jnp.array([[[3.0, 3, 2]]]), jnp.array([[3.0, 3, 3, 3]]))
    assert not counted.any()
    points, scores = read_keypoints(jnp.zeros((1, 4, 4, 1)), jnp.zeros((1, 4)), (8, 8))
    assert np.isfinite(points).all()
    assert np.isfinite(scores).all()
