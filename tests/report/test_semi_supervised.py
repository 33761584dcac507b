"""What unlabeled images bought: the numbers of both learners, and of the pseudo-labels."""

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
