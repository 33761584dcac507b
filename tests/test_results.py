import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import ledger, results

FAKE = '''"""Write a result that depends on the seed and on --shift."""
import json, pathlib, sys

flags = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:] if "=" in word)
if flags.get("fail"):
    raise SystemExit(3)
folder = pathlib.Path(flags["run_dir"])
folder.mkdir(parents=True)
value = 0.9 + 0.01 * int(flags["seed"]) + float(pathlib.Path("shift.txt").read_text())
line = {
    "experiment": "topic.fake", "command": "python -m experiments.topic.fake " + " ".join(sys.argv[1:]), "step": 5,
    "seed": int(flags["seed"]), "dataset": "digits", "metric": "test accuracy", "value": value, "wall_seconds": 61.0,
    "hardware": "2 CPU cores", "versions": {"python": "3.11"}, "commit": "0123456789abcdef", "date": "2026-01-02",
    "changed_files": [], "smoke": "--smoke" in sys.argv,
    "baseline": {"value": 0.5 + 0.02 * int(flags["seed"]), "name": "<guesses>", "better": "higher"},
}
(folder / "result.json").write_text(json.dumps(line))
'''

STUDY = '''"""Write the result of a study of three seeds, as `dlcore.experiment.study` does."""
import json, pathlib, sys

flags = dict(word.removeprefix("--").split("=", 1) for word in sys.argv[1:])
assert "seed" not in flags, "a study has no --seed"
shift, holds = json.loads(pathlib.Path("study.txt").read_text())
folder = pathlib.Path(flags["run_dir"])
folder.mkdir(parents=True)
line = {
    "experiment": "topic.study", "command": "python -m experiments.topic.study " + " ".join(sys.argv[1:]),
    "claim": "Fakes are good.", "holds": holds, "verdict": "They <are>. By 2 points.", "dataset": "digits",
    "metric": "test accuracy", "values": {"0": 0.7 + shift, "1": 0.8, "2": 0.9}, "tolerance": 0.02,
    "wall_seconds": 9.0, "hardware": pathlib.Path("hardware.txt").read_text(), "versions": {"jax": "1"},
    "commit": "0123456789abcdef", "date": "2026-01-02", "changed_files": [], "smoke": False,
}
(folder / "result.json").write_text(json.dumps(line))
'''


def filled(folder):
    """Put a fake experiment and a fake study into a folder, as a checkout of this repository looks."""
    topic = folder / "experiments" / "topic"
    topic.mkdir(parents=True)
    for package in (topic, topic.parent):
        (package / "__init__.py").write_text("")
    (topic / "fake.py").write_text(FAKE)
    (topic / "study.py").write_text(STUDY)
    (folder / "shift.txt").write_text("0")
    (folder / "study.txt").write_text("[0, true]")
    (folder / "hardware.txt").write_text("2 CPU cores")
    return folder


@pytest.fixture
def checkout(tmp_path):
    """A folder with a fake experiment and a fake study."""
    return filled(tmp_path)


def launch(checkout, seed, *flags):
    folder = checkout / "runs" / f"seed{seed}"
    command = [sys.executable, "-m", "experiments.topic.fake", f"--seed={seed}", f"--run_dir={folder}", *flags]
    subprocess.run(command, cwd=checkout, check=True)
    return str(folder)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """A checkout with one row of two seeds, and its README rendered."""
    checkout = filled(tmp_path_factory.mktemp("measured"))
    runs = [launch(checkout, seed, "--width=8") for seed in (0, 1)]
    assert results.main(["--add", *runs, "--tolerance=0.004", "--note=a <fake>"], checkout) == 0
    return checkout


@pytest.fixture
def measured(two_runs, tmp_path):
    """A copy of the checkout of two runs."""
    return shutil.copytree(two_runs, tmp_path, dirs_exist_ok=True)


def rows(checkout):
    return ledger.read(checkout / "experiments" / "results.jsonl")


def test_runs_of_several_seeds_become_one_row(measured):
    (row,) = rows(measured)
    assert row["id"] == "topic.fake-digits"
    assert row["command"] == "python -m experiments.topic.fake --width=8"
    assert row["values"] == {"0": pytest.approx(0.90), "1": pytest.approx(0.91)}
    assert row["mean"] == pytest.approx(0.905)
    assert row["wall_seconds"] == {"0": 61.0, "1": 61.0}
    assert (row["tolerance"], row["commit"], row["status"]) == (0.004, "0123456789abcdef", "measured")
    # the seeds' baselines are 0.50 and 0.52
    assert row["baseline"] == {"value": pytest.approx(0.51), "name": "<guesses>", "better": "higher"}


