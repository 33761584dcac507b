"""Wall time over the processes that worked on a run."""

import json
import os
import subprocess
import sys
import time

import pytest

from dlcore.run import provenance
from dlcore.run.attempts import wall_seconds


def test_earlier_processes_are_added_and_a_killed_one_counts_until_its_last_row(tmp_path):
    """400 s, then 118 s until a kill: 518 s and this process."""
    log = tmp_path / "metrics.jsonl"
    log.write_text("")
    os.utime(log, (2118.0, 2118.0))
    (tmp_path / "attempts.json").write_text(json.dumps({"1000.00": 400.0, "2000.00": None}))
    assert wall_seconds(tmp_path) - provenance.process_seconds() == pytest.approx(518, abs=0.5)
    noted = json.loads((tmp_path / "attempts.json").read_text())
    assert [noted["1000.00"], noted["2000.00"], len(noted)] == [400, 118, 3]


def test_a_process_counts_once_however_often_it_asks(tmp_path):
    wall_seconds(tmp_path, done=False)
    assert None in json.loads((tmp_path / "attempts.json").read_text()).values()
    for _ in range(3):
        time.sleep(0.02)
        total = wall_seconds(tmp_path)
    assert total == pytest.approx(provenance.process_seconds(), abs=0.5)
    assert len(json.loads((tmp_path / "attempts.json").read_text())) == 1


@pytest.mark.slow
def test_two_processes_are_the_sum_of_what_a_clock_outside_says(tmp_path):
    code = (
        "import sys, time, pathlib; from dlcore.run.attempts import wall_seconds; time.sleep(1.5); "
        "print(wall_seconds(pathlib.Path(sys.argv[1])))"
    )
    clock, said = 0.0, 0.0
    for _ in range(2):
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
        clock += time.monotonic() - began
        said = float(done.stdout)
    assert clock - 2 < said <= clock + 0.1
