"""Graph segmentation: as scikit-image, and two regions worked by hand."""

from pathlib import Path

import numpy as np
import pytest

from dlcore.classical_vision.graph_segmentation import graph_segmentation, neighbor_edges

GOLDENS = np.load(Path(__file__).parents[1] / "goldens" / "classical_vision.npz")


def same_partition(a, b):
    """Whether two maps differ by the numbers of their regions alone."""
    pairs = set(zip(a.ravel().tolist(), b.ravel().tolist(), strict=True))
    return len(pairs) == len(set(a.ravel().tolist())) == len(set(b.ravel().tolist()))


@pytest.mark.covers("DE-05")
def test_the_partition_is_scikit_images():
    got = graph_segmentation(GOLDENS["felzenszwalb/in.rgb"], scale=30, sigma=0.5, min_size=15)
    assert same_partition(got, GOLDENS["felzenszwalb/out"])
    assert got.max() + 1 == GOLDENS["felzenszwalb/out.n"]


@pytest.mark.covers("DE-05")
def test_regions_join_below_their_limit_alone():
    """A row 0, .1, .5, .6 and k = .3: .1 < .3 joins both ends, whose limits are then .1 + .3 / 2 = .25 < .4."""
    row = np.array([0, 0.1, 0.5, 0.6])[None, :, None]
    assert graph_segmentation(row, 0.3 * 255, sigma=0, min_size=0).tolist() == [[0, 0, 1, 1]]
    assert graph_segmentation(row, 0.7 * 255, sigma=0, min_size=0).max() == 0, ".1 + .7 / 2 = .45 > .4"
    assert graph_segmentation(row, 0.09 * 255, sigma=0, min_size=0).tolist() == [[0, 1, 2, 3]]
    assert graph_segmentation(row, 0.09 * 255, sigma=0, min_size=2).tolist() == [[0, 0, 1, 1]]


def test_uint8_and_floats_give_the_same_regions_in_the_order_of_their_first_pixel():
    image = np.full((12, 16, 3), 40, np.uint8)
    image[3:9, 5:12] = (200, 30, 90)
    image[0:3, 12:] = 250
    got = graph_segmentation(image, 100, sigma=0, min_size=4)
    assert (got == graph_segmentation(image / 255, 100, sigma=0, min_size=4)).all()
    assert (got[0, 0], got[0, 15], got[5, 7], got.max()) == (0, 1, 2, 2)


def test_each_pair_of_neighbors_is_there_once():
    """3 x 4 pixels: 9 to the right, 8 down, 6 each diagonal."""
    edges = neighbor_edges(3, 4)
    assert len({tuple(sorted(e)) for e in edges.tolist()}) == len(edges) == 9 + 8 + 6 + 6
    (dy, dx) = abs(edges // 4 @ [1, -1]), abs(edges % 4 @ [1, -1])
    assert (dy.max(), dx.max(), (dy + dx).min()) == (1, 1, 1)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="allowed: floating or uint8"):
        graph_segmentation(np.zeros((4, 4)))
