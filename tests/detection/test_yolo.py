"""YOLO's output, its owners of objects and its losses by hand, and images without boxes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.detection import yolo
from dlcore.detection.dense import Thresholds
from dlcore.detection.yolo import YOLO, Cells, Outputs, assign_cells
from dlcore.learner import ModelState
from dlcore.nn import Conv
from tests.detection.detectors import Small, jitted, source
from tests.wiring import assert_wiring

image_losses = jax.jit(yolo.image_losses)
postprocess = jax.jit(yolo.postprocess, static_argnames=("size", "detections_per_img"))


class Stride64(nn.Module):
    """A backbone of one layer, with the paper's stride."""

    @nn.compact
    def features(self, x, train=False):
        return {"last": Conv(4, (1, 1), 64, padding=0)(x)}


@pytest.mark.slow
@pytest.mark.covers("DE-16")
def test_an_image_of_448_pixels_gives_7_7_30_numbers():
    model = YOLO(Stride64(), 20, "last", num_convs=0)
    (outputs, cells), _ = model.init_with_output(jax.random.key(0), jnp.zeros((2, 448, 448, 3)))
    chex.assert_shape(outputs.cells, (2, 7 * 7, 30))
    assert cells == Cells((7, 7), (448, 448), 2)
    # On an image of zeros the biases are left: centers in the middle of the cell, sides of 1/9 and 4/9 of the image.
    _, boxes, confidence, classes = yolo.decode(Outputs(outputs.cells[0]), cells)
    middle, half = np.array([64 * 3 + 32, 64 + 32]), np.array([448 / 9, 4 * 448 / 9])[:, None] / 2
    np.testing.assert_allclose(boxes[7 + 3], np.concatenate([middle - half, middle + half], 1), rtol=1e-5)
    np.testing.assert_array_equal(confidence, 0)
    np.testing.assert_allclose(classes, 1 / 20, rtol=1e-6)


CELLS = Cells((2, 3), (40, 60), 2)  # cells of 20 x 20 pixels


@pytest.mark.covers("DE-16")
def test_the_cell_of_the_center_owns_the_first_object_and_others_are_lost():
    boxes = jnp.array(
        [
            [22.0, 2, 36, 20],  # center (29, 11): row 0, column 1
            [0, 0, 60, 40],  # center (30, 20): row 1, column 1, whose upper edge is 20
            [20, 0, 40, 20],  # center (30, 10): the first's cell
            [50, 30, 70, 50],  # center (60, 40), the image's corner: the last cell
            [0, 0, 10, 10],  # padding
        ]
    )
    valid = jnp.array([True, True, True, True, False])
    np.testing.assert_array_equal(assign_cells(CELLS, boxes, valid), [-1, 0, -1, -1, 1, 3])
    assert int(yolo.lost_objects(None, CELLS, boxes, None, valid)["lost_objects"]) == 1
    np.testing.assert_array_equal(assign_cells(CELLS, boxes, valid & False), [-1] * 6)


def outputs_with(boxes, classes, at=1):
    """All zeros, but the cell `at` has these B rows of 5 numbers and these classes."""
    cells = np.zeros((6, 10 + len(classes)), np.float32)
    cells[at] = np.r_[np.ravel(boxes), classes]
    return Outputs(jnp.asarray(cells))