def test_default_tolerance_is_the_seeds_spread_and_one_percent_at_least(checkout):
    lines = [ledger.candidate(launch(checkout, seed)) for seed in (0, 1, 5)]
    assert ledger.merge(lines)["tolerance"] == pytest.approx(0.05)  # 0.95 - 0.90
    assert ledger.merge(lines[:1])["tolerance"] == pytest.approx(0.009)  # 1 % of 0.9


def test_the_readme_shows_the_row_and_is_idempotent(measured, capsys):
    readme = measured / "experiments" / "README.md"
    text = readme.read_text()
    table = next(line for line in text.split("\n") if line.startswith("| digits"))
    cells = [cell.strip() for cell in table.strip("|").split("|")]
    assert cells[1].startswith("[topic.fake-digits](topic/fake.py)")
    # the standard deviation of 0.90 and 0.91 is 0.01 / sqrt(2)
    value, baseline = "90.50 % ± 0.71 (2 seeds)", "51.00 % (&lt;guesses&gt;)"
    assert cells[2:] == ["test accuracy", value, baseline, "", "61 s", "2 CPU cores", "0123456"]
    assert "- topic.fake-digits: `python -m experiments.topic.fake --width=8`" in text
    assert results.main([], measured) == 0
    assert readme.read_text() == text
    assert results.main(["--check"], measured) == 0


def test_check_fails_where_the_readme_is_out_of_date_and_changes_nothing(measured):
    readme = measured / "experiments" / "README.md"
    readme.write_text(readme.read_text().replace("90.50", "99.99"))
    assert results.main(["--check"], measured) == 1
    assert "99.99" in readme.read_text()
    assert results.main([], measured) == 0
    assert "99.99" not in readme.read_text()


def test_text_around_the_markers_stays(measured):
    readme = measured / "experiments" / "README.md"
    readme.write_text("# Mine\n" + readme.read_text() + "after\n")
    assert results.main([], measured) == 0
    assert readme.read_text().startswith("# Mine\n")
    assert readme.read_text().endswith(f"{results.END}\nafter\n")
    readme.write_text("no markers")
    assert results.main([], measured) == 2
    assert readme.read_text() == "no markers"


@pytest.mark.parametrize(
    ("seed", "shift", "status"), [(0, 0, 0), (1, 0, 0), (0, 0.003, 0), (1, 0.005, 1), (0, -0.1, 1)]
)
def test_rerun_compares_with_the_number_of_the_seed(measured, capsys, seed, shift, status):
    (measured / "shift.txt").write_text(str(shift))
    before = rows(measured)
    assert results.main(["--rerun", "topic.fake-digits", f"--seed={seed}"], measured) == status
    out = capsys.readouterr().out
    assert f"recorded {0.9 + 0.01 * seed:.6g}, now {0.9 + 0.01 * seed + shift:.6g}" in out
    assert ("DOES NOT HOLD" in out) == bool(status)
    assert rows(measured) == before


@pytest.mark.parametrize(("shift", "status"), [(0.003, 0), (0.005, 1)])
def test_rerun_of_all_seeds_compares_the_mean(measured, capsys, shift, status):
    (measured / "shift.txt").write_text(str(shift))
    assert results.main(["--rerun", "topic.fake-digits", "--seed=all"], measured) == status
    assert f"mean of 2 seeds: recorded 0.905, now {0.905 + shift:.6g}" in capsys.readouterr().out


def test_rerun_of_a_command_that_fails(measured, capsys):
    (row,) = rows(measured)
    ledger.append(
        row | {"id": "broken", "command": row["command"] + " --fail=1"}, measured / "experiments/results.jsonl"
    )
    assert results.main(["--rerun", "broken"], measured) == 1
    assert "exit status 3" in capsys.readouterr().err


