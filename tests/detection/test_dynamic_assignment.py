"""Task-aligned and SimOTA assignment by hand: candidates, numbers of locations, shared locations, qualities."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.detection.anchors import Grid
from dlcore.detection.dynamic_assignment import sim_ota_assignment, task_aligned_assignment

GRID = Grid.of([(1, 6)], (8, 48))
"""Locations at x = 0, 8, ..., 40 and y = 0."""
BOXES = jnp.array([[-4.0, -10, 20, 10], [12, -10, 36, 10], [0, 0, 0, 0]])
"""The first holds the locations 0, 8 and 16 (number 0 to 2), the second 16, 24 and 32 (2 to 4), the last is padding."""
LABELS, VALID = jnp.array([1, 0, 7]), jnp.array([True, True, False])
PROBS = np.array([[0.1, 0.4], [0.2, 0.9], [0.6, 0.3], [0.5, 0.1], [0.7, 0.2], [0.8, 0.8]])
# Predicted boxes have the height of the true ones; the widths that they share with them decide the IoU.
PREDICTIONS = jnp.array(
    [
        [-4.0, -10, 8, 10],  # number 0: 12 of the first's 24 pixels: IoU 1/2
        [-4, -10, 20, 10],  # 1: the first box itself: IoU 1
        [0, -10, 24, 10],  # 2: 20 of 28 with the first: 5/7; 12 of 36 with the second: 1/3
        [12, -10, 30, 10],  # 3: 18 of 24 of the second: 3/4
        [24, -10, 36, 10],  # 4: 12 of 24 of the second: 1/2
        [12, -10, 36, 10],  # 5: the second box itself, but outside of it
    ]
)
IOU = np.array([[1 / 2, 1, 5 / 7, 0, 0, 0], [0, 0, 1 / 3, 3 / 4, 1 / 2, 0]])


def assign(function, **settings):
    logits = jnp.asarray(np.log(PROBS / (1 - PROBS)), jnp.float32)
    call = jax.jit(lambda *arrays: function(*arrays[:2], GRID, *arrays[2:], **settings))
    return jax.device_get(call(logits, PREDICTIONS, BOXES, LABELS, VALID))


@pytest.mark.covers("DE-33")
def test_task_aligned_assignment_by_hand():
    """t = s^(1/2) u^2: 0.158, 0.949 and 0.279 at the first box (class 1), 0.086, 0.398 and 0.209 at the second."""
    t = [np.sqrt([0.4, 0.9, 0.3]) * IOU[0, :3] ** 2, np.sqrt([0.6, 0.5, 0.7]) * IOU[1, 2:5] ** 2]
    # Two of each box: 1 and 2, and 3 and 4. The predictions 0 and 5 learn no box.
    matched, quality = assign(task_aligned_assignment, topk=2, beta=2.0)
    np.testing.assert_array_equal(matched, [-1, 0, 0, 1, 1, -1])
    # The best of a box has its IoU, 1 and 3/4, the others less in proportion to t.
    expected = [0, 1, t[0][2] / t[0][1], 3 / 4, t[1][2] / t[1][1] * 3 / 4, 0]
    np.testing.assert_allclose(quality, expected, rtol=1e-5)
    # Three of each: both want location 2, and the first box has it, by 5/7 against 1/3.
    matched, quality = assign(task_aligned_assignment, topk=3, beta=2.0)
    np.testing.assert_array_equal(matched, [0, 0, 0, 1, 1, -1])
    assert quality[0] == pytest.approx(t[0][0] / t[0][1], rel=1e-5)


@pytest.mark.covers("DE-33")
def test_sim_ota_assignment_by_hand():
    """IoUs add up to 2.21 at the first box and 1.58 at the second: 2 locations for the one, 1 for the other."""
    p, log = PROBS, np.log
    bce = [-(log(p[:, c]) + log(1 - p[:, 1 - c])) for c in (1, 0)]
    first = bce[0][:3] - 3 * log(IOU[0, :3])  # 3.10, 0.33, 3.13
    second = bce[1][2:5] - 3 * log(IOU[1, 2:5])  # 4.16, 1.66, 2.66
    np.testing.assert_allclose([*first, *second], [3.1011, 0.3285, 3.1297, 4.1633, 1.6616, 2.6592], atol=1e-4)
    # The centers, 8 and 24, have two locations within 1.5 strides to both sides: all are near.
    matched, quality = assign(sim_ota_assignment, center_radius=1.5)
    np.testing.assert_array_equal(matched, [0, 0, -1, 1, -1, -1])
    np.testing.assert_allclose(quality, [1 / 2, 1, 0, 3 / 4, 0, 0], rtol=1e-6)
    # Without the IoU location 0 costs 1.02 and location 2 costs 2.12 at the first box; 4 costs 0.58 at the second.
    matched, _ = assign(sim_ota_assignment, iou_cost=0.0, center_radius=1.5)
    np.testing.assert_array_equal(matched, [0, 0, -1, -1, 1, -1])
    # Only the location at the center is near: it comes first, the others follow by their cost.
    matched, _ = assign(sim_ota_assignment, iou_cost=0.0, center_radius=0.5)
    np.testing.assert_array_equal(matched, [0, 0, -1, 1, -1, -1])


@pytest.mark.covers("DE-33")
def test_a_shared_location_goes_to_the_box_that_it_costs_less():
    """Two boxes with four locations inside both; each adds up to 1.9 IoU, takes one, and both want the same."""
    boxes = jnp.array([[-4.0, -10, 28, 10], [-4, -10, 30, 10]])
    predictions = jnp.tile(jnp.array([[-4.0, -10, 12, 10]]), (6, 1)).at[1].set(jnp.array([-4, -10, 28, 10]))
    call = jax.jit(lambda *arrays: sim_ota_assignment(jnp.zeros((6, 1)), predictions, GRID, *arrays, topk=2))
    matched, quality = call(boxes, jnp.zeros(2, int), jnp.ones(2, bool))
    # IoU 1/2 and 16/34 at all but location 1, which has 1 and 32/34: 1.5 and 1.41 for two.
    np.testing.assert_array_equal(matched, [-1, 0, -1, -1, -1, -1])
    np.testing.assert_allclose(quality, [0, 1, 0, 0, 0, 0], atol=1e-6)


@pytest.mark.covers("DE-33")
@pytest.mark.parametrize("function", [task_aligned_assignment, sim_ota_assignment])
def test_without_a_valid_box_nothing_is_assigned_and_padding_may_be_anything(function):
    wild = jnp.array([[jnp.nan, 9, -5, 1e9]])

    def call(boxes, valid):
        return function(jnp.zeros((6, 3)), PREDICTIONS, GRID, boxes, jnp.array([99]), valid)

    matched, quality = jax.jit(call)(wild, jnp.zeros(1, bool))
    chex.assert_trees_all_equal(np.asarray(matched), np.full(6, -1, np.int32))
    chex.assert_trees_all_equal(np.asarray(quality), np.zeros(6, np.float32))
