"""Panels of a self-supervised encoder: what they count and say, and text that is no HTML."""

import re

import numpy as np
import pytest

from dlcore.report import self_supervised as report
from dlcore.report.panel import Panel
from dlcore.report.self_supervised import accuracy_table, feature_plane, nearest_neighbors, rank_table, view_pairs

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


def test_film_strips_stand_one_below_the_other(monkeypatch):
    pictures = []
    monkeypatch.setattr(report, "data_uri", lambda image: pictures.append(image) or "")
    clips = np.arange(6, dtype=np.uint8)[:, None, None, None] * np.ones((6, 4, 16, 3), np.uint8)
    panel = nearest_neighbors(clips, LABELS, FEATURES, ["a", "b"], num_queries=1)
    assert panel.subtitle.startswith("Top: the query; below: ")
    # Ten times as large; a gap of 3 x 4 behind the query, and of 4 between its four neighbors.
    assert pictures[0].shape == (5 * 40 + 3 * 4 + 3 * 4, 160, 3)
    assert pictures[0][::1, 0, 0][[0, 60, 100, 150, 200]].tolist() == [0, 1, 5, 2, 3]


def test_a_row_of_views_an_image():
    assert view_pairs(IMAGES[:3], IMAGES[:3] + 2, IMAGES[:3] - 2).html.count("<figure>") == 3


def test_the_plane_says_how_much_variance_it_shows():
    panel = feature_plane(np.pad(FEATURES, ((0, 0), (0, 3))), LABELS, ["a", "b"])
    assert "of 6 test images on their first two principal axes (100 % of the variance)" in panel.subtitle


def test_ranks_are_judged_by_the_untrained_ones():
    """RankMe below 50 % of the untrained features' is a collapse."""
    both = {"rank_untrained": 40.0, "rank": 9.0, "rank_head": 30.0, "alpha": 1.234, "alpha_head": None}
    panel = rank_table(both)
    assert panel.subtitle == "Collapsed: the rank of the features is below 50 % of that of the untrained features."
    for text in ("40.00", "9.00", "30.00", "1.23", "untrained", "on the head&#x27;s output"):
        assert text in panel.html, text
    assert "None" not in panel.html
    good = rank_table({"rank_untrained": 40.0, "rank": 20.0, "rank_head": 30.0})
    assert good.subtitle == (
        "Not collapsed: the rank of the features and of the head's output is at least 50 % of that of the untrained "
        "features."
    )
    alone = rank_table({"rank": 20.0})
    assert alone.subtitle == ""
    assert "untrained" not in alone.html
    assert (alone.title, alone.half) == ("Rank of the features", True)


@pytest.fixture
def figures(monkeypatch):
    """(images, caption, images before the gap) of each figure."""
    shown = []

    def figure(images, caption="", apart=1):
        shown.append((np.asarray(images), caption, apart))
        return f"<figure>{caption}</figure>"

    monkeypatch.setattr(report, "_figure", figure)
    return shown


def test_the_nearest_come_first_and_never_the_query(figures):
    unnormalized = FEATURES * np.array([[1], [9], [3], [1], [5], [2]], np.float32)
    report.nearest_neighbors(IMAGES, 0 * LABELS, unnormalized, ["a"], num_queries=2)
    # Query 0 at an angle of 0.100 from the axis: 5 at 0.219, 1 at 0, 2 at -0.100, then 3 at 1.471 and 4 at pi / 2.
    np.testing.assert_array_equal(figures[0][0], IMAGES[[0, 1, 5, 2, 3, 4]])
    # Query 5: 0 at a distance of 0.119, 1 at 0.219, 2 at 0.318, 3 at 1.252, 4 at 1.352.
    np.testing.assert_array_equal(figures[1][0], IMAGES[[5, 0, 1, 2, 3, 4]])
    assert figures[0][1:] == ("", 1)
    many = np.concatenate([IMAGES, IMAGES])
    report.nearest_neighbors(many, np.tile(LABELS, 2), np.tile(FEATURES, (2, 1)), ["a", "b"], num_queries=1)
    assert (len(figures[2][0]), figures[2][1]) == (9, "a: 5 of 8 of its class")