@pytest.mark.covers("DE-16")
def test_the_box_of_the_larger_iou_answers_and_the_losses_by_hand():
    # The object covers its cell: x = y = .5, sides 20/60 and 20/40 of the image.
    boxes, labels, valid = jnp.array([[20.0, 0, 40, 20]]), jnp.array([1]), jnp.array([True])
    roots = np.sqrt([1 / 3, 1 / 2])
    right = [0.5, 0.5, *roots, 0.75]
    shifted = [0.75, 0.5, *roots, 0.25]  # 5 pixels to the right: IoU 15 / 25
    outputs = outputs_with([shifted, right], [0.5, 0.5, 0])
    sums = image_losses(outputs, CELLS, boxes, labels, valid)
    assert float(sums["coordinates"]) == pytest.approx(0, abs=1e-6)
    assert float(sums["object"]) == pytest.approx((0.75 - 1) ** 2, rel=1e-5)
    assert float(sums["no_object"]) == pytest.approx(0.5 * 0.25**2, rel=1e-5)
    assert float(sums["classification"]) == pytest.approx(0.5)
    assert int(sums["num_foreground"]) == 1
    # Without the right one the shifted one answers, for a confidence of its IoU.
    outputs = outputs_with([shifted, [0.5, 0.5, 0.01, 0.01, 0.5]], [0, 1, 0])
    sums = image_losses(outputs, CELLS, boxes, labels, valid)
    assert float(sums["coordinates"]) == pytest.approx(5 * 0.25**2, rel=1e-5)
    assert float(sums["object"]) == pytest.approx((0.25 - 15 / 25) ** 2, rel=1e-5)
    assert float(sums["no_object"]) == pytest.approx(0.5 * 0.5**2, rel=1e-5)
    assert float(sums["classification"]) == 0
    other = image_losses(outputs, CELLS, boxes, labels, valid, lambda_coord=1.0, lambda_noobj=1.0)
    assert float(other["coordinates"]) == pytest.approx(0.25**2, rel=1e-5)
    assert float(other["no_object"]) == pytest.approx(0.5**2, rel=1e-5)


