"""Overlaps by hand and against torchvision, conversions and distances by round trips."""

import itertools
import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.ops import boxes as ops
from tests.derivatives import output_and_gradients

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "tvops_boxes.npz")
CASES = json.loads(str(GOLDEN["meta"]))["cases"]

NANS = np.zeros((2, 4))
NANS[1, 2] = np.nan


def test_the_golden_is_there():
    assert {"box_iou", "nms.0.5", "clip"} <= set(CASES)


def test_boxes_without_values_are_not_looked_at():
    chex.assert_shape(jax.eval_shape(ops.box_iou, jnp.zeros((2, 4)), jnp.zeros((3, 4))), (2, 3))


@pytest.mark.slow
@pytest.mark.covers("DE-08")
def test_iou_by_hand():
    a = jnp.array([[0.0, 0, 10, 10]])
    b = jnp.array(
        [
            [5.0, 5, 15, 15],  # 25 shared of 100 + 100 - 25: 1/7
            [0, 0, 10, 10],  # itself
            [20, 20, 30, 30],  # elsewhere
            [10, 0, 20, 10],  # a common side
            [0, 0, 10, 5],  # half of it: decent
            [0, 0, 10, 7],  # pretty good
            [0, 0, 10, 9],  # almost perfect
        ]
    )
    np.testing.assert_allclose(ops.box_iou(a, b)[0], [1 / 7, 1, 0, 0, 0.5, 0.7, 0.9], atol=1e-7)
    assert float(ops.box_iou(a, b)[0, 0]) == pytest.approx(0.1428571, abs=1e-7)
    np.testing.assert_allclose(ops.box_iou(3 * a, 3 * b), ops.box_iou(a, b), rtol=1e-6)  # scale does not matter


@pytest.mark.slow
def test_empty_boxes_overlap_nothing_and_have_finite_gradients():
    point = jnp.array([[3.0, 3, 3, 3]])
    assert float(ops.box_iou(point, point)[0, 0]) == 0
    for function in (ops.box_iou, ops.generalized_box_iou):
        gradient = jax.grad(lambda a, function=function: function(a, point)[0, 0])(point)
        assert np.isfinite(gradient).all()
    assert float(ops.box_area(jnp.array([5.0, 5, 2, 9]))) == 0


@pytest.mark.slow(unless=["generalized_box_iou-generalized_box_iou"])
@pytest.mark.covers("DE-08")
@pytest.mark.parametrize(
    ("name", "function"), [("box_iou", ops.box_iou), ("generalized_box_iou", ops.generalized_box_iou)]
)
def test_overlaps_equal_torchvision(name, function):
    a, b, cotangent = (GOLDEN[f"{name}/in.{k}"] for k in ("a", "b", "cot"))
    want = GOLDEN[f"{name}/out"]
    out, found, _ = output_and_gradients(function, cotangent, a, b)
    np.testing.assert_allclose(out, want, atol=1e-5 * want.std())
    gradient = GOLDEN[f"{name}/grad.a"]
    np.testing.assert_allclose(found, gradient, atol=1e-4 * gradient.std())


@pytest.mark.covers("DE-08")
def test_distance_and_complete_iou_by_hand():
    """Boxes of 4 x 2 with centers (2, 1) and (4, 2): 2 shared of 14, 5 between the centers, hull of 6 x 3. A box of
    2 x 2 in the first: half of it, center 1 away of a diagonal of 20; angles atan(2) and atan(1). Points: nothing."""
    a = np.array([[0, 0, 4, 2], [1, 1, 1, 1]], np.float32)
    b = np.array([[2, 1, 6, 3], [0, 0, 2, 2], [1, 1, 1, 1]], np.float32)
    distance, complete = jax.jit(lambda a, b: (ops.distance_box_iou(a, b), ops.complete_box_iou(a, b)))(a, b)
    far = 1 / 7 - 5 / 45
    near = 1 / 2 - 1 / 20
    np.testing.assert_allclose(distance[0, :2], [far, near], rtol=1e-5)
    v = 4 / np.pi**2 * (np.arctan(2) - np.pi / 4) ** 2
    np.testing.assert_allclose(complete[0, :2], [far, near - v * v / (1 / 2 + v)], rtol=1e-5)
    assert float(distance[1, 2]) == 0
    assert np.isfinite(complete).all()


