"""--mode=predict around its parts: what it reads, whose weights it applies, what it prints and writes."""

import json
from pathlib import Path
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest

from dlcore.experiment.flags import Flags
from dlcore.learner import State
from dlcore.modes import predict as module
from dlcore.setting import FlagError

SPEC = {"image_shape": [8, 8, 1]}
ROWS = [{"text": "", "probabilities": {c: 0.5 / i for i, c in enumerate("abcdef", 1)}}, {"text": "two words"}]


def read(path, training):
    return ("inputs", path, training.spec), ["one", "two"]


def draw(training):
    return ("samples", None, training.spec), ["one", "two"]


@pytest.fixture
def predicted(monkeypatch):
    """Call the mode on a page of such a use, with such flags; return what it asked of its parts."""

    def call(given=(), without=(), **flags):
        asked = {"written": []}

        def write(*args):
            asked["written"].append(args)
            return ["a file", "another"]

        def predict(learner, state, source, **words):
            asked["predict"] = (learner, source, words)
            asked["rng"] = state.rng
            return "outputs"

        methods = {
            "describe": lambda outputs, facts: ROWS if (outputs, facts) == ("outputs", "facts") else None,
            "inputs": read,
            "samples": draw,
            "write": write,
        }
        use = SimpleNamespace(**{name: method for name, method in methods.items() if name not in without})
        parts = SimpleNamespace(input_kind="FOLDER", use=use)
        training = SimpleNamespace(spec=SPEC, facts="facts", parts=parts)
        flags = {
            "input": None,
            "output": None,
            "format": "text",
            "tta": "flip",
            "select": "last",
            "run": "RUN",
            **flags,
        }
        run = SimpleNamespace(
            experiment=SimpleNamespace(name="a.page", use=None if "use" in without else use, parts=parts),
            before_data=lambda: SimpleNamespace(replace=lambda spec: training),
            flags=Flags({"eval_batch_size": 9, **flags}, given=frozenset(given)),
            example=lambda spec: ("example", spec),
            placement=lambda: "placement",
            folder="runs/a.page/1",
            config=lambda: {"spec": SPEC},
        )

        def restore(*args):
            asked["restore"] = args
            return "learner", 4, State(None, jax.random.key(3), None, None)

        monkeypatch.setattr(module, "config_of", lambda one: {"spec": SPEC})
        monkeypatch.setattr(module, "members_of", lambda one: ["runs"])
        monkeypatch.setattr(module, "restore_members", restore)
        monkeypatch.setattr(module, "predict", predict)
        module.MODE.run(run)
        return SimpleNamespace(**asked)

    return call


def test_files_are_read_where_they_are_given_and_samples_drawn_where_not(predicted):
    asked = predicted(input="x.png")
    assert asked.restore == (["runs"], "flip", "last", ("example", SPEC))
    assert asked.predict == (
        "learner",
        ("inputs", "x.png", SPEC),
        {"batch_size": 9, "placement": "placement"},
    )
    assert predicted().predict[1] == ("samples", None, SPEC)
    assert predicted(num_drawn=4, given=["num_drawn"]).predict[1] == ("samples", None, SPEC)
    assert predicted(num_drawn=4, input="x.png").predict[1][0] == "inputs", "a default is no contradiction"


@pytest.mark.parametrize(
    ("without", "given", "flags", "problem"),
    [
        (["use"], (), {}, "--mode=predict: a.page has none; allowed: the other modes"),
        (
            ["samples"],
            (),
            {"run": None},
            "--run, --input: missing; allowed: --mode=predict --run=RUN --input=FOLDER",
        ),
        (["samples"], (), {"run": "r"}, "--input: missing; allowed: --mode=predict --input=FOLDER"),
        (["inputs"], (), {"input": "x"}, "--input=x: a.page reads no input; allowed: --mode=predict without it"),
        ((), ["num_drawn"], {"input": "x", "num_drawn": 4}, "--num_drawn=4: beside --input=x; allowed: one of them"),
        (
            (),
            (),
            {"run": None, "run_dir": ""},
            "--run: missing; allowed: --run=runs/a.page/1, the run of these settings",
        ),
        (["write"], (), {"output": "o"}, "--output=o: a.page writes no files; allowed: none"),
    ],
)
def test_flags_that_a_page_cannot_serve_are_refused(predicted, without, given, flags, problem):
    with pytest.raises(FlagError) as raised:
        predicted(given, without, **flags)
    assert str(raised.value).startswith(problem)


def test_each_prediction_is_one_line_of_its_text_or_of_its_five_best_classes(predicted, capsys):
    """1/2, 1/4, 1/6, 1/8 and 1/10; the sixth is left out."""
    assert predicted(without=["write"]).written == []
    assert capsys.readouterr().out.splitlines() == [
        "run: runs/a.page/1, step 4",
        "one: a 0.500  b 0.250  c 0.167  d 0.125  e 0.100",
        "two: two words",
    ]


def test_the_run_and_what_becomes_of_the_images_are_named(predicted, capsys):
    predicted(input="cat.png")
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "run: runs/a.page/1, step 4; images are read as 8 x 8 gray"
    predicted(run=None, run_dir="mine", input="cat.png")  # a folder is a name, too
    assert capsys.readouterr().out.startswith("run: ")


def test_json_holds_the_input_and_all_that_is_known_of_each(predicted, capsys):
    asked = predicted(format="json", output="o")
    rows = json.loads(capsys.readouterr().out)
    assert rows == [{"input": "one", **ROWS[0]}, {"input": "two", **ROWS[1]}]
    assert len(asked.written) == 1, "files are written beside it"


def test_files_are_written_where_a_folder_is_given(predicted, capsys):
    assert predicted().written == []
    capsys.readouterr()
    asked = predicted(output="o")
    assert asked.written == [(Path("o"), "outputs", ("samples", None, SPEC), ["one", "two"], "facts")]
    assert capsys.readouterr().out.splitlines()[-1] == "wrote 2 files to o"


def test_another_sample_seed_draws_from_another_key(predicted):
    def key(**flags):
        return np.asarray(jax.random.key_data(predicted(**flags).rng))

    own = np.asarray(jax.random.key_data(jax.random.key(3)))
    chex.assert_shape(own, (2,))
    np.testing.assert_array_equal(key(), own)
    np.testing.assert_array_equal(key(sample_seed=None), own)
    seeds = [key(sample_seed=seed).tolist() for seed in (0, 1)]
    assert seeds[0] != seeds[1]
    assert own.tolist() not in seeds
    assert key(sample_seed=1).tolist() == seeds[1]
