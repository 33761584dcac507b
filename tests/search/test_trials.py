"""The values of a trial, its summary, its later batches, and its score."""

import math

import numpy as np

from dlcore.search.trials import OffsetPipeline, experiment_of, run_of, summary, trial_of

PAGE = "experiments.classification.supervised"
FLAGS = ["--model=mlp", "--model.hidden=16", "--augment=none", "--batch_size=64", "--steps=20", "--ema=none"]


def test_a_trials_values_replace_the_shared_flags_to_the_last_digit():
    values = {"learning_rate": 0.1 + 0.2, "optimizer": "sgd", "batch_size": 8}
    flags = run_of(experiment_of(PAGE), [*FLAGS, "--learning_rate=7", "--seed=3"], values).flags
    assert {name: flags[name] for name in values} == values  # 0.30000000000000004
    assert flags.seed == 3
    assert "learning_rate" in flags.given


def test_a_summary_names_each_value_to_four_digits():
    assert (
        summary({"rate": 0.123456, "steps": 123456, "optimizer": "sgd"}) == "rate=0.1235, steps=123456, optimizer=sgd"
    )


def test_a_later_pipeline_gives_later_batches():
    class Steps:
        settings = {"batch_size": 2}

        def batch_at(self, step):
            return step

    later = OffsetPipeline(Steps(), 5)
    assert (later.batch_at(0), later.batch_at(2)) == (5, 7)
    assert later.settings == {"batch_size": 2, "offset": 5}


def test_a_trial_is_scored_by_its_best_validation_and_by_its_step():
    values, steps, scores = {"rate": 0.1}, [5, 10, 15, 20], [0.5, np.nan, 0.25, 0.25]
    assert trial_of(values, steps, scores, "max")[:3] == (values, 0.5, 5)
    best = trial_of(values, steps, np.array(scores), "min")
    assert best[:3] == (values, 0.25, 15), "the first of equal ones"
    assert best.curve[0] == steps
    np.testing.assert_array_equal(best.curve[1], scores)
    assert (best.dropped, best.error) == (0, "")
    none = trial_of(values, [5], [np.inf], "max")
    assert math.isnan(none.score)
    assert (none.step, none.curve) == (0, ([5], [np.inf]))
