"""COCO's mAP of boxes, masks and keypoints against the numbers pycocotools gave, and the evaluator's ends."""

from pathlib import Path

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.masks import masks_to_rles, pack_masks, pasted_masks
from dlcore.data.source import Source
from dlcore.evaluators.coco import coco_evaluator, coco_map, coco_rows
from dlcore.learner import Learner
from dlcore.run import Placement, evaluate
from dlcore.run.sharding import make_mesh

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "metrics_coco.npz")


def corners(rows):
    """Image, category, x, y, w, h, last -> from 0, with corners."""
    rows = rows.copy()
    rows[:, :2] -= 1
    rows[:, 4:6] += rows[:, 2:4]
    return rows


@pytest.mark.covers("ME-04")
def test_it_equals_pycocotools():
    result = coco_map(corners(GOLDEN["gt"]), corners(GOLDEN["dt"]), 20, 3)
    np.testing.assert_allclose(result.stats, GOLDEN["out.bbox.stats"], atol=1e-6)
    np.testing.assert_allclose(result.precision[0], GOLDEN["out.bbox.precision50"], atol=1e-6)
    np.testing.assert_allclose(result.precision[5], GOLDEN["out.bbox.precision75"], atol=1e-6)
    np.testing.assert_allclose(result.precision.mean((0, 1)), GOLDEN["out.bbox.ap_per_class"], atol=1e-6)
    np.testing.assert_allclose(result.recall, GOLDEN["out.bbox.recall"], atol=1e-6)
    chex.assert_shape(result.precision, (10, 101, 3))  # ten thresholds


def ellipses(rows):
    """Run lengths of the ellipses inscribed in boxes (corners), on images of 190 by 190."""
    y, x = np.mgrid[:190, :190] + 0.5
    x0, y0, x1, y1 = rows[:, 2:6, None, None].transpose(1, 0, 2, 3)
    inside = ((x - (x0 + x1) / 2) / ((x1 - x0) / 2)) ** 2 + ((y - (y0 + y1) / 2) / ((y1 - y0) / 2)) ** 2 <= 1
    return masks_to_rles(inside)


def test_masks_equal_pycocotools():
    truth, found = corners(GOLDEN["gt"]), corners(GOLDEN["dt"])
    result = coco_map(truth, found, 20, 3, masks=(ellipses(truth), ellipses(found)))
    np.testing.assert_allclose(result.stats, GOLDEN["out.segm.stats"], atol=1e-6)
    np.testing.assert_allclose(result.precision[0], GOLDEN["out.segm.precision50"], atol=1e-6)
    np.testing.assert_allclose(result.precision[5], GOLDEN["out.segm.precision75"], atol=1e-6)
    np.testing.assert_allclose(result.precision.mean((0, 1)), GOLDEN["out.segm.ap_per_class"], atol=1e-6)
    np.testing.assert_allclose(result.recall, GOLDEN["out.segm.recall"], atol=1e-6)


def test_keypoints_are_judged_by_their_distance():
    # One object of 20 by 20 pixels, one keypoint labeled of two, k = 0.1: at d = 1, 2, 3 pixels
    # OKS = exp(-d^2 / (2 * 400 * 0.01)) = .882, .607, .325: 8 of the ten thresholds hold, then 3, then none.
    truth, found = [[0, 0, 10, 10, 30, 30, 0]], [[0, 0, 10, 10, 30, 30, 0.9]]
    real = np.array([[[15.0, 15, 2], [0, 0, 0]]])
    for d, want in ((0, 1.0), (1, 0.8), (2, 0.3), (3, 0.0)):
        points = np.array([[[15.0 + d, 15], [99, 99]]])
        result = coco_map(truth, found, 1, 1, keypoints=(real, points))
        assert result.stats[0] == pytest.approx(want), d
    # Twice the sigma stands three times the distance: OKS at 3 pixels is .755.
    result = coco_map(truth, found, 1, 1, keypoints=(real, np.array([[[18.0, 15], [0, 0]]])), sigmas=(0.1, 0.1))
    assert result.stats[0] == pytest.approx(0.6)


