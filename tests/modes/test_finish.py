"""The end of a training around its parts: what is measured, shown and written down."""

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.diagnostics.trivial import Trivial
from dlcore.experiment.flags import Flags
from dlcore.experiment.study import SMOKE
from dlcore.modes import finish as module
from dlcore.run.json_files import write_json
from dlcore.run.metrics_writer import MetricsWriter, read_metrics
from dlcore.run.result import Result
from dlcore.run.trackers import Tracking

TEST, SHOWN = Source.indices(1200), Source.indices(4)
SPEC = {"dataset": "toy"}
MEASURES = {"accuracy": 0.875, "loss": 0.5, "empty": None, "map/cat": 0.25, "confusion": np.eye(2)}


@pytest.fixture
def finished(monkeypatch, tmp_path):
    """Finish a training of stand-ins after step 40; return what each was given."""

    def call(data=None, spec=SPEC, best_step=30, first=True, hooks=(), panels=None, flags=None, pictures=None):
        asked = {"restored": [], "images": [], "reports": []}
        data = Splits(Source.indices(7), None, TEST, {}) if data is None else data

        class Evaluation:
            def __init__(self, *args):
                asked["evaluation"] = args

            def measures(self, *args):
                asked["measures"] = args
                return MEASURES

            def outputs(self, *args):
                asked["outputs"] = args
                return "outputs"

        def restore(run, learner, batch, select):
            asked["restored"].append((learner, batch, select))
            return 30, "best state"

        def default_panels(context):
            asked["context"] = context
            return ["first", "second"]

        training = SimpleNamespace(
            spec=spec,
            evaluators=lambda data, split: [f"evaluator of {split}"],
            pictures=pictures or (lambda context: {}),
            panels=default_panels if panels is None else panels,
            explanations=lambda: ["One more sentence."],
        )
        parts = SimpleNamespace(technique=np.mean, headline="accuracy", input_kind="FILE")
        experiment = SimpleNamespace(
            name="topic.page", parts=parts, use=SimpleNamespace(inputs=print), settings={}, values={}, doc="Doc. More."
        )
        flags = {"select": "best", "eval_batch_size": 9, "seed": 3, "smoke": False, "spmd": "jit", **(flags or {})}
        run = SimpleNamespace(
            folder=tmp_path, flags=Flags(flags), experiment=experiment, tracking=Tracking(()),
            placement=lambda: "placement", identity={"steps": 40, "a": 1},
            config=lambda: {"command": "python x", "commit": "c", "versions": {"jax": "1"}},
        )  # fmt: skip
        monkeypatch.setattr(module, "Evaluation", Evaluation)
        monkeypatch.setattr(module, "restore_state", restore)
        monkeypatch.setattr(module, "pad_local_batches", lambda *args: args)
        monkeypatch.setattr(module, "on_host", lambda state: f"{state} on the host")
        monkeypatch.setattr(module, "is_first", lambda: first)
        monkeypatch.setattr(module.provenance, "process_seconds", lambda: 60.0625)
        monkeypatch.setattr(module.provenance, "result_facts", lambda smoke: {"smoke": smoke})
        monkeypatch.setattr(module, "trivial_measures", lambda *args: asked.update(trivial=args) or {})
        monkeypatch.setattr(module, "baseline", lambda *args: Trivial(0.125, "chance"))
        monkeypatch.setattr(module, "write_report", lambda *args, **words: asked["reports"].append((args, words)))
        monkeypatch.setattr(module, "loss_residuals", lambda *args: args)
        monkeypatch.setattr(module, "number_panels", lambda *args: [("numbers", *args)])
        monkeypatch.setattr(MetricsWriter, "image", lambda self, *args: asked["images"].append(args))
        result = Result("last state", 40, [], best_step=best_step)
        write_json(tmp_path / "attempts.json", {"1000.00": 5.0})
        module.finish(run, data, training, "learner", result, list(hooks), "batch")
        return SimpleNamespace(**asked)

    return call


@pytest.fixture
def trained(tmp_path):
    """Write the log of a run that was not tested yet; return its rows."""
    rows = [{"step": 40, "split": split, "loss": 1.0} for split in ("train", "valid")]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rows


def test_the_best_checkpoint_is_tested_where_it_is_asked_for_and_is_not_the_last(finished, trained):
    asked = finished()
    assert asked.restored == [("learner", "batch", "best")]
    assert asked.evaluation == ("learner", "placement")
    assert asked.measures == ("best state", TEST, ["evaluator of test"], 9)
    assert asked.outputs == ("best state", (TEST, 9, "placement"))
    assert asked.context.state == "best state on the host"
    for words in ({"best_step": 40}, {"best_step": None}, {"flags": {"select": "last"}}):
        other = finished(**words)
        assert other.restored == []
        assert other.measures[0] == "last state"


def test_nothing_is_written_without_a_test_split_or_by_another_process_than_the_first(finished, trained, tmp_path):
    for words in ({"data": Splits(None, None, None, {})}, {"first": False}):
        assert finished(**words).reports == []
        assert not (tmp_path / "result.json").exists()
    assert hasattr(finished(first=False), "outputs"), "all processes evaluate"


def test_the_test_is_one_row_of_the_log_however_often_it_runs(finished, trained, tmp_path):
    asked = finished()
    numbers = {name: value for name, value in MEASURES.items() if name != "confusion"}
    row = {"step": 30, "split": "test", **numbers}
    assert read_metrics(tmp_path) == [*trained, row]
    assert asked.context.history == [*trained, row]
    assert asked.context.numbers == numbers
    assert list(asked.context.arrays) == ["confusion"]
    again = finished()
    assert len(read_metrics(tmp_path)) == 3, "a second call adds no row"
    assert not [*tmp_path.glob("*tfevents*")], "TensorBoard is none of the run's trackers"
    assert again.context.history == asked.context.history