def test_the_largest_clusters_come_first(figures):
    images = np.arange(14, dtype=np.float32).reshape(14, 1, 1, 1) / 14
    clusters = np.array([4, 4, 4, 1, 1] + [2] * 9)
    labels = np.array([0, 1, 1, 0, 0] + [1] * 9)
    panel = report.cluster_sheets(images, clusters, labels, ["<a>", "b"])
    captions = [caption for _, caption, _ in figures]
    assert captions == ["9 images, 100 % b", "3 images, 67 % b", "2 images, 100 % &lt;a&gt;"]
    np.testing.assert_array_equal(figures[0][0], images[5:13])
    np.testing.assert_array_equal(figures[1][0], images[:3])
    assert {apart for _, _, apart in figures} == {0}
    assert panel.subtitle == "Test images by cluster, the largest of 3 clusters first."
    report.cluster_sheets(images, clusters, labels, ["a", "b"], count=1)
    assert len(figures) == 4


def test_a_pretext_counts_what_has_a_label(figures):
    pieces = np.stack([np.full((2, 1, 1, 1), value) for value in (-1.0, 0.5, 2.0)])
    panel = report.task_sheet(pieces, np.array([0, 1, -1]), np.array([0, 2, 1]))
    assert panel.subtitle == "Inputs of test images, and predictions: 1 of 2 correct."
    assert [(float(images[1, 0, 0, 0]), caption) for images, caption, _ in figures] == [
        (0, "0"),
        (0.5, "2, is 1"),
        (1, "1"),
    ]
    assert "strips narrow" in panel.html
    wide = report.task_sheet(np.zeros((1, 3, 1, 1, 1)), np.array([-1]), np.array([1]), ["<a>", "<b>"])
    assert (wide.subtitle, figures[-1][1], "narrow" in wide.html) == ("", "&lt;b&gt;", False)


def test_views_and_filled_pixels(figures):
    image, first, second = (np.full((1, 1, 2, 1), value) for value in (0.25, -1.0, 2.0))
    panel = report.view_pairs(image, first, second)
    assert figures[0][0][:, 0, 0, 0].tolist() == [0.25, 0, 1]
    assert panel.half
    masked = np.array([1, 0]).reshape(1, 1, 2, 1)
    panel = report.reconstructions(image, masked, np.full((1, 1, 2, 1), 3.0), "patches")
    assert figures[1][0][..., 0, :, 0].tolist() == [[0.25, 0.25], [0.5, 0.25], [1, 0.25]]
    assert (panel.half, panel.subtitle) == (True, "patches")


def test_each_head_has_a_map_scaled_by_its_maximum(figures):
    weights = np.array([[[[0.1, 0.4]], [[0.0, 0.0]]]])  # two heads of 1 x 2 patches
    panel = report.attention_maps(np.full((1, 2, 6, 3), 0.5), weights)
    images = figures[0][0]
    assert images.shape == (3, 2, 6, 3)
    np.testing.assert_allclose(images[1, :, :, 2], [[0.25] * 3 + [1] * 3] * 2)
    assert images[2].max() == 0
    assert panel.half


