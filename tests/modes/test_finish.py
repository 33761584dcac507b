"""The end of a training: what its report and its line for the ledger say, of shapes and without compiling."""

import html
import json
import re
from types import SimpleNamespace

import jax
import pytest

from dlcore.data.pipeline import batch_at
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from dlcore.experiment.run_data import write_data
from dlcore.experiment.study import SMOKE
from dlcore.modes.finish import finish
from dlcore.report.tables import text
from dlcore.run.metrics_writer import MetricsWriter, read_metrics
from dlcore.run.result import Result
from experiments.classification.supervised import experiment
from tests.modes.test_reports import made_up, without_compiling

WORDS = ["--model=mlp", "--model.hidden=4", "--steps=40", "--seed=3"]


def finished(folder, *words, **changes):
    """(page, line of the ledger, what is printed) of a run that ended at step 40 and had its best at step 40."""
    run = ResolvedRun(experiment, resolve(experiment, [*WORDS, *words, f"--run_dir={folder}"]))
    data = run.load()._replace(**changes)
    training = run.training_of(data)
    learner, batch = training.build(), batch_at(run.pipelines(data), 0)
    state = made_up(jax.eval_shape(learner.init, jax.random.key(0), batch))
    folder.mkdir()
    run.write_config(training.spec, write_data(folder, data, {}))
    with MetricsWriter(folder) as writer:
        for step in (20, 40):
            rates = {"seconds": 0.1, "examples_per_second": 1234.0}
            writer.write({"step": step, "split": "train", "loss": 1.0 / step, **rates})
    hook = SimpleNamespace(panels=lambda context: [text("Of a hook", f"seed {context.flags.seed}")])
    finish(run, data, training, without_compiling(learner), Result(state, 40, [], 40), [print, hook], batch)
    return html.unescape((folder / "report.html").read_text()), json.loads((folder / "result.json").read_text())


@pytest.mark.slow
def test_a_report_says_its_run_and_has_the_panels_of_hooks(tmp_path, capsys):
    page, line = finished(tmp_path / "run")
    titles = re.findall(r"<h2[^>]*>(.*?)<", page)
    assert titles[:2] == ["What the numbers mean", "What comes next"]
    assert titles[3] == "Of a hook", "behind the first panel of the task"
    for words in (
        "Data: digits (1,167 training, 130 validation, 500 test examples); seed 3.",
        "500 test examples, which no step has trained on",
        "--model.hidden",
        jax.__version__,
    ):
        assert words in page, words
    assert SMOKE not in page
    assert (line["step"], line["seed"], line["smoke"], line["metric"]) == (40, 3, False, "test accuracy")
    assert line["baseline"] == {"value": 0.102, "name": "the most frequent class", "better": "higher"}
    (row,) = [row for row in read_metrics(tmp_path / "run") if row["split"] == "test"]
    assert (row["step"], row["accuracy"]) == (40, line["value"])
    said = capsys.readouterr().out
    assert "test at step 40: " in said
    assert f"accuracy {line['value']:.4f}" in said
    assert f"report: {tmp_path / 'run' / 'report.html'}" in said


@pytest.mark.slow
def test_a_smoke_run_says_so_and_few_examples_how_coarse_they_are(tmp_path):
    """Of 40 test examples one is 2.5 %; those of the panels may be others."""
    test = experiment.run(resolve(experiment, WORDS)).load().test
    page, line = finished(tmp_path / "run", "--smoke", test=test.subset(range(40)))
    assert SMOKE in page
    assert "Measured on 40 test examples, which no step has trained on. One of them is 2.5 %." in page
    assert line["smoke"] is True
