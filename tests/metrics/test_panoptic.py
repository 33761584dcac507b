"""Panoptic quality of two worked images, void, what does not count, and parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.metrics import PanopticQuality

# Two images of 2 by 6; class 0 is stuff, class 1 things. Segments are numbered by image, void is -1.
TRUTH = jnp.array([[[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1]], [[0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2]]])
TRUE_LABELS = jnp.array([[0, 1, -1], [0, 1, 1]])
FOUND = jnp.array([[[0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]], [[0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 2]]])
LABELS = jnp.array([[0, 1, -1], [0, 1, 1]])


@pytest.mark.covers("SG-07")
def test_two_images_by_hand():
    # Image 1: stuff 5 of 6 (IoU 5/6); the thing has 6 of 6 and one pixel too many, 6 / 7.
    # Image 2: stuff 4 of 4; the first thing took 7 pixels, 4 of them right: 4 / 7 > 1/2; of the second thing a single
    # pixel was found: 1 / 4, no match, so one wrong and one missed.
    found = PanopticQuality.of(FOUND, LABELS, TRUTH, TRUE_LABELS, 3).compute()
    stuff, thing = (5 / 6 + 1) / 2, (6 / 7 + 4 / 7) / (2 + 1 / 2 + 1 / 2)
    np.testing.assert_allclose(found["pq_by_class"], [stuff, thing, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found["sq_by_class"], [stuff, (6 / 7 + 4 / 7) / 2, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found["rq_by_class"], [1, 2 / 3, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found["pq_by_class"][:2], found["sq_by_class"][:2] * found["rq_by_class"][:2], rtol=1e-6)
    assert found["pq"] == pytest.approx((stuff + thing) / 2)


def test_a_segment_of_the_wrong_class_is_wrong_and_missed():
    swapped = PanopticQuality.of(TRUTH, TRUE_LABELS, TRUTH, jnp.array([[1, 0, -1], [1, 0, 0]]), 2)
    assert swapped.compute()["pq"] == 0
    assert (swapped.wrong.tolist(), swapped.missed.tolist()) == ([2, 3], [3, 2])
    perfect = PanopticQuality.of(TRUTH, TRUE_LABELS, TRUTH, TRUE_LABELS, 2).compute()
    assert (perfect["pq"], perfect["sq"], perfect["rq"]) == (1, 1, 1)


def test_void_masks_and_unmatched_pixels_in_one_batch():
    """Three images of 1 by 6 with segments 0 (class 1) and 1 (class 0); class 2 has none; the last image is masked.

    Image 0: segment 0 has the 3 pixels of the truth and 1 of void, which leaves the union: IoU 1. Segment 1 has 1 pixel
    in void and 1 that is no segment's, not more than half: wrong. Image 1: segment 0 finds 2 of 4 pixels, an IoU of
    1/2, which is no match: wrong and missed; segment 1, of two pixels in void, is not wrong.
    """
    truth = jnp.array([[[0, 0, 0, -1, -1, 1]], [[0, 0, 0, 0, -1, -1]], [[0] * 6]])
    found = jnp.array([[[0, 0, 0, 0, 1, 1]], [[0, 0, -1, -1, 1, 1]], [[1] * 6]])
    true_labels = jnp.array([[1, 2], [1, -1], [1, -1]])
    count = jax.jit(PanopticQuality.of, static_argnames="num_classes")
    quality = count(found, jnp.array([[1, 0]] * 3), truth, true_labels, num_classes=3, mask=jnp.array([1.0, 1, 0]))
    np.testing.assert_array_equal(quality.iou, [0, 1, 0])
    np.testing.assert_array_equal(quality.matched, [0, 1, 0])
    np.testing.assert_array_equal(quality.wrong, [1, 1, 0])
    np.testing.assert_array_equal(quality.missed, [0, 1, 1])
    assert quality.outside == 0
    # PQ: 0 / (1/2), 1 / (1 + 1/2 + 1/2), 0 / (1/2).
    assert quality.compute()["pq"] == pytest.approx((0 + 1 / 2 + 0) / 3)


@pytest.mark.slow
def test_void_pixels_leave_the_union_and_excuse_what_lies_in_them():
    truth = jnp.array([[[0, 0, 0, -1, -1, -1]]])
    found = jnp.array([[[0, 0, 0, 0, 1, 1]]])
    quality = PanopticQuality.of(found, jnp.array([[0, 1]]), truth, jnp.array([[0]]), 2)
    assert quality.compute()["pq"] == 1  # the second segment, of another class, lies in void: it is not wrong
    assert quality.wrong.tolist() == [0, 0]
    half = PanopticQuality.of(jnp.array([[[0, 0, 1, 1, -1, -1]]]), jnp.array([[0, 1]]), truth, jnp.array([[0]]), 2)
    assert half.wrong.tolist() == [0, 1]  # of two pixels one lies in void, not more than half
    assert half.compute()["pq_by_class"][0] == pytest.approx(2 / 3)


@pytest.mark.slow
def test_pixels_without_a_segment_are_missed_and_half_is_no_match():
    truth = jnp.array([[[0, 0, 0, 0]]])
    found = PanopticQuality.of(jnp.array([[[0, 0, -1, -1]]]), jnp.array([[0]]), truth, jnp.array([[0]]), 1)
    assert found.compute()["pq"] == 0  # an IoU of 1/2 does not exceed 1/2
    assert (int(found.wrong[0]), int(found.missed[0])) == (1, 1)


@pytest.mark.weekly
def test_parts_add_up_and_masked_images_do_not_count():
    whole = PanopticQuality.of(FOUND, LABELS, TRUTH, TRUE_LABELS, 2)
    parts = [PanopticQuality.of(FOUND[i], LABELS[i], TRUTH[i], TRUE_LABELS[i], 2) for i in (slice(0, 1), slice(1, 2))]
    np.testing.assert_allclose(parts[0].merge(parts[1]).iou, whole.iou)
    masked = PanopticQuality.of(FOUND, LABELS, TRUTH, TRUE_LABELS, 2, jnp.array([1.0, 0]))
    np.testing.assert_array_equal(masked.matched, parts[0].matched)
    assert PanopticQuality.of(FOUND, LABELS, TRUTH, TRUE_LABELS, 2, jnp.zeros(2)).compute() is None


@pytest.mark.parametrize("name", ["segments", "labels", "true_segments", "true_labels", "mask"])
def test_maps_and_labels_of_other_shapes_and_fractions_are_named(name):
    maps = {"segments": FOUND, "labels": LABELS, "true_segments": TRUTH, "true_labels": TRUE_LABELS}
    wrong = [np.ones(3)] if name == "mask" else [maps[name][:1], np.asarray(maps[name], np.float32)]
    for value in wrong:
        with pytest.raises(ValueError, match=r"\w+=.*: wrong shape"):
            PanopticQuality.of(**maps | {name: value}, num_classes=2)


def test_a_number_in_use_needs_a_class():
    for labels, true_labels in (([[0, -1, -1], [0, 1, 1]], TRUE_LABELS), (LABELS, [[0, -1, -1], [0, 1, 1]])):
        quality = PanopticQuality.of(FOUND, jnp.array(labels), TRUTH, jnp.array(true_labels), 2)
        with pytest.raises(ValueError, match="outside=1: classes out of range; allowed: 0 to 1"):
            quality.compute()


@pytest.mark.parametrize("number", [3, 4])
def test_a_number_behind_the_table_of_labels_is_outside(number):
    for maps in ((FOUND.at[0, 0, 0].set(number), TRUTH), (FOUND, TRUTH.at[0, 0, 0].set(number))):
        assert PanopticQuality.of(maps[0], LABELS, maps[1], TRUE_LABELS, 2).outside == 1
