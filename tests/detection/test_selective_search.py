"""Selective search: the order of joining by hand, planted boxes, and the study."""

import chex
import numpy as np
import pytest

from dlcore.data.scenes import scenes
from dlcore.detection.selective_search import (
    SPACES,
    color_space,
    merge_regions,
    propose,
    random_boxes,
    region_histograms,
    selective_search,
)
from experiments.detection.selective_search import overlaps, study


def planted(height=32, width=40):
    """A flat image with a red and a blue box."""
    image = np.full((height, width, 3), 90, np.uint8)
    image[4:16, 3:13] = (220, 30, 40)
    image[14:29, 20:36] = (20, 60, 230)
    return image, np.array([[3, 4, 13, 16], [20, 14, 36, 29]], np.float32)


@pytest.mark.slow
@pytest.mark.covers("DE-04")
def test_boxes_of_planted_objects_are_found_exactly_and_none_twice():
    image, boxes = planted()
    found = selective_search(image, sigma=0.0, scales=(20.0,))
    assert np.array_equal(overlaps(found, boxes, 50)[:, -1], [1, 1])
    assert len(np.unique(found, axis=0)) == len(found)
    assert [0, 0, 40, 32] in found.astype(int).tolist()
    assert np.array_equal(found[:2], selective_search(image, sigma=0.0, scales=(20.0,), max_proposals=2))


@pytest.mark.covers("DE-04")
def test_the_most_similar_neighbors_join_first():
    """Stripes 0 (dark), 1 (nearly as dark), 2 (light) of 4 columns: 0 and 1 share their colors, so that they join."""
    values = np.repeat([0.10, 0.11, 0.9], 4)[None, :, None] * np.ones((6, 1, 3))
    labels = np.repeat([0, 1, 2], 4)[None] * np.ones((6, 1), int)
    boxes = merge_regions(values, labels)
    assert boxes.tolist() == [[0, 0, 4, 6], [4, 0, 8, 6], [8, 0, 12, 6], [0, 0, 8, 6], [0, 0, 12, 6]]
    assert merge_regions(values[:, ::-1], labels)[3].tolist() == [4, 0, 12, 6]


@pytest.mark.covers("DE-04")
def test_small_regions_join_before_large_ones_of_the_same_color():
    """One color in four regions of 1, 1, 8 and 8 columns: of all neighbors the two small ones leave the most."""
    values, labels = np.full((4, 18, 1), 0.5), np.repeat([0, 1, 2, 3], [1, 1, 8, 8])[None] * np.ones((4, 1), int)
    assert merge_regions(values, labels)[4:].tolist() == [[0, 0, 2, 4], [0, 0, 10, 4], [0, 0, 18, 4]]


def test_histograms_are_those_of_the_pixels():
    """Region 1 holds three pixels of value .5 (bin 12 of 25) and one of .99 (bin 24)."""
    values = np.full((4, 4, 1), 0.1)
    values[1:3, 1:3, 0] = [[0.5, 0.5], [0.5, 0.99]]
    labels = np.zeros((4, 4), int)
    labels[1:3, 1:3] = 1
    colors, textures = region_histograms(values, labels)
    assert colors[1, 12] == 0.75
    assert colors[1, 24] == 0.25
    assert colors[0, 2] == 1
    np.testing.assert_allclose(textures.sum(1), 1)
    chex.assert_shape(textures, (2, 80))


@pytest.mark.parametrize("axis", [0, 1])
def test_textures_are_slopes_in_eight_directions(axis):
    """Inside a ramp the slope is 1 of the largest along the ramp, 0.707 at 45 degrees to both sides, and 0 elsewhere.

    Of ten bins these are the last one, that of 0.7 to 0.8, and the first. Along the columns a ramp has the direction 0,
    along the rows the direction 2 of 8.
    """
    values = np.broadcast_to(np.arange(24.0).reshape((24, 1) if axis == 0 else (1, 24)) / 30, (24, 24))[..., None]
    labels = np.zeros((24, 24), int)
    labels[8:15, 9:14] = 1  # more than four pixels from the edge, where the image is mirrored
    _, textures = region_histograms(values, labels)
    ahead = 2 if axis == 0 else 0
    bins = {ahead: 9, (ahead - 1) % 8: 7, (ahead + 1) % 8: 7}
    expected = np.zeros((8, 10))
    for direction in range(8):
        expected[direction, bins.get(direction, 0)] = 1 / 8
    np.testing.assert_allclose(textures[1].reshape(8, 10), expected)