def test_rerun_reads_real_data_from_the_folder_of_this_machine(measured, capsys, monkeypatch):
    (row,) = rows(measured)
    command = ledger.seedless(row["command"] + " --data_dir=/somewhere/else")
    assert command.endswith(" --data_dir=$DATA_DIR")
    ledger.append(row | {"id": "real", "command": command}, measured / "experiments" / "results.jsonl")
    monkeypatch.delenv("DATA_DIR", raising=False)
    assert results.main(["--rerun", "real"], measured) == 2
    assert "DATA_DIR is not set" in capsys.readouterr().err
    monkeypatch.setenv("DATA_DIR", "/here")
    assert results.main(["--rerun", "real"], measured) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rerun", "topic.fake-digit"], "--rerun=topic.fake-digit: unknown; allowed: topic.fake-digits"),
        (["--rerun", "topic.fake-digits", "--seed=7"], "--seed=7: not a seed of topic.fake-digits; allowed: 0, 1, all"),
        (["--add", "runs/seed0"], "is in .* already"),
        (["--add", "runs"], "result.json does not exist"),
        (["--add", "runs/seed0", "runs/seed0"], "each run must have a seed of its own"),
        (["--add", "runs/seed0", "--id=x", "--published=0.9"], "--published: a number without its source"),
        (["--annotate", "topic.fake-digits", "--published=0.9"], "--published: a number without its source"),
        (["--annotate", "topic.fake-digits", "--published=nan", "--source=A"], "published=.*: not valid"),
        (["--annotate", "topic.fake-digits"], "--annotate=topic.fake-digits: changes nothing; allowed: with --publ"),
        (["--annotate", "topic.fake-digits", "--baseline=0.9"], "--baseline: a number without its name"),
        (["--annotate", "topic.fake-digits", "--better=lower"], "--better=lower: of no baseline"),
        (["--annotate", "topic.fake-digits", "--baseline=inf", "--baseline_name=A"], "baseline=.*: not valid"),
        (["--annotate", "topic.fake", "--note=n"], "--annotate=topic.fake: unknown; allowed: topic.fake-digits"),
    ],
)
def test_errors_say_what_to_do(measured, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(measured)
    before = rows(measured)
    assert results.main(arguments, measured) == 2
    assert re.search(message, capsys.readouterr().err)
    assert rows(measured) == before


def test_replace_puts_a_row_in_the_place_of_the_old_one(measured):
    arguments = ["--add", str(measured / "runs" / "seed1"), "--replace", "--published=0.97", "--source=Someone 2015"]
    assert results.main([*arguments, "--note="], measured) == 0
    (row,) = rows(measured)
    assert row["values"] == {"1": pytest.approx(0.91)}
    text = (measured / "experiments" / "README.md").read_text()
    assert "| 97.00 % (Someone 2015) |" in text
    assert "| 91.00 % (seed 1) |" in text


def test_replace_keeps_the_published_number_and_asks_for_the_note(measured, capsys):
    (row,) = rows(measured)
    path = measured / "experiments" / "results.jsonl"
    published = {"value": 0.97, "source": "Someone 2015"}
    ledger.replace(row | {"published": published, "note": "its twin 90.1"}, path)
    arguments = ["--add", str(measured / "runs" / "seed1"), "--replace"]
    before = rows(measured)
    assert results.main(arguments, measured) == 2
    assert "has the note 'its twin 90.1'" in capsys.readouterr().err
    assert rows(measured) == before
    assert results.main([*arguments, "--note=its twin 89.9"], measured) == 0
    (after,) = rows(measured)
    assert (after["note"], after["published"]) == ("its twin 89.9", published)
    ledger.replace(after | {"metric": "test loss"}, path)
    assert results.main([*arguments, "--note="], measured) == 0
    assert rows(measured)[0]["published"] is None


def test_annotate_changes_what_a_row_is_compared_with_and_nothing_else(measured):
    (row,) = rows(measured)
    path = measured / "experiments" / "results.jsonl"
    ledger.append(row | {"id": "other"}, path)
    other = path.read_text().splitlines()[1]
    published = {"value": 0.97, "source": "Someone 2015"}
    assert results.main(["--annotate", row["id"], "--published=0.97", "--source=Someone 2015"], measured) == 0
    assert rows(measured)[0] == row | {"published": published}
    assert results.main(["--annotate", row["id"], "--note=shifted"], measured) == 0
    assert rows(measured)[0] == row | {"published": published, "note": "shifted"}
    assert path.read_text().splitlines()[1] == other
    text = (measured / "experiments" / "README.md").read_text()
    assert "| 97.00 % (Someone 2015) |" in text
    assert "topic.fake-digits](topic/fake.py)<br>shifted | test accuracy | 90.50 % ± 0.71 (2 seeds) | 51.00 % (" in text
    assert results.main(["--annotate", row["id"], "--note="], measured) == 0
    assert rows(measured)[0]["note"] == ""


@pytest.mark.parametrize(
    ("value", "better", "loses"),
    [(0.904, "higher", False), (0.9051, "higher", True), (0.91, "higher", True), (0.91, "lower", False)],
)
def test_the_best_simple_method_of_a_row_is_bold_where_the_row_does_not_beat_it(measured, value, better, loses):
    simple = {
        "key": "k",
        "rows": ["topic.fake-digits"],
        "method": "k-NN",
        "better": better,
        "knows": "",
        "is_control": False,
    }
    worse = simple | {"key": "worse", "mean": value - 0.1 if better == "higher" else value + 0.1}
    file = measured / "experiments" / "simple" / "values.jsonl"
    file.parent.mkdir()
    file.write_text("".join(f"{json.dumps(line)}\n" for line in (worse, simple | {"mean": value})))
    assert results.main([], measured) == 0
    text = f"{100 * value:.2f} % (k-NN)"
    readme = (measured / "experiments" / "README.md").read_text()
    assert f"| 90.50 % ± 0.71 (2 seeds) | {f'**{text}**' if loses else text} | 51.00 %" in readme


@pytest.mark.parametrize(
    ("baseline", "better", "below"),
    [
        (0.9049, "higher", False),
        (0.90502, "higher", True),  # equals 0.905 in the four digits shown
        (0.91, "higher", True),
        (0.91, "lower", False),
        (0.90, "lower", True),
    ],
)
def test_the_value_says_where_it_does_not_beat_its_baseline(measured, baseline, better, below):
    words = [f"--baseline={baseline}", "--baseline_name=a twin", f"--better={better}"]
    before = rows(measured)[0]
    assert results.main(["--annotate", "topic.fake-digits", *words], measured) == 0
    assert rows(measured) == [before | {"baseline": {"value": baseline, "name": "a twin", "better": better}}]
    shown = "90.50 % ± 0.71 (2 seeds)" + ", below its baseline" * below
    assert f"| {shown} | {100 * baseline:.2f} % (a twin) |" in (measured / "experiments" / "README.md").read_text()


def test_a_word_of_the_metric_gives_the_direction_of_its_baseline():
    assert ledger.baseline_field(0.5, "a twin", "test surface_dice")["better"] == "higher"
    assert ledger.baseline_field(0.5, "a twin", "surface_distance")["better"] == "lower"


def test_a_baseline_comes_from_the_run_or_the_command_line(measured, capsys):
    folder = measured / "runs" / "seed1"
    line = json.loads((folder / "result.json").read_text()) | {"baseline": None}
    (folder / "result.json").write_text(json.dumps(line | {"metric": "fitness"}))
    assert results.main(["--add", str(folder), "--id=new"], measured) == 2
    assert "--baseline VALUE --baseline_name TEXT" in capsys.readouterr().err
    words = ["--add", str(folder), "--id=new", "--baseline=0.3", "--baseline_name=a twin"]
    assert results.main(words, measured) == 2
    assert "which way 'fitness' is better is not known; allowed: higher, lower" in capsys.readouterr().err
    assert results.main([*words, "--better=lower"], measured) == 0
    assert rows(measured)[1]["baseline"] == {"value": 0.3, "name": "a twin", "better": "lower"}
    # a row keeps its baseline where the new run of the same measure knows none
    (folder / "result.json").write_text(json.dumps(line))
    assert results.main(["--add", str(folder), "--replace", "--note="], measured) == 0
    assert rows(measured)[0]["baseline"]["value"] == pytest.approx(0.51)


@pytest.mark.parametrize("text", ['if __name__ == "__main__":\n    pass\n', "import a\n\nexperiment = a.Study()\n"])
def test_check_fails_for_a_file_without_a_row_and_without_a_reason(measured, capsys, text):
    topic, reasons = measured / "experiments" / "topic", measured / "experiments" / "not_run.json"
    (topic / "shared.py").write_text("# cannot be launched")
    assert results.main(["--check"], measured) == 0
    (topic / "new.py").write_text(text)
    assert results.main(["--check"], measured) == 1
    assert "topic.new: neither a row nor a reason; allowed: a row, or a reason in" in capsys.readouterr().err
    reasons.write_text(json.dumps({"topic.new": "needs <eight> GPUs"}))
    assert results.main(["--check"], measured) == 1  # the README does not show it yet
    assert results.main([], measured) == 0
    assert (
        "| [topic.new](topic/new.py) | needs &lt;eight&gt; GPUs |" in (measured / "experiments/README.md").read_text()
    )
    assert results.main(["--check"], measured) == 0


@pytest.mark.parametrize(
    ("reasons", "message"),
    [
        ({"topic.fake": "no time"}, "topic.fake: has a row and a reason"),
        ({"topic.gone": "no time"}, "topic.gone: a reason without a file"),
        ({"topic.gone": " "}, "no reasons; allowed: {topic.stem: text}"),
    ],
)
def test_reasons_that_are_out_of_date_are_found(measured, capsys, reasons, message):
    (measured / "experiments" / "not_run.json").write_text(json.dumps(reasons))
    results.main([], measured)
    capsys.readouterr()
    assert results.main(["--check"], measured) in (1, 2)
    assert message in capsys.readouterr().err


def test_a_new_row_drops_the_reason_for_having_none(measured):
    reasons = measured / "experiments" / "not_run.json"
    reasons.write_text(json.dumps({"topic.fake": "no time", "topic.other": "no time"}))
    assert results.main(["--add", str(measured / "runs" / "seed0"), "--id=new"], measured) == 0
    assert json.loads(reasons.read_text()) == {"topic.other": "no time"}


def test_a_recipe_has_no_number_and_cannot_be_rerun(measured, capsys):
    (row,) = rows(measured)
    blank = dict.fromkeys(("mean", "tolerance", "hardware", "versions", "commit", "date"))
    recipe = row | blank | {"id": "big", "values": {}, "wall_seconds": {}, "status": ledger.RECIPE}
    ledger.append(recipe, measured / "experiments" / "results.jsonl")
    assert results.main([], measured) == 0
    assert "| recipe, not run |" in (measured / "experiments" / "README.md").read_text()
    assert results.main(["--rerun", "big"], measured) == 2
    with pytest.raises(ValueError, match=r"values=.* empty in a recipe only"):
        ledger.validate(recipe | {"values": {"0": 0.9}})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": 0.99}, r"mean=0.99: not valid; allowed: 0.905"),
        ({"values": {}}, "values={}"),
        ({"values": {"0": float("nan")}}, "values="),
        ({"status": "believed"}, "status='believed'"),
        ({"wall_seconds": {"0": 1.0}}, "of the same seeds"),
        ({"command": "rm -r experiments"}, "command='rm -r experiments'"),
        ({"command": "python -m experiments.topic.fake --seed=1"}, "without seed and folders"),
        ({"published": {"value": 0.9}}, "published="),
        ({"baseline": None}, "baseline=None: not valid; allowed: .*--baseline VALUE --baseline_name TEXT"),
        ({"baseline": {"value": 0.5, "name": "A", "better": "more"}}, "baseline="),
        ({"baseline": {"value": 0.5, "name": "", "better": "lower"}}, "baseline="),
        ({"tolerance": -1}, "tolerance=-1"),
        ({"extra": 1}, "extra is not a field"),
        ({"commit": ""}, "commit=''"),
    ],
)
def test_rows_that_claim_too_much_are_refused(measured, change, message):
    (row,) = rows(measured)
    with pytest.raises(ValueError, match=message):
        ledger.append(row | change | {"id": "new"}, measured / "experiments" / "results.jsonl")
    assert rows(measured) == [row]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": None}, "value=None"),
        ({"value": float("inf")}, "value=inf"),
        ({"seed": "0"}, "seed='0'"),
        ({"commit": None}, "commit=None"),
    ],
)
def test_candidates_are_checked(measured, change, message):
    folder = measured / "runs" / "seed0"
    line = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(line | change))
    with pytest.raises(ValueError, match=message):
        ledger.candidate(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"smoke": True}, "smoke=True: a run of a few steps measures nothing"),
        ({"changed_files": ["experiments/topic/fake.py"]}, "no commit holds what ran, experiments/topic/fake.py"),
        ({"commit": "0123456789abcdef+"}, "commit=0123456789abcdef+: no commit holds what ran"),
        ({"experiment": "topic.other"}, "experiment=topic.other: the command runs topic.fake"),
    ],
)
def test_smoke_runs_and_uncommitted_changes_are_refused(measured, capsys, change, message):
    folder = measured / "runs" / "seed0"
    line = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(line | change))
    before = rows(measured)
    assert results.main(["--add", str(folder), "--id=new"], measured) == 2
    assert message in capsys.readouterr().err
    assert rows(measured) == before