def test_the_area_of_the_annotation_counts_and_not_that_of_the_box():
    # A box of 40 by 40 around an object of 400 pixels, one keypoint 2 pixels off, k = 0.1:
    # OKS = exp(-4 / (2 * 400 * 0.01)) = .607, 3 of the ten thresholds; by the box, exp(-4 / 32) = .882, 8 of them.
    rows = {
        "boxes": np.array([[[10.0, 10, 50, 50]]]),
        "labels": np.zeros((1, 1), int),
        "box_mask": np.ones((1, 1), bool),
        "keypoints": np.array([[[[30.0, 30, 2]]]]),
    }
    outputs = {"boxes": rows["boxes"], "labels": rows["labels"], "valid": rows["box_mask"], "scores": np.ones((1, 1))}
    outputs["keypoints"] = np.array([[[[32.0, 30]]]])
    evaluator = coco_evaluator(["a"], keypoints=True)
    assert measure(evaluator, (rows, outputs))["keypoint_map"] == pytest.approx(0.8)
    assert measure(evaluator, (rows | {"area": np.array([[400.0]])}, outputs))["keypoint_map"] == pytest.approx(0.3)
    # AP by size: 40 by 40 is medium (above 32^2), an object of 400 pixels is small.
    box = [[0, 0, 10, 10, 50, 50, 0.5]]
    truth = [[0, 0, 10, 10, 50, 50, 0]]
    np.testing.assert_allclose(coco_map(truth, box, 1, 1).stats[3:6], [-1, 1, -1])
    np.testing.assert_allclose(coco_map(truth, box, 1, 1, areas=[400]).stats[3:6], [1, -1, -1])


def test_numbers_and_lengths_that_do_not_fit_are_named():
    rows = {"truth": [[0, 0, 0, 0, 9, 9, 0]], "detections": [[0, 0, 0, 0, 9, 9, 1]]}
    with pytest.raises(ValueError, match=r"num_images=0: nothing to measure; allowed: at least 1"):
        coco_map(**rows, num_images=0, num_classes=1)


@pytest.mark.parametrize("empty", [[], np.zeros((0, 7))])
def test_no_rows_are_rows_of_nothing(empty):
    assert coco_map([[0, 0, 0, 0, 9, 9, 0]], empty, 1, 1).stats[0] == 0


def test_masks_and_keypoints_come_from_rows_and_outputs():
    rows, outputs = images()
    count, room = rows["labels"].shape
    size = (96, 104)
    rows["boxes"] = outputs["boxes"] = np.round(rows["boxes"])
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    x0, y0, x1, y1 = np.moveaxis(rows["boxes"], -1, 0)[..., None, None]
    masks = (x > x0) & (x < x1) & (y > y0) & (y < y1)
    rows |= {"image": np.zeros((count, *size, 3), np.uint8), "masks": pack_masks(masks)}
    corner = np.stack([rows["boxes"][..., :2], rows["boxes"][..., 2:]], -2)
    rows["keypoints"] = np.concatenate([corner, np.full((count, room, 2, 1), 2.0)], -1)
    full = {**outputs, "masks": np.ones((count, room, 28, 28), np.float32), "keypoints": corner}
    evaluator = coco_evaluator(["a", "b"], masks=True, keypoints=True)
    found = measure(evaluator, (rows, full))
    assert found["map"] == found["keypoint_map"] == found["keypoint_map/a"] == 1
    assert found["mask_map"] == found["mask_map50/b"] == 1
    assert set(found) - {"pr50", "mask_pr50"} == set(evaluator.names)
    thin = {**full, "masks": full["masks"] * (np.arange(28) < 12)}  # the left 43 of 100
    found = measure(coco_evaluator(["a", "b"], masks=True), (rows, thin))
    assert found["map"] == 1
    assert found["mask_map50"] < 0.3
    assert "keypoint_map" not in found


