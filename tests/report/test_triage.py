"""The panel of triage holds its sentences."""

from dlcore.report.triage import triage_panels


def test_the_panel_holds_the_sentences():
    history = [{"step": step, "split": "train", "loss": 2.3} for step in range(120)]
    (panel,) = triage_panels(history)
    assert panel.html == ("<p>Learning rate too low: the loss stays flat, from 2.3 to 2.3: raise the rate.</p>")


def test_curves_that_say_nothing_get_no_panel():
    assert triage_panels([{"step": 1, "split": "train", "return": 3.0}]) == []
    assert triage_panels([{"step": 1, "split": "train", "loss": 3.0}]) == []


def test_few_steps_are_no_ground_for_advice():
    history = [{"step": step, "split": "train", "loss": 2.3} for step in range(1, 44)]
    (panel,) = triage_panels(history)
    assert panel.html == "<p>43 steps: too few to say.</p>"
