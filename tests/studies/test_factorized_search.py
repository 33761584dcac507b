"""The target's cost, and the verdict."""

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
