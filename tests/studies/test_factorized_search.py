"""The target's cost, the reward's part in the choice, and the verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import factorized_search as study

ALONE = {"cost": np.array([2.0, 1.8]), "accuracy": np.array([0.9, 0.92]), "child": ["a", "b"]}
BOTH = {"cost": np.array([1.0, 1.2]), "accuracy": np.array([0.88, 0.91]), "child": ["c", "d"]}


@pytest.mark.covers("ZO-23")
@pytest.mark.parametrize(
    ("alone", "both", "holds"),
    [
        (ALONE, BOTH, True),
        (BOTH, ALONE, False),  # the arms swapped
        (ALONE, BOTH | {"cost": np.array([1.0, 1.9])}, False),
        (ALONE, BOTH | {"accuracy": np.array([0.88, 0.87])}, False),
    ],
)
def test_the_verdict(alone, both, holds):
    assert study.report(alone, both).holds is holds


def test_the_target_has_a_cost_of_one_and_random_children_are_of_the_space():
    assert study.relative_cost(jnp.array(study.TARGET_CHILD)) == 1
    children = np.asarray(study.random_children(0, 500))
    np.testing.assert_array_equal(children.min(0), 0)
    np.testing.assert_array_equal(children.max(0) + 1, study.COUNTS)


@pytest.mark.weekly
@pytest.mark.covers("ZO-23")
def test_the_reward_prefers_the_cheap_child_of_two_that_are_as_accurate(monkeypatch):
    """Every child has an accuracy of one half: with cost in the reward the search ends at cheap ones."""
    monkeypatch.setattr(study, "accuracy", lambda variables, architecture, images, labels: 0.5 + 0 * architecture[0])
    search = study.searched.__wrapped__
    alone, both = (search(jax.random.key(0), w, None, None, None, 60, 8) for w in (0.0, -0.07))
    assert study.relative_cost(both) < 0.5 * study.relative_cost(alone)
    assert study.relative_cost(both) < 0.5


def test_one_arm_alone_has_the_cost_in_its_reward(monkeypatch):
    """A search is its exponent; its child costs and is right as often as that says."""
    data = {"valid_image": np.zeros(400), "valid_label": np.zeros(400)}
    steps = []
    monkeypatch.setattr(study, "digits_for_children", lambda seed: data)
    monkeypatch.setattr(study, "trained", lambda key, architectures, data: steps.append(len(architectures)))
    monkeypatch.setattr(study, "searched", lambda key, exponent, *_: np.array([exponent]))
    monkeypatch.setattr(study, "relative_cost", lambda choice: 3 + choice[0])
    monkeypatch.setattr(study, "accuracy", lambda variables, choice, *part: 0.9 + choice[0] / 10)
    monkeypatch.setattr(study, "child_blocks", lambda choice: [("one", choice[0]), ("two",)])
    monkeypatch.setattr(study, "report", lambda alone, both: (alone, both))
    alone, both = study.study(num_seeds=2, updates=1, children=2, steps=5, exponent=-2.0)
    assert steps == [5] * 6  # the shared weights of a seed, and the child of either search
    for row, cost, right, child in ((alone, 3, 0.9, "one 0.0; two"), (both, 1, 0.7, "one -2.0; two")):
        np.testing.assert_allclose(row["cost"], [cost] * 2)
        np.testing.assert_allclose(row["accuracy"], [right] * 2)
        assert row["child"] == [child] * 2