@pytest.mark.covers("DE-26")
def test_ap_by_size_equals_pycocotools():
    """Boxes of 16 to 128 pixels a side, areas of the objects from half to all of them, random shifts, false boxes."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)
    count, room = 24, 6
    corner, size = rng.uniform(0, 99, (count, room, 2)), np.exp2(rng.uniform(4, 7, (count, room, 2)))
    boxes = np.concatenate([corner, corner + size], -1)
    area = size.prod(-1) * rng.uniform(0.5, 1, (count, room))
    labels, real = rng.integers(0, 2, (count, room)), rng.random((count, room)) < 0.8
    found = boxes + rng.normal(0, 0.08, boxes.shape) * np.tile(size, 2)
    outputs = {"boxes": found, "labels": np.where(rng.random((count, room)) < 0.9, labels, 1 - labels)}
    outputs |= {"scores": rng.random((count, room)), "valid": rng.random((count, room)) < 0.9}
    rows = {"boxes": boxes, "labels": labels, "box_mask": real, "area": area}
    ours = measure(coco_evaluator(["a", "b"]), (rows, outputs))

    def notes(boxes, labels, keep, **more):
        places = [(int(i), int(j)) for i, j in np.argwhere(keep)]
        sides = np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], -1)
        return [
            {"id": k, "image_id": i + 1, "category_id": int(labels[i, j]) + 1, "bbox": sides[i, j].tolist()}
            | {"area": float(sides[i, j, 2] * sides[i, j, 3]), "iscrowd": 0}
            | {name: float(values[i, j]) for name, values in more.items()}
            for k, (i, j) in enumerate(places, 1)
        ]

    truth = COCO()
    truth.dataset = {"info": {}, "images": [{"id": i + 1} for i in range(count)], "categories": [{"id": 1}, {"id": 2}]}
    truth.dataset["annotations"] = notes(boxes, labels, real, area=area)
    truth.createIndex()
    theirs = notes(outputs["boxes"], outputs["labels"], outputs["valid"], score=outputs["scores"])
    evaluation = COCOeval(truth, truth.loadRes(theirs), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    sizes = [ours["map_small"], ours["map_medium"], ours["map_large"]]
    np.testing.assert_allclose(sizes, evaluation.stats[3:6], atol=1e-6)
    assert len({*np.round(sizes, 3)}) == 3
    assert min(sizes) > 0.1


def test_a_batch_becomes_rows_of_its_boxes_in_the_original_images():
    """Images of (H, W) = (4, 4) shown from (8, 12): y is doubled, x is tripled. The second slots are padding, but the
    second image's is a crowd."""
    rows = {
        "boxes": np.array([[[1.0, 1, 2, 3], [0, 0, 0, 0]], [[0, 1, 2, 2], [0, 0, 4, 4]]]),
        "labels": np.array([[3, 0], [4, 5]]),
        "box_mask": np.array([[True, False], [True, False]]),
        "crowd": np.array([[False, False], [False, True]]),
        "image_size": np.array([[4, 4], [4, 4]]),
        "original_size": np.array([[8, 12], [8, 12]]),
    }
    outputs = {
        "boxes": np.array([[[9.0, 9, 9, 9]], [[1, 1, 2, 2]]]),
        "labels": np.array([[1], [2]]),
        "scores": np.array([[0.9], [0.5]]),
        "valid": np.array([[False], [True]]),
    }
    truth, detections = coco_rows(outputs, rows, 6)
    np.testing.assert_allclose(truth, [[6, 3, 3, 2, 6, 6, 0], [7, 4, 0, 2, 6, 4, 0], [7, 5, 0, 0, 12, 8, 1]])
    np.testing.assert_allclose(detections, [[7, 2, 3, 2, 6, 4, 0.5]])