def git(folder, *words):
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false", *words]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_a_run_of_a_commit_outside_the_history_is_refused(checkout, capsys):
    """One run of a commit that HEAD contains, and one of a commit that was amended since."""
    folder = Path(launch(checkout, 0))
    line = json.loads((folder / "result.json").read_text())
    git(checkout, "init", "-q")
    commits = []
    for words in (["-m", "first"], ["-m", "second"], ["--amend", "-m", "third"]):
        git(checkout, "commit", "-q", "--allow-empty", *words)
        commits.append(git(checkout, "rev-parse", "HEAD"))
    first, amended, _ = commits
    for commit, status in ((amended, 2), (first, 0)):
        (folder / "result.json").write_text(json.dumps(line | {"commit": commit}))
        assert results.main(["--add", str(folder)], checkout) == status
    message = capsys.readouterr().err
    assert f"commit={amended}: not in the history of HEAD; allowed: runs of commits that HEAD contains" in message
    assert [row["commit"] for row in rows(checkout)] == [first]


def test_a_shallow_clone_and_no_checkout_have_no_history(tmp_path):
    origin = tmp_path / "origin"
    origin.mkdir()
    git(origin, "init", "-q")
    for word in ("a", "b"):
        git(origin, "commit", "-q", "--allow-empty", "-m", word)
    git(tmp_path, "clone", "-q", "--depth=1", f"file://{origin}", "shallow")
    assert len(ledger.history(origin)) == 2
    assert ledger.history(tmp_path / "shallow") is None
    assert ledger.history(tmp_path) is None