def test_area_clip_and_conversion_equal_torchvision():
    np.testing.assert_allclose(ops.box_area(GOLDEN["box_area/in.a"]), GOLDEN["box_area/out"], rtol=1e-6)
    height, width = CASES["clip"]["args"]["size"]
    np.testing.assert_array_equal(ops.clip_boxes(GOLDEN["clip/in.a"], (height, width)), GOLDEN["clip/out"])
    converted = ops.box_convert(GOLDEN["convert.cxcywh/in.a"], "xyxy", "cxcywh")
    np.testing.assert_allclose(converted, GOLDEN["convert.cxcywh/out"], rtol=1e-6)


@pytest.mark.parametrize("middle", ["xyxy", "xywh", "cxcywh"])
def test_conversions_go_there_and_back(middle):
    boxes = jnp.array([[1.0, 2, 5, 10], [0, 0, 3, 1]])
    there = ops.box_convert(boxes, "xyxy", middle)
    np.testing.assert_allclose(ops.box_convert(there, middle, "xyxy"), boxes)
    if middle == "xywh":
        np.testing.assert_allclose(there[0], [1, 2, 4, 8])
    with pytest.raises(ValueError, match="target='yxyx'"):
        ops.box_convert(boxes, "xyxy", "yxyx")


def test_resizing_stretches_each_axis():
    box = ops.resize_boxes(jnp.array([10.0, 20, 30, 40]), (100, 200), (50, 400))
    np.testing.assert_allclose(box, [20, 10, 60, 20])


@pytest.mark.covers("DE-19")
def test_distances_by_hand_and_against_torchvision():
    distances = ops.boxes_to_distances(jnp.array([5.0, 7]), jnp.array([2.0, 1, 11, 9]))
    np.testing.assert_allclose(distances, [3, 6, 6, 2])  # left, top, right, bottom
    np.testing.assert_allclose(ops.distances_to_boxes(jnp.array([5.0, 7]), distances), [2, 1, 11, 9])
    proposals = GOLDEN["linear_coder.decode/in.proposals"]
    center = (proposals[:, :2] + proposals[:, 2:]) / 2
    size = np.tile(proposals[:, 2:] - proposals[:, :2], 2)
    boxes = ops.distances_to_boxes(center, GOLDEN["linear_coder.decode/in.deltas"] * size)
    np.testing.assert_allclose(boxes, GOLDEN["linear_coder.decode/out"], rtol=1e-5, atol=1e-5)
    anchors = GOLDEN["linear_coder.encode/in.reference"]
    center, size = (anchors[:, :2] + anchors[:, 2:]) / 2, np.tile(anchors[:, 2:] - anchors[:, :2], 2)
    codes = ops.boxes_to_distances(center, GOLDEN["linear_coder.encode/in.proposals"]) / size
    np.testing.assert_allclose(codes, GOLDEN["linear_coder.encode/out"], rtol=1e-4, atol=1e-5)


@pytest.mark.covers("DE-07")
def test_deltas_by_hand():
    """Centers and sizes (10, 20, 30, 40) and (16, 12, 60, 20): 6 / 30, -8 / 40, log 2, -log 2."""
    anchor, box = (ops.box_convert(jnp.array(b), "cxcywh", "xyxy") for b in ([10.0, 20, 30, 40], [16.0, 12, 60, 20]))
    deltas = ops.encode_boxes(box, anchor)
    np.testing.assert_allclose(deltas, [0.2, -0.2, 0.6931, -0.6931], atol=5e-5)
    np.testing.assert_allclose(ops.decode_boxes(deltas, anchor), box, rtol=1e-6)


