"""`dlcore compare` on run folders written for it."""

import json
import re

import pytest

from dlcore import cli
from dlcore.modes.compare import compare, differing_settings


def folder(path, valid, experiment="topic.page", **identity):
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"experiment": experiment, "identity": identity}))
    rows = [{"step": 10 * (i + 1), "split": "train", "loss": 1.0 / (i + 1)} for i in range(4)]
    measured = [{"loss": 1 - v, "accuracy": v, "mse_mean": v} for v in valid]
    rows += [{"step": 10 * (i + 1), "split": "valid", **numbers} for i, numbers in enumerate(measured)]
    rows.append({"step": 40, "split": "test", "accuracy": valid[-1], "confusion": [[1, 2]]})
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def runs(tmp_path):
    one = folder(tmp_path / "a" / "run", [0.2, 0.7, 0.6], learning_rate=0.1, seed=0, batch_size=32)
    two = folder(tmp_path / "b" / "run", [0.3, 0.4, 0.9], learning_rate=0.01, seed=0, augment="none")
    return one, two


def test_compare_lists_different_settings_and_results(runs, tmp_path, capsys):
    out = tmp_path / "compare.html"
    assert cli.main(["compare", *map(str, runs), f"--out={out}"]) == 0
    printed = capsys.readouterr().out
    lines = {line.split("  ")[0]: re.split("  +", line)[1:] for line in printed.splitlines()}
    names = ["learning_rate=0.1, batch_size=32, augment=–", "learning_rate=0.01, batch_size=–, augment=none"]
    assert lines["setting"] == names
    assert lines["--learning_rate"] == ["0.1", "0.01"]
    assert lines["--batch_size"] == ["32", "–"]
    assert lines["--augment"] == ["–", "none"]
    assert "--seed" not in printed
    assert lines["test accuracy"] == ["0.6", "0.9"]
    assert lines["valid accuracy, best"] == ["0.7 at 20", "0.9 at 30"]
    assert lines["valid accuracy, last"] == ["0.6", "0.9"]
    assert lines["valid loss, best"] == ["0.3 at 20", "0.1 at 30"]
    assert lines["valid mse_mean, best"] == ["0.2 at 10", "0.3 at 10"]
    assert lines["train loss, last"] == ["0.25", "0.25"]
    assert lines["steps"] == ["40", "40"]
    page = out.read_text()
    head = re.search(r"<h1[^>]*>([^<]+)</h1>\s*<p[^>]*>([^<]+)<", page)
    assert head.groups() == ("Comparison", "2 runs of topic.page")
    side_by_side = page.split('<div class="halves">')[1].split("</div></section></div>")[0]
    assert re.findall(r"<h2>([^<]+)<", side_by_side) == ["Settings that differ", "Numbers reached"]
    assert "The best is that of validation, with its step." in page
    charts = re.findall(r"<figcaption><b[^>]*>([^<]+)</b>(.*?)</figcaption>", page)
    assert [name for name, _ in charts] == ["valid loss", "valid accuracy", "train loss", "valid mse_mean"]
    assert re.findall(r">([^<]+)</span>", charts[1][1]) == [
        f"{names[0]} 60.00 % (best 70.00 % at 20)",
        f"{names[1]} 90.00 %",
    ]


def test_runs_of_two_experiments_and_equal_ones(tmp_path):
    one, two = (folder(tmp_path / n, [0.5], experiment=f"topic.{n}", seed=1) for n in "ab")
    text = compare([one, two], tmp_path / "out.html")
    assert re.search(r"experiment +topic.a +topic.b", text)
    assert text.splitlines()[0].split() == ["setting", "experiment=topic.a", "experiment=topic.b"]
    same = {"experiment": "x", "identity": {"seed": 1}}
    assert differing_settings(["a", "b"], [same, same]) == []


def test_names_are_as_short_as_they_tell_runs_apart(tmp_path, monkeypatch, capsys):
    """The first pair of settings that tells three runs apart; no single one does, and all are longer than a name."""
    long = {"dataset": "a" * 40, "note": "b" * 40}
    settings = [{"lr": 0.1, "seed": 0, **long}, {"lr": 0.1, "seed": 1, **long}, {"lr": 0.2, "seed": 1, "dataset": "c"}]
    runs = [folder(tmp_path / f"r{k}", [0.5], **given) for k, given in enumerate(settings)]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["compare", *map(str, runs)]) == 0
    assert re.split("  +", capsys.readouterr().out.splitlines()[0])[1:] == [
        "lr=0.1, seed=0",
        "lr=0.1, seed=1",
        "lr=0.2, seed=1",
    ]
    assert (tmp_path / "runs" / "compare.html").exists()
    same = [folder(tmp_path / name / "run", [0.5], seed=1) for name in "xy"]
    assert cli.main(["compare", *map(str, same)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.split("  +", next(line for line in lines if line.startswith("number")))[1:] == ["x/run", "y/run"]


def test_a_run_without_a_line_has_no_steps_and_numbers_that_are_not_finite_are_no_best(runs, tmp_path):
    (runs[0] / "metrics.jsonl").write_text("")
    rows = [{"step": step, "split": "valid", "accuracy": value, "kid": "nan"} for step, value in ((7, "nan"), (9, 0.5))]
    (runs[1] / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    numbers = compare(runs, tmp_path / "new" / "out.html").split("\n\n")[1].splitlines()
    found = {re.split("  +", line)[0]: re.split("  +", line)[1:] for line in numbers[1:]}
    assert found == {
        "valid accuracy, last": ["0.5"],
        "valid accuracy, best": ["0.5 at 9"],
        "valid kid, last": ["nan"],
        "steps": ["0", "9"],
    }


def test_errors_name_folders_that_are_no_runs(runs, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert cli.main(["compare", str(runs[0]), str(tmp_path / "empty")]) == 1
    assert "empty': holds no config.json; allowed: the folder of a run" in capsys.readouterr().err
    (runs[1] / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match=r"holds no metrics\.jsonl"):
        compare(runs, tmp_path / "x.html")
    (runs[0] / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"config\.json: not the configuration of a run \(TypeError"):
        compare(runs, tmp_path / "x.html")
    for given in ([runs[0]], [runs[0], runs[0]]):
        with pytest.raises(ValueError, match="at least two, each given once"):
            compare(given, tmp_path / "x.html")