def test_every_row_is_of_a_commit_of_this_history():
    root = Path(__file__).resolve().parents[1]
    commits = ledger.history(root)
    if commits is None:
        pytest.skip("no checkout of git, or a shallow one")
    measured = [row for row in ledger.read(root / "experiments" / "results.jsonl") if row["status"] == ledger.MEASURED]
    assert not [row["id"] for row in measured if not commits.issuperset(row["commit"].split(", "))]


@pytest.fixture(scope="module")
def one_study(tmp_path_factory):
    """A checkout with the row of a study."""
    checkout = filled(tmp_path_factory.mktemp("studied"))
    folder = checkout / "runs" / "study"
    command = [sys.executable, "-m", "experiments.topic.study", f"--run_dir={folder}", "--steps=5"]
    subprocess.run(command, cwd=checkout, check=True)
    assert results.main(["--add", str(folder)], checkout) == 0
    return checkout


@pytest.fixture
def studied(one_study, tmp_path):
    """A copy of the checkout of a study."""
    return shutil.copytree(one_study, tmp_path, dirs_exist_ok=True)


def test_a_study_becomes_a_row_with_its_outcome(studied):
    (row,) = rows(studied)
    assert (row["id"], row["command"]) == ("topic.study", "python -m experiments.topic.study --steps=5")
    assert (row["claim"], row["holds"], row["verdict"]) == ("Fakes are good.", True, "They <are>. By 2 points.")
    assert (row["mean"], row["tolerance"], row["wall_seconds"]) == (pytest.approx(0.8), 0.02, {"all": 9.0})
    text = (studied / "experiments" / "README.md").read_text()
    table = next(line for line in text.split("\n") if line.startswith("| [topic.study]"))
    cells = [cell.strip() for cell in table.strip("|").split("|")]
    assert cells[1:4] == ["Fakes are good.", "held", "test accuracy, digits"]
    assert cells[4:] == ["80.00 % ± 10.00 (3 seeds)", "", "9 s", "2 CPU cores", "0123456"]
    assert "- topic.study: They &lt;are&gt;. By 2 points. `python -m experiments.topic.study --steps=5`" in text
    with pytest.raises(ValueError, match="2 runs of a study"):
        ledger.merge([ledger.candidate(studied / "runs" / "study")] * 2)
    with pytest.raises(ValueError, match="claim is missing"):
        ledger.validate({name: value for name, value in row.items() if name != "claim"})


