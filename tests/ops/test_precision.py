"""The type of a computation, and points far from 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import losses, ops
from dlcore.classical_vision.optical_flow import endpoint_error
from dlcore.metrics.point_sets import chamfer_distance
from dlcore.ops import (
    acc_dtype_of,
    add_center,
    centered,
    nearest_points,
    result_dtype,
    squared_distances,
    to_acc_dtype,
    to_same_origin,
)


@pytest.mark.parametrize(
    ("given", "computed", "returned"),
    [
        (np.bool_, np.float32, np.float32),
        (np.uint8, np.float32, np.float32),
        (np.int32, np.float32, np.float32),
        (np.float16, np.float32, np.float16),
        (jnp.bfloat16, np.float32, jnp.bfloat16),
        (np.float32, np.float32, np.float32),
        (np.float64, np.float32, np.float32),
    ],
)
def test_functions_compute_in_at_least_float32(given, computed, returned):
    x = np.zeros(3, given)
    assert acc_dtype_of(x) == computed == to_acc_dtype(x).dtype
    assert result_dtype(x) == returned


def test_float64_stays_under_x64():
    with jax.enable_x64(True):
        assert acc_dtype_of(np.zeros(3)) == np.float64 == result_dtype(np.zeros(3), np.zeros(3, np.uint8))


def test_whole_numbers_beyond_int32_do_not_wrap():
    np.testing.assert_array_equal(to_acc_dtype(np.array([2**40, -(2**40)])), [2.0**40, -(2.0**40)])


def test_float64_is_centered_before_it_is_cast():
    x = np.array([[5_782_566.125, 0.25], [5_782_567.125, 0.75]])  # float32 knows halves there
    points, others, center = centered(x, x[:1] + 0.0625)
    np.testing.assert_array_equal(points[1] - points[0], [1, 0.5])
    np.testing.assert_array_equal(others - points[:1], [[0.0625, 0.0625]])
    assert points.dtype == others.dtype == np.float32
    np.testing.assert_array_equal(add_center(points, center), x)
    # Results of jax beside arrays of the host.
    others = centered(x, jnp.float32(x[:1]))[1]
    np.testing.assert_array_equal(others - points[:1], np.float64(np.float32(x[:1])) - x[:1])


def test_constants_of_a_compiled_program_are_centered_alike():
    x = np.array([[5_782_566.125, 0.25], [5_782_567.125, 0.75]])
    np.testing.assert_array_equal(jax.jit(lambda: centered(x)[0])(), centered(x)[0])


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
def test_distances_of_two_far_groups_are_those_of_their_points(dtype):
    corners, far = np.array([[0, 0], [3, 4], [1, 0]]), np.array([10_000, 0])
    x = np.concatenate([corners - far, corners + far]).astype(dtype)
    inner = np.array([[0, 25, 1], [25, 0, 20], [1, 20, 0]])  # 3² + 4², 1², 2² + 4²
    np.testing.assert_array_equal(squared_distances(x, x)[:3, :3], inner)
    np.testing.assert_array_equal(squared_distances(x, x)[3:, 3:], inner)
    np.testing.assert_array_equal(nearest_points(x[:, None], x), np.arange(6)[:, None])


def test_distances_of_bytes_and_halves():
    x, y = np.array([[200, 3]], np.uint8), np.array([[10, 5]], np.uint8)
    np.testing.assert_array_equal(squared_distances(x, y), [[190**2 + 2**2]])
    assert squared_distances(x.astype(np.float16), y.astype(np.float16)).dtype == np.float32


def test_distances_of_points_that_float32_cannot_hold_are_those_near_0():
    """A second in milliseconds since 1970 is 1e6 squared; small whole numbers have whole distances."""
    times = np.array([[1_700_000_000_000], [1_700_000_001_000]])
    for x, y in ((times, times), (times.astype(float), times), (times, times.astype(float))):
        np.testing.assert_array_equal(squared_distances(x, y), [[0, 1e6], [1e6, 0]])
        np.testing.assert_array_equal(nearest_points(x[:, None], y), [[0], [1]])
    meters = np.array([[2.0**24 + 4], [2.0**24 + 7]])  # beside float32, which has steps of 2 there
    np.testing.assert_array_equal(squared_distances(meters, meters[:1].astype(np.float32)), [[0], [9]])
    squares = np.array([[0], [1], [5]], np.int32) + 2**25
    np.testing.assert_array_equal(squared_distances(squares, squares), [[0, 1, 25], [1, 0, 16], [25, 16, 0]])
    np.testing.assert_array_equal(squared_distances(squares[1:], jnp.float32(squares[:1])), [[1], [25]])


def test_points_of_one_origin_keep_their_shapes_and_differences():
    x = np.array([[[5_782_566.125, 0.25, 5_782_567.125, 0.75]], [[0.0] * 4]])  # two boxes, the second of them padding
    (moved,) = to_same_origin(x, dim=2)
    assert moved.shape == x.shape
    np.testing.assert_array_equal(moved[0, 0, 2:] - moved[0, 0, :2], [1, 0.5])
    np.testing.assert_array_equal(to_same_origin(np.float32(x))[0], np.float32(x))
    assert to_same_origin(np.zeros((0, 4)), np.zeros((3, 4)))[0].shape == (0, 4)


FAR = 2.0**30  # float32 has steps of 64 there
ROWS, LINE = np.array([[0.0, 0], [3, 4]]) + FAR, np.array([[0.0, 0, 0], [2, 0, 0]]) + FAR
BOXES = np.array([[0.0, 0, 4, 4], [1, 0, 5, 4]]) + FAR


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: ops.box_iou(BOXES[:1], BOXES[1:]), [[12 / 20]]),
        (lambda: ops.box_area(BOXES), [16, 16]),
        (lambda: ops.generalized_box_iou(BOXES[:1], BOXES[1:]), [[12 / 20]]),
        (lambda: ops.distance_box_iou(BOXES[:1], BOXES[1:]), [[12 / 20 - 1 / 41]]),
        (lambda: ops.encode_boxes(BOXES[:1], BOXES[1:]), [[-1 / 4, 0, 0, 0]]),
        (lambda: ops.boxes_to_distances(ROWS[:1] + 1, BOXES[:1]), [[1, 1, 3, 3]]),
        (lambda: ops.nms(BOXES, np.array([0.9, 0.8]), 0.5), [True, False]),
        (lambda: ops.soft_nms(BOXES, np.array([0.9, 0.8]), decay="linear"), [0.9, 0.8 * 8 / 20]),
        (lambda: ops.assign(np.array([[2.0, 1], [1, 2]]) + FAR), [1, 0]),
        (lambda: losses.mse_loss(ROWS[0], ROWS[1]), 12.5),
        (lambda: losses.pairwise_distances(ROWS, squared=False), [[0, 5], [5, 0]]),
        (lambda: losses.triplet_loss(ROWS[0], ROWS[1], ROWS[1] + 10), 0),
        (lambda: losses.chamfer_loss(ROWS, ROWS + 0.5), 1),
        (lambda: losses.edge_length_loss(LINE, np.array([[0, 1]])), 4),
        (lambda: losses.laplacian_loss(LINE, np.array([[0, 1]])), 2),
        (lambda: chamfer_distance(ROWS, ROWS + 0.5), 1),
        (lambda: endpoint_error(ROWS[0], ROWS[1]), 5),
    ],
)
def test_where_the_origin_lies_does_not_count_by_hand(call, expected):
    np.testing.assert_allclose(call(), expected, atol=1e-6)
