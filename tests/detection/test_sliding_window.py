"""Sliding windows: every crop is there once, and the planted one is found."""

import functools

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.sliding_window import all_boxes, count_boxes, score_crops, sliding_window, window_boxes
from experiments.detection.sliding_window import crops_of, plant


@pytest.mark.covers("DE-03")
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (7, 5)])
def test_every_crop_is_there_once(size):
    height, width = size
    loops = [
        [x, y, right, bottom]
        for y in range(height)
        for bottom in range(y + 1, height + 1)
        for x in range(width)
        for right in range(x + 1, width + 1)
    ]
    assert all_boxes(height, width).tolist() == loops
    assert count_boxes(height, width) == len(loops)


def test_the_count_of_two_sizes_by_hand():
    """24 * 25 / 2 = 300 spans of rows, and as many of columns."""
    assert count_boxes(24, 24) == 300 * 300
    assert count_boxes(96, 96) == 4656**2 == 21_678_336


def likeness(template, crops):
    """Scores of one class: 1 for the template itself, less the farther from it."""
    return jnp.exp(-jnp.square(crops - template).sum((1, 2, 3)))[:, None]


@pytest.mark.weekly
@pytest.mark.covers("DE-03")
def test_the_planted_object_is_found_among_every_crop():
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 0.2, (12, 14, 1)).astype(np.float32)
    template = rng.uniform(0.5, 1, (4, 5, 1)).astype(np.float32)
    image[3:7, 8:13] = template
    score = functools.partial(likeness, template)
    found = sliding_window(
        score,
        jnp.asarray(image),
        all_boxes(12, 14),
        (4, 5),
        batch_size=999,
        sampling_ratio=1,
        score_thresh=0.9,
        nms_thresh=0.3,
        detections_per_img=3,
    )
    assert found["boxes"][0].tolist() == [8, 3, 13, 7]
    assert found["valid"].tolist() == [True, False, False]
    assert float(found["scores"][0]) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_batches_do_not_change_the_scores():
    image = jnp.asarray(np.random.default_rng(1).uniform(size=(6, 6, 2)), jnp.float32)
    boxes = all_boxes(6, 6)

    def score(crops):
        return crops.mean((1, 2))

    whole, parts = (score_crops(score, image, boxes, (3, 3), size) for size in (441, 100))
    chex.assert_shape(whole, (441, 2))
    np.testing.assert_allclose(whole, parts, rtol=1e-6)
    assert boxes[5 * 21 + 5].tolist() == [0, 0, 6, 6]
    np.testing.assert_allclose(whole[5 * 21 + 5], image.mean((0, 1)), rtol=1e-5)


def test_windows_on_a_grid():
    """3 x 5 pixels: windows of 2 x 2 at rows 0 and columns 0, 2; of 3 x 4 at one place; 4 x 4 does not fit."""
    boxes = window_boxes((3, 5), [(2, 2), (3, 4), (4, 4)], 2)
    assert boxes.tolist() == [[0, 0, 2, 2], [2, 0, 4, 2], [0, 0, 4, 3]]


@pytest.mark.slow
def test_crops_have_the_class_of_what_they_overlap():
    images, boxes, labels = plant("train", 3, 14, 0)
    crops, targets = crops_of(images, boxes, labels, 6, 0)
    chex.assert_shape(crops, (18, 10, 10, 1))
    assert (targets.reshape(3, 6)[:, -1] == labels).all(), "the last crop of each image is the digit's own box"


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="height=96, width=96: 21,678,336 crops"):
        all_boxes(96, 96)
