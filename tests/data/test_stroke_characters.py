"""Characters by their strokes: ink lies on the lines that the attributes name, and the drawings are what they were."""

import chex
import numpy as np
import pytest

from dlcore.data.stroke_characters import LINES, STROKES, stroke_characters


def test_the_lines_join_neighbors():
    # 6 horizontal, 6 vertical and 8 diagonal lines of a 3 x 3 grid.
    lengths = sorted(np.hypot(a[0] - b[0], a[1] - b[1]) for a, b in LINES)
    np.testing.assert_allclose(lengths, [1] * 12 + [np.sqrt(2)] * 8)
    assert STROKES == 5


def test_ink_lies_on_the_strokes():
    """The mean of many drawings, at the middle of each line, is darker for strokes than for all other lines."""
    source = stroke_characters(range(7, 9), 60, size=32)
    image, label, attributes = (source.arrays[name] for name in ("image", "label", "attributes"))
    chex.assert_shape(image, (120, 32, 32, 1))
    assert label.tolist() == [0] * 60 + [1] * 60
    assert attributes.sum(1).tolist() == [5] * 120
    assert source.class_names == ("character 7", "character 8")
    assert source.name == "stroke characters 7 to 8"
    for k in range(2):
        mean = image[label == k].mean(0)[..., 0]
        # The grid's points lie at 0.2, 0.5 and 0.8 of the side; the middle of a line between them.
        ink = [
            mean[tuple(int(32 * (0.5 + 0.3 * ((a + b) / 2 - 1))) for a, b in zip(*line, strict=True))] for line in LINES
        ]
        stroke = attributes[label == k][0] > 0
        crossed = [LINES[i] for i in np.flatnonzero(stroke)]
        middle = [tuple(np.add(*line)) for line in crossed]
        free = ~stroke & np.array([tuple(np.add(*line)) not in middle for line in LINES])
        assert np.array(ink)[stroke].min() > np.array(ink)[free].max()


def test_the_drawings_are_what_they_were():
    arrays = stroke_characters(range(3, 5), 2, size=8).arrays
    assert np.flatnonzero(arrays["attributes"][0]).tolist() == [5, 16, 17, 18, 19]
    np.testing.assert_allclose(arrays["image"].sum((1, 2, 3)), [9.165293, 11.279036, 11.569485, 12.767607], rtol=1e-5)
    np.testing.assert_allclose(
        (arrays["image"][..., 0] * np.arange(64).reshape(8, 8)).sum((1, 2)),
        [351.735, 405.93445, 449.41188, 453.29967],
        rtol=1e-5,
    )


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"classes=range\(15503, 15505\), per_class=20: out of range"):
        stroke_characters(range(15503, 15505))