def test_the_line_of_the_ledger_has_the_headline_and_its_baseline(finished, trained, tmp_path, capsys):
    """This process took 60.0625 seconds and earlier ones 5."""
    finished()
    line = {
        "experiment": "topic.page", "seed": 3, "dataset": "toy", "metric": "test accuracy", "value": 0.875,
        "baseline": {"value": 0.125, "name": "chance", "better": "higher"}, "step": 30, "wall_seconds": 65.1,
        "smoke": False,
    }  # fmt: skip
    assert json.loads((tmp_path / "result.json").read_text()) == line
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "test at step 30: accuracy 0.8750, loss 0.5000"
    assert said[1] == f"1:05 in all; report: {tmp_path / 'report.html'}"
    finished(spec={"headline": "loss", "about": {"loss": "of four"}})
    other = json.loads((tmp_path / "result.json").read_text())
    assert [other[name] for name in ("dataset", "metric", "value")] == ["", "test loss (of four)", 0.5]
    assert other["baseline"]["better"] == "lower"


def test_a_measure_without_a_direction_has_no_baseline(finished, trained, tmp_path):
    finished(spec={"headline": "steps"})
    line = json.loads((tmp_path / "result.json").read_text())
    assert (line["baseline"], line["value"]) == (None, None)


def test_panels_of_hooks_stand_behind_the_first_of_the_task_and_numbers_last(finished, trained, tmp_path):
    hook = SimpleNamespace(panels=lambda context: [("hook", context.flags.seed)])
    asked = finished(hooks=[print, hook])
    (((path, title, panels, result), words),) = asked.reports
    assert panels[2:] == ["first", ("hook", 3), "second", ("numbers", asked.context.numbers, {})]
    assert (path, title, result.step) == (tmp_path / "report.html", "topic.page: toy", 40)
    assert words["measured"] == {"test accuracy": "87.50 %", "baseline: chance": "12.50 %", "test examples": "1,200"}
    assert words["banner"] == ""
    assert (words["step"], words["seconds"], words["rates"]) == (30, 65.0625, True)
    assert words["flags"] == {"select", "eval_batch_size", "seed", "smoke", "spmd"}
    assert words["residuals"] == ("learner", "best state on the host", "batch", "jit")
    assert words["settings"] == {"command": "python x", "--a": 1, "--steps": 40}
    assert words["environment"] == {"commit": "c", "jax": "1"}
    assert set(words["measures"]) == {"accuracy", "loss", "empty", "map/cat"}
    assert words["params"] is None
    smoke = finished(flags={"smoke": True}, spec={**SPEC, "counts": "episodes"}).reports[0][1]
    assert (smoke["banner"], smoke["rates"]) == (SMOKE, False)
    assert words["subtitle"].endswith("Data: toy (7 training, 1,200 test examples); seed 3.")
    assert smoke["subtitle"].endswith("Data: toy (1,200 test episodes); seed 3."), "no data are trained on"
    assert "test episodes" in smoke["measured"]


def test_the_first_screen_says_what_the_headline_means_and_which_commands_come_next(finished, trained, tmp_path):
    (((_, _, panels, _), _),) = finished().reports
    meaning, commands = panels[:2]
    assert (meaning.half, commands.half) == (True, True)
    for words in ("Accuracy, 87.50 %: fraction of", "(higher is better)", "1,200 test examples", "12.50 %", "One more"):
        assert words in meaning.html
    start = f"<pre>python x --mode={{}} --run={tmp_path}"
    assert commands.html.count("<pre>") == 3
    for mode, rest in (("evaluate", ""), ("predict", " --input=FILE"), ("export", "")):
        assert f"{start.format(mode)}{rest}</pre>" in commands.html


def test_the_time_is_taken_after_the_drawing(finished, trained, tmp_path, monkeypatch):
    """A panel that takes ten seconds: 5 of an earlier process, 60.0625 before the panel and 10 for it."""

    def slow(context):
        later = time.time() + 10
        monkeypatch.setattr(module.provenance, "process_seconds", lambda: 70.0625)
        monkeypatch.setattr(time, "time", lambda: later)
        return ["drawn"]

    ((_, words),) = finished(panels=slow).reports
    assert words["seconds"] == 75.0625
    assert json.loads((tmp_path / "result.json").read_text())["wall_seconds"] == 75.1


def test_other_examples_may_be_shown_than_those_that_are_measured(finished, trained):
    train = Source.indices(7)
    asked = finished(data=Splits(train, None, TEST, {}, shown=SHOWN))
    assert asked.measures[1] is TEST
    assert asked.outputs[1] == (SHOWN, 9, "placement")
    assert asked.trivial[0] is train
    assert asked.trivial[1] is TEST
    assert asked.trivial[3] == {}


def test_pictures_are_given_to_trackers_at_the_tested_step(finished, trained):
    asked = finished(pictures=lambda context: {"samples": f"picture of {context.outputs}"})
    assert asked.images == [("test/samples", "picture of outputs", 30)]
    assert finished().images == []


def test_a_page_without_panels_shows_its_curves_and_what_they_tell(finished, trained, monkeypatch):
    monkeypatch.setattr("dlcore.report.curves.curves", lambda history: ("curves", len(history)))
    monkeypatch.setattr("dlcore.report.triage.triage_panels", lambda history: [("triage", len(history))])
    ((arguments, _),) = finished(panels=lambda context: []).reports
    (panels,) = [value for value in arguments if isinstance(value, list) and ("curves", 3) in value]
    assert panels[2:4] == [("curves", 3), ("triage", 3)], "of the two rows of the training and that of the test"
