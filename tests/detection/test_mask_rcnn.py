"""Masks of regions by hand: targets, the loss of the true class alone, and what is shown. test_faster_rcnn.py has the
parity with torchvision's head and loss, test_two_stage.py the learner."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.masks import unpack_masks
from dlcore.data.scenes import scenes
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.mask_rcnn import MaskHead, image_losses, mask_targets, probabilities
from dlcore.models import create_model
from dlcore.ops.mask_paste import paste_masks
from tests.detection.detectors import parameters
from tests.wiring import assert_wiring


@pytest.mark.slow
@pytest.mark.covers("SG-06")
def test_it_has_torchvisions_number_of_parameters():
    assert parameters(FasterRCNN(create_model("resnet50"), 90, MaskHead(90))) == 44_401_393


@pytest.mark.covers("SG-06")
def test_the_head_has_four_convolutions_and_a_transposed_one_before_its_maps():
    shapes = jax.eval_shape(MaskHead(90).init, jax.random.key(0), jnp.zeros((1, 1, 14, 14, 256)))
    convolutions, transposed, last = 4 * (9 * 256 + 1) * 256, (4 * 256 + 1) * 256, 257 * 91
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == convolutions + transposed + last


def test_the_wiring_of_the_mask_head_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(MaskHead(3, channels=4, num_convs=1), (1, 2, 3, 5, 2), [14.178223, -2.092714])


@pytest.mark.covers("SG-06")
def test_a_target_is_the_true_mask_cropped_to_the_proposal():
    masks = np.zeros((2, 16, 16), bool)
    masks[0, :, 8:] = masks[1, 4:12, 4:12] = True
    boxes = np.array([[0, 0, 16, 16], [4, 4, 12, 12], [0, 0, 4, 4]], np.float32)

    @jax.jit
    def both(masks, boxes):
        shares = mask_targets(masks, np.array([1]), boxes[2:], 4, threshold=None, aligned=False)
        return mask_targets(masks, np.array([0, 1, 1]), boxes, 4), shares

    targets, shares = both(masks, boxes)
    np.testing.assert_array_equal(targets[0], [[0, 0, 1, 1]] * 4)
    np.testing.assert_array_equal(targets[1], np.ones((4, 4)))
    np.testing.assert_array_equal(targets[2], np.zeros((4, 4)))
    # torchvision's: samples at 3.25 and 3.75 lie between pixel 3 (0) and pixel 4 (1), a share of .5 along both axes.
    assert float(shares[0, 3, 3]) == pytest.approx(0.25)
    assert float(shares.sum()) == pytest.approx(0.25)


@pytest.mark.slow
def test_targets_that_are_pasted_back_are_the_true_masks():
    """Of shapes of 16 to 48 pixels, through 28 by 28 and back."""
    rows = scenes(8, 2, size=96, largest=48, masks=True)[:]
    masks = unpack_masks(rows["masks"], 96)[rows["box_mask"]]
    boxes = rows["boxes"][rows["box_mask"]]
    targets = mask_targets(jnp.asarray(masks), jnp.arange(len(boxes)), jnp.asarray(boxes))
    pasted = np.asarray(paste_masks(targets, boxes, (96, 96), whole_pixels=False)) > 0.5
    iou = (pasted & masks).sum((1, 2)) / (pasted | masks).sum((1, 2))
    assert iou.mean() > 0.98
    assert iou.min() > 0.9


@pytest.mark.covers("SG-06")
def test_only_the_map_of_the_true_class_has_a_loss():
    logits, targets = np.zeros((3, 2, 2, 4), np.float32), np.zeros((3, 2, 2), np.float32)
    logits[..., 1] = 100

    def losses(logits):
        return image_losses(logits, targets, np.array([3, 2, 0]))["mask"]

    (total, number), gradient = jax.jit(jax.value_and_grad(losses, has_aux=True))(logits)
    assert float(total) == pytest.approx(8 * np.log(2))  # the wrong map of class 1 costs nothing
    assert int(number) == 8
    seen = np.abs(gradient).sum((1, 2)) > 0
    np.testing.assert_array_equal(seen, [[0, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]])


def test_the_predicted_class_is_shown_and_padding_is_not():
    logits = np.tile(np.float32([9, 0, np.log(3)]), (3, 2, 2, 1))
    shown = jax.jit(probabilities)(logits, np.array([0, 1, -1]))
    np.testing.assert_allclose(shown[:, 0, 0], [0.5, 0.75, 0], atol=1e-6)
