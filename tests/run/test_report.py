"""The report of a training: headline numbers, settings, and which panels it has."""

from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.learner import Learner, ModelState
from dlcore.run import report as module
from dlcore.run.report import card, loss_residuals, report_fit, write_report
from dlcore.run.result import Result

ROWS = [
    {"step": 10, "split": "train", "epoch": 1.0, "seconds": 2.0, "loss": 1.0, "examples_per_second": 100.0},
    {"step": 20, "split": "train", "loss": 1.0, "examples_per_second": 3000.0},
    {"step": 30, "split": "train", "loss": 1.0, "examples_per_second": 2000.0},
    {"step": 1500, "split": "valid", "accuracy": 0.5, "examples_per_second": None},
]
RESULT = Result(None, 1500, ROWS, seconds=75, wait_fraction=0.125, memory={"parameters": 12})


@pytest.fixture
def rendered(monkeypatch, tmp_path):
    """Write a report of fakes; return what was rendered."""

    def call(result=RESULT, **words):
        seen = {}

        def render(title, panels, cards, **more):
            seen.update(title=title, panels=panels, cards=cards, **more)
            return "a page"

        monkeypatch.setattr(module, "render", render)
        monkeypatch.setattr(module, "legend_panels", lambda names: [("legend", [*names])])
        monkeypatch.setattr("dlcore.report.memory.memory_panel", lambda *args: ("memory", *args))
        monkeypatch.setattr(module.provenance, "hardware", lambda: "a machine")
        words = {"measured": {"accuracy": "50 %"}, "params": {"w": np.zeros((30, 40)), "b": np.zeros(40)}, **words}
        write_report(tmp_path / "r.html", "A title", ["a panel"], result, **words)
        assert (tmp_path / "r.html").read_text() == "a page"
        return SimpleNamespace(**seen)

    return call


def test_the_headline_counts_parameters_steps_time_and_examples(rendered):
    """30 * 40 + 40 = 1,240 parameters; the median of 100, 3000 and 2000 examples a second; 75 s; 1/8 of it waiting."""
    assert rendered().cards == {
        "accuracy": "50 %",
        "parameters": "1,240",
        "steps": "1,500",
        "time in steps": "1:15",
        "examples/s": "2,000",
        "waiting for data": "12.5 %",
    }


def test_another_tested_step_and_the_total_time_are_said(rendered):
    cards = rendered(step=1000, seconds=3600, rates=False).cards
    assert (cards["steps"], cards["wall time"]) == ("1,500 (tested: 1,000)", "1:00:00")
    assert "examples/s" not in cards
    assert rendered(step=1500).cards["steps"] == "1,500"
    assert "examples/s" not in rendered(Result(None, 1, [])).cards
    assert "waiting for data" not in rendered(Result(None, 4, [], first_step=4)).cards, "no step was trained"


def test_memory_and_a_legend_of_all_measures_close_the_report(rendered):
    page = rendered(measures=["map"], flags=("batch_size",), residuals=7, subtitle="s", banner="b")
    first, memory, (name, measures) = page.panels
    assert (first, name) == ("a panel", "legend")
    assert memory == ("memory", {"parameters": 12}, ("batch_size",), 7)
    assert set(measures) == {"map", "loss", "accuracy", "examples_per_second"}
    assert (page.title, page.subtitle, page.banner) == ("A title", "s", "b")
    assert page.details == {"Settings": {}, "Environment": {"hardware": "a machine"}}
    page = rendered(settings={"seed": 1}, environment={"jax": "2"})
    assert page.details == {"Settings": {"seed": 1}, "Environment": {"hardware": "a machine", "jax": "2"}}


def test_a_card_is_a_percentage_of_a_fraction_and_a_dash_without_examples():
    assert card("accuracy", 0.5).startswith("50")
    assert card("loss", 0.5) == "0.5"
    assert card("accuracy", None) == "–"


def test_a_loss_stores_what_its_backward_pass_needs():
    """The gradient of w^2 needs w: three float32 are 12 bytes."""

    def loss(params, state, batch):
        return (params["w"] ** 2).sum(), {}

    state = ModelState(None, None, {"w": jnp.ones(3)}, None, {})
    learner = Learner(None, None, None, None, loss)
    assert loss_residuals(learner, state, {}, "jit") >= 12
    assert loss_residuals(learner, state, {}, "pmap") is None
    assert loss_residuals(learner._replace(loss=None), state, {}, "jit") is None


