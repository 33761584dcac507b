"""Percentage of correct keypoints by hand: the radius, what does not count, objects that were not found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.metrics import KeypointAccuracy
from dlcore.metrics.keypoints import object_keypoint_similarity


def test_shares_by_hand():
    # Boxes of 20 by 10 and 10 by 40: within 2 and 4 pixels.
    boxes = jnp.array([[0.0, 0, 20, 10], [0, 0, 10, 40]])
    truth = jnp.array([[[5.0, 5, 2], [9, 9, 1], [0, 0, 0]], [[5.0, 5, 2], [9, 9, 2], [0, 0, 0]]])
    predicted = jnp.array([[[5.0, 7], [9, 11.1], [0, 0]], [[5.0, 9], [9, 9], [0, 0]]])
    metric = KeypointAccuracy.of(predicted, truth, boxes, jnp.array([True, True]))
    found = metric.compute()
    assert found["pck"] == 3 / 4  # 2.1 is beyond 2
    np.testing.assert_array_equal(found["pck_by_keypoint"], [1, 1 / 2, np.nan])
    lost = KeypointAccuracy.of(predicted, truth, boxes, jnp.array([True, False]))
    assert lost.compute()["pck"] == 1 / 4
    assert metric.merge(lost).compute()["pck"] == 4 / 8
    assert KeypointAccuracy.of(predicted, truth, boxes, jnp.array([True, True]), alpha=0.11).compute()["pck"] == 1
    assert KeypointAccuracy.of(predicted, 0 * truth, boxes, jnp.array([True, True])).compute() is None
    # Two images of one object each, in place of two objects.
    apart = [x[:, None] for x in (predicted, truth, boxes, jnp.array([True, False]))]
    np.testing.assert_array_equal(jax.jit(KeypointAccuracy.of)(*apart).compute()["pck_by_keypoint"], [1 / 2, 0, np.nan])
    with pytest.raises(ValueError, match="do not fit"):
        KeypointAccuracy.of(predicted[:, :2], truth, boxes, jnp.array([True, True]))


def test_similarity_by_hand():
    """Area 100 and sigma 0.1: the squared distance 2 * 100 * 0.2^2 = 8 gives 1 / e; without a keypoint it is 0."""
    target = np.array([[[3, 4, 2], [7, 7, 1], [50, 50, 0]], [[3, 4, 0]] * 3, [[3, 4, 2], *[[3, 4, 0]] * 2]], np.float32)
    predicted = target[..., :2] + np.array([[2, 2], [0, 0], [9, 9]], np.float32)
    sigmas = np.array([0.1, 0.5, 0.1], np.float32)
    found = jax.jit(object_keypoint_similarity)(predicted, target, np.float32([100, 9, 100]), sigmas)
    np.testing.assert_allclose(found, [(np.exp(-1) + 1) / 2, 0, np.exp(-1)], rtol=1e-6)

    def shape(areas, sigmas):
        return jax.eval_shape(lambda p: object_keypoint_similarity(p, target, areas, sigmas), predicted).shape

    assert shape(np.float32([0.5, 0, 1]), sigmas) == (3,)


def test_distances_of_bytes_do_not_wrap():
    """(3, 3) is 1 left of (4, 3): within a tenth of the box's 12 pixels; (3, 200) is not near (4, 3)."""
    truth = np.array([[[4, 3, 2], [4, 3, 2]]], np.uint8)
    found = KeypointAccuracy.of(
        np.array([[[3, 3], [3, 200]]], np.uint8), truth, np.array([[0, 0, 12, 5]], np.uint8), np.array([True])
    )
    assert found.compute()["pck"] == 1 / 2


def test_an_area_of_0_counts_exact_keypoints_alone_as_pycocotools():
    predicted = np.array([[3, 4], [1, 1]], np.uint8)
    target = np.array([[3, 4, 2], [2, 1, 2]], np.uint8)
    distance = predicted.astype(float) - target[:, :2]
    sigmas = np.array([0.1, 0.1])
    exponent = np.square(distance).sum(1) / np.square(2 * sigmas) / (0 + np.spacing(1)) / 2
    found = object_keypoint_similarity(predicted, target, np.uint8(0), sigmas)
    np.testing.assert_allclose(found, np.exp(-exponent).mean(), rtol=1e-6)
