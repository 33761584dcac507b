"""Painted segments: one gray for a stuff, a color for each object."""

import numpy as np

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
