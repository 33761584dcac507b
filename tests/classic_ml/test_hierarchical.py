"""Agglomerative clustering: by hand and as scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore.classic_ml.hierarchical import LINKAGES, cut_tree, linkage
from dlcore.data.digits import digits


@pytest.mark.covers("DD-24")
@pytest.mark.parametrize(
    ("method", "heights"),
    [
        # 0, 1 | 4, 6: 1 and 2, then {0, 1} to {4, 6}: least 3, greatest 6, mean (4 + 6 + 3 + 5) / 4
        ("single", [1, 2, 3]),
        ("complete", [1, 2, 6]),
        ("average", [1, 2, 4.5]),
        # twice the rise of the inertia: 2 (2 2 / 4) (5 - .5)^2 = 40.5
        ("ward", [1, 2, np.sqrt(40.5)]),
    ],
)
def test_four_points_by_hand(method, heights):
    got = linkage(np.array([[0.0], [1], [4], [6]]), method)
    np.testing.assert_allclose(got[:, 2], heights, rtol=1e-12)
    np.testing.assert_array_equal(got[:, [0, 1, 3]], [[0, 1, 2], [2, 3, 2], [4, 5, 4]])


@pytest.mark.covers("DD-24")
@pytest.mark.parametrize("method", LINKAGES)
@given(seed=st.integers(0, 10**6), count=st.sampled_from([2, 3, 40]))
def test_the_merges_are_scipys(method, seed, count):
    from scipy.cluster import hierarchy

    x = np.random.default_rng(seed).normal(size=(count, 3)).astype(np.float32)
    want = hierarchy.linkage(x.astype(np.float64), method)
    got = linkage(x, method)
    np.testing.assert_allclose(got[:, 2], want[:, 2], rtol=1e-9)
    np.testing.assert_array_equal(got[:, [0, 1, 3]], want[:, [0, 1, 3]])
    k = min(4, count)
    labels, theirs = cut_tree(got, k), hierarchy.fcluster(want, k, "maxclust")
    assert len(set(zip(labels, theirs, strict=True))) == k == len(set(labels))
    assert labels[0] == 0


@pytest.mark.covers("DD-24")
def test_digits_by_ward():
    from sklearn.metrics import adjusted_rand_score

    data = digits("test").arrays
    labels = cut_tree(linkage(data["image"].reshape(-1, 64), "ward"), 10)
    assert adjusted_rand_score(data["label"], labels) > 0.6


def test_cut_at_the_ends():
    merges = linkage(np.array([[0.0], [1], [4], [6]]))
    np.testing.assert_array_equal(cut_tree(merges, 1), [0, 0, 0, 0])
    np.testing.assert_array_equal(cut_tree(merges, 2), [0, 0, 1, 1])
    np.testing.assert_array_equal(cut_tree(merges, 4), [0, 1, 2, 3])


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"x.shape=\(1, 2\): wrong shape; allowed: \[N, D\] with N of at least 2"):
        linkage(np.zeros((1, 2)))


def test_heights_keep_the_digits_of_float64():
    # 1e-3 and 2e-3 apart at 1e6, where float32 has steps of 1/16.
    np.testing.assert_allclose(linkage([[1e6], [1e6 + 1e-3], [1e6 + 3e-3]], "single")[:, 2], [1e-3, 2e-3], rtol=1e-6)
