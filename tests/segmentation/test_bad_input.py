"""Masks of bytes, and clicks that do not count."""

import numpy as np

from dlcore.segmentation.clicks import color_masks, mask_iou


def test_masks_of_bytes_count_as_masks_of_bools():
    """The IoU of masks of 0 and 255 is that of bools; a click that does not count may be outside the image."""
    truth = np.full((2, 4, 6), 255, np.uint8)
    found = truth.copy()
    found[:, :, 3:] = 0
    np.testing.assert_allclose(mask_iou(found, truth), [0.5, 0.5])
    outside = np.broadcast_to(np.float32([70, 0]), (2, 1, 2))
    assert not color_masks(np.zeros((2, 4, 6, 3), np.float32), outside, np.full((2, 1), -2), 0.5).any()
