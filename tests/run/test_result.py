"""What a result prints of a training."""

import numpy as np

from dlcore.run.result import Result

HISTORY = [
    {"step": 500, "split": "train", "loss": 9.0},
    {"step": 1000, "split": "train", "epoch": 1.5, "seconds": 3.0, "examples_per_second": 7.0, "loss": 0.123456},
    {"step": 1000, "split": "valid", **{f"m{i}": i for i in range(7)}, "blank": None, "table": [1]},
]


def test_a_result_prints_its_steps_last_numbers_times_and_memory():
    """1 m 15 s; 2.5 KiB are 2560 bytes. Of seven numbers five are shown."""
    result = Result(
        {"a": np.zeros(2), "b": np.zeros(1)},
        step=1000,
        history=HISTORY,
        best_step=500,
        seconds=75,
        compile_seconds=3661,
        wait_fraction=0.125,
        memory={"parameters": 2560, "batch": 12},
    )
    title, *lines = repr(result).splitlines()
    assert title == "Result"
    assert [(line[2:10].strip(), line[10:]) for line in lines] == [
        ("steps", "1,000"),
        ("train", "loss 0.1235, at step 1,000"),
        ("valid", "m0 0, m1 1, m2 2, m3 3, m4 4 and 2 more, at step 1,000"),
        ("best", "step 500"),
        ("time", "1:15 in steps, 1:01:01 until the first one, 12.5 % waiting for data"),
        ("memory", "parameters 2.5 KiB, batch 12 B"),
        ("more", ".history (3 rows), .state (dict of 2 arrays)"),
    ]


def test_a_resumed_and_stopped_run_says_so_and_absent_facts_have_no_line():
    text = repr(Result(None, step=2000, history=[], stopped=True, first_step=1500))
    assert "steps   2,000, 1,500 of them before this call, stopped by a hook\n" in text
    assert "best" not in text
    assert "memory" not in text
    assert "0:00 in steps, 0:00 until the first one, 0.0 % waiting for data" in text


def test_a_notebook_shows_the_curves_in_a_frame():
    html = Result(None, step=1000, history=HISTORY, seconds=75)._repr_html_()
    assert html.startswith('<iframe srcdoc="&lt;!')
    assert html.count('"') == 4, "the page is escaped; the frame's attributes are not"
    for text in ("1,000", "1:15"):
        assert text in html
