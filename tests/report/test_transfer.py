"""The gain of each phase is read from the history."""

import re

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


def test_phases_have_their_steps_and_the_gain_over_the_last_one_that_was_measured():
    """Of 100 steps: the head from 0, a part that stands still, another from 30, another from 60; step 30 ends one."""
    rows = [(30, 0.5), (90, 0.75), (100, 0.7)]
    history = [{"step": step, "split": "valid", "accuracy": value} for step, value in rows]
    history += [{"step": 95, "split": "train", "accuracy": 1.0}, {"step": 80, "split": "valid", "loss": 1.0}]
    parts = [Part("head", 2.0), Part("stem", 0.0), Part("last", 0.1, 0.3), Part("first", 0.01, 0.6)]
    (panel,) = phase_gains(history, parts)
    found = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in panel.html.split("<tr>")[2:]]
    assert found == [
        ["head x 2", "0 to 30", "50.0 %", ""],
        ["head x 2, last x 0.1", "30 to 60", "", ""],
        ["head x 2, last x 0.1, first x 0.01", "60 to 100", "70.0 %", "+20.0"],
    ]
    assert phase_gains([], parts) == []
