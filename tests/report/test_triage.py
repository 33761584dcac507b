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


def test_advice_begins_at_a_hundred_steps_and_one_step_is_no_plural():
    def panel(last, **more):
        history = [{"step": step, "split": "train", "loss": 2.3} for step in range(last - 40, last + 1)]
        return triage_panels([*history, {"step": 500, "split": "valid", "loss": 2.3}], title="Curves", **more)

    assert panel(99)[0].html == "<p>99 steps: too few to say.</p>"
    assert panel(100)[0].html.startswith("<p>Learning rate too low")
    assert panel(100)[0].title == panel(99)[0].title == "Curves"
