"""Mean IoU of a worked matrix, against scikit-learn, and in parts; IoU along boundaries and of voxels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcore.metrics import BoundaryIoU, MeanIoU, iou_per_class, voxel_iou

count = jax.jit(MeanIoU.of, static_argnames=("num_classes", "void_label"))


@pytest.mark.covers("ME-05")
def test_a_worked_matrix_with_void_and_an_absent_class():
    # Classes 0 and 1 occur, 2 does not; 255 is void, whatever was predicted there.
    label = np.array([[0, 0, 0, 255], [1, 1, 1, 255]])
    guess = np.array([[0, 0, 1, 2], [1, 1, 0, 0]])
    result = count(guess, label, num_classes=3, void_label=255).compute()
    # Each of 0 and 1: two right, one missed, one too many: 2 / 4. The mean is over those two.
    np.testing.assert_array_equal(result["iou"], [0.5, 0.5, np.nan])
    assert result["mean_iou"] == 0.5
    assert result["pixel_accuracy"] == pytest.approx(4 / 6)
    # One pixel of 0 taken for 2: 2 is there now, with nothing right, and counts as 0.
    guess[0, 0] = 2
    worse = count(guess, label, num_classes=3, void_label=255).compute()
    assert worse["iou"].tolist() == [1 / 4, 2 / 4, 0]  # 0: one right of three true and one too many
    assert worse["mean_iou"] == pytest.approx((1 / 4 + 2 / 4 + 0) / 3)
    assert worse["mean_accuracy"] == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert worse["frequency_weighted_iou"] == pytest.approx((3 * 1 / 4 + 3 * 2 / 4) / 6)


@pytest.mark.weekly
@pytest.mark.covers("ME-05")
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), cut=st.integers(1, 4))
def test_it_is_jaccard_of_scikit_learn_whatever_the_batch_split(seed, cut):
    from sklearn.metrics import jaccard_score

    rng = np.random.default_rng(seed)
    label, guess = rng.integers(0, 4, (5, 3, 4)), rng.integers(0, 3, (5, 3, 4))
    label[rng.uniform(size=label.shape) < 0.2] = 255
    parts = [
        MeanIoU.of(jnp.asarray(guess[s]), jnp.asarray(label[s]), num_classes=6, void_label=255)
        for s in (slice(0, cut), slice(cut, 5))
    ]
    merged = parts[0].merge(parts[1])
    assert isinstance(merged, MeanIoU)
    keep = label != 255
    present = np.union1d(label[keep], guess[keep])
    want = jaccard_score(label[keep], guess[keep], labels=present, average=None)
    result = merged.compute()
    np.testing.assert_allclose(result["iou"][present], want, atol=1e-12)
    assert np.isnan(np.delete(result["iou"], present)).all()
    assert result["mean_iou"] == pytest.approx(want.mean())
    share = np.array([(label[keep] == c).mean() for c in present])
    assert result["frequency_weighted_iou"] == pytest.approx((want * share).sum())


@pytest.mark.covers("ME-05")
def test_the_golden_of_scikit_learn():
    with np.load("tests/goldens/metrics_sklearn.npz") as golden:
        np.testing.assert_allclose(
            iou_per_class(golden["multiclass.a/out.confusion"]), golden["multiclass.a/out.jaccard.none"], atol=1e-6
        )


def test_masks_join_and_nothing_is_none():
    label, guess = np.zeros((2, 3), int), np.zeros((2, 3), int)
    assert count(guess, label, np.zeros(2), num_classes=2, void_label=1).compute() is None
    assert count(guess, label, np.float32([1, 0]), num_classes=2, void_label=1).compute()["pixel_accuracy"] == 1
    assert np.isnan(iou_per_class(np.zeros((2, 2)))).all()
    with pytest.raises(ValueError, match=r"confusion=\(.*: not square"):
        iou_per_class(np.zeros((2, 3)))


@pytest.mark.covers("ME-06")
def test_two_cubes():
    # Cubes of side 4, one shifted by 1 along every axis: 3^3 = 27 shared of 2 64 - 27 = 101.
    grid = jnp.zeros((6, 6, 6))
    a, b = grid.at[:4, :4, :4].set(1), grid.at[1:5, 1:5, 1:5].set(0.9)
    assert float(voxel_iou(a, b)) == pytest.approx(27 / 101)
    assert float(voxel_iou(a, b, threshold=0.95)) == 0
    assert float(voxel_iou(a, a)) == 1
    assert float(voxel_iou(a > 0.5, b > 0.5)) == pytest.approx(27 / 101)
    assert float(voxel_iou(grid, grid)) == 1
    one = grid.at[0, 1, 2].set(1)
    assert float(voxel_iou(one, one)) == 1
    assert float(voxel_iou(grid, a)) == 0
    with pytest.raises(ValueError, match=r"truth=\(.*: another shape"):
        voxel_iou(grid, grid[:2])
    # Densities may be above 1, and a threshold says nothing about what is bool.
    assert float(voxel_iou(3 * a, 3 * b, threshold=1.0)) == pytest.approx(27 / 101)
    assert float(voxel_iou(a > 0, b > 0, threshold=1.0)) == pytest.approx(27 / 101)


def squares(*corners, side=12):
    image = np.zeros((1, side, side), np.int32)
    for y, x, length in corners:
        image[0, y : y + length, x : x + length] = 1
    return jnp.asarray(image)


def test_boundary_iou_of_two_squares_by_hand():
    # A square of 6 by 6 and the same one pixel lower. With a band of one pixel each has 36 - 16 = 20 pixels in it.
    label, guess = squares((2, 3, 6)), squares((3, 3, 6))
    found = BoundaryIoU.of(guess, label, 2, width=1).compute()["boundary_iou_by_class"]
    # In both: the two columns, rows 3 to 7 in common, 5 + 5. The rows 2 and 7 of one meet rows 3 and 8 of the other
    # nowhere but there. In either: 20 + 20 - 10.
    assert found[1] == pytest.approx(10 / 30)
    # Three pixels wide, the band is the whole square: 30 in both of 42.
    wide = BoundaryIoU.of(guess, label, 2, width=3).compute()["boundary_iou_by_class"]
    assert wide[1] == pytest.approx(30 / 42)
    # The background's band also runs along the image's edge.
    edge = BoundaryIoU.of(squares(side=8), squares(side=8), 2, width=1)
    assert edge.compute()["boundary_iou"] == 1
    assert (int(edge.either[0]), int(edge.either[1])) == (64 - 36, 0)


def test_the_mask_of_pixels_selects_pixels_and_not_images():
    # Image 0 is perfect, image 1 all wrong: without image 1 the IoU is 1, however it is left out.
    label = jnp.concatenate([squares((2, 3, 6)), squares((2, 3, 6))])
    guess = label.at[1].set(1 - label[1])
    keep = jnp.array([1.0, 0])
    pixels = jnp.broadcast_to(keep[:, None, None], label.shape)
    for mask in (keep, pixels):
        assert BoundaryIoU.of(guess, label, 2, mask).compute()["boundary_iou"] == 1
        assert MeanIoU.of(guess, label, mask, 2).compute()["mean_iou"] == 1
        assert MeanIoU.of(guess, label, mask, 2, void_label=255).compute()["mean_iou"] == 1
    for mask in (keep[:1], pixels[:, :1]):
        with pytest.raises(ValueError, match=r"mask=\(.*\): wrong shape; allowed: \(2,\) or \(2, 12, 12\)"):
            BoundaryIoU.of(guess, label, 2, mask)
        with pytest.raises(ValueError, match=r"mask=\(.*\): wrong shape; allowed: \(2,\) or \(2, 12, 12\)"):
            MeanIoU.of(guess, label, mask, 2, void_label=255)


@pytest.mark.slow
def test_boundary_iou_against_erosion_by_scipy_in_parts_and_with_void():
    from scipy.ndimage import binary_erosion

    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, (4, 5, 4)).repeat(4, 1).repeat(4, 2)
    guess = np.roll(label, 1, 1)
    label[:, :6, :6] = 255
    void, square = label == 255, np.ones((7, 7), bool)

    def band(member):
        return member & ~np.stack([binary_erosion(m, square) for m in member | void]) & ~void

    want = []
    for c in range(2):
        a, b = band(guess == c), band(label == c)
        want.append((a & b).sum() / (a | b).sum())
    guess, label = jnp.asarray(guess), jnp.asarray(label)
    whole = BoundaryIoU.of(guess, label, 3, void_label=255)
    np.testing.assert_allclose(whole.compute()["boundary_iou_by_class"], [*want, np.nan])
    parts = BoundaryIoU.of(guess[:1], label[:1], 3, void_label=255).merge(
        BoundaryIoU.of(guess[1:], label[1:], 3, void_label=255)
    )
    assert parts.compute()["boundary_iou"] == whole.compute()["boundary_iou"] == pytest.approx(np.mean(want))
    masked = BoundaryIoU.of(guess, label, 3, jnp.array([1, 0, 0, 0]), 255)
    first = BoundaryIoU.of(guess[:1], label[:1], 3, void_label=255)
    np.testing.assert_array_equal(masked.shared, first.shared)
    assert BoundaryIoU.of(guess, jnp.full_like(label, 255), 3, void_label=255).compute() is None


def test_a_void_class_among_the_classes_is_left_out_of_the_mean():
    """Classes 0 (void), 1, 2. Of the two pixels of 1 one is called 0: IoU 1/2; 2 does not occur; 0 does not count."""
    labels, found = np.array([[0, 0, 1, 1]]), np.array([[1, 0, 1, 0]])
    read = count(found, labels, num_classes=3, void_label=0)
    for metric in (read, read.merge(read.empty())):
        assert metric.compute()["mean_iou"] == 0.5
        np.testing.assert_array_equal(metric.compute()["iou"], [np.nan, 0.5, np.nan])
    # Without void: 0 has 1 of 3, 1 has 1 of 3.
    assert count(found, labels, num_classes=3).compute()["mean_iou"] == pytest.approx(1 / 3)
    # A band of one class that is wholly right; what is called void beside it is no band of void.
    maps = np.array([[[0, 0, 1, 1]] * 4])
    band = jax.jit(lambda found: BoundaryIoU.of(found, maps, 2, void_label=0, width=1))(np.zeros_like(maps)).compute()
    np.testing.assert_array_equal(band["boundary_iou_by_class"], [np.nan, 0])