@pytest.mark.covers("DE-26")
def test_objects_of_another_size_are_neither_hit_nor_missed():
    """A small, a medium and a large object: 20^2 < 32^2, 50^2 and 100^2 > 96^2 pixels. Found are the small one, the
    large one and, of higher score, a large box on nothing: precision 1/2 at every recall of the large objects."""
    boxes = np.array([[[0.0, 0, 20, 20], [0, 0, 50, 50], [100, 100, 200, 200]]])
    rows = {"boxes": boxes, "labels": np.zeros((1, 3), int), "box_mask": np.ones((1, 3), bool)}
    outputs = {"boxes": np.array([[[0.0, 0, 20, 20], [100, 100, 200, 200], [300, 300, 400, 400]]])}
    outputs |= {"labels": rows["labels"], "valid": rows["box_mask"], "scores": np.array([[0.3, 0.4, 0.5]])}
    found = measure(coco_evaluator(["a"]), (rows, outputs))
    sizes = [found["map_small"], found["map_medium"], found["map_large"]]
    assert sizes == pytest.approx([1, 0, 0.5])
    none = measure(coco_evaluator(["a"]), (rows | {"area": np.full((1, 3), 100.0)}, outputs))
    assert (none["map_medium"], none["map_large"]) == (None, None), "the areas of the annotations count"


