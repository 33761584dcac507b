"""What unlabeled images bought: the numbers of both learners, and of the pseudo-labels."""

import re

from dlcore.report import semi_supervised as report


def test_the_twin_stands_beside_the_technique():
    numbers = {"accuracy": 0.9, "accuracy_supervised": 0.75, "gain": 0.15}
    shown = report.twin_table(numbers).html
    assert shown.index("90.0 %") < shown.index("75.0 %") < shown.index("+15.0 %")


def test_pseudo_labels_are_shown_over_the_run():
    history = [
        {"split": "train", "step": k, "mask_rate": k / 10, "impurity": None if k == 0 else 0.2} for k in range(9)
    ]
    (panel,) = report.pseudo_label_table(history, count=3)
    assert [word in panel.html for word in ("0.0 %", "40.0 %", "80.0 %", "–", "50.0 %")] == [True] * 4 + [False]
    assert report.pseudo_label_table([{"split": "train", "step": 1, "loss": 1.0}]) == []


def test_the_technique_for_noisy_labels_comes_first():
    numbers = {"accuracy": 0.9, "accuracy_cross_entropy": 0.6, "accuracy_early_stopped": 0.8}
    shown = report.noisy_table(numbers).html
    assert shown.index("90.0 %") < shown.index("60.0 %") < shown.index("80.0 %")
    assert shown.index("to the end") < shown.index("stopped early")


def test_rows_of_pseudo_labels_are_evenly_spaced_from_the_first_to_the_last():
    """Of nine rows six: 0, 1.6, 3.2, 4.8, 6.4 and 8, rounded; a row of another split does not count."""
    history = [{"split": "train", "step": 1000 + k, "mask_rate": 0.5} for k in range(9)]
    history.append({"split": "valid", "step": 9999, "mask_rate": 0.5})

    def steps(count):
        (panel,) = report.pseudo_label_table(history, count)
        return re.findall(r"<td>(1,\d+)</td>", panel.html)

    assert steps(6) == ["1,000", "1,002", "1,003", "1,005", "1,006", "1,008"]
    assert steps(2) == ["1,000", "1,008"]
    assert steps(1) == ["1,000"]


def test_a_missing_number_is_a_dash_and_a_loss_has_its_sign():
    html = report.twin_table({"accuracy": 0.5, "gain": -0.0123}).html
    assert re.findall(r'class="unit">(.*?)<|<td>(–)</td>', html) == [("50.0 %", ""), ("", "–"), ("-1.2 %", "")]
