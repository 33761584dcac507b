"""What the report of an episode says, on written numbers."""

import re

import numpy as np

from dlcore.report.few_shot import accuracies, episode


def test_the_accuracy_stands_beside_what_is_trivial():
    numbers = {"accuracy": 0.957, "interval": 0.0031, "pixel_means_accuracy": 0.53, "untrained_accuracy": 0.49}
    panel = accuracies(numbers, {"way": 5, "shot": 1, "characters": [200, 100, 100]})
    for text in ("95.7", "± 0.31", "class means of pixels", "53", "49", "chance", "20"):
        assert text in panel.html
    assert "5-way 1-shot; 100 test characters; training used 200 others." in panel.subtitle
    more = {"accuracy_20way5shot": 0.913, "interval_20way5shot": 0.002}
    rows = accuracies(numbers | more, {"way": 5, "shot": 1, "characters": [200, 100, 100]}).html.split("<tr>")
    assert all(text in rows[6] for text in ("this network, 20-way 5-shot", "91.3", "± 0.20"))
    described = accuracies({"accuracy": 0.4, "interval": 0.01}, {"way": 4, "shot": 0, "characters": [9, 9, 9]})
    assert "zero-shot" in described.subtitle
    assert "pixels" not in described.html
    one_episode = accuracies({"accuracy": 0.4, "interval": None}, {"way": 4, "shot": 1, "characters": [9, 9, 9]})
    assert "±" not in one_episode.html


def test_queries_stand_with_the_class_that_they_were_taken_for():
    """Two classes of two queries; the last query of the first class was taken for the second."""
    logits = np.array([[1.0, 0], [0, 1], [0, 1], [0, 1]])
    supports, queries = np.zeros((1, 2, 1, 4, 4, 1)), np.ones((1, 2, 2, 4, 4, 1))
    html = episode(supports, queries, logits).html
    first, second = html.split("<tr>")[2:]
    assert first.count("<img") == 2, "supports and its own query"
    assert second.count("<img") == 3, "and one that is none of its own"
    assert episode(None, queries, logits).html.count("<img") == 3


def test_the_rows_of_the_accuracies():
    numbers = {
        "accuracy": 0.95678, "interval": 0.00314, "pixel_means_accuracy": 0.53, "untrained_accuracy": 0.491,
        "accuracy_20way5shot": 0.9, "interval_20way5shot": None,
    }  # fmt: skip
    html = accuracies(numbers, {"way": 6, "shot": 1, "characters": [200, 50, 100]}).html
    rows = [[re.sub("<.*?>", "", cell) for cell in re.findall("<td.*?</td>", row)] for row in html.split("<tr>")[2:]]
    assert rows == [
        ["this network", "95.68", "± 0.31"],
        ["untrained network", "49.1", ""],
        ["class means of pixels", "53", ""],
        ["chance", "16.67", ""],
        ["this network, 20-way 5-shot", "90", ""],
    ]


def test_few_classes_of_an_episode_are_shown_and_counted_from_1():
    """Three classes of two queries; the first query of the third is taken for the second."""
    logits = np.eye(3)[[0, 0, 1, 1, 1, 2]]
    html = episode(np.zeros((1, 3, 1, 4, 4, 1)), np.ones((1, 3, 2, 4, 4, 1)), logits, classes=2).html
    assert re.findall(r'<th scope="row">(\d)</th>', html) == ["1", "2"]
    assert [row.count("<img") for row in html.split("<tr>")[2:]] == [2, 3]