@pytest.mark.parametrize(
    ("shift", "holds", "status", "words"),
    [
        (0, True, 0, ["mean of 3 seeds: recorded 0.8, now 0.8", "the claim: recorded held, now held: holds"]),
        (0.05, True, 0, ["now 0.816667, difference +0.0167, tolerance 0.02: holds"]),
        (0.09, True, 1, ["tolerance 0.02: DOES NOT HOLD"]),
        (0, False, 1, ["the claim: recorded held, now did not hold: DOES NOT HOLD"]),
    ],
)
def test_a_rerun_of_a_study_compares_the_mean_and_the_claim(studied, capsys, shift, holds, status, words):
    (studied / "study.txt").write_text(json.dumps([shift, holds]))
    assert results.main(["--rerun", "topic.study"], studied) == status
    out = capsys.readouterr().out
    assert all(word in out for word in words), out
    assert "note:" not in out


def test_a_rerun_says_what_else_changed(studied, capsys):
    (studied / "hardware.txt").write_text("2 other cores")
    assert results.main(["--rerun", "topic.study"], studied) == 0
    out = capsys.readouterr().out
    assert "note: recorded on 2 CPU cores, now on 2 other cores: other processors round differently" in out
    assert results.main(["--rerun", "topic.study", "--seed=1"], studied) == 2
    assert "allowed: no seed" in capsys.readouterr().err


