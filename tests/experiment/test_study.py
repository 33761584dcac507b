import json

import numpy as np
import pytest

from dlcore.experiment.study import Study, StudyResult, run_study
from dlcore.main import main


def study(*, seeds: int = 5, noise: float = 0.5, fails: bool = False) -> StudyResult:
    """A study.

    Args:
      seeds: how many.
    """
    from matplotlib.figure import Figure

    if fails:
        raise ValueError("seeds and noise do not fit")
    figure = Figure()
    figure.subplots().plot([1, 2])
    numbers = {"mean": np.float64(noise), "values": np.arange(seeds)}
    return StudyResult(numbers, f"{seeds} seeds <b> at {noise}", {"two_lines": figure}, holds=noise < 1)


LAB = Study(file="/x/topic/study.py", doc="What it shows.\n\nmore", function=study, smoke={"seeds": 2})


def test_the_folder_of_a_lab(tmp_path, capsys):
    assert run_study(LAB, [f"--runs={tmp_path}", "--noise=0.25"]) == 0
    (folder,) = (tmp_path / "topic.study").iterdir()
    assert {p.name for p in folder.iterdir()} == {"config.json", "numbers.json", "report.html", "two_lines.png"}
    numbers = json.loads((folder / "numbers.json").read_text())
    assert (numbers["mean"], numbers["values"], numbers["holds"]) == (0.25, [0, 1, 2, 3, 4], True)
    config = json.loads((folder / "config.json").read_text())
    assert config["settings"] == {"seeds": 5, "noise": 0.25, "fails": False}
    assert config["versions"]["jax"]
    report = (folder / "report.html").read_text()
    assert '<svg style="max-width' in report
    assert "var(--c1)" in report
    assert "5 seeds &lt;b&gt; at 0.25" in report
    out = capsys.readouterr().out
    assert "verdict: 5 seeds <b> at 0.25" in out
    assert f"report: {folder / 'report.html'}" in out
    run_study(LAB, [f"--runs={tmp_path}", "--noise=0.5"])
    assert len(list((tmp_path / "topic.study").iterdir())) == 2, "other settings, another folder"


@pytest.mark.parametrize("word", ["--smoke", "--smoke=1", "--smoke=True"])
def test_smoke(tmp_path, word):
    assert run_study(LAB, [f"--run_dir={tmp_path / 'run'}", word]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["seeds"] == 2
    assert run_study(LAB, [f"--run_dir={tmp_path / 'more'}", word, "--seeds=3"]) == 0
    assert json.loads((tmp_path / "more" / "config.json").read_text())["settings"]["seeds"] == 3


def test_a_claim_that_does_not_hold_is_no_error(tmp_path):
    assert run_study(LAB, [f"--run_dir={tmp_path}", "--noise=2"]) == 0
    assert json.loads((tmp_path / "numbers.json").read_text())["holds"] is False


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--sedes=3"], 2, "error: --sedes: unknown (did you mean seeds"),
        (["--seeds=many"], 2, "error: --seeds=many: not an int"),
        (["--fails"], 1, "error: seeds and noise do not fit"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, words, status, message):
    assert run_study(LAB, [f"--run_dir={tmp_path / 'run'}", *words]) == status
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") == 1
    with pytest.raises(SystemExit) as caught:
        main(LAB, [f"--run_dir={tmp_path / 'run'}", *words])
    assert caught.value.code == status


def test_a_folder_that_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert run_study(LAB, [f"--run_dir={tmp_path / 'file' / 'run'}"]) == 1
    assert "cannot be written to" in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "mine"


def test_another_labs_folder_is_not_written_over(tmp_path, capsys):
    """As for experiments: other settings in a given folder are an error that names them."""
    assert run_study(LAB, [f"--run_dir={tmp_path}", "--noise=0.25"]) == 0
    before = (tmp_path / "numbers.json").read_bytes()
    assert run_study(LAB, [f"--run_dir={tmp_path}", "--noise=0.5"]) == 2
    assert "noise" in capsys.readouterr().err
    assert (tmp_path / "numbers.json").read_bytes() == before


def test_help(capsys):
    with pytest.raises(SystemExit) as caught:
        run_study(LAB, ["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("What it shows.")
    assert "--seeds=int  (default 5)" in out
    assert "how many." in out
