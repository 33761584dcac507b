"""The report of a training: headline numbers, settings, and which panels it has."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.learner import Learner, ModelState
from dlcore.run.report import card, loss_residuals, write_report
from dlcore.run.result import Result

ROWS = [
    {"step": 10, "split": "train", "epoch": 1.0, "seconds": 2.0, "loss": 1.0, "examples_per_second": 100.0},
    {"step": 20, "split": "train", "loss": 1.0, "examples_per_second": 3000.0},
    {"step": 30, "split": "train", "loss": 1.0, "examples_per_second": 2000.0},
    {"step": 1500, "split": "valid", "accuracy": 0.5, "examples_per_second": None},
]
RESULT = Result(None, 1500, ROWS, seconds=75, wait_fraction=0.125)


@pytest.fixture
def written(tmp_path):
    """Write a report; return its page."""

    def call(result=RESULT, **words):
        words = {"measured": {"accuracy": "50 %"}, "params": {"w": np.zeros((30, 40)), "b": np.zeros(40)}, **words}
        write_report(tmp_path / "r.html", "A title", [], result, **words)
        return (tmp_path / "r.html").read_text()

    return call


def card_of(name, value):
    return f">{name}</dt><dd>{value}</dd>"


def test_the_headline_counts_parameters_steps_time_and_examples(written):
    """30 * 40 + 40 = 1,240 parameters; the median of 100, 3000 and 2000 examples a second; 75 s; 1/8 of it waiting."""
    page = written(subtitle="A line.", settings={"seed": 1}, measures=["map"])
    cards = {
        "accuracy": "50 %", "parameters": "1,240", "steps": "1,500", "time in steps": "1:15", "examples/s": "2,000",
        "waiting for data": "12.5 %",
    }  # fmt: skip
    for name, value in cards.items():
        assert card_of(name, value) in page
    assert all(text in page for text in ("A title", "A line.", "seed", "map"))


def test_another_tested_step_and_the_total_time_are_said(written):
    page = written(step=1000, seconds=3600, rates=False)
    assert card_of("steps", "1,500 (tested: 1,000)") in page
    assert card_of("wall time", "1:00:00") in page
    assert ">examples/s</dt>" not in page
    assert card_of("steps", "1,500") in written(step=1500)
    assert ">waiting for data</dt>" not in written(Result(None, 4, [], first_step=4)), "no step was trained"


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
