import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from dlcore.report import tables as panels
from dlcore.report.html import render


def cells(html):
    """The body of the first table, as text."""
    body = re.search(r"<tbody>(.*?)</tbody>", html, re.DOTALL)[1]
    return [
        [re.sub("<[^>]+>", "", c) for c in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", r)] for r in body.split("<tr>")[1:]
    ]


def test_small_confusion_matrix_is_a_table_with_recall_and_precision():
    html = panels.confusion_matrix(np.array([[8, 2], [0, 5]]), ["cat", "dog"]).html
    assert cells(html) == [
        ["cat", "8", "2", "80.0 %"],  # 8 / 10
        ["dog", "·", "5", "100.0 %"],
        ["precision", "100.0 %", "71.4 %", ""],  # 8 / 8, 5 / 7
    ]


def test_a_rare_error_is_seen_and_is_not_coloured_as_a_hit():
    html = panels.confusion_matrix(np.array([[999, 1], [0, 1000]])).html
    hit, error = re.findall(r"rgba\((\d+),\d+,\d+,([\d.]+)\)", html)[:2]
    assert hit[0] != error[0]
    assert float(error[1]) > 0.14, "a share of 1 in 1000 must be above the faintest colour"
    assert float(hit[1]) > 3 * float(error[1])


def test_large_confusion_matrix_is_a_picture_beside_the_commonest_confusions():
    counts = np.diag(np.full(100, 50))
    counts[7, 9], counts[9, 7] = 40, 3
    html = panels.confusion_matrix(counts, [f"<class {number}>" for number in range(100)]).html
    png = re.search(r"base64,([^\"]+)", html)[1]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))
    scale = image.shape[0] // 100
    strength = image[::scale, ::scale, 3]
    assert strength[7, 9] > strength[9, 7] > 0
    assert strength[0, 0] == 255
    assert (strength > 0).sum() == 102
    assert tuple(image[0, 0, :3]) != tuple(image[7 * scale, 9 * scale, :3])
    assert cells(html) == [
        ["&lt;class 7&gt;", "&lt;class 9&gt;", "40"],
        ["&lt;class 9&gt;", "&lt;class 7&gt;", "3"],
    ]
    assert "55.6 %" in html  # class 7: 50 / 90


@pytest.mark.parametrize("classes", [1, 2, 20, 21, 100])
def test_any_number_of_classes(classes):
    for counts in (np.zeros((classes, classes), int), np.ones((classes, classes), int)):
        html = panels.confusion_matrix(counts, ["<b>"] * classes).html
        assert "<b>" not in html
        assert "nan" not in html


def test_table_of_rows():
    html = panels.table([{"layer": "<conv>", "size": 3, "share": 0.123456}, {"layer": "dense", "size": None}]).html
    assert cells(html) == [["&lt;conv&gt;", "3", "0.1235"], ["dense", "", ""]]
    assert html.count('<th class="number"') == 2
    assert panels.table([]).html


def test_table_of_one_mapping():
    assert "<th scope='row'>lr</th><td>&lt;0.1&gt;</td>" in panels.table({"lr": "<0.1>"}).html


def test_text_parts_paragraphs_and_escapes():
    assert panels.text("t", "one <b>\n\ntwo").html == "<p>one &lt;b&gt;</p><p>two</p>"


def test_whole_report_has_no_address_outside_itself():
    rng = np.random.default_rng(0)
    every = [
        panels.curves([{"step": s, "split": "train", "loss": 1 / s} for s in range(1, 50)]),
        panels.confusion_matrix(np.eye(30, dtype=int)),
        panels.worst_mistakes(np.zeros((4, 8, 8, 3)), np.arange(4), rng.random((4, 5))),
        panels.filters(rng.normal(size=(3, 3, 3, 8))),
        panels.examples(np.zeros((4, 64, 64, 1))),
        panels.text("t", "b"),
    ]
    html = render("title", every, {"loss": "1"})
    addresses = set(re.findall(r"(?:https?:)?//[\w./-]+", re.sub(r"base64,[\w+/=]+", "", html)))
    assert {a for a in addresses if "www.w3.org" not in a} == set()


@pytest.mark.parametrize(
    ("counts", "names", "message"),
    [
        (np.zeros((2, 3)), None, r"counts has shape \(2, 3\)"),
        (np.zeros((2, 2)), ["a"], "class_names has 1 entries for 2 classes"),
    ],
)
def test_bad_input_is_named(counts, names, message):
    with pytest.raises(ValueError, match=message):
        panels.confusion_matrix(counts, names)
