"""Painted segments: one gray for a stuff, a color for each object."""

import base64
import io
import re

import numpy as np
from PIL import Image

from dlcore.report.detection import COLORS
from dlcore.report.panoptic import draw_segments, panoptic_images, quality_table, semantic_of


def test_two_objects_of_a_class_have_two_colors_and_one_in_a_semantic_map():
    image = np.full((4, 8, 3), 200, np.uint8)
    segments = np.full((4, 8), 2)
    segments[:, 2:4], segments[:, 4:6], segments[0, 0] = 0, 1, -1
    labels = np.array([1, 1, 0])
    drawn = draw_segments(image, segments, labels, 1)
    colors = {tuple(drawn[2, x]) for x in (2, 5, 7)}
    assert len(colors) == 3
    np.testing.assert_array_equal(drawn[0, 0], 200)  # no segment
    gray = drawn[2, 7]
    assert gray[0] == gray[1] == gray[2]
    semantic = draw_segments(image, *semantic_of(np.where(segments < 0, 255, labels[segments]), 1), 1)
    np.testing.assert_array_equal(semantic[1, 3], semantic[1, 4])
    np.testing.assert_array_equal(semantic[0, 0], 200)
    np.testing.assert_array_equal(semantic[2, 7], gray)


def test_columns_and_captions():
    maps = [(np.zeros((4, 4), int), np.array([0]))] * 2
    panel = panoptic_images(np.zeros((2, 4, 4, 3), np.uint8), {"one": maps, "two": maps}, ["<a>", "b"], 1)
    assert panel.html.count("<img") == 4
    assert "one, &lt;a&gt;" in panel.html
    assert panel.html.index("one, &lt;a&gt;") < panel.html.index("two") < panel.html.index("one, b")
    assert "<img" not in panoptic_images(np.zeros((0, 4, 4, 3), np.uint8), {}, [], 1).html


def test_classes_that_do_not_occur_have_a_dash():
    html = quality_table({"pq": 0.5, "pq/sky": 0.75, "components_pq": None}, ["sky", "<cat>"], 1).html
    assert "75.0" in html
    assert "&lt;cat&gt;" in html
    assert "–" in html


def test_stuff_has_evenly_spaced_grays_and_objects_the_palette():
    """Grays 40 + 180 k / 3 of two stuff classes are 100 and 160: 0.35 of the image's 200 is 70, and 0.65 of these."""
    image = np.full((5, 9, 3), 200, np.uint8)
    segments = np.repeat([[0, 0, 1, 1, 1, 2, 2, 2, -1]], 5, 0)
    segments[0] = segments[4] = -1
    drawn = draw_segments(image, segments, np.array([1, 2, 0]), 2)
    assert [drawn[2, x].tolist() for x in (0, 6, 8)] == [[174] * 3, [135] * 3, [200] * 3]
    np.testing.assert_array_equal(drawn[2, 3], np.rint(70 + 0.65 * np.array(COLORS[0])))
    np.testing.assert_array_equal(drawn[2, 2], COLORS[0])  # the outline
    two = draw_segments(image, segments, np.array([3, 2, 0]), 2)
    np.testing.assert_array_equal(two[2, [0, 3]], np.rint(70 + 0.65 * np.array(COLORS[:2])))
    assert [len(semantic_of(np.array([[k, 255]]), 2)[1]) for k in (0, 3, 255)] == [2, 4, 2]


def test_rows_of_the_quality_and_enlarged_pictures():
    numbers = {"pq/sky": 0.75, "pq/cat": 0.5, "pq_stuff": 0.1, "pq_things": 0.2, "pq": 0.3, "components_pq": 0.4}
    panel = quality_table({**numbers, "sq": 0.6, "rq": 0.7}, ["sky", "cat"], 1)
    rows = [re.findall("<td[^>]*>(.*?)</td>", row) for row in panel.html.split("<tr>")[2:]]
    assert rows == [
        ["sky", "stuff", "75.0"], ["cat", "thing", "50.0"], ["stuff", "mean", "10.0"], ["things", "mean", "20.0"],
        ["all", "mean", "30.0"], ["all, by connected regions", "mean", "40.0"],
    ]  # fmt: skip
    assert "SQ 60.0, RQ 70.0" in panel.subtitle
    assert panel.half
    for width, scale in ((100, 2), (96, 2), (95, 3), (500, 1)):  # 240 over the width, rounded; at least 1
        maps = [(np.zeros((4, width), int), np.array([0]))]
        html = panoptic_images(np.zeros((1, 4, width, 3), np.uint8), {"one": maps}, ["x"], 1, "Maps").html
        with Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)', html)[1]))) as picture:
            assert picture.size == (width * scale, 4 * scale)
    assert "repeat(1, minmax" in html
