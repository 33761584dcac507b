"""Pictures with boxes: what is drawn, and what is left out."""

import base64
import io
import re

import chex
import numpy as np
from PIL import Image

from dlcore.report.detection import COLORS, detections, draw_boxes, draw_outputs, error_kinds, outline, precision_recall


def test_a_table_of_many_kinds_of_error_takes_the_whole_width():
    kinds = ("right", "duplicate", "wrong class", "poor box", "both", "background", "missed")
    assert not error_kinds(np.ones((2, 7), int), kinds, ["a", "b"]).half


def test_a_box_is_drawn_in_its_color():
    image = np.full((40, 60, 3), 30, np.uint8)
    drawn = draw_boxes(image, np.array([[10, 15, 30, 35]]), np.array([1]), ["a", "b"], np.array([0.87]), scale=2)
    chex.assert_shape(drawn, (80, 120, 3))
    colored = (drawn == COLORS[1]).all(-1)
    assert all(colored[place] for place in ((50, 20), (50, 59), (69, 40)))  # left, right and lower, twice as large
    assert not colored[40:66, 24:56].any()  # nothing inside
    assert (drawn[75:, 90:] == 30).all()  # nothing elsewhere
    plain = draw_boxes(image, np.zeros((0, 4)), np.zeros(0, int), ["a", "b"])
    np.testing.assert_array_equal(plain, image)


def test_true_boxes_are_white_and_broken():
    image = np.full((40, 60, 3), 30, np.uint8)
    drawn = draw_boxes(image, np.zeros((0, 4)), np.zeros(0, int), ["a"], target_boxes=np.array([[10, 10, 50, 30]]))
    top = (drawn[10, 10:50] == 255).all(-1)
    assert 0.3 < top.mean() < 0.9


def test_boxes_at_the_edge_and_beyond_do_not_fail():
    image = np.zeros((20, 20, 3), np.uint8)
    boxes = np.array([[0, 0, 20, 20], [-5, -5, 3, 3], [15, 15, 40, 40], [5, 5, 5, 5]], np.float32)
    chex.assert_shape(draw_boxes(image, boxes, np.arange(4), list("abcd"), np.ones(4)), (20, 20, 3))


def test_objects_of_one_class_have_masks_of_different_colors():
    image = np.full((40, 60, 3), 100, np.uint8)
    masks = np.zeros((2, 40, 60), bool)
    masks[0, 5:35, 5:25] = masks[1, 5:35, 25:50] = True
    boxes, labels = np.array([[5, 5, 25, 35], [25, 5, 50, 35]]), np.array([0, 0])
    drawn = draw_boxes(image, boxes, labels, ["cat"], np.array([0.5, 0.9]), masks=masks)
    inside = drawn[30, 15], drawn[30, 40]
    # 55 % of the image and 45 % of the color; the best has the first.
    np.testing.assert_allclose(inside[1], 55 + 0.45 * np.array(COLORS[0]), atol=1)
    np.testing.assert_allclose(inside[0], 55 + 0.45 * np.array(COLORS[1]), atol=1)
    np.testing.assert_array_equal(drawn[38], image[38])
    assert (image == 100).all()


def test_an_outline_is_what_has_a_neighbor_outside():
    mask = np.zeros((5, 6), bool)
    mask[1:, 1:5] = True  # down to the edge, which is none
    want = mask.copy()
    want[2:, 2:4] = False
    np.testing.assert_array_equal(outline(mask), want)


def test_outputs_are_drawn_with_masks_and_keypoints():
    outputs = {
        "boxes": np.array([[4.0, 4, 20, 20], [0, 0, 8, 8], [0, 0, 0, 0]]),
        "labels": np.array([0, 0, -1]),
        "scores": np.array([0.9, 0.1, 0]),
        "valid": np.array([True, True, False]),
        "masks": np.ones((3, 7, 7), np.float32),
        "keypoints": np.array([[[40.0, 30, 1]]] * 3),
    }
    image = np.full((40, 60, 3), 100, np.uint8)
    drawn, count = draw_outputs(image, outputs, ["cat"])
    assert count == 1
    assert tuple(drawn[30, 40]) == COLORS[0]
    np.testing.assert_allclose(drawn[17, 12], 55 + 0.45 * np.array(COLORS[0]), atol=1)
    assert (drawn[25:, :30] == 100).all()


