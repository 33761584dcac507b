"""Panels of a self-supervised encoder: what they count and say, and text that is no HTML."""

import numpy as np

from dlcore.report.self_supervised import accuracy_table, feature_plane, nearest_neighbors, view_pairs

IMAGES = np.random.default_rng(0).random((6, 4, 4, 1), np.float32)
LABELS = np.array([0, 0, 0, 1, 1, 1])
FEATURES = np.array([[1, 0.1], [1, 0.0], [1, -0.1], [0.1, 1], [0.0, 1], [0.9, 0.2]], np.float32)


def test_accuracies_are_percentages_and_missing_ones_blank():
    html = accuracy_table({"knn": 0.5, "knn_untrained": 0.25, "probe": None}).html
    assert "50.0 %" in html
    assert "25.0 %" in html
    assert "None" not in html


def test_fine_tuning_has_a_row_a_count_and_columns_without_numbers_are_left_out():
    html = accuracy_table({"knn": 0.5, "fine_tune_1200": 0.75, "fine_tune_1200_untrained": 0.7}).html
    assert "fine-tuned with 1,200 labels" in html
    assert html.index("70.0 %") < html.index("75.0 %")
    assert "supervised" not in html
    assert "its own head" in accuracy_table({"supervised": 0.9}).html


def test_neighbors_are_counted_by_class_and_names_are_escaped():
    """The first query's neighbors are all five others, two of its class."""
    html = nearest_neighbors(IMAGES, LABELS, FEATURES, ["<a>", "b"], num_queries=1).html
    assert "&lt;a&gt;: 2 of 5 of its class" in html
    assert html.count("<img") == 1


def test_a_row_of_views_an_image():
    assert view_pairs(IMAGES[:3], IMAGES[:3] + 2, IMAGES[:3] - 2).html.count("<figure>") == 3


def test_the_plane_says_how_much_variance_it_shows():
    panel = feature_plane(np.pad(FEATURES, ((0, 0), (0, 3))), LABELS, ["a", "b"])
    assert "of 6 test images on their first two principal axes (100 % of the variance)" in panel.subtitle
