"""The gain of each phase is read from the history."""

from dlcore.optim.partial import Part
from dlcore.report.transfer import phase_gains


def test_phases_and_gains():
    rows = [(10, 0.2), (20, 0.5), (30, 0.6), (40, 0.9)]
    history = [{"step": step, "split": "valid", "accuracy": value} for step, value in rows]
    (panel,) = phase_gains(history, [Part("head"), Part("last", 0.1, 0.5)])
    html = panel.html
    for text in ("0 to 20", "20 to 40", "50.0 %", "90.0 %", "+40.0", "head x 1, last x 0.1"):
        assert text in html


def test_a_single_phase_and_phases_without_an_evaluation_have_no_panel():
    history = [{"step": step, "split": "valid", "accuracy": 0.5} for step in (30, 40)]
    assert phase_gains(history, [Part("head")]) == []
    assert phase_gains(history, [Part("head"), Part("last", 0.1, 0.5)]) == []  # nothing is measured before step 20