def test_runs_that_differ_are_not_one_row(checkout):
    lines = [ledger.candidate(launch(checkout, 0, "--width=8")), ledger.candidate(launch(checkout, 1, "--width=16"))]
    with pytest.raises(ValueError, match="the runs differ in command"):
        ledger.merge(lines)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("python -m experiments.a --seed=3 --x=1", "python -m experiments.a --x=1"),
        ("python -m experiments.a --seed 3 --x 1", "python -m experiments.a --x 1"),
        ("python -m experiments.a --fresh --x=1 --noprogress", "python -m experiments.a --x=1"),
        ("python -m experiments.a --run_dir=runs/a --note='two words'", "python -m experiments.a '--note=two words'"),
    ],
)
def test_commands_lose_what_belongs_to_the_occasion(command, expected):
    assert ledger.seedless(command) == expected
    assert ledger.seedless(expected) == expected


def test_the_repositorys_own_readme_is_up_to_date():
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "experiments.results", "--check"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr


HEADLINES = {
    "reaches **{:.1f} % test accuracy**": ["digits-resnet8"],
    "digits {:.1f} %, MNIST {:.1f} %, Fashion-MNIST {:.1f} %": [
        "digits-resnet8",
        "mnist-resnet8",
        "fashion-mnist-resnet8",
    ],
    "{:.2f} nats a character (GRU), {:.2f} (LSTM), {:.2f} (vanilla RNN)": [
        "shakespeare-gru",
        "shakespeare-lstm",
        "shakespeare-rnn",
    ],
    "{:.2f} nats a character of Tiny Shakespeare with nanoGPT's settings": ["shakespeare-gpt"],
    "MNIST, ResNet-8: {:.1f} % accuracy": ["mnist-resnet8"],
    "scenes, Faster R-CNN: mAP@[.5:.95] {:.2f}": ["scenes-faster-rcnn"],
    "scenes, U-Net: mean IoU {:.3f}": ["scenes-unet"],
    "Fashion-MNIST, DDPM: Fréchet distance {:.1f}": ["fashion-mnist-ddpm"],
    "Fashion-MNIST, SimCLR: {:.1f} % by k-NN": ["fashion-mnist-simclr"],
    "MNIST with 40 labels, FixMatch: {:.1f} % accuracy": ["mnist-fixmatch-40-alignment"],
    "MNIST with 200 labels, fine-tuning: {:.1f} % accuracy": ["mnist-fine-tuning"],
    "CartPole, PPO: mean return {:.0f} of 500": ["ppo-cartpole"],
    "Tiny Shakespeare, GPT: {:.2f} nats a character": ["shakespeare-gpt-long"],
    "procedural shapes, VQA: {:.1f} % accuracy": ["shapes-vqa"],
    "digits, HOG and other hand-crafted features: {:.1f} % accuracy": ["digits-features"],
    "distance {:.1f} on Fashion-MNIST |": ["fashion-mnist-gan"],
    "distance {:.1f} on Fashion-MNIST after": ["fashion-mnist-ddpm"],
    "k-NN {:.1f} and {:.1f} %": ["fashion-mnist-moco", "fashion-mnist-simclr"],
    "{:.2f}, {:.2f} and {:.2f} on procedural scenes": ["scenes-fcos", "scenes-retinanet", "scenes-faster-rcnn"],
    "IoU {:.3f} and {:.3f} on procedural scenes": ["scenes-unet", "scenes-deeplab"],
    "of masks {:.2f} on procedural scenes": ["scenes-mask-rcnn"],
    "reach {:.1f} % on digits": ["digits-features"],
    "return {:.0f} of 500 in three runs (PPO), {:.0f} (DQN), {:.0f} (A2C); Pendulum: {:.0f} (TD3)": [
        "ppo-cartpole",
        "dqn-cartpole",
        "a2c-cartpole",
        "td3-pendulum",
    ],
    "Breakout of MinAtar: {:.0f} (PPO)": ["ppo-breakout-1000"],
    "{:.0f} (cloning), {:.0f} (GAIL from 50 steps of an expert); Pendulum: {:.0f} by planning": [
        "behavior-cloning-cartpole",
        "gail-cartpole",
        "model-based-pendulum",
    ],
    "{:.0f} of 500 without velocities, where PPO reaches {:.0f}": ["recurrent-ppo-cartpole", "ppo-cartpole-hidden"],
}
"""Phrases of README.md and docs/, with the rows whose means they show."""


