import ast
import inspect
import json

import numpy as np
import pytest

from dlcore.experiment import catalog
from dlcore.experiment.study import Headline, Study, StudyResult, run_study
from dlcore.main import main
from dlcore.report.study_text import claim_panels, sentences, study_text
from dlcore.setting import FlagError, Setting, read_value, settings_of
from experiments import experiment_names, find_experiment


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
    numbers = {"mean": np.float64(noise), "values": np.arange(seeds), "many": np.linspace(0, 1, 101)}
    numbers |= {f"{layers} layers": {"patch": 1 + 2 * layers, "cost": np.float32(layers)} for layers in (1, 2)}
    return StudyResult(numbers, f"{seeds} seeds <b> at {noise}", {"two_lines": figure}, holds=noise < 1)


LAB = Study(file="/x/topic/study.py", doc="What it shows.\n\nmore", function=study, smoke={"seeds": 2})


@pytest.mark.slow
def test_settings_of_smoke_could_be_given():
    labs = [s for s in (find_experiment(entry.name) for entry in experiment_names()) if isinstance(s, Study)]
    assert len(labs) > 50
    for lab in (*labs, LAB):
        for name, value in lab.smoke.items():
            read_value(name, lab.settings[name], value)


@pytest.mark.slow
def test_every_flag_of_a_study_has_help():
    labs = [s for s in (find_experiment(entry.name) for entry in experiment_names()) if isinstance(s, Study)]
    assert not [f"{lab.name} --{name}" for lab in labs for name, s in lab.settings.items() if not s.help]


def test_a_frequent_parameter_has_help_where_the_docstring_is_silent():
    def function(*, steps: int = 5, num_seeds: int = 2, own: int = 1) -> StudyResult:
        """Measure.

        Args:
          steps: steps of Adam.
        """
        return StudyResult({}, "")

    settings = Study("/x/topic/study.py", "A claim.", function).settings
    assert settings["steps"].help == "steps of Adam.", "the docstring is first"
    assert settings["num_seeds"].help.startswith("repetitions, ")
    assert settings["own"].help == ""


def accepts(name: str, setting: Setting, value: int) -> bool:
    try:
        return read_value(name, setting, value) == value
    except FlagError:
        return False


@pytest.mark.slow
def test_an_integer_with_a_positive_default_has_limits():
    """The signature says them, as in `seeds: PositiveInt = 5`: a bare `seeds: int = 5` would take --seeds=-3."""
    bare = []
    for entry in experiment_names():
        experiment = find_experiment(entry.name)
        is_study = isinstance(experiment, Study)
        settings = settings_of(experiment.function if is_study else experiment.parts.technique)
        settings |= {} if is_study else experiment.settings
        numbers = {name: s for name, s in settings.items() if type(s.default) is int and s.default > 0}
        bare += [f"{entry.name} --{name}" for name, s in numbers.items() if accepts(name, s, -1_000_000)]
    assert not bare


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
    assert '<th></th><th class="number">patch</th><th class="number">cost</th>' in report
    assert '<tr><td>2 layers</td><td class="number">5</td><td class="number">2</td></tr>' in report, "rows, not braces"
    assert "var(--c1)" in report
    assert "5 seeds &lt;b&gt; at 0.25" in report
    out = capsys.readouterr().out
    assert out.startswith(f"topic.study: run folder {folder}\n"), "said before the work"
    assert "verdict: 5 seeds <b> at 0.25" in out
    assert "101 numbers from 0 to 1, median 0.5" in out, "of many numbers the range"
    assert "101 numbers from 0 to 1, median 0.5" in report
    assert len(numbers["many"]) == 101, "and all of them in the file"
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


def test_a_study_that_compares_several_refuses_none(tmp_path, capsys):
    def several(*, gammas: tuple[float, ...] = (0.5, 0.9), names: tuple[str, ...] = ()) -> StudyResult:
        return StudyResult({"sum": sum(gammas), "names": len(names)}, "", {})

    lab = Study(file="/x/topic/study.py", doc="What it shows.", function=several)
    assert run_study(lab, [f"--runs={tmp_path}", "--gammas="]) == 2
    assert capsys.readouterr().err == "error: --gammas=: no value; allowed: one or more, such as 0.5,0.9\n"
    assert run_study(lab, [f"--runs={tmp_path}", "--gammas=0.5", "--names="]) == 0


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


