"""Plans, trials and populations that cannot run are refused by name."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.learner import Evaluator
from dlcore.search.halving import successive_halving
from dlcore.search.population import PopulationBasedTraining, exploit, explore
from dlcore.search.report import marginals, text_table
from dlcore.search.space import (
    Choice,
    Integers,
    LogUniform,
    Uniform,
    grid,
    latin_hypercube,
    narrow,
    parse_space,
    random,
    sobol,
)
from dlcore.search.together import TrialsState, evaluator_of_trials, scores_of, select, start_of_trials
from dlcore.search.trials import Trial, run_together, run_trials, trial_of

SPACE, RNG, NAN = {"a": Uniform(0, 1)}, np.random.default_rng(0), float("nan")
TRIALS = [{"a": 0.1}, {"a": 0.2}]
STATE = TrialsState(0, 0, {"w": jnp.ones((2, 3))}, {"a": jnp.ones(2)}, jnp.ones(2, bool), jnp.ones(1, bool))
EVALUATOR = Evaluator(lambda acc, outputs, rows: outputs, lambda acc: {"x": 1.0}, None, ("x",))
TRIAL = Trial({"a": 0.1}, 0.5, 3, ([3], [0.5]))
PAGE = "experiments.classification.supervised"


def explored(values=((1.0, 2.0),), copied=(True, False), space=SPACE, factors=(0.8, 1.2)):
    return explore({"a": np.asarray(values[0])}, np.asarray(copied), space, RNG, factors)


def halved(plan):
    return successive_halving(TRIALS, plan, lambda rows, before, after: np.ones(len(rows)))


CASES = {
    "trials of Sobol": (lambda: sobol(SPACE, 1.5, 0), "trials=1.5: no whole number"),
    "no trial of Sobol": (lambda: sobol(SPACE, 0, 0), "trials=0: too small; allowed: at least 1"),
    "seed": (lambda: random(SPACE, 2, -1), "seed=-1: too small; allowed: at least 0"),
    "seed of a cube": (lambda: latin_hypercube(SPACE, 2, NAN), "seed=nan: no whole number"),
    "one word": (lambda: parse_space("a=1,2"), "words='a=1,2': no words; allowed: a list of texts"),
    "no space": (lambda: grid(None, 3), "space=NoneType: no space; allowed"),
    "axis": (lambda: grid({"a": (0, 1)}, 3), r"a=\(0, 1\): no axis; allowed: Uniform, LogUniform, Integers, Choice"),
    "end of an axis": (lambda: grid({"a": Uniform("0", 1)}, 3), r"a=\['0', 1\]: no numbers"),
    "options": (lambda: grid({"a": Choice("abc")}, 3), "a='abc': no options; allowed: a tuple of values"),
    "share to keep": (lambda: narrow(SPACE, TRIALS, [1, 2], "x"), "keep=x: out of range"),
    "value": (lambda: narrow(SPACE, [{"a": "x"}], [1]), "a=x: outside the space; allowed"),
    "another option": (lambda: narrow({"a": Choice((1, 2))}, [{"a": 3}], [1]), "a=3: outside the space; allowed: 1, 2"),
    "rung of three numbers": (lambda: halved([(2, 5, 1)]), r"plan: \(2, 5, 1\) is no rung; allowed: Rung"),
    "generator": (lambda: exploit(np.ones(4), 0), "rng=0: no generator; allowed: np.random.default_rng"),
    "empty space": (lambda: PopulationBasedTraining({}, "x", 1), "space: empty; allowed: at least one interval"),
    "position": (lambda: SPACE["a"].at(1.5), "u=1.5: out of range; allowed: 0 to 1"),
    "logarithmic position": (lambda: LogUniform(1, 10).at(-1), "u=-1: out of range"),
    "whole position": (lambda: Integers(1, 10).at(NAN), "u=nan: out of range"),
    "option": (lambda: Choice(("a", "b")).at(-0.5), "u=-0.5: out of range"),
    "rung of more trials": (lambda: halved([(1, 5), (2, 10)]), r"plan\[1\]=\(2, 10\): after \(1, 5\); allowed: fewer"),
    "rung of no more steps": (lambda: halved([(2, 5), (1, 5)]), r"plan\[1\]=\(1, 5\): after \(2, 5\)"),
    "rung without a trial": (lambda: halved([(0, 5)]), "trials of a rung=0: too small"),
    "scores": (lambda: exploit(np.ones((4, 1)), RNG), "scores=.*: wrong shape"),
    "copies of fewer": (lambda: explored(copied=[True]), r"a=.*\[2\]: wrong shape"),
    "factor": (lambda: explored(factors=(-1.0, 1.2)), "factors=-1: out of range; allowed: above 0"),
    "one factor": (lambda: explored(factors=(1.2,)), "factors=.*: wrong shape"),
    "value outside the space": (lambda: explored(space={"b": Uniform(0, 1)}), "values: a has no interval in the space"),
    "steps": (lambda: PopulationBasedTraining(SPACE, "x", 1.5), "every=1.5: no whole number"),
    "seed of a population": (lambda: PopulationBasedTraining(SPACE, "x", 1, seed=-1), "seed=-1: too small"),
    "trial": (lambda: select(STATE, [2]), r"rows\[0\]=2: out of range; allowed: 0 to 1, of 2 trials"),
    "trial from the end": (lambda: select(STATE, [-1]), r"rows\[0\]=-1: out of range"),
    "starts": (lambda: start_of_trials([lambda state: state])(STATE), "starts=1 functions: for 2 trials"),
    "trials of an evaluator": (lambda: evaluator_of_trials(EVALUATOR, 0), "trials=0: too small"),
    "outputs of more trials": (
        lambda: evaluator_of_trials(EVALUATOR, 2).add(None, {"x": np.ones((4, 3))}, {}),
        r"outputs: one is \[4, 3\]; allowed: \[B, 2, ...\]",
    ),
    "scores of fewer trials": (
        lambda: scores_of({"x/0": 1, "x/1": 2}, "x", 1),
        "trials=1: not the number of the row's",
    ),
    "scores of more trials": (lambda: scores_of({"x/0": 1, "x/1": 2}, "x", 3), "trials=3: not the number of the row's"),
    "steps of a trial": (lambda: trial_of({}, [1, 2], [0.5], "max"), r"scores=.*\[1\]: wrong shape"),
    "direction": (lambda: trial_of({}, [1], [0.5], "up"), "monitor_mode='up': unknown; allowed: max, min"),
    "no trials": (lambda: run_trials(PAGE, [], [], "", metric="x"), "trials=0 trials: none"),
    "trials of other settings": (
        lambda: run_trials(PAGE, [], [{"a": 1}, {}], "", metric="x"),
        "trials=2 trials: none, or",
    ),
    "processes": (lambda: run_trials(PAGE, [], TRIALS, "", metric="x", processes=0), "processes=0: too small"),
    "no rows": (lambda: run_together(None, None, [], None), r"rows=\[\]: no trial; allowed: at least one"),
    "rows of a table": (lambda: text_table([TRIAL], "x", limit=-1), "limit=-1: too small; allowed: at least 1"),
    "no trial to show": (lambda: text_table([], "x"), r"trials=\[\]: none; allowed: at least one"),
    "direction of a figure": (lambda: marginals([TRIAL], SPACE, "x", "up"), "monitor_mode='up': unknown"),
}


@pytest.mark.parametrize(("call", "message"), CASES.values(), ids=CASES)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