SIMPLE = {
    "99.4 % accuracy | {:.1f} % (an SVM on gradients": "mnist-gradients",
    "mean IoU 0.965 | {:.3f} (random trees": "scenes-regions",
    "| {:.1f} % (correlation of what moves": "clips-order",
    "78.4 % by k-NN | {:.1f} % (k-NN on raw pixels)": "fashion-knn",
    "98.0 % accuracy | {:.1f} % (label spreading on gradients)": "mnist-label-spreading-40",
    "97.8 % accuracy | {:.1f} % (k-NN or an SVM": "mnist-few-images",
    "from 453 to 500) | {:.0f} (a hand rule)": "cartpole-rule",
    "nats a character | {:.2f} (Kneser-Ney": "shakespeare-88-ngrams",
}
"""Phrases of README.md, with the simple methods whose means they show."""


def documents(root):
    """README.md and docs/ as one line."""
    paths = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    return " ".join(" ".join(path.read_text(encoding="utf-8") for path in paths).split())


@pytest.mark.parametrize("phrase", HEADLINES)
def test_the_readmes_headlines_are_the_means_of_the_ledger(phrase):
    root = Path(__file__).resolve().parents[1]
    means = {row["id"]: row for row in ledger.read(root / "experiments" / "results.jsonl")}
    shown = [
        means[name]["mean"] * (100 if results.in_per_cent(means[name]["metric"]) and "%" in phrase else 1)
        for name in HEADLINES[phrase]
    ]
    assert phrase.format(*shown) in documents(root)


@pytest.mark.parametrize("phrase", SIMPLE)
def test_the_readmes_simple_methods_are_those_measured(phrase):
    value = ledger.read_simple()[SIMPLE[phrase]]
    mean = value["mean"] * (100 if results.in_per_cent(value["metric"]) and "%" in phrase else 1)
    assert phrase.format(mean) in documents(Path(__file__).resolve().parents[1])


def test_the_readme_shows_each_seed_of_its_first_command():
    root = Path(__file__).resolve().parents[1]
    (row,) = [row for row in ledger.read(root / "experiments" / "results.jsonl") if row["id"] == "digits-resnet8"]
    first, second, third = (f"{100 * value:.1f}" for value in row["values"].values())
    text = documents(root)
    assert f"test accuracies of {first}, {second} and {third} % with seeds 0, 1 and 2" in text
    assert f"accuracy {row['values']['0']:.4f}, loss" in text


def test_no_docstring_says_of_a_command_in_the_ledger_that_it_was_not_run():
    root = Path(__file__).resolve().parents[1]
    rows = ledger.read(root / "experiments" / "results.jsonl")
    measured = {row["command"].replace("$DATA_DIR", "D"): row["id"] for row in rows if row.get("mean") is not None}
    for path in sorted((root / "experiments").rglob("*.py")):
        doc = re.sub(r"\s*\\\\\n\s*", " ", path.read_text(encoding="utf-8"))
        said = {command.strip() for command in re.findall(r"^(python -m [^(\n]*)\([^)]*not run", doc, re.MULTILINE)}
        wrong = {measured[command] for command in said & measured.keys()}
        assert not wrong, f"{path}: {wrong}"
