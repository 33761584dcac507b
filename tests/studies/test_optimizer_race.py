"""Runs against closed forms, the choice of rates, and the table."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.studies import optimizer_race as study


@pytest.mark.covers("OP-20")
def test_a_run_on_the_bowl_is_that_of_the_closed_form():
    """SGD: x shrinks by 1 - rate and y by 1 - 100 rate a step."""
    surface = study.SURFACES["bowl"]
    losses, paths = study.on_surface(surface, optax.sgd, [0.005, 0.03], 2, 10)
    start = paths[:, :, 0]
    np.testing.assert_allclose(paths[0, :, -1], start[0] * np.array([0.995, 0.5]) ** 10, rtol=1e-4)
    chex.assert_shape(losses, (2, 2, 11))
    np.testing.assert_allclose(losses[0, :, 0], (start[0] ** 2 * np.array([1, 100])).sum(-1) / 2, rtol=1e-5)
    np.testing.assert_array_equal(start[0], start[1])  # every rate starts at the same places
    assert (losses[1, :, -1] > 1e3).all()  # |1 - 100 * 0.03| = 2: it blows up


@pytest.mark.covers("OP-20")
def test_surfaces_have_their_minimum_at_zero():
    for name, places in (("bowl", [[0.0, 0]]), ("ravine", [[1.0, 1]]), ("saddle", [[0, 2**0.5], [0, -(2**0.5)]])):
        for place in places:
            w = jnp.array(place)
            assert float(study.SURFACES[name].function(w)) == pytest.approx(0, abs=1e-6)
            np.testing.assert_allclose(jax.grad(study.SURFACES[name].function)(w), 0, atol=1e-5)


@pytest.mark.covers("OP-20")
def test_the_best_rate_arrives_first_and_then_ends_lowest():
    losses = np.array([5, 1e-4, 2, 1e-4, 1e-5])
    assert study.arrival(losses) == 3  # at the second it was only passing by
    assert study.arrival(np.array([5.0, 4, 3])) == 3
    finals = np.array([[1.0, 3], [1.5, 1.5], [0.1, np.inf], [np.nan, 0]])
    assert study.best_rate(finals, np.zeros((4, 2))) == 1
    assert study.best_rate(finals, np.array([[9, 9], [9, 9], [9, 9], [4, 9]])) == 3


@pytest.mark.covers("OP-20")
def test_the_table_names_the_winner_of_each_problem_at_its_rate():
    finals = {
        "bowl": {"SGD": np.array([[1.0], [0.5], [np.nan]]), "Adam": np.array([[0.3], [0.9], [0.9]])},
        "digits": {"SGD": np.array([[0.5], [0.01], [0.2]]), "Adam": np.array([[0.9], [0.02], [0.2]])},
    }
    arrivals = {problem: {name: np.full((3, 1), 7) for name in values} for problem, values in finals.items()}
    accuracies = {"SGD": np.array([[0.1], [0.9], [0.2]]), "Adam": np.array([[0.1], [0.8], [0.2]])}
    result = study.report(np.array([0.1, 1.0, 10.0]), finals, arrivals, accuracies)
    assert "bowl: Adam (0.3 at rate 0.1, there at step 7); digits: SGD (0.01 at rate 1)" in result.verdict
    assert result.numbers["digits, test accuracy, SGD"] == 0.9
    assert result.numbers["best rate at the end of the grid"] == "Adam on bowl"


@pytest.mark.slow
@pytest.mark.covers("OP-20")
def test_digits_are_learned_at_a_good_rate_and_not_at_a_tiny_one():
    losses, accuracy = study.on_digits(optax.adam, [1e-6, 1e-2], 1, 40, 2)
    chex.assert_shape(losses, (2, 1, 2))
    assert losses[1, 0, -1] < 0.5 * losses[0, 0, -1]
    assert accuracy[1, 0] > 0.7


@pytest.mark.covers("OP-20")
def test_each_name_stands_for_its_optimizer():
    """Two steps at rate 0.1 on a gradient of 1, from 1; see each method's equation."""
    moves = {
        "SGD": (0.1, 0.1),
        "momentum": (0.1, 0.19),  # v = 1, then 0.9 + 1
        "Nesterov": (0.19, 0.271),  # 1 + 0.9 v
        "AdaGrad": (0.1, 0.1 / 2**0.5),  # over the root of the sum of squares
        "RMSProp": (1.0, 0.1 / (1 - 0.99**2) ** 0.5),  # over the root of 0.01, then of 0.0199
        "Adam": (0.1, 0.1),
        "AdamW": (0.1 + 1e-5, 0.1 + 0.9 * 1e-5),  # decay 0.1 1e-4 of the weight, 1 and then 0.9
    }
    assert set(moves) == set(study.OPTIMIZERS)
    for name, expected in moves.items():
        optimizer, w, steps = study.OPTIMIZERS[name](0.1), jnp.ones(()), []
        state = optimizer.init(w)
        for _ in range(2):
            update, state = optimizer.update(jnp.ones(()), state, w)
            w, steps = w + update, [*steps, -float(update)]
        np.testing.assert_allclose(steps, expected, rtol=2e-5, err_msg=name)
