"""What is printed while a program is silent, by a clock in the test's hand."""

import time

import pytest

from dlcore import activity as module
from dlcore.activity import Activities, heartbeat


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_line_is_due_after_nine_silent_seconds_and_says_what_goes_on(clock):
    console = Activities(clock)
    assert console.due_line() is None
    with console.activity("measuring"), console.activity("fine-tuning with 60 labels, step", 300) as show_count:
        show_count(120)
        clock.now = 8.9
        assert console.due_line() is None
        clock.now = 9.0
        assert console.due_line() == "fine-tuning with 60 labels, step 120/300, 0:09"
        clock.now = 17.0
        assert console.due_line() is None, "eight seconds after the last line"
        console.note_output()
        clock.now = 25.5
        assert console.due_line() is None, "eight and a half after other output"
        clock.now = 75.0
        assert console.due_line() == "fine-tuning with 60 labels, step 120/300, 1:15"
    clock.now = 90.0
    assert console.due_line() == "working"


def test_the_innermost_activity_is_shown_and_a_generator_may_end_late(clock):
    console = Activities(clock)

    def batches():
        with console.activity("predicting, batch") as show_count:
            show_count(3)
            yield

    with console.activity("evaluation"):
        stream = batches()
        next(stream)
        clock.now = 10.0
        assert console.due_line() == "predicting, batch 3, 0:10"
    stream.close()
    clock.now = 20.0
    assert console.due_line() == "working"


def test_a_live_bar_is_never_silent(clock):
    console = Activities(clock)
    console.live = True
    clock.now = 100.0
    assert console.due_line() is None
    console.live = False
    clock.now = 108.0
    assert console.due_line() is None
    clock.now = 110.0
    assert console.due_line() == "working"


def test_the_heartbeat_prints_beside_the_results(capsys, monkeypatch):
    monkeypatch.setattr(module, "SILENCE", 0.0)
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    with heartbeat(), module.activity("drawing the report"):
        deadline = time.monotonic() + 5
        text = ""
        while "drawing" not in text and time.monotonic() < deadline:
            time.sleep(0.01)
            shown = capsys.readouterr()
            assert shown.out == ""
            text += shown.err
    assert "... drawing the report, 0:00" in text
    capsys.readouterr()  # what it printed after the loop
    with heartbeat(lambda: False):
        time.sleep(0.05)
    assert "working" not in capsys.readouterr().err