@pytest.mark.covers("DE-07")
@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("coder.")])
def test_deltas_equal_torchvision(name):
    weights = tuple(CASES[name]["args"]["weights"])
    given = {k.split("in.")[1]: jnp.asarray(GOLDEN[k]) for k in GOLDEN.files if k.startswith(f"{name}/in.")}
    function = ops.encode_boxes if ".encode." in name else ops.decode_boxes
    first, anchors = given.values()
    first = first.reshape(len(first), -1, 4)  # decode: two boxes of each proposal
    values = function(first, anchors[:, None], weights).reshape(len(first), -1)
    np.testing.assert_allclose(values, GOLDEN[f"{name}/out"], rtol=1e-5, atol=1e-4)


@pytest.mark.covers("DE-07")
def test_deltas_go_there_and_back_and_stay_finite():
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0, 50, (2, 20, 2)), rng.uniform(1, 40, (2, 20, 2))
    boxes, anchors = jnp.asarray(np.concatenate([corner, corner + size], -1), jnp.float32)
    weights = (10.0, 10.0, 5.0, 5.0)
    back = ops.decode_boxes(ops.encode_boxes(boxes, anchors, weights), anchors, weights)
    np.testing.assert_allclose(back, boxes, rtol=1e-6, atol=1e-4)
    point = jnp.array([3.0, 3, 3, 3])
    assert np.isfinite(ops.encode_boxes(point, boxes[0])).all()
    assert np.isfinite(ops.encode_boxes(boxes[0], point)).all()
    assert np.isfinite(ops.decode_boxes(jnp.array([0.0, 0, 1000, 1000]), boxes[0])).all()  # e^1000 is not


@pytest.mark.slow
@pytest.mark.weekly(unless=["distance_box_iou"])
@pytest.mark.covers("DE-08")
@pytest.mark.parametrize("name", ["distance_box_iou", "complete_box_iou"])
def test_matrices_with_centers_and_aspect_ratios_equal_torchvisions(name):
    a, b, weight = (jnp.asarray(GOLDEN[f"{name}/in.{key}"]) for key in ("a", "b", "cot"))
    np.testing.assert_allclose(getattr(ops, name)(a, b), GOLDEN[f"{name}/out"], atol=3e-6)
    gradient = jax.grad(lambda a: (getattr(ops, name)(a, b) * weight).sum())(a)
    np.testing.assert_allclose(gradient, GOLDEN[f"{name}/grad.a"], atol=1e-5)
    point = jnp.array([[3.0, 3, 3, 3]])
    assert np.isfinite(jax.grad(lambda a: getattr(ops, name)(a, point).sum())(point)).all()


@pytest.mark.slow
@pytest.mark.covers("DE-08")
def test_boxes_around_masks_end_where_torchvisions_last_pixel_ends():
    masks = GOLDEN["masks_to_boxes/in.masks"]
    np.testing.assert_array_equal(ops.masks_to_boxes(masks), GOLDEN["masks_to_boxes/out"] + [0, 0, 1, 1])
    np.testing.assert_array_equal(ops.masks_to_boxes(jnp.zeros((2, 3, 4))), np.zeros((2, 4)))
    np.testing.assert_array_equal(ops.masks_to_boxes(jnp.zeros((3, 4)).at[1, 2].set(1)), [2, 1, 3, 2])


