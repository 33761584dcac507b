"""Masks, clicks, labels and settings of segmenters that do not fit: each is named before anything is computed."""

import numpy as np

from dlcore.segmentation.clicks import (
    color_masks,
    mask_iou,
)

MASKS, LOGITS = np.ones((2, 4, 6), bool), np.zeros((2, 4, 6), np.float32)
IMAGES, CLICKS = np.zeros((2, 4, 6, 3), np.float32), np.zeros((2, 1, 2), np.float32)
KINDS, LABELS, VALID = np.ones((2, 1), int), np.array([0, 1]), np.array([True, True])


def far_clicks(x, y):
    return IMAGES, np.broadcast_to(np.float32([x, y]), (2, 1, 2)), KINDS, 0.5


def test_masks_of_bytes_count_as_masks_of_bools():
    """The IoU of masks of 0 and 255 is that of bools; a click that does not count may be outside the image."""
    masks = MASKS.copy()
    masks[:, :, 3:] = False
    found, truth = masks.astype(np.uint8) * 255, MASKS.astype(np.uint8) * 255
    np.testing.assert_allclose(mask_iou(found, truth), [0.5, 0.5])
    images, points, kinds, threshold = far_clicks(70, 0)
    assert not color_masks(images, points, kinds - 3, threshold).any()
