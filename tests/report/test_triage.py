"""The panel of triage holds its sentences."""

from dlcore.report.triage import triage_panel


def test_the_panel_holds_the_sentences():
    history = [{"step": step, "split": "train", "loss": 2.3} for step in range(60)]
    assert triage_panel(history).html == (
        "<p>Learning rate too low: the loss stays flat, from 2.3 to 2.3: raise the rate.</p>"
    )