def test_captions_stand_below_the_counts():
    outputs = {"boxes": np.zeros((1, 1, 4))} | {name: np.zeros((1, 1)) for name in ("labels", "scores", "valid")}
    panel = detections(np.zeros((1, 12, 12, 3), np.uint8), outputs, None, ["a"], captions=["1 <missed>"])
    assert "0 predicted<br>1 &lt;missed&gt;" in panel.html


def test_the_panel_counts_predicted_and_true_boxes():
    outputs = {
        "boxes": np.tile(np.array([2.0, 2, 9, 9]), (2, 3, 1)),
        "labels": np.zeros((2, 3), int),
        "scores": np.array([[0.9, 0.5, 0.1], [0.9, 0.8, 0.7]]),
        "valid": np.array([[True] * 3, [False] * 3]),
    }
    truth = {"boxes": outputs["boxes"], "box_mask": np.array([[True, False, False], [True, True, False]])}
    panel = detections(np.zeros((2, 12, 12, 3), np.uint8), outputs, truth, ["<a>"])
    assert "2 predicted, 1 true" in panel.html
    assert "0 predicted, 2 true" in panel.html
    assert panel.html.count("<img") == 2
    assert " true" not in detections(np.zeros((2, 12, 12, 3)), outputs, None, ["a"]).html


def test_precision_over_recall_names_the_area_of_each_class():
    precision = np.stack([np.ones(101), np.linspace(1, 0, 101), np.full(101, -1.0)], 1)
    panel = precision_recall(precision, ["cat", "<dog>", "never"])
    assert "cat 100.0" in panel.html
    assert "&lt;dog&gt; 50.0" in panel.html
    assert "never" not in panel.html
    assert "mean of 2 classes, 75.0" in panel.subtitle
    none = precision_recall(np.full((101, 1), -1.0), ["a"], title="Of none")
    assert (none.title, none.html, none.half) == ("Of none", "<p>No class occurs.</p>", True)


def test_of_many_classes_the_best_and_the_worst_are_drawn():
    precision = np.ones((101, 1)) * np.linspace(0, 1, 9)
    panel = precision_recall(precision, [f"class {k}." for k in range(9)])
    assert [k for k in range(9) if f"class {k}." in panel.html] == [0, 1, 2, 6, 7, 8]
    assert "3 best and the 3 worst" in panel.subtitle


def test_kinds_of_error_are_counted_in_a_table():
    html = error_kinds(np.array([[5, 1, 0], [7, 0, 2000]]), ("right", "duplicate", "missed"), ["<cat>", "dog"]).html
    rows = re.findall(r"<tr><th scope=\"row\">(.*?)</th>(.*?)</tr>", html)
    assert [(name, re.findall(r">([\d,]+)<", cells)) for name, cells in rows] == [
        ("all", ["12", "1", "2,000"]),
        ("&lt;cat&gt;", ["5", "1", "0"]),
        ("dog", ["7", "0", "2,000"]),
    ]


def patch(mask):
    """Return the first and the last column, and the first and the last row, of a mask."""
    rows, columns = np.nonzero(mask)
    return columns.min(), columns.max(), rows.min(), rows.max()


def labeled(x, y, height=60, name="a", **more):
    """Draw a box from (x, y) to beyond the picture."""
    image = np.full((height, 90, 3), 30, np.uint8)
    return draw_boxes(image, np.array([[x, y, 500, 500]]), np.array([0]), [name], **more)


def test_a_label_stands_above_its_box_or_else_inside_the_picture():
    def above(x, y):
        return patch((labeled(x, y)[:y] == COLORS[0]).all(-1))

    def inside(x, y, height=60):
        mask = (labeled(x, y, height) == COLORS[0]).all(-1)
        mask[y : y + 2] = mask[:, x : x + 2] = False  # the lines of the box
        return patch(mask)

    left, right, top, bottom = above(20, 40)
    assert (left, bottom) == (20, 39)
    width, height = right - left, 40 - top
    assert 8 < height < 25
    assert above(20, height) == (20, right, 0, height - 1), "there is just enough room"
    assert inside(20, height - 1)[1::2] == (right, 2 * height - 1), "at the upper edge it stands in the box"
    assert above(88, 40)[:2] == (90 - width, 89), "moved to the left; its last column is cut"
    assert above(-9, 40)[:2] == (0, width)
    assert inside(20, 5, height + 2)[1:] == (right, 2, height + 1), "moved up; its last row is cut"
    label = labeled(20, 40)[top:40, 20 : right + 1].sum(-1)
    ink = patch(label < sum(COLORS[0]))  # with margins of two pixels
    assert min(ink[0], ink[2]) >= 2
    assert ink[1] <= width - 2
    assert ink[3] <= height - 2


