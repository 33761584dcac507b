"""Which images the panels of a classifier's classes show, by the value of their pixels."""

import base64
import io
import re

import numpy as np
from PIL import Image

from dlcore.report.class_images import best_and_worst, training_images


def strips(html):
    """The gray values of each strip's images, from left to right; 128 parts them."""
    values = []
    for text in re.findall(r'src="data:image/png;base64,([^"]+)"', html):
        row = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))[0]
        values.append([int(v) for v in dict.fromkeys(row.tolist()) if v != 128])
    return values


def gray(*values):
    return np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 1), np.uint8)


def test_best_and_worst_are_those_of_highest_and_lowest_probability_of_their_class():
    images = gray(0, 10, 20, 30, 40, 50)
    labels = np.array([0, 0, 0, 0, 1, 1])
    own = np.array([0.6, 0.9, 0.2, 0.7, 0.55, 0.45])
    probabilities = np.where(labels[:, None] == [0, 1], own[:, None], 1 - own[:, None])
    panel = best_and_worst(images, labels, probabilities, ["<cat>", "dog"], count=2)
    assert strips(panel.html) == [[10, 30], [20, 0], [40], [50]]
    assert "&lt;cat&gt;" in panel.html
    assert "75.0 %" in panel.html  # three of four cats are above a half
    assert "90 – 70 %" in panel.html
    assert "60 – 20 %" in panel.html


def test_of_many_classes_the_hardest_are_shown():
    labels = np.repeat(np.arange(5), 2)
    probabilities = np.eye(5)[labels]
    probabilities[[2, 6, 7]] = np.eye(5)[0]  # class 1: half right, class 3: none
    panel = best_and_worst(gray(*range(10)), labels, probabilities, max_classes=2)
    assert re.findall(r'<th scope="row">(\d)</th><td class="number">([\d.]+) %', panel.html) == [
        ("1", "50.0"),
        ("3", "0.0"),
    ]
    assert panel.subtitle.startswith("The 2 of 5 classes with the lowest recall.")


def test_training_images_stand_beside_their_versions():
    versions = np.stack([gray(1, 4), gray(2, 5), gray(3, 6)])
    panel = training_images(gray(100, 200), versions, ["a", "<b>"], "what was done")
    assert strips(panel.html) == [[100], [1, 2, 3], [200], [4, 5, 6]]
    assert "&lt;b&gt;" in panel.html
    assert panel.subtitle == "what was done"


def test_a_class_of_one_image_has_a_best_and_no_worst_and_few_are_shared():
    """Of three images one stands on each side, of seven at most the count, worst first."""
    labels = np.array([0, 1, 1, 1, *[2] * 7])
    own = np.array([0.5, 0.9, 0.7, 0.3, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    probabilities = np.zeros((11, 3))
    probabilities[np.arange(11), labels] = own
    panel = best_and_worst(gray(*range(1, 12)), labels, probabilities, count=3, title="Both ends")
    assert strips(panel.html) == [[1], [2], [4], [11, 10, 9], [5, 6, 7]]
    ranges = re.findall(r'"rate">(.*?)</td>', panel.html)
    assert ranges == ["50 %", "", "90 %", "30 %", "70 – 50 %", "30 – 10 %"]
    assert panel.subtitle == "Test images, with the range of the probability of their true class."
    assert (panel.title, panel.half) == ("Both ends", False)


def test_gray_images_without_channels_are_shown_and_take_half_of_the_page():
    panel = training_images(gray(100)[..., 0], gray(1)[None], [3], title="Seen")
    assert strips(panel.html) == [[100], [1]]
    assert (panel.title, panel.half, panel.subtitle) == ("Seen", True, "")
    assert '<th scope="row">3</th>' in panel.html