@pytest.mark.slow
def test_large_boxes_in_short_dtypes_keep_their_areas():
    """Two equal boxes of 300 x 300 have an area beyond float16; (200, 0)-(220, 20) has one of 400, beyond uint8."""
    big = jnp.array([[0, 0, 300, 300]], jnp.float16)
    for iou in (ops.box_iou, ops.generalized_box_iou, ops.distance_box_iou, ops.complete_box_iou):
        np.testing.assert_allclose(iou(big, big), 1, rtol=1e-6)
    small = jnp.array([[200, 0, 220, 20]], jnp.uint8)
    assert float(ops.box_area(small)[0]) == 400
    assert float(ops.box_iou(small, jnp.array([[0, 0, 20, 20]], jnp.uint8))[0, 0]) == 0
    # Centers at (210, 10); (210, 10, 20, 20) is read as corners again; 250 + 20 wraps around in uint8.
    center = ops.box_convert(small, "xyxy", "cxcywh")
    np.testing.assert_array_equal(center, [[210, 10, 20, 20]])
    np.testing.assert_array_equal(ops.box_convert(jnp.array([[250, 0, 20, 9]], jnp.uint8), "xywh", "xyxy")[0, 2], 270)
    np.testing.assert_array_equal(ops.clip_boxes(small, (300, 300)), [[200, 0, 220, 20]])
    np.testing.assert_array_equal(ops.resize_boxes(small, (100, 100), (150, 50)), [[100, 0, 110, 30]])
    points = jnp.array([[210, 10]], jnp.uint8)
    np.testing.assert_array_equal(ops.boxes_to_distances(points, small + jnp.uint8(20)), [[-10, -10, 30, 30]])


def test_overlaps_of_unequal_boxes_equal_a_loop():
    """An empty box, one inside another, two that are equal, and some apart along either axis."""
    a = np.array([[1, 2, 8, 5], [0, 0, 3, 9], [4, 4, 4, 7], [4, 1, 7, 4]], np.float32)
    b = np.array([[2, 1, 5, 9], [1, 2, 8, 5], [20, 3, 30, 4], [4, 4, 4, 7], [1, 11, 2, 30]], np.float32)

    @jax.jit
    def call(a, b):
        areas = ops.box_union(a[:, None], b)
        return ops.box_area(a), areas, ops.box_iou(a, b), ops.generalized_box_iou(a, b), ops.distance_box_iou(a, b)

    area, (inner, union), iou, generalized, distance = call(a, b)
    np.testing.assert_array_equal(area, [21, 27, 0, 9])
    for i, p in enumerate(a):
        for j, q in enumerate(b):
            shared = max(min(p[2], q[2]) - max(p[0], q[0]), 0) * max(min(p[3], q[3]) - max(p[1], q[1]), 0)
            both = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - shared
            width, height = max(p[2], q[2]) - min(p[0], q[0]), max(p[3], q[3]) - min(p[1], q[1])
            apart = ((p[0] + p[2] - q[0] - q[2]) ** 2 + (p[1] + p[3] - q[1] - q[3]) ** 2) / 4
            share = shared / both if both else 0
            assert (inner[i, j], union[i, j]) == (shared, both)
            np.testing.assert_allclose(iou[i, j], share, rtol=1e-6)
            hull = width * height
            np.testing.assert_allclose(generalized[i, j], share - ((hull - both) / hull if hull else 0), atol=1e-6)
            np.testing.assert_allclose(distance[i, j], share - apart / (width**2 + height**2), atol=1e-6)


def test_angles_and_boxes_of_short_numbers():
    """3 wide and 4 high; a point; x flipped. 300 x 300 is beyond float16, 250 + 20 beyond uint8."""
    angles = jax.jit(ops.box_angle)(np.float32([[2, 1, 5, 5], [3, 3, 3, 3], [5, 5, 2, 9], [0, 5, 2, 5]]))
    np.testing.assert_allclose(angles, [np.arctan(3 / 4), 0, 0, np.pi / 2], rtol=1e-6)
    big, small = np.array([[0, 0, 300, 300]], np.float16), np.array([[250, 0, 20, 9]], np.uint8)

    @jax.jit
    def call(big, small):
        return ops.box_iou(big, big), ops.box_convert(small, "xywh", "xyxy"), ops.box_convert(big, "xyxy", "xywh")

    iou, corners, half = call(big, small)
    np.testing.assert_array_equal(iou, [[1]])
    np.testing.assert_array_equal(corners, [[250, 0, 270, 9]])
    assert (iou.dtype, corners.dtype, half.dtype) == (jnp.float32, jnp.float32, jnp.float16)
    # (40000 + 50000) / 2 is in float16 what its sum is not.
    far = np.array([[40_000, 40_000, 50_016, 50_016]], np.float16)
    np.testing.assert_array_equal(ops.encode_boxes(far, far), [[0] * 4])
    np.testing.assert_array_equal(ops.decode_boxes(np.zeros((1, 4), np.float16), far), far)