def test_planes_show_principal_axes(monkeypatch):
    shown = []
    monkeypatch.setattr(report, "figure_panel", lambda *args: shown.append(args) or Panel(args[0], "", args[2]))
    first = np.array([[0.0, 0, 3], [4, 0, 3]])
    second = np.array([[2.0, 1, 3], [2, -1, 3], [9, 9, 9]])
    assert report.domain_plane(first, second, ("a", "b"), max_points=2).half
    ax = shown[0][1].axes[0]
    points = [np.abs(np.asarray(part.get_offsets())) for part in ax.collections]
    # The center is (2, 0, 3), the first axis x, the second y.
    np.testing.assert_allclose(points, [[[2, 0], [2, 0]], [[0, 1], [0, 1]]], atol=1e-12)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    # Unit vectors +-x (four of each) and +-y: the variances by axis are 8 and 2 of 10; a third axis has none.
    features = np.array([[3.0, 0, 0], [-1, 0, 0]] * 4 + [[0, 7, 0], [0, -1, 0]] + [[0, 0, 1]])
    labels = np.array([0] * 8 + [11] * 3)
    panel = report.feature_plane(features, labels, [str(c) for c in range(12)], max_points=10)
    ax = shown[1][1].axes[0]
    points = [np.abs(np.asarray(part.get_offsets())) for part in ax.collections]
    np.testing.assert_allclose(points[0], [[1, 0]] * 8, atol=1e-12)
    np.testing.assert_allclose(points[1], [[0, 1]] * 2, atol=1e-12)
    assert "of 10 test images on their first two principal axes (100 % of" in panel.subtitle
    assert "colors are classes" in panel.subtitle
    plain = report.feature_plane(features, np.zeros(11, int), ["a"])
    assert "colors" not in plain.subtitle
    assert (plain.title, plain.half) == ("Plane of the features", True)
    assert shown[2][1].axes[0].get_legend() is None


def test_the_rows_of_the_accuracies():
    numbers = {
        "knn": 0.5, "knn_untrained": 0.25, "knn_head": 0.125, "knn_supervised": 0.75, "probe": 0.6, "supervised": 0.9,
        "fine_tune_40": 0.7, "fine_tune_40_untrained": 0.3,
    }  # fmt: skip
    panel = accuracy_table(numbers, "Of a run.")
    rows = [re.findall("<t[dh][^>]*>(.*?)</t[dh]>", row) for row in panel.html.split("<tr>")[1:]]
    assert rows == [
        ["", "untrained", "trained", "supervised", "on the head&#x27;s output"],
        ["k nearest neighbors", "25.0 %", "50.0 %", "75.0 %", "12.5 %"],
        ["linear probe", "", "60.0 %", "", ""],
        ["fine-tuned with 40 labels", "30.0 %", "70.0 %", "", ""],
        ["its own head", "", "", "90.0 %", ""],
    ]
    assert (panel.half, panel.subtitle) == (True, "Of a run.")


def test_film_strips_are_wider_than_twice_their_height(monkeypatch):
    pictures = []
    monkeypatch.setattr(report, "data_uri", lambda image: pictures.append(image) or "")
    for width, shape in ((8, (40, 80 * 2 + 12)), (9, (72 * 2 + 12, 162))):
        images = np.zeros((2, 4, width, 3), np.uint8)
        html = nearest_neighbors(images, np.zeros(2, int), np.eye(2), ["a"], num_queries=1)
        assert pictures.pop().shape == (*shape, 3)
        assert html.subtitle.startswith("Left" if width == 8 else "Top")


def test_the_plane_says_a_part_of_the_variance_and_repeats_its_colors(monkeypatch):
    """Unit vectors on three axes, +-x four times, +-y twice and +-z once: 12 of 14. Labels 1 and 11 share a color."""
    shown = []
    monkeypatch.setattr(report, "figure_panel", lambda *args: shown.append(args) or Panel(args[0], "", args[2]))
    features = np.repeat(np.concatenate([np.eye(3), -np.eye(3)]), [4, 2, 1, 4, 2, 1], 0)
    labels = np.array([1] * 7 + [11] * 6 + [51])
    panel = feature_plane(features, labels, [str(k) for k in range(52)])
    assert "of 14 test images on their first two principal axes (86 % of the variance); colors are" in panel.subtitle
    first, second, third = shown[0][1].axes[0].collections
    colors = [part.get_facecolor()[0].tolist() for part in (first, second, third)]
    assert colors[0] == colors[1] == colors[2]
    paths = [len(part.get_paths()[0].vertices) for part in (first, second, third)]
    assert paths[0] == paths[2] != paths[1], "ten colors and five markers"
