"""The list for accelerators: its commands are right, items stop, go on and end, and nothing is asked twice."""

import json
import shlex
import subprocess
import sys

import pytest

from dlcore.experiment.flags import parse
from dlcore.experiment.resolve import resolve
from dlcore.experiment.study import Study
from dlcore.setting import settings_of
from experiments import accelerator, find_experiment
from experiments.accelerator import Item


@pytest.mark.slow(unless=["step-resnet50", "step-vit-b16", "resume"])
@pytest.mark.parametrize("item", [item for item in accelerator.ITEMS if item.exists], ids=lambda item: item.name)
def test_the_flags_of_every_item_are_known(item):
    assert 0 < item.minutes <= 10
    words = shlex.split(item.command.replace("$DATA_DIR", "data"))[1:]
    experiment = find_experiment(item.module)
    if isinstance(experiment, Study):
        parse({"study": settings_of(experiment.function)}, words)
    else:
        resolve(experiment, words)


@pytest.mark.weekly
def test_an_item_is_run_once_and_leaves_its_numbers(tmp_path, monkeypatch, capsys):
    items = (Item("matmul", "TFLOP/s", "bench.matmul", 5), Item("cifar", "accuracy", "rl.ppo --x=$DATA_DIR", 5))
    monkeypatch.setattr(accelerator, "ITEMS", (*items, Item("later", "?", "sequence.no_such_page", 5)))
    assert accelerator.main(["--only", "cifar", f"--out={tmp_path}"]) == 0
    assert "cifar: needs --data_dir" in capsys.readouterr().out
    assert accelerator.main(["--smoke", "--only", "matmul", "later", f"--out={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert "later: needs experiments.sequence.no_such_page, which this checkout lacks" in printed
    [line] = map(json.loads, (tmp_path / "accelerator.jsonl").read_text().splitlines())
    assert (line["status"], line["smoke"], line["command"]) == ("done", True, "python -m experiments.bench.matmul")
    assert line["numbers"]["float32, 64: TFLOP/s"] > 0
    assert line["hardware"]
    assert accelerator.main(["--smoke", "--only", "matmul", f"--out={tmp_path}"]) == 0
    assert "matmul: answered before" in capsys.readouterr().out
    assert accelerator.main(["--list", f"--out={tmp_path}"]) == 0
    statuses = [row.split("min")[1].split()[0] for row in capsys.readouterr().out.splitlines()]
    assert statuses == ["done", "open", "needs"]


@pytest.mark.weekly
def test_a_failed_item_says_why_and_is_asked_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(accelerator, "ITEMS", (Item("bad", "?", "bench.matmul --sizes=0", 5),))
    for _ in range(2):
        assert accelerator.main([f"--out={tmp_path}"]) == 1
        assert "bad: failed" in (printed := capsys.readouterr().out)
        assert "sizes=(0,): too small" in printed


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        ("pass", accelerator.DONE),
        ("raise SystemExit(75)", accelerator.STOPPED),
        ("raise SystemExit(3)", accelerator.FAILED),
        (
            "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(75)); print(flush=True); time.sleep(60)",
            "go",
        ),
        ("import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)", "go"),
    ],
)
def test_a_process_ends_or_is_stopped_at_its_limit(program, outcome, monkeypatch):
    monkeypatch.setattr(accelerator, "GRACE_SECONDS", 0.5)
    if outcome == "go":
        program = f"import signal, sys, time; {program}; print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    if outcome == "go":
        process.stdout.readline()  # its handler stands
        assert accelerator._wait(process, 0.1) == accelerator.STOPPED
    else:
        assert accelerator._wait(process, 30) == outcome
    assert process.poll() is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--only", "toast"], "--only=toast: unknown; allowed: step-resnet50"), (["--minutes=0"], "--minutes=0.0")],
)
def test_bad_arguments(words, message, capsys):
    assert accelerator.main(words) == 2
    assert message in capsys.readouterr().err