@pytest.mark.covers("DE-16")
def test_where_no_box_overlaps_the_nearest_answers():
    boxes, labels, valid = jnp.array([[20.0, 0, 40, 20]]), jnp.array([0]), jnp.array([True])
    outputs = outputs_with([[3.0, 0.5, 0.1, 0.1, 0], [2, 0.5, 0.1, 0.1, 0]], [1.0, 0])
    sums = image_losses(outputs, CELLS, boxes, labels, valid)
    want = 1.5**2 + (np.sqrt(1 / 3) - 0.1) ** 2 + (np.sqrt(1 / 2) - 0.1) ** 2
    assert float(sums["coordinates"]) == pytest.approx(5 * want, rel=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("DE-16")
def test_perfect_outputs_give_the_boxes_back():
    outputs = outputs_with([[0.25, 0.75, 0.5, 0.5, 0], [0.5, 0.5, np.sqrt(1 / 3), np.sqrt(1 / 2), 0.9]], [0, 0.8])
    found = postprocess(outputs, CELLS, (40, 60), score_thresh=0.05, nms_thresh=0.5, detections_per_img=4)
    np.testing.assert_array_equal(found["valid"], [True, False, False, False])
    np.testing.assert_allclose(found["boxes"][0], [20, 0, 40, 20], atol=1e-4)
    assert float(found["scores"][0]) == pytest.approx(0.72)
    assert int(found["labels"][0]) == 1


@pytest.mark.weekly
def test_images_without_boxes_learn_that_nothing_is_there():
    model = YOLO(Small(), 3, "fine", num_convs=1, channels=4, num_groups=2)
    learner = jitted(yolo.learner(model=model, optimizer=optax.sgd(0.01), thresholds=Thresholds(0.05, 0.5, 10, 5)))
    rows = source(4)[:]
    state = learner.init(jax.random.key(0), rows)
    metrics = learner.evaluate(state, rows)
    lost = [
        int(yolo.lost_objects(None, Cells((4, 4), (32, 32), 2), b, None, v)["lost_objects"])
        for b, v in zip(rows["boxes"], rows["box_mask"], strict=True)
    ]
    assert metrics["lost_objects"].compute() == sum(lost)
    assert metrics["loss"].count == rows["box_mask"].sum() - sum(lost)
    rows["box_mask"][:] = False
    rows["boxes"][:] = np.nan
    after, metrics = learner.update(state, rows)
    chex.assert_tree_all_finite(after.params)
    assert metrics["loss"].compute() is None
    assert float(metrics["no_object"].total) > 0
    rows = source(4)[:]
    chex.assert_trees_all_equal(learner.evaluate(after, rows), learner.evaluate(after, rows))
    learner.update(after, rows)
    assert learner.update._cache_size() == 1


class Given(nn.Module):
    """Cells in proportion to the one number of an image."""

    @nn.compact
    def __call__(self, images, train=False):
        return Outputs(images[:, 0] * self.param("cells", nn.initializers.zeros, (6, 12))), CELLS


@pytest.mark.covers("DE-16")
def test_one_update_by_hand():
    """Squares of three objects in NumPy; the IoU that a confidence aims at takes no gradient; image 2 is masked."""
    rate, coord, noobj, rng = 0.1, 4.0, 0.3, np.random.default_rng(0)
    learner = yolo.learner(model=Given(), optimizer=optax.sgd(rate), lambda_coord=coord, lambda_noobj=noobj)
    cells = rng.uniform(0.2, 0.9, (6, 12)).astype(np.float32)
    scale = np.array([1.0, 0.7, 2.0], np.float32)
    # Centers (29, 11) and (50, 30) of image 0, and (30, 30) of image 1.
    boxes = np.array([[[22, 2, 36, 20], [42, 22, 58, 38]], [[20, 21, 40, 39], [0, 0, 9, 9]], [[0, 0, 9, 9]] * 2])
    batch = {
        "image": scale.reshape(3, 1, 1, 1),
        "boxes": boxes.astype(np.float32),
        "labels": np.array([[1, 0], [1, 0], [0, 0]]),
        "box_mask": np.array([[True, True], [True, False], [True, True]]),
        "mask": np.array([1, 1, 0], np.float32),
        "index": np.arange(3),
    }
    before = {"cells": cells}
    state = ModelState(np.int32(0), jax.random.key(0), before, optax.sgd(rate).init(before), {})
    after, metrics = jax.jit(learner.update)(state, batch)
    slope, sums = np.zeros((6, 12)), dict.fromkeys(("coordinates", "object", "no_object", "classification"), 0.0)
    for i, owners in enumerate(({1: 0, 5: 1}, {4: 0})):  # {cell: box}
        for cell in range(6):
            out = scale[i] * cells[cell].astype(np.float64)
            found, own, answers = out[:10].reshape(2, 5), np.zeros(12), -1
            if cell in owners:
                box, corner = boxes[i, owners[cell]], np.array([cell % 3, cell // 3]) * 20
                target = np.r_[(box[:2] + box[2:]) / 2 / 20 - corner / 20, np.sqrt((box[2:] - box[:2]) / [60, 40])]
                middle, half = corner + 20 * found[:, :2], found[:, 2:4] ** 2 * [60, 40] / 2
                low, high = np.maximum(middle - half, box[:2]), np.minimum(middle + half, box[2:])
                shared = np.maximum(high - low, 0).prod(-1)
                iou = shared / ((2 * half).prod(-1) + (box[2:] - box[:2]).prod() - shared)
                answers, onehot = iou.argmax(), np.eye(2)[batch["labels"][i, owners[cell]]]
                assert iou[answers] > iou[1 - answers] > 0
                own[5 * answers : 5 * answers + 4] = 2 * coord * (found[answers, :4] - target)
                own[5 * answers + 4] = 2 * (found[answers, 4] - iou[answers])
                own[10:] = 2 * (out[10:] - onehot)
                sums["coordinates"] += coord * np.square(found[answers, :4] - target).sum()
                sums["object"] += (found[answers, 4] - iou[answers]) ** 2
                sums["classification"] += np.square(out[10:] - onehot).sum()
            for b in {0, 1} - {answers}:
                own[5 * b + 4] = 2 * noobj * found[b, 4]
                sums["no_object"] += noobj * found[b, 4] ** 2
            slope[cell] += scale[i] * own / 3
    np.testing.assert_allclose(after.params["cells"], cells - rate * slope, rtol=1e-4, atol=1e-5)
    for name, value in sums.items():
        assert metrics[name].compute() == pytest.approx(value / 3, rel=1e-4), name


def test_the_wiring_of_yolo_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(YOLO(Small(), 2, "fine", num_convs=1, channels=4, num_groups=2), (2, 16, 24, 3), [20.1256, -1.9989])