@pytest.fixture
def reported(monkeypatch, tmp_path):
    """Report a call of `fit` on fakes; return (what was evaluated, the arguments of the report)."""

    def call(valid, probabilities=None, measures=None, first=True):
        asked, written = [], []
        outputs = None if probabilities is None else {"probabilities": probabilities}

        class Evaluation:
            placement = SimpleNamespace(spmd="jit")

            def measures(self, *args):
                asked.append(("measures", *args))
                return measures or {}

            def outputs(self, state, batches):
                asked.append(("outputs", state, batches))
                return outputs

        def classifier_panels(*args):
            asked.append(("classifier", *args))
            return ["classes"]

        monkeypatch.setattr(module, "is_first", lambda: first)
        monkeypatch.setattr(module, "on_host", lambda state: state)
        monkeypatch.setattr(module, "pad_local_batches", lambda *args: args[1])
        monkeypatch.setattr(module, "write_report", lambda *args, **words: written.append((args, words)))
        monkeypatch.setattr(module, "loss_residuals", lambda *args: args[3])
        monkeypatch.setattr(module, "settings", lambda train: f"settings of {train}")
        monkeypatch.setattr(module.provenance, "versions", lambda: {"jax": "1"})
        monkeypatch.setattr("dlcore.report.curves.curves", lambda history: "curves")
        monkeypatch.setattr("dlcore.report.triage.triage_panels", lambda history, floor: ["triage"])
        monkeypatch.setattr("dlcore.report.classifier.classifier_panels", classifier_panels)
        result = Result(ModelState(None, None, "params", None, {}), 3, [])
        path = report_fit(
            tmp_path, "learner", result, Evaluation(), train="train", valid=valid, batch="b", seed=4,
            evaluators=["e"], batch_size=9,
        )  # fmt: skip
        assert path == Path(tmp_path / "report.html")
        return asked, written

    return call


def test_a_report_without_validation_shows_the_training(reported, tmp_path):
    asked, (((path, title, panels, _), words),) = reported(None)
    assert asked == []
    assert (path, title, panels) == (tmp_path / "report.html", tmp_path.name, ["curves", "triage"])
    assert words == {
        "measured": {},
        "params": "params",
        "subtitle": "Seed 4.",
        "residuals": "jit",
        "settings": {"seed": 4, "data": "settings of train"},
        "environment": {"jax": "1"},
    }


def test_a_report_of_a_classifier_shows_its_first_three_measures_and_its_classes(reported):
    arrays = {"image": np.zeros((2, 4, 4, 1), np.uint8), "label": np.array([0, 1])}
    valid = Source(arrays, name="mine")
    measures = {"loss": 1.0, "a/b": 9.0, "accuracy": 0.5, "top5": 1.0, "last": 2.0, "confusion": np.eye(2)}
    probabilities = np.full((2, 3), 1 / 3)
    asked, (((_, _, panels, _), words),) = reported(valid, probabilities, measures)
    assert panels == ["curves", "triage", "classes"]
    assert list(words["measured"]) == ["valid loss", "valid accuracy", "valid top5", "valid examples"]
    assert words["measured"]["valid examples"] == "2"
    assert words["subtitle"] == "Dataset: mine, seed 4."
    (_, _, source, evaluators, size), (_, _, batch_size), (_, numbers, images, labels, found, names, params) = asked
    assert (source, evaluators, size, batch_size) == (valid, ["e"], 9, 9)
    assert set(numbers) == set(measures)
    assert images is arrays["image"]
    assert labels is arrays["label"]
    assert found is probabilities
    assert (names, params) == (("0", "1", "2"), "params")
    named = Source(arrays, class_names=("x", "y", "z"))
    assert reported(named, probabilities)[0][-1][5] == ("x", "y", "z")


def test_a_report_of_no_classifier_of_images_has_no_panel_of_classes(reported):
    texts = Source({"text": np.zeros((2, 3)), "label": np.array([0, 1])})
    asked, written = reported(texts)
    assert [one[0] for one in asked] == ["measures"]
    assert written[0][0][2] == ["curves", "triage"]
    images = Source({"image": np.zeros((2, 4, 4, 1), np.uint8), "label": np.array([0, 1])})
    for probabilities in (None, np.zeros((2, 4, 3))):
        assert [one[0] for one in reported(images, probabilities)[0]] == ["measures", "outputs"]


def test_one_process_of_several_writes(reported):
    asked, written = reported(Source({"text": np.zeros((2, 3))}), first=False)
    assert len(asked) == 1, "all of them evaluate"
    assert written == []
