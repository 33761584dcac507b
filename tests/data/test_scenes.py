"""Scenes: the same for a seed, boxes exact to the pixel, padding marked."""

import numpy as np
import pytest

from dlcore.data.scenes import SHAPES, scenes


def test_a_seed_gives_the_same_scenes_whatever_their_number():
    few, more, other = (
        scenes(3, 5, size=48, largest=20),
        scenes(5, 5, size=48, largest=20),
        scenes(3, 6, size=48, largest=20),
    )
    for name, array in few.arrays.items():
        np.testing.assert_array_equal(array, more.arrays[name][:3])
    assert (few.arrays["image"] != other.arrays["image"]).any()
    assert few.arrays["image"].dtype == np.uint8


def test_boxes_are_where_the_shapes_are():
    """A shape is of one color (and noise): each side of its box has a pixel near the shape's median color."""
    source = scenes(40, 1, size=64, max_boxes=1, largest=40, empty=0.0)
    seen = set()
    for image, boxes, labels, mask in zip(
        *(source.arrays[k] for k in ("image", "boxes", "labels", "box_mask")), strict=True
    ):
        assert mask.all()
        x0, y0, x1, y1 = boxes[0].astype(int)
        assert (boxes[0] == [x0, y0, x1, y1]).all()
        assert 0 <= x0 < x1 <= 64
        assert 0 <= y0 < y1 <= 64
        inside = image[y0:y1, x0:x1].astype(float)
        if SHAPES[labels[0]] in ("circle", "square", "triangle"):
            middle = np.median(inside[len(inside) // 3 : -len(inside) // 3 or None].reshape(-1, 3), 0)
            for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]):
                assert np.abs(side - middle).max(-1).min() < 45
        seen.add(SHAPES[labels[0]])
    assert seen == set(SHAPES)


def test_padding_and_overlap():
    source = scenes(30, 2, size=64, max_boxes=5, largest=30, empty=0.3)
    boxes, labels, mask = (source.arrays[k] for k in ("boxes", "labels", "box_mask"))
    np.testing.assert_array_equal(mask, labels >= 0)
    np.testing.assert_array_equal(boxes[~mask], 0)
    assert (~mask.any(1)).any()  # some have no shape at all
    assert mask.sum(1).max() > 2
    for b, m in zip(boxes, mask, strict=True):
        b = b[m]
        for i in range(len(b)):
            for j in range(i):
                sides = np.maximum(np.minimum(b[i, 2:], b[j, 2:]) - np.maximum(b[i, :2], b[j, :2]), 0)
                assert sides.prod() <= 0.1 * min(np.prod(x[2:] - x[:2]) for x in (b[i], b[j]))


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="largest=70"):
        scenes(1, size=64, largest=70)
    with pytest.raises(ValueError, match="max_boxes=0"):
        scenes(1, max_boxes=0)