def test_a_damaged_config_is_named(tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"experiment": "la')
    assert run_study(LAB, [f"--run_dir={tmp_path}"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {tmp_path / 'config.json'}: it is not JSON")
    assert err.count("\n") == 1


def test_help(capsys):
    with pytest.raises(SystemExit) as caught:
        run_study(LAB, ["--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("What it shows.")
    assert "--seeds=int  (default 5)" in out
    assert "how many." in out


def headlined(values, tolerance=0.01):
    def function(*, num: int = 3, seed: int = 4) -> StudyResult:
        """A study.

        Args:
          num: a number.
          seed: a seed.
        """
        headline = Headline("test accuracy", values, "digits", tolerance, (0.5, "pixels", "higher"))
        return StudyResult({}, "It is so. By 2 points.", holds=np.bool_(True), headline=headline)

    return Study(file="/x/topic/study.py", doc="What it shows.\n\nmore", function=function, smoke={"num": 2})


def offered(folder, values, *words, tolerance=0.01):
    assert run_study(headlined(values, tolerance), [f"--run_dir={folder}", *words]) == 0
    return json.loads((folder / "result.json").read_text())


def test_a_headline_offers_a_row(tmp_path):
    line = offered(tmp_path / "a", np.array([0.5, 0.7, 0.9]))
    assert line["values"] == {"0": 0.5, "1": 0.7, "2": 0.9}
    # the standard deviation is 0.2; two standard errors of the difference of two means are 2 sqrt(2 / 3) 0.2
    assert line["tolerance"] == 0.33
    assert line["baseline"] == {"value": 0.5, "name": "pixels", "better": "higher"}
    assert (line["claim"], line["holds"], line["verdict"]) == ("What it shows.", True, "It is so. By 2 points.")
    assert (line["experiment"], line["smoke"]) == ("topic.study", False)
    assert isinstance(line["changed_files"], list)
    line = offered(tmp_path / "b", 0.8, "--smoke", tolerance=0.5)
    assert (line["values"], line["tolerance"], line["smoke"]) == ({"4": 0.8}, 0.4, True)


def test_the_page_has_claim_method_verdict_and_reference(tmp_path):
    study = headlined(0.5)
    doc = "Is <it> so?\n\npython -m x\n\nWe `look`.\n\nReference: A et al. 2020, arXiv:2001.00001; B 2021.\n\nSeen: 3."
    study = Study(study.file, doc, study.function)
    assert run_study(study, [f"--run_dir={tmp_path}"]) == 0
    page = (tmp_path / "report.html").read_text()
    shown = ["The claim held.", "<p>Is &lt;it&gt; so?</p>", "<p>We <code>look</code>.</p>"]
    shown += ["<li>It is so.</li><li>By 2 points.</li>", "<p>Seen: 3.</p>"]
    shown.append('<li>A et al. 2020, <a href="https://arxiv.org/abs/2001.00001">arXiv:2001.00001</a></li>')
    shown.append("<li>B 2021</li>")
    places = [page.index(text) for text in shown]
    assert places == sorted(places)
    assert "python -m x" not in page


def test_every_study_states_a_headline():
    """Else its outcome can never be a row of the ledger."""
    files = [entry.path for entry in experiment_names()]
    studies = [path for path in files if "StudyResult(" in path.read_text(encoding="utf-8")]
    assert len(studies) > 50
    assert [path.name for path in studies if "Headline(" not in path.read_text(encoding="utf-8")] == []


def test_a_headline_must_say_what_it_was_measured_on():
    """A default would put the numbers of other data under its name."""
    with pytest.raises(TypeError, match="dataset"):
        Headline("test accuracy", 0.5)
    calls = [
        (entry.path.name, call)
        for entry in experiment_names()
        for call in ast.walk(ast.parse(entry.path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Headline"
    ]
    without = [
        name
        for name, call in calls
        if len(call.args) < 3
        and not any(isinstance(arg, ast.Starred) for arg in call.args)
        and "dataset" not in {keyword.arg for keyword in call.keywords}
    ]
    assert len(calls) > 80
    assert without == []


def test_every_study_has_a_claim_a_method_and_a_reference():
    rooms = {"studies", "classic_ml", "classical_vision", "backprop"}
    texts = {
        entry.name: study_text(ast.get_docstring(ast.parse(entry.path.read_text(encoding="utf-8"))))
        for entry in experiment_names()
        if entry.path.parent.name in rooms
    }
    assert len(texts) > 45
    for name, text in texts.items():
        assert len(text.claim) > 20, name
        assert text.method, name
        assert text.references, name
        assert not any("arXiv" in paragraph for paragraph in text.method), name


def test_a_docstring_is_taken_apart():
    doc = """A claim.

    python -m experiments.x
        a number in 3 s

    First.

        a = b

    References: A 2020, arXiv:2001.00001 (one); B
    2021, "Two".

    Measured in 3 s: 5.
    """
    text = study_text(inspect.cleandoc(doc))
    assert text.claim == "A claim."
    assert text.method == ("First.", "    a = b")
    assert text.references == ("A 2020, arXiv:2001.00001 (one)", 'B 2021, "Two"')
    assert text.measured == ("Measured in 3 s: 5.",)


def test_dashes_become_a_list():
    method = claim_panels("A claim.\n\n- one: `a`\n  and more\n- two", "Yes.", True)[1]
    assert " ".join(method.html.split()) == "<ul><li>one: <code>a</code> and more</li><li>two</li></ul>"


def test_an_indented_equation_keeps_its_lines_and_a_paragraph_does_not():
    method = claim_panels("A claim.\n\nWith `w`:\n\n    a = `b`\n      < c\n\nThe end.", "Yes.", None)[1]
    assert method.html == "<p>With <code>w</code>:</p><pre>    a = `b`\n      &lt; c</pre><p>The end.</p>"


def test_a_verdict_is_parted_into_sentences():
    verdict = "Of 9.5 % (e.g. A) it is so; 1e-3. 3 of 5 agree: x 4.2x. At last: yes."
    assert sentences(verdict) == ["Of 9.5 % (e.g. A) it is so; 1e-3.", "3 of 5 agree: x 4.2x.", "At last: yes."]


def test_the_listing_says_whether_a_studys_claim_held(tmp_path, monkeypatch):
    row = {
        "command": "python -m experiments.studies.depth",
        "metric": "test accuracy",
        "mean": 0.5,
        "dataset": "digits",
    }
    rows = [row | {"holds": False}, row | {"command": "python -m experiments.rl.ppo", "mean": 0.25}]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    monkeypatch.setattr(catalog, "_folder", lambda package: tmp_path)
    expected = {"studies.depth": "the claim did not hold: accuracy 0.5 on digits", "rl.ppo": "accuracy 0.25 on digits"}
    assert catalog.read_measured_numbers("experiments") == expected


def test_numbers_are_printed_up_to_24_and_six_digits(tmp_path, capsys):
    """The median of 0 to 24 is 12; words are never a range. A question without a seed has one number for all."""
    numbers = {
        "few": np.arange(24), "many": np.arange(25) / 3, "words": ("a",) * 30, "square": np.ones((5, 5)),
        "nested": {"a": [1.5, 2], "b": "x"}, "half": 0.123456789, "none": None,
    }  # fmt: skip

    def function(*, num: int = 3) -> StudyResult:
        return StudyResult(numbers, "So.", headline=Headline("error", 2.0, "digits", 0.25))

    question = Study(file="/x/topic/study.py", doc="Is it so?", function=function)
    assert run_study(question, [f"--run_dir={tmp_path}"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    texts = {line.split()[0]: line[35:] for line in lines}
    assert texts == {
        "few": ", ".join(map(str, range(24))),
        "many": "25 numbers from 0 to 8, median 4",
        "words": ", ".join(["a"] * 30),
        "square": ", ".join([", ".join(["1"] * 5)] * 5),
        "nested": "a 1.5, 2, b x",
        "half": "0.123457",
        "none": "None",
    }
    line = json.loads((tmp_path / "result.json").read_text())
    assert (line["values"], line["tolerance"], line["baseline"], line["holds"]) == ({"all": 2.0}, 0.5, None, None)
    page = (tmp_path / "report.html").read_text()
    assert "the claim" not in page
    assert "<h2>Question</h2>" in page


def test_the_spread_of_few_seeds_widens_the_tolerance(tmp_path):
    """Of 1 and 1.2 the deviation is 0.1 sqrt 2 and two standard errors 2 sqrt(2 / 2) of it, 0.28; 1 % is less."""
    assert offered(tmp_path / "a", np.array([1.0, 1.2]))["tolerance"] == 0.28
    assert offered(tmp_path / "b", np.array([-1.0, -1.0]))["tolerance"] == 0.01
    assert offered(tmp_path / "c", np.array([2.0]))["tolerance"] == 0.02


def test_the_traceback_of_an_error_is_shown_where_it_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"^seeds and noise do not fit$"):
        run_study(LAB, [f"--run_dir={tmp_path / 'run'}", "--fails", "--traceback"])
