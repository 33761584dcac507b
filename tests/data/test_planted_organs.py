"""Planted organs: the same whatever the count, intensities that overlap, and intervals by hand."""

import chex
import numpy as np
import pytest

from dlcore.data.planted_organs import best_intervals, interval_dice, planted_organs, standardize
from dlcore.data.source import Source


@pytest.mark.covers("SG-19")
def test_a_volume_depends_on_its_seed_and_number_alone():
    two, three = planted_organs(2, 5), planted_organs(3, 5)
    chex.assert_trees_all_equal(two.arrays, {k: v[:2] for k, v in three.arrays.items()})
    chex.assert_shape(two.arrays["image"], (2, 16, 24, 24, 1))
    assert (planted_organs(1, 6).arrays["image"] != two.arrays["image"][:1]).any()
    assert (two.arrays["image"][0] != two.arrays["image"][1]).any()


@pytest.mark.covers("SG-19")
def test_intensity_alone_does_not_tell_organs_apart():
    """Without noise and bias the two organs have one intensity, a cyst that of the body around them."""
    source = planted_organs(4, noise=0.0, bias=0.0)
    for image, labels in zip(source.arrays["image"][..., 0], source.arrays["semantic"], strict=True):
        assert set(np.unique(labels)) == {0, 1, 2, 3}
        values = [np.unique(image[labels == k].round(4)) for k in range(4)]
        assert len(values[1]) == len(values[2]) == len(values[3]) == 1
        assert values[1] == values[2]  # and of the vessel, which is background
        assert len(values[0]) == 3  # air, body, vessel
        assert values[3] == values[0][1]
        # The large organ lies left of the small one and is larger.
        assert np.nonzero(labels == 1)[2].mean() < 12 < np.nonzero(labels == 2)[2].mean()
        assert (labels == 1).sum() > 2 * (labels == 2).sum()


def test_the_bias_field_is_smooth_and_the_noise_is_not():
    clean = planted_organs(1, noise=0.0, bias=0.0).arrays["image"][0, ..., 0]
    body = planted_organs(1).arrays["semantic"][0] == 1
    biased = planted_organs(1, noise=0.0).arrays["image"][0, ..., 0]
    noisy = planted_organs(1, bias=0.0).arrays["image"][0, ..., 0]
    assert np.ptp(clean[body]) < 1e-5 < 0.05 < np.ptp(biased[body])
    pairs = body[:, :, 1:] & body[:, :, :-1]
    steps = [np.abs(np.diff(x, axis=2))[pairs].max() for x in (biased, noisy)]
    assert steps[0] < 0.15 < steps[1]


def test_volumes_have_mean_0_and_deviation_1():
    # Mean 2, deviation 1 of the first channel; the second is constant.
    volume = np.stack([[1.0, 3], [5.0, 5]], -1).reshape(1, 1, 2, 2)
    np.testing.assert_allclose(standardize(volume)[0, 0], [[-1, 0], [1, 0]])


@pytest.mark.covers("SG-19")
def test_intervals_by_hand():
    """The organ has 2 and 3, another voxel has 3 too: 2 to 3 gives 2 * 2 / (3 + 2) = 0.8, 2 alone 2 / 3."""
    image = np.array([0.0, 1, 2, 3, 3, 5]).reshape(1, 1, 1, 6, 1)
    semantic = np.array([0, 0, 1, 1, 0, 255], np.uint8).reshape(1, 1, 1, 6)
    source = Source({"image": image, "semantic": semantic}, 1, ("background", "organ"))
    intervals = best_intervals(source)
    assert 1 < intervals[0, 0] <= 2
    assert intervals[0, 1] == 3
    assert interval_dice(source, intervals) == pytest.approx(0.8)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"count=0: out of range; allowed: at least 1"):
        planted_organs(0)