def test_color_spaces_of_red_by_hand():
    """CIE L*a*b* of sRGB's red is 53.24, 80.09 and 67.20; 0.8 in gray has L = 82.05, and a = b = 0."""
    image = np.array([[[255, 0, 0], [204, 204, 204]]], np.uint8)
    expected = {
        "rgb": [[1, 0, 0], [0.8] * 3],
        "gray": [[1 / 3], [0.8]],
        "hsv": [[0, 1, 1], [0, 0, 0.8]],
        "lab": [[0.5324, (80.09 + 128) / 255, (67.20 + 128) / 255], [0.8205, 128 / 255, 128 / 255]],
    }
    for space, values in expected.items():
        np.testing.assert_allclose(color_space(image, space)[0], values, atol=2e-4, err_msg=space)


def test_late_merges_come_first_more_often():
    """Two halves and their union have the ranks 3 u, 2 v and w: the union is first in 1 - 1/4 - 1/6 + 1/18 of all."""
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, 3:] = 255
    settings = {"sigma": 0.0, "scales": (20.0,), "spaces": ("rgb",), "min_size": 1}
    first = [selective_search(image, seed=seed, **settings)[0].tolist() for seed in range(150)]
    assert abs(first.count([0, 0, 6, 4]) / 150 - 23 / 36) < 0.1  # 2.5 deviations; without ranks it is a third


def test_no_proposal_leaves_the_image_and_spaces_are_scaled():
    scene = scenes(1, 5, size=48, largest=24).arrays["image"][0]
    for space in SPACES:
        values = color_space(scene, space)
        assert 0 <= values.min() <= values.max() <= 1
    found = selective_search(scene, spaces=("gray",), scales=(50.0,))
    assert (found[:, :2] >= 0).all()
    assert (found[:, 2:] <= 48).all()
    assert (found[:, 2:] > found[:, :2]).all()


def test_random_boxes_reach_all_edges_and_are_as_small_as_allowed():
    drawn = random_boxes(2000, (20, 30), smallest=6)
    chex.assert_shape(drawn, (2000, 4))
    assert ((drawn[:, 2:] - drawn[:, :2]).min(), drawn.min()) == (6, 0)
    assert drawn.max(0).tolist() == [24, 14, 30, 20]
    assert random_boxes(2000, (20, 30)).max(0).tolist() == [22, 12, 30, 20]  # 8 is the least side
    # As high as the image, as few of the drawn boxes are.
    np.testing.assert_array_equal(random_boxes(3, (9, 12), smallest=9, seed=1)[:, [1, 3]], [[0, 9]] * 3)
    with pytest.raises(ValueError, match="smallest=0: out of range; allowed: 1 to 9"):
        random_boxes(3, (9, 12), smallest=0)


@pytest.mark.slow
@pytest.mark.covers("DE-04")
def test_recall_on_scenes_is_above_that_of_as_many_random_boxes():
    result = study(num_scenes=4, image_size=64)
    assert result.holds
    assert result.numbers["recall@2000, selective search"] >= 0.95
    assert result.numbers["recall@100, random boxes"] < result.numbers["recall@100, selective search"]


@pytest.mark.covers("DE-04")
def test_boxes_of_several_images_are_padded_to_as_many():
    """An image of one color is one region; of two halves, two and their union. There is room for two boxes."""
    images = np.zeros((2, 6, 8, 3), np.uint8)
    images[1, :, 3:] = 255
    settings = {"sigma": 0.0, "scales": (20.0,), "spaces": ("rgb",), "min_size": 1}
    found = propose(images, max_proposals=2, **settings)
    assert found["proposals"].dtype == np.float32
    assert found["proposals"][0].tolist() == [[0, 0, 8, 6], [0, 0, 0, 0]]
    assert found["proposal_mask"].tolist() == [[True, False], [True, True]]
    every = propose(images, max_proposals=4, **settings)
    assert every["proposal_mask"][1].tolist() == [True, True, True, False]
    assert sorted(every["proposals"][1, :3].tolist()) == [[0, 0, 3, 6], [0, 0, 8, 6], [3, 0, 8, 6]]
    assert found["proposals"][1].tolist() == every["proposals"][1, :2].tolist()