def test_a_score_is_written_in_per_cent_behind_the_name():
    scored = labeled(20, 40, name="cat", scores=np.array([0.876]))
    np.testing.assert_array_equal(scored, labeled(20, 40, name="cat 88"))
    assert (scored != labeled(20, 40, name="cat")).any()
    np.testing.assert_array_equal(
        labeled(10, 20, name="cat", scale=2, height=30)[:60, :90], labeled(20, 40, name="cat")[:60, :90]
    )


def test_the_surest_box_lies_on_top_and_lines_are_two_pixels_wide():
    image = np.full((60, 90, 3), 30, np.uint8)
    boxes = np.array([[10.0, 30, 50, 50], [10, 30, 50, 50]])
    for scores, color in (([0.9, 0.5], COLORS[0]), ([0.5, 0.9], COLORS[1])):
        drawn = draw_boxes(image, boxes, np.array([0, 1]), ["a", "b"], np.array(scores))
        assert [(drawn[45, x] == color).all() for x in (9, 10, 11, 12, 47, 48, 49, 50)] == [
            False, True, True, False, False, True, True, False,
        ]  # fmt: skip
        assert [(drawn[y, 45] == color).all() for y in (47, 48, 49, 50)] == [False, True, True, False]


def test_keypoints_are_discs_of_radius_3_with_a_dark_edge():
    image = np.full((60, 90, 3), 30, np.uint8)
    boxes, labels, points = np.array([[0.0, 0, 9, 9]] * 2), np.array([0, 1]), np.array([[[30.0, 20]], [[35, 20]]])
    for scale in (1, 2):
        drawn = draw_boxes(
            image, boxes, labels, ["a", "b"], np.array([0.9, 0.5]), scale=scale, keypoints=points / scale
        )
        assert [drawn[20, x].tolist() for x in (30, 27, 26, 35, 38, 39)] == [
            list(COLORS[0]), [0] * 3, [30] * 3, list(COLORS[1]), [0] * 3, [30] * 3,
        ]  # fmt: skip
        assert [drawn[y, 30].tolist() for y in (17, 23, 16, 24)] == [[0] * 3] * 2 + [[30] * 3] * 2


def test_dashes_of_about_five_pixels_lie_on_dark_lines():
    """Sides of 39 and 27 pixels have seven and five pieces, which are white and dark in turn."""
    image = np.full((60, 90, 3), 30, np.uint8)
    nothing = np.zeros((0, 4)), np.zeros(0, int), ["a"]
    drawn = draw_boxes(image, *nothing, target_boxes=np.array([[10, 10, 50, 38]]))
    rows, columns = np.nonzero((drawn != 30).any(-1))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (10, 49, 10, 37)
    for line, pieces, length in ((drawn[10, 10:50], 7, 39), (drawn[37, 10:50], 7, 39), (drawn[10:38, 10], 5, 27),
                                 (drawn[10:38, 49], 5, 27)):  # fmt: skip
        middles = ((np.arange(pieces) + 0.5) * length / pieces).round().astype(int)
        assert line[middles, 0].tolist() == [0 if k % 2 else 255 for k in range(pieces)]
    twice = draw_boxes(image, *nothing, scale=2, target_boxes=np.array([[10, 10, 50, 38]]))
    rows, columns = np.nonzero((twice != 30).any(-1))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (20, 99, 20, 75)
    short = draw_boxes(image, *nothing, target_boxes=np.array([[10, 10, 14, 13]]))
    assert (short[10, 10:14] == 255).all(), "a side of less than a dash is white"


