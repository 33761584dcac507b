"""--mode=evaluate around its parts: which data, weights and evaluators it takes, and what it prints."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.experiment.flags import Flags
from dlcore.experiment.run_data import Comparison
from dlcore.learner import Learner
from dlcore.modes import evaluate as module
from dlcore.modes.views import average_views
from dlcore.setting import FlagError

SPLITS = Splits(Source.indices(7), Source.indices(5), Source.indices(1200), {})
MEASURES = {"loss": 0.123456789, "empty": None, "details": {"confusion": np.eye(2)}}


@pytest.fixture
def evaluated(monkeypatch):
    """Call the mode on fakes; return what it asked of them."""

    def call(splits=SPLITS, comparison=Comparison(None, 0), members=(), **flags):
        asked = {"compared": []}
        flags = {"split": "test", "format": "json", "members": members, "tta": "flip", "select": "best", **flags}

        def evaluators(splits, split):
            asked["evaluators"] = (splits, split)
            return [f"evaluator of {split}"]

        run = SimpleNamespace(
            folder="runs/one",
            flags=Flags({"eval_batch_size": 9, **flags}),
            training=lambda spec: SimpleNamespace(evaluators=evaluators) if spec == "spec" else None,
            example=lambda spec: ("example", spec),
            placement=lambda: "placement",
        )
        runs = [run, *members]

        def compare(one, config, splits, split):
            asked["compared"].append((one, config, split))
            return comparison if one is run else Comparison("of a member", 99)

        def evaluate(*args, **words):
            asked["evaluate"] = (args, words)
            return MEASURES

        def restore(*args):
            asked["restore"] = args
            return "learner", 40, "state"

        monkeypatch.setattr(module, "config_of", lambda one: {"spec": "spec", "of": one})
        monkeypatch.setattr(module, "members_of", lambda one: runs)
        monkeypatch.setattr(module, "data_for", lambda one, config: splits)
        monkeypatch.setattr(module, "compare_with_run", compare)
        monkeypatch.setattr(module, "restore_members", restore)
        monkeypatch.setattr(module, "evaluate", evaluate)
        module.MODE.run(run)
        return SimpleNamespace(**asked, runs=runs)

    return call


def test_the_split_is_measured_with_the_runs_weights_and_the_evaluators_of_that_split(evaluated):
    asked = evaluated(split="valid", members=("runs/two",))
    assert asked.restore == (asked.runs, "flip", "best", ("example", "spec"))
    args, words = asked.evaluate
    assert args == ("learner", "state", SPLITS.valid)
    assert words == {"batch_size": 9, "placement": "placement", "evaluators": ["evaluator of valid"]}
    assert asked.evaluators == (SPLITS, "valid")


def test_every_member_is_compared_with_the_data_by_its_own_record(evaluated):
    asked = evaluated(members=("runs/two",))
    assert asked.compared == [(one, {"spec": "spec", "of": one}, "test") for one in asked.runs]


def test_the_training_split_has_no_evaluators(evaluated):
    asked = evaluated(split="train")
    assert asked.evaluate[1]["evaluators"] == []
    assert not hasattr(asked, "evaluators")
    assert asked.evaluate[0][2] is SPLITS.train


@pytest.mark.parametrize("test", [None, {"a": Source.indices(2)}])
def test_a_split_that_is_no_single_source_is_refused_with_those_that_are(evaluated, test):
    with pytest.raises(FlagError, match=r"^--split=test: not in this data; allowed: train, valid$"):
        evaluated(SPLITS._replace(test=test))


def test_json_holds_the_run_its_data_and_its_measures(evaluated, capsys):
    evaluated(comparison=Comparison("2 examples more", 1), members=("runs/two",))
    assert json.loads(capsys.readouterr().out) == {
        "run": "runs/one",
        "members": ["runs/two"],
        "step": 40,
        "split": "test",
        "examples": 1200,
        "data_changes": "2 examples more",
        "trained_on": 1,
        "loss": 0.123456789,
        "empty": None,
        "details": {"confusion": [[1, 0], [0, 1]]},
    }


def test_text_names_the_run_and_its_numbers_and_says_other_data(evaluated, capsys):
    evaluated(format="text")
    first, *numbers = capsys.readouterr().out.splitlines()
    assert first == "runs/one, step 40, test split, 1,200 examples"
    assert [line.split() for line in numbers] == [["loss", "0.123457"], ["empty", "–"]]
    evaluated(comparison=Comparison("2 examples more", 1), members=("runs/two",), format="text")
    first, changes, trained_on, *numbers = capsys.readouterr().out.splitlines()
    assert first == "runs/one and 1 more runs, step 40, test split, 1,200 examples"
    assert changes == "  not the run's test split: 2 examples more"
    assert trained_on == "  the run was trained on 1 of these examples"
    assert len(numbers) == 2


def test_views_are_averaged_of_a_classifier_of_images_alone():
    rows = {"image": np.zeros((2, 3, 3, 1), np.float32), "label": np.zeros(2, np.int32)}
    plain = Learner(lambda rng, batch: 0.0, None, None, lambda state, batch: {"features": batch["image"].mean((1, 2))})
    assert average_views(plain, "none", rows) is plain
    with pytest.raises(FlagError, match=r"^--tta=flip: this is no classifier of images; allowed: none$"):
        average_views(plain, "flip", rows)
    half = plain._replace(predict=lambda state, batch: {"probabilities": batch["image"][:, 0, :2, 0]})
    rows["image"][:, 0, :, 0] = [0, 0.5, 1]  # mirrored: 1 and 0.5
    found = average_views(half, "flip", rows).predict(0.0, rows)["probabilities"]
    np.testing.assert_allclose(found, [[0.5, 0.5]] * 2)