@pytest.mark.covers("DE-26")
def test_limits_of_sizes_in_other_pixels_give_the_sizes_of_scaled_boxes():
    """Sixteen times the areas with COCO's limits are the areas with limits of 8^2 and 24^2, at each threshold too."""
    rng = np.random.default_rng(0)
    corner, size = rng.uniform(0, 99, (60, 2)), np.exp2(rng.uniform(2, 6, (60, 2)))
    truth = np.column_stack([np.arange(60) // 6, rng.integers(0, 2, 60), corner, corner + size, np.zeros(60)])
    found = truth + np.column_stack([np.zeros((60, 2)), rng.normal(0, 0.1, (60, 4)) * np.tile(size, 2), rng.random(60)])
    small = coco_map(truth, found, 10, 2, size_limits=(8**2, 24**2))
    grown = np.array([1, 1, 4, 4, 4, 4, 1])
    large = coco_map(truth * grown, found * grown, 10, 2)
    np.testing.assert_allclose(small.stats, large.stats)
    np.testing.assert_allclose(small.precision_by_size, large.precision_by_size)
    chex.assert_shape(small.precision_by_size, (3, 10, 101, 2))
    np.testing.assert_allclose(small.precision_by_size.mean((1, 2, 3)), small.stats[3:6])
    assert len({*np.round(small.stats[3:6], 3)}) == 3
    assert not np.allclose(coco_map(truth, found, 10, 2).stats[3:6], small.stats[3:6])


def images(seed=0, count=12, room=4):
    """Rows with their truth, and outputs that find it exactly."""
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(0, 50, (count, room, 2)), rng.uniform(4, 40, (count, room, 2))
    mask = np.arange(room) < rng.integers(0, room + 1, count)[:, None]
    mask[0] = True
    rows = {
        "boxes": np.concatenate([corner, corner + size], -1).astype(np.float32),
        "labels": rng.integers(0, 2, (count, room)).astype(np.int32),
        "box_mask": mask,
        "index": np.arange(count, dtype=np.int32),
    }
    outputs = {
        "boxes": rows["boxes"],
        "labels": rows["labels"],
        "valid": mask,
        "scores": rng.uniform(0.5, 1, (count, room)).astype(np.float32),
    }
    return rows, outputs


def measure(evaluator, *parts):
    kept = None
    for rows, outputs in parts:
        kept = evaluator.add(kept, outputs, rows)
    return evaluator.finish(kept)


@pytest.mark.covers("ME-04")
def test_perfect_boxes_are_worth_1_and_wrong_ones_less():
    rows, outputs = images()
    found = measure(coco_evaluator(["a", "b", "never"]), (rows, outputs))
    assert found["map"] == found["map50"] == found["map75"] == found["map/a"] == found["map50/b"] == 1
    assert "map/never" not in found
    assert (found["pr50"][:, 2] == -1).all()
    # A tenth of each box cut off, IoU 0.9 (and float32 on either side of it): eight or nine of ten thresholds hold.
    narrow = outputs["boxes"].copy()
    narrow[..., 2] -= 0.12 * (narrow[..., 2] - narrow[..., 0])
    found = measure(coco_evaluator(["a", "b"]), (rows, {**outputs, "boxes": narrow}))
    assert found["map"] == pytest.approx(0.8)  # IoU 0.88: 0.5 to 0.85
    assert found["map50"] == 1
    other = {**outputs, "labels": 1 - outputs["labels"]}
    assert measure(coco_evaluator(["a", "b"]), (rows, other))["map"] < 0.2


def test_nothing_found_is_0_and_nothing_there_is_blank():
    rows, outputs = images()
    none = {**outputs, "valid": np.zeros_like(outputs["valid"])}
    assert measure(coco_evaluator(["a", "b"]), (rows, none))["map"] == 0
    bare = {**rows, "box_mask": np.zeros_like(rows["box_mask"])}
    assert measure(coco_evaluator(["a", "b"]), (bare, outputs))["map"] is None
    assert measure(coco_evaluator(["a", "b"]), (bare, none))["map"] is None


def test_a_crowd_is_ignored():
    rows, outputs = images()
    rows["box_mask"], crowd = rows["box_mask"].copy(), np.zeros_like(rows["box_mask"])
    rows["box_mask"][0, 0], crowd[0, 0] = False, True  # neither to be found nor wrong where it is found
    assert measure(coco_evaluator(["a", "b"]), ({**rows, "crowd": crowd}, outputs))["map"] == 1
    assert measure(coco_evaluator(["a", "b"]), (rows, outputs))["map"] < 1


def test_the_order_and_the_split_into_batches_do_not_matter():
    rows, outputs = images()
    outputs["boxes"] = outputs["boxes"] + np.random.default_rng(1).normal(0, 2, outputs["boxes"].shape)

    def part(slice_):
        return tuple({k: v[slice_] for k, v in d.items()} for d in (rows, outputs))

    whole = measure(coco_evaluator(["a", "b"]), part(slice(None)))
    parts = measure(coco_evaluator(["a", "b"]), part(slice(5, None)), part(slice(0, 5)))
    assert whole["map"] == pytest.approx(parts["map"])
    np.testing.assert_allclose(whole["pr50"], parts["pr50"])


def test_it_is_fed_by_predict():
    import jax

    rows, outputs = images()
    arrays = {k: v for k, v in rows.items() if k != "index"} | {"scores": outputs["scores"]}

    def predict(state, batch):
        return {
            "boxes": batch["boxes"],
            "scores": batch["scores"],
            "labels": batch["labels"],
            "valid": batch["box_mask"],
        }

    learner = Learner(None, None, lambda state, batch: {}, predict)
    place = Placement(make_mesh("data:1", jax.devices()[:1]))
    measures = evaluate(
        learner, {}, Source(arrays), batch_size=5, placement=place, evaluators=[coco_evaluator(["a", "b"])]
    )
    assert measures["map"] == 1
    chex.assert_shape(measures["details"]["pr50"], (101, 2))


@pytest.mark.covers("DE-26")
def test_resized_images_are_measured_in_their_own_pixels():
    """A square of 40 is medium; in an image that was halved it is one of 20, which would be small."""
    box = np.array([[[4.0, 4, 24, 24]]], np.float32)
    rows = {"boxes": box, "labels": np.zeros((1, 1), int), "box_mask": np.ones((1, 1), bool), "index": np.arange(1)}
    rows |= {"area": np.full((1, 1), 400.0), "image": np.zeros((1, 32, 48, 3), np.uint8)}
    mask = np.zeros((1, 1, 32, 48), bool)
    mask[..., 4:24, 4:24] = True
    rows |= {"masks": pack_masks(mask), "keypoints": np.array([[[[5.0, 6, 2]]]])}
    outputs = {"boxes": box, "labels": rows["labels"], "scores": np.ones((1, 1)), "valid": rows["box_mask"]}
    outputs |= {"masks": np.ones((1, 1, 28, 28), np.float32), "keypoints": np.array([[[[5.0, 6, 1]]]])}
    evaluator = coco_evaluator(["a"], masks=True, keypoints=True)
    names = ("map_small", "map_medium", "mask_map_small", "mask_map_medium", "keypoint_map_medium")
    resized = measure(evaluator, (rows, outputs))
    assert [resized[name] and round(resized[name], 6) for name in names] == [1, None, 1, None, None]
    sizes = {"image_size": np.array([[28, 40]]), "original_size": np.array([[56, 80]])}
    original = measure(evaluator, (rows | sizes, outputs))
    assert [original[name] and round(original[name], 6) for name in names] == [None, 1, None, 1, 1]


def test_masks_are_pasted_into_their_boxes_where_their_probability_is_above_the_threshold():
    """Cells of probability 0, 0.25, 0.75 and 1 a column of the first mask, a row of the second.

    In a box of 8 by 4 pixels a cell is 2 by 1 pixels, so that the center of a pixel lies a quarter of a cell off the
    cell's own: between the cells of 0.25 and 0.75 the pixels have 0.375 and 0.625, beside them 0.1875 and 0.8125.
    """
    steps = np.array([0, 0.25, 0.75, 1])
    masks = np.stack([np.tile(steps, (4, 1)), np.tile(steps[:, None], (1, 4))]).astype(np.float32)
    boxes = np.array([[2.0, 1, 10, 5], [1, 0, 5, 8]], np.float32)
    for threshold, first in ((0.5, 4), (0.3, 3), (0.7, 5)):
        pasted = pasted_masks(masks, boxes, (9, 12), threshold)
        expected = np.zeros((2, 9, 12), bool)
        expected[0, 1:5, 2 + first : 10] = expected[1, first:8, 1:5] = True
        np.testing.assert_array_equal(pasted, expected)
    np.testing.assert_array_equal(pasted_masks(masks, boxes, (9, 12)), pasted_masks(masks, boxes, (9, 12), 0.5))
    chex.assert_shape(pasted_masks(masks[:0], boxes[:0], (9, 12)), (0, 9, 12))


def test_many_pixels_are_pasted_a_few_masks_at_a_time(monkeypatch):
    """2^25 pixels hold three images of 2000 by 5000, so that four masks take two turns, the second with padding."""
    turns = []

    def paste(masks, boxes, size, *options):
        turns.append((masks.shape, size))  # one program for both turns
        return jnp.broadcast_to(masks[:, :1, :1] + boxes[:, 3:, None], (len(masks), *size))

    monkeypatch.setattr("dlcore.data.masks.paste_masks", paste)
    masks = np.float32([0.3, 0.1, 0.2, 0.4])[:, None, None]
    boxes = np.zeros((4, 4), np.float32)
    boxes[:, 3] = [0.3, 0.3, 0.2, 0.2]
    pasted = pasted_masks(masks, boxes, (2000, 5000))
    assert pasted[:, 1999, 4999].tolist() == pasted[:, 0, 0].tolist() == [True, False, False, True]
    assert turns == [((3, 1, 1), (2000, 5000))]


def test_an_overlap_of_half_counts_at_the_least_threshold_alone():
    """The upper 52 of 100 rows, as a box and as a mask: precision 1 at IoU 0.5, 0 at the nine from 0.55 on."""
    mask = np.ones((1, 1, 100, 100), bool)
    rows = {"boxes": np.float32([[[0, 0, 100, 100]]]), "labels": np.zeros((1, 1), int), "box_mask": mask[..., 0, 0]}
    rows |= {"image": np.zeros((1, 100, 100, 3), np.uint8), "masks": pack_masks(mask)}
    outputs = {"boxes": np.float32([[[0, 0, 100, 52]]]), "labels": rows["labels"], "valid": rows["box_mask"]}
    outputs |= {"scores": np.ones((1, 1)), "masks": np.ones((1, 1, 4, 4), np.float32)}
    found = measure(coco_evaluator(["a"], masks=True), (rows, outputs))
    for kind in ("", "mask_"):
        np.testing.assert_allclose(found[kind + "pr50"], np.ones((101, 1)))
        assert [found[f"{kind}map{at}"] for at in ("", "50", "75")] == pytest.approx([0.1, 1, 0])
    assert found["recall100"] == pytest.approx(0.1)