def test_boxes_from_the_least_score_on_are_drawn_on_enlarged_images():
    outputs = {
        "boxes": np.array([[[10.0, 40, 30, 55]] * 2]), "labels": np.zeros((1, 2), int),
        "scores": np.array([[0.5, 0.49]]), "valid": np.ones((1, 2)),
    }  # fmt: skip
    images = np.full((1, 60, 90, 3), 30, np.uint8)
    shown = []
    panel = detections(images, outputs, None, ["a"], min_score=0.5, title="Found")
    assert "<figcaption>1 predicted</figcaption>" in panel.html
    assert (panel.title, panel.subtitle) == ("Found", "Boxes with a score of at least 50 %, by class.")
    truth = {"boxes": np.zeros((1, 1, 4)), "box_mask": np.ones((1, 1))}
    assert detections(images, outputs, truth, ["a"]).subtitle.endswith("; true boxes dashed, in white.")
    three = {name: np.repeat(values, 3, 0) for name, values in outputs.items()}
    assert detections(np.repeat(images, 3, 0), three, None, ["a"], count=2).html.count("<img") == 2
    assert "<img" not in detections(images[:0], outputs, None, ["a"]).html
    for side, factor in ((90, 3), (200, 2), (201, 1), (700, 1)):  # 300 pixels over the width, rounded; at least 1
        html = detections(np.zeros((1, 8, side, 3), np.uint8), outputs, None, ["a"]).html
        with Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)', html)[1]))) as picture:
            shown.append(picture.size == (factor * side, factor * 8))
    assert all(shown)


def test_curves_of_precision_and_their_mean():
    """At recalls 0, 1/2 and 1: class a 1, 1/2 and 0, class b 1, 1, 1, whose mean is 1, 3/4, 1/2."""
    panel = precision_recall(np.array([[1, 1], [0.5, 1], [0, 1]]), ["a", "b"])
    found = {
        color: np.array(re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path), float)
        for path, color in re.findall(
            r'<path d="([^"]+)"[^>]*style="fill: none;[^"]*stroke: var\(--(\w+)\)', panel.html
        )
    }
    left, bottom = found["c2"][0, 0], found["c2"][-1, 1]  # the second best class is a, which ends at the bottom
    right, top = found["c2"][-1, 0], found["c2"][0, 1]
    for color, values in (("c1", [1, 1, 1]), ("c2", [1, 0.5, 0]), ("ink", [1, 0.75, 0.5])):
        x, y = found[color].T
        np.testing.assert_allclose((y - bottom) / (top - bottom), values, atol=1e-3)
        np.testing.assert_allclose((x - left) / (right - left), [0, 0.5, 1], atol=1e-3)
    assert panel.half
    assert "area under each curve; dashed: mean of 2 classes, 75.0." in panel.subtitle
    assert "Shown" not in precision_recall(np.ones((3, 6)), "abcdef").subtitle


def test_colors_of_errors_grow_within_their_row_and_twenty_classes_are_shown():
    counts = np.array([[9, 4, 2], [5, 0, 0]])
    panel = error_kinds(counts, ("right", "a", "b"), ["cat", "dog"], "Of two.", "Errors")
    shades = re.findall(r"rgba\(213,94,0,([\d.]+)\)", panel.html)
    assert shades == ["0.45", "0.23", "0.45", "0.23", "0.00", "0.00"]  # 0.225 is rounded up; of all, of cat, of dog
    assert (panel.title, panel.subtitle, panel.half) == ("Errors", "Of two.", True)
    many = np.stack([np.full(22, 100), np.r_[1, np.arange(21)]], 1)
    rows = re.findall(r'<th scope="row">(\w+)</th>', error_kinds(many, "re", [f"c{k}" for k in range(22)]).html)
    assert rows == ["all", "c0", *(f"c{k}" for k in range(3, 22))], "c1 and c2 have the fewest errors"
    five = ("right", "a", "b", "c", "d")
    assert [error_kinds(np.ones((1, n)), five[:n], ["x"]).half for n in (4, 5)] == [True, False]


def test_stretched_photographs_are_shown_in_their_aspect_ratio():
    """A photograph of 240 x 120 pixels in a square of 60: it is shown as 300 x 150, and a box fills its right half."""
    outputs = {
        "boxes": np.array([[[30, 0, 60, 60]]], np.float32),
        "scores": np.ones((1, 1)),
        "labels": np.zeros((1, 1), int),
        "valid": np.ones((1, 1)),
    }
    images, sizes = np.zeros((1, 60, 60, 3), np.uint8), np.array([[120, 240]])
    panel = detections(images, outputs, None, ["cat"], sizes=sizes)
    with Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]+)', panel.html)[1]))) as file:
        picture = np.asarray(file)
    assert picture.shape == (150, 300, 3)
    colored = np.flatnonzero((picture != 0).any(-1)[75])
    assert (colored.min(), colored.max()) == (150, 299)