def test_boxes_around_masks_equal_a_loop():
    masks = np.zeros((2, 2, 3, 5), np.float32)
    masks[0, 0, 1, 2:4] = 0.5
    masks[0, 1, 0, 0] = masks[0, 1, 2, 4] = 1
    masks[1, 0, 2, 1] = 1
    # Pixels 2 and 3 of row 1; the whole; pixel 1 of row 2; none.
    want = [[[2, 1, 4, 2], [0, 0, 5, 3]], [[1, 2, 2, 3], [0, 0, 0, 0]]]
    np.testing.assert_array_equal(jax.jit(ops.masks_to_boxes)(masks), want)


def test_every_format_and_side_by_hand():
    """3 wide and 8 high from (1, 2), so around (2.5, 6)."""
    forms = {"xyxy": [1, 2, 4, 10], "xywh": [1, 2, 3, 8], "cxcywh": [2.5, 6, 3, 8]}

    @jax.jit
    def convert(forms):
        return {"-".join(pair): ops.box_convert(forms[pair[0]], *pair) for pair in itertools.product(forms, repeat=2)}

    for pair, got in convert({form: np.float32(box) for form, box in forms.items()}).items():
        np.testing.assert_array_equal(got, forms[pair.split("-")[1]])
    box = np.float32([[-1, -2, 9, 11], [2, 3, 4, 5]])
    np.testing.assert_array_equal(ops.clip_boxes(box, (7, 6)), [[0, 0, 6, 7], [2, 3, 4, 5]])
    np.testing.assert_array_equal(ops.clip_boxes(box, (0, 6)), [[0, 0, 6, 0], [2, 0, 4, 0]])  # an image of no rows
    np.testing.assert_array_equal(jax.jit(ops.clip_boxes)(box, np.int32([7, 6])), [[0, 0, 6, 7], [2, 3, 4, 5]])


def test_limits_of_deltas_by_hand():
    """Sides are at least 1e-6 pixels when encoded; decoded, they grow by 1000 / 16 at most, or by e^limit."""
    anchor, point = np.float32([1, 2, 3, 10]), np.float32([3, 6, 3, 6])

    @jax.jit
    def call(point, anchor):
        coded = ops.encode_boxes(point, anchor, (10.0, 5.0, 2.0, 3.0)), ops.encode_boxes(anchor, point)
        large = ops.decode_boxes(np.float32([0, 0, 9, 9]), anchor)
        return *coded, large, ops.decode_boxes(np.float32([1, -1, 2, 4]), anchor, (2.0, 4.0, 1.0, 8.0), scale_clamp=1.0)

    deltas, back, large, box = call(point, anchor)
    np.testing.assert_allclose(deltas, [10 * 1 / 2, 0, 2 * np.log(1e-6 / 2), 3 * np.log(1e-6 / 8)], rtol=1e-6)
    np.testing.assert_allclose(back, [-1e6, 0, np.log(2e6), np.log(8e6)], rtol=1e-6)
    np.testing.assert_allclose(large, [2 - 62.5, 6 - 250, 2 + 62.5, 6 + 250], rtol=1e-5)
    # Center 2 + 2 / 2, 6 - 8 / 4; 2 e wide, 8 e^(1/2) high.
    half = np.e, 4 * np.exp(0.5)
    np.testing.assert_allclose(box, [3 - half[0], 4 - half[1], 3 + half[0], 4 + half[1]], rtol=1e-5)
    for weights in ((1, 1, 1, -1), (1, np.inf, 1, 1), (1, 1, 1, 1, 1), (np.nan, 1, 1, 1)):
        with pytest.raises(ValueError, match=r"weights=.*: no factors of four deltas"):
            ops.encode_boxes(anchor, anchor, weights)
        with pytest.raises(ValueError, match=r"weights=.*: no factors of four deltas"):
            ops.decode_boxes(anchor, anchor, weights)
