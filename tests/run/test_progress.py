import io
import re
import sys

import pytest

from dlcore.run.progress import Progress, duration, say


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (49.9, "0:49"), (60, "1:00"), (7389, "2:03:09"), (360000, "100:00:00")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def row(**numbers):
    return {"step": 5, "split": "train", "epoch": 0.5, "seconds": 1.0, **numbers}


def test_a_plain_line_elsewhere_than_on_a_terminal(capsys):
    progress = Progress(10, 0)
    progress.advance(5)
    progress.log(row(z=0.25, accuracy=0.5, loss=1.25, examples_per_second=12345.6))
    progress.log({"step": 5, "split": "valid", "epoch": 0.5, "loss": 2.0, "blank": None, "calibration/ece": 0.1})
    progress.close()
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("step 5/10 train loss 1.25 accuracy 0.5 z 0.25 12,346 examples/s eta 0:0")
    assert out[1] == "step 5/10 valid loss 2"


def test_silence(capsys):
    progress = Progress(10, enabled=False)
    progress.advance(1)
    progress.log(row(loss=1.0))
    progress.close()
    assert capsys.readouterr().out == ""


def test_a_first_line_after_a_resume_needs_no_rate(capsys):
    progress = Progress(10, start=5)
    progress.log(row(loss=1.0))
    assert "eta ?" in capsys.readouterr().out


def test_a_live_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    progress = Progress(10, 0)
    progress.log(row(loss=1.25, accuracy=0.5, examples_per_second=1000.0))
    progress.log({"step": 5, "split": "valid", "loss": 2.0})
    progress.close()
    shown = terminal.getvalue()
    assert "loss 1.25 accuracy 0.5 1,000 examples/s" in shown
    assert "5/10" in shown
    assert "eta" in shown
    assert "step 5/10 valid loss 2" in shown


@pytest.mark.parametrize(
    ("width", "total", "more"), [(80, 25_500, "accuracy 0.9877"), (80, 10**7, ""), (60, 10**6, "")]
)
def test_a_narrow_bar_keeps_step_loss_and_eta(monkeypatch, width, total, more):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "dumb-but-wide")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("rich._console", None)  # one of another width may be there
    progress = Progress(total, 0)
    numbers = {"loss": 1.2345, "accuracy": 0.98765, "top5": 0.99, "examples_per_second": 123456.0}
    progress.log({**row(**numbers), "step": 12345})
    progress.close()
    line = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue()).replace("\r", "\n").strip().splitlines()[-1]
    assert len(line) <= width
    assert f"12345/{total}" in line
    assert "loss 1.234" in line
    assert more in line
    assert re.search(r"eta \d:\d\d:\d\d$", line.rstrip()) or "eta -:--:--" in line
    assert "…" not in line


def test_say_goes_out_at_once(capsys):
    say("hello")
    assert capsys.readouterr().out == "hello\n"


def test_the_time_that_is_left_is_that_of_the_steps_since_the_start(monkeypatch, capsys):
    """Two steps, from the third to the fifth, took 16 seconds: 8 seconds a step, 40 for five steps."""
    now = [100.0]
    monkeypatch.setattr("dlcore.run.progress.time.monotonic", lambda: now[0])
    progress = Progress(10, start=3)
    now[0] = 116.0
    progress.log(row(a=1, b=2.0, c=3.0, d=4.0, e=5.0, learning_rate=0.1, text="x"))
    assert capsys.readouterr().out == "step 5/10 train a 1 b 2 c 3 d 4 eta 0:40\n"


def test_a_bar_shows_the_last_step(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "160")
    progress = Progress(10, 2, description="fit")
    progress.advance(7)
    progress.advance(8)
    progress.close()
    shown = terminal.getvalue()
    assert "fit" in shown
    assert "8/10" in shown, "however soon it follows another"
