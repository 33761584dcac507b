"""Confusion matrices by their cells, mistakes by their pixels, reliability diagrams by the heights of their bars."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from dlcore.metrics import Calibration
from dlcore.report import classifier
from dlcore.report.classification import confusion_matrix, reliability_diagram, worst_mistakes
from tests.report.parts_of_panels import cells, images_in


def test_small_confusion_matrix_is_a_table_with_recall_and_precision():
    html = confusion_matrix(np.array([[8, 2], [0, 5]]), ["cat", "dog"]).html
    assert cells(html) == [
        ["cat", "8", "2", "80.0"],  # 8 / 10
        ["dog", "·", "5", "100.0"],
        ["precision, %", "100.0", "71.4", ""],  # 8 / 8, 5 / 7
    ]


def test_a_rare_error_is_seen_and_is_not_colored_as_a_hit():
    html = confusion_matrix(np.array([[999, 1], [0, 1000]])).html
    hit, error = re.findall(r"rgba\((\d+),\d+,\d+,([\d.]+)\)", html)[:2]
    assert hit[0] != error[0]
    assert float(error[1]) > 0.14, "a share of 1 in 1000 must be above the faintest color"
    assert float(hit[1]) > 3 * float(error[1])


def test_large_confusion_matrix_is_a_picture_beside_the_most_frequent_confusions():
    counts = np.diag(np.full(100, 50))
    counts[7, 9], counts[9, 7] = 40, 3
    html = confusion_matrix(counts, [f"<class {number}>" for number in range(100)]).html
    png = re.search(r"base64,([^\"]+)", html)[1]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
    scale = image.shape[0] // 100
    strength = image[::scale, ::scale, 3]
    assert strength[7, 9] > strength[9, 7] > 0
    assert strength[0, 0] == 255
    assert (strength > 0).sum() == 102
    assert tuple(image[0, 0, :3]) != tuple(image[7 * scale, 9 * scale, :3])
    assert cells(html) == [["&lt;class 7&gt;", "&lt;class 9&gt;", "40"], ["&lt;class 9&gt;", "&lt;class 7&gt;", "3"]]
    assert "55.6 %" in html  # class 7: 50 / 90


@pytest.mark.parametrize("classes", [1, 2, 20, 21, 100])
def test_any_number_of_classes(classes):
    for counts in (np.zeros((classes, classes), int), np.ones((classes, classes), int)):
        html = confusion_matrix(counts, ["<b>"] * classes).html
        assert "<b>" not in html
        assert "nan" not in html


NAMES = ["cat", "<b>dog</b>", "fish"]


def mistakes(**kwargs):
    labels = np.array([0, 1, 2, 0])
    probabilities = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.05, 0.95, 0], [0.1, 0.2, 0.7]])
    images = np.arange(4, dtype=np.uint8)[:, None, None] * np.ones((4, 2, 2), np.uint8) * 50
    return worst_mistakes(
        **{"images": images, "labels": labels, "probabilities": probabilities, "class_names": NAMES} | kwargs
    )


def test_most_confident_mistakes_come_first():
    panel = mistakes()
    assert [int(image[0, 0]) for image in images_in(panel.html)] == [100, 150, 50]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", panel.html)
    assert [re.sub("<[^>]+>", "|", c) for c in captions] == [
        "|&lt;b&gt;dog&lt;/b&gt; 95 %||is fish",
        "|fish 70 %||is cat",
        "|cat 60 %||is &lt;b&gt;dog&lt;/b&gt;",
    ]
    assert "3 of 4 predictions are wrong" in panel.subtitle
    assert len(images_in(mistakes(count=1).html)) == 1
    assert "is 2<" in mistakes(class_names=None).html


def test_no_mistakes():
    assert "No mistakes in 4 examples" in mistakes(labels=np.array([0, 0, 1, 2])).html


@pytest.mark.covers("TR-27")
def test_reliability_diagram_shows_the_gaps():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.25, 0.25], np.float32)
    correct = np.array([True, True, True, False, True, False])
    # (0.9, 1.0]: confidence 0.95, accuracy 0.75; (0.2, 0.3]: confidence 0.25, accuracy 0.5
    # ECE = 4/6 * 0.20 + 2/6 * 0.25 = 0.13333 + 0.08333 = 0.21667
    panel = reliability_diagram(Calibration.of_confidence(confidence, correct, num_bins=10).compute())
    assert panel.half
    assert (panel.title, "21.67 % on average" in panel.subtitle) == ("Calibration", True)
    assert "Accuracy 66.7 % at a mean confidence of 71.7 %" in panel.subtitle  # 4/6; (4 * 0.95 + 2 * 0.25) / 6
    assert "25.0 % in the worst bin" in panel.subtitle
    assert "overconfident by" in panel.html
    assert "underconfident by" in panel.html
    cells = re.findall(r'<td class="number">([^<]+)</td>', panel.html)
    assert cells == ["25.0 %", "50.0 %", "2", "95.0 %", "75.0 %", "4"]
    bars = {c: _heights(panel.html, c) for c in (1, 2, 3, 6)}
    top = bars[1][1] / 0.75  # drawing units of the whole vertical axis
    np.testing.assert_allclose(np.array(bars[1]) / top, [0.25, 0.75], atol=1e-3)
    np.testing.assert_allclose(np.array(bars[2]) / top, [0.20], atol=1e-3)
    np.testing.assert_allclose(np.array(bars[6]) / top, [0.25], atol=1e-3)
    np.testing.assert_allclose(bars[3][2] / bars[3][9], 2 / 4, atol=1e-3)


def _heights(svg, color):
    paths = re.findall(rf'<path d="([^"]+)"[^>]*style="fill: var\(--c{color}\)', svg)
    return [np.ptp(np.array(re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path), float)[:, 1]) for path in paths]


def test_reliability_of_nothing():
    assert reliability_diagram(None).html == "<p>There are no examples.</p>"


def test_a_classifier_has_a_panel_for_what_it_was_measured_by():
    """Mistakes and examples always; a confusion matrix and the filters of the fewest channels where there are some."""
    examples = np.zeros((2, 4, 4, 1), np.uint8), np.array([0, 1]), np.full((2, 2), 0.5), ["a", "b"]
    assert len(classifier.classifier_panels({"loss": 1}, *examples, {})) == 2
    kernels = np.zeros((3, 3, 2, 4)), np.zeros((3, 3, 1, 4)), np.zeros((1, 1, 1, 4)), np.zeros(4)
    params = dict(zip("abcd", kernels, strict=True))
    assert len(classifier.classifier_panels({"confusion": np.eye(2, dtype=int)}, *examples, params)) == 4
    assert classifier.first_kernel(params) is kernels[1]


def test_colors_grow_with_the_logarithm_of_a_cell_s_fraction_of_its_row():
    """log(1 + 199 p) / log 200 of 0.999, 0.001 and 0.5 is 1.000, 0.034 and 0.870; the opacity 0.14 + 0.58 of it."""
    panel = confusion_matrix(np.array([[999, 1], [50, 50]]), ["cat", "horse"], "Pets")
    right, wrong = "0,114,178", "213,94,0"
    assert re.findall(r"rgba\((.*?),([\d.]+)\)\" title=\"(.*?)\"", panel.html) == [
        (right, "0.72", "cat → cat: 999"), (wrong, "0.16", "cat → horse: 1"),
        (wrong, "0.64", "horse → cat: 50"), (right, "0.64", "horse → horse: 50"),
    ]  # fmt: skip
    assert (panel.title, panel.half) == ("Pets", True)
    assert panel.subtitle.endswith("the predicted one; 1,049 of 1,100 on the diagonal.")
    assert 'class="tall"' in panel.html
    assert 'class="tall"' not in confusion_matrix(np.eye(2, dtype=int), ["bird", "cat"]).html
    assert [confusion_matrix(np.eye(count, dtype=int)).half for count in (10, 11)] == [True, False]


def test_a_class_without_examples_or_predictions_has_no_rate():
    assert cells(confusion_matrix(np.array([[2, 0], [0, 0]])).html) == [
        ["0", "2", "·", "100.0"], ["1", "·", "·", ""], ["precision, %", "100.0", "", ""],
    ]  # fmt: skip


def test_the_ten_most_frequent_confusions_and_lowest_recalls_stand_beside_the_picture():
    """Class k of 22 has 40 examples, of which k are taken for class k + 1, but the last has none."""
    counts = np.diag(np.append(40 - np.arange(21), 0)) + np.diag(np.arange(21), 1)
    html = confusion_matrix(counts).html
    confusions, recalls = (re.findall(r"<tr>(.*?)</tr>", part) for part in html.split("<h3>")[1:])
    texts = [[re.sub("<.*?>", " ", row).split() for row in rows] for rows in (confusions, recalls)]
    assert texts[0] == [["true", "predicted", "times"], *([str(k), str(k + 1), str(k)] for k in range(20, 10, -1))]
    assert texts[1] == [["class", "recall"], *([str(k), f"{100 * (40 - k) / 40:.1f}", "%"] for k in range(20, 10, -1))]
    (picture,) = images_in(html)
    assert picture.shape == (22 * 29, 22 * 29, 4)  # 640 / 22 = 29.1 pixels a cell
    assert "true class 0 (top) to 21 (bottom), predicted class 0 (left) to 21 (right)" in html
    # Of row 20 half each: 255 x 0.870 = 222; the colors are those of right and wrong.
    assert picture[20 * 29 + 28, 20 * 29 + 28].tolist() == [0, 114, 178, 222]
    assert picture[20 * 29, 21 * 29].tolist() == [213, 94, 0, 222]


def test_the_selection_of_mistakes_is_said():
    assert mistakes().subtitle == (
        "3 of 4 predictions are wrong; all, the most confident first. In color: prediction and confidence."
    )
    assert "; the 2 of highest confidence." in mistakes(count=2).subtitle
    assert (mistakes(title="Errors").title, mistakes().half) == ("Errors", True)
    lists = mistakes(images=np.zeros((4, 2, 2), np.uint8).tolist())
    assert len(images_in(lists.html)) == 3
    for short in ({"images": np.zeros((3, 2, 2))}, {"probabilities": np.full((3, 3), 1 / 3)}):
        with pytest.raises(ValueError, match=r"labels=4 labels: wrong length for [34] images and [34] rows"):
            mistakes(**short)
