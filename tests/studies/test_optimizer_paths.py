"""The valley, each optimizer's first step in it, and how steps are counted."""

import chex
import jax
import numpy as np
import pytest

from experiments.studies import optimizer_paths as study

SLOPE = np.array([-215.6, -88.0])
"""Of Rosenbrock's function at (-1.2, 1): -2 2.2 + 400 1.2 (1 - 1.44), 200 (1 - 1.44)."""


def test_the_slope_at_the_start():
    slope = jax.jit(jax.grad(study.rosenbrock))(np.array(study.START))
    np.testing.assert_allclose(slope, SLOPE, rtol=1e-5)
    assert study.rosenbrock(np.array([1.0, 1.0])) == 0


def test_each_name_is_the_optimizer_of_that_name():
    assert {name: make.__name__ for name, make in study.FIRST_ORDER.items()} == {
        "gradient descent": "gradient_descent",
        "momentum": "momentum",
        "Nesterov": "nesterov",
        "AdaGrad": "adagrad",
        "RMSProp": "rmsprop",
        "AdaDelta": "adadelta",
        "Adam": "adam",
        "AdaMax": "adamax",
        "NAdam": "nadam",
        "RAdam": "radam",
        "Rprop": "rprop",
        "ASGD": "asgd",
    }


def test_a_path_of_gradient_descent_by_hand():
    paths = study.first_order_paths(study.FIRST_ORDER["gradient descent"], np.array([1e-3, 2e-3]), 1)
    chex.assert_shape(paths, (2, 2, 2))
    for path, rate in zip(paths, (1e-3, 2e-3), strict=True):
        np.testing.assert_allclose(path, [study.START, study.START - rate * SLOPE], rtol=1e-5)


def test_steps_are_counted_from_where_the_value_stays_low():
    low, high = [1.0, 1.0], [0.0, 0.0]  # values 0 and 1
    assert study.steps_needed(np.array([high, low, high, low, low])) == 3
    assert study.steps_needed(np.array([high, low, high])) is None
    assert study.best_of(np.array([[high, high, low], [high, low, low], [high, high, high]])) == 1


def test_too_few_steps_are_named():
    with pytest.raises(ValueError, match="steps=0, num_rates=17: too few; allowed: at least 1 and 2"):
        study.study(steps=0)
