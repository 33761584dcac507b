"""Points where they should be, the best line against a plain search, and who can learn what."""

import numpy as np
import pytest

from dlcore.classic_ml import linear_training, mlp
from dlcore.classic_ml.hard_cases import PROBLEMS, annulus, linear_bound, parity, polar, three_modes, xor


def test_points_are_labelled_by_the_rule():
    x, label = xor(300)
    np.testing.assert_array_equal(label, (np.sign(x[:, 0]) == np.sign(x[:, 1])).astype(int))
    assert len(np.unique(np.sign(x), axis=0)) == 4, "points in all quadrants"
    x, label = annulus(300)
    np.testing.assert_array_equal(label, (np.hypot(*x.T) > 0.95).astype(int))
    x, label = three_modes(300)
    np.testing.assert_array_equal(label, (np.abs(np.round(x[:, 0])) % 2 == 0).astype(int))
    x, label = parity(3)
    np.testing.assert_array_equal(label, (x == 1).sum(1) % 2)
    assert len(np.unique(x, axis=0)) == 8


@pytest.mark.covers("DD-12")
def test_the_best_line_is_a_worked_number():
    """Three of the four corners of xor can be right; with a gap between the classes all can, with equal labels too."""
    square = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    assert linear_bound(square, np.array([0, 1, 1, 0])) == 0.75
    assert linear_bound(square, np.array([1, 0, 0, 0])) == 1
    assert linear_bound(square, np.array([1, 1, 1, 1])) == 1


@pytest.mark.slow(only=["xor", "annulus", "three modes"])
@pytest.mark.covers("DD-12")
@pytest.mark.parametrize("name", PROBLEMS)
def test_a_line_stays_near_chance_and_two_layers_do_not(name):
    (x, label), (new, new_label) = PROBLEMS[name](600, 0), PROBLEMS[name](600, 1)
    linear = linear_training.train(x, label, steps=1000)
    layers = mlp.train(x, label, hidden=(32,), l2=0, learning_rate=0.1, steps=3000)
    assert abs((linear_training.predict(linear, new) == new_label).mean() - 0.5) < 0.2
    assert linear_bound(new, new_label) < 0.76
    assert (mlp.predict(layers, new) == new_label).mean() > 0.99


@pytest.mark.slow
@pytest.mark.covers("DD-12")
def test_parity_needs_a_second_layer():
    x, label = parity(6)
    linear = linear_training.train(x, label, steps=500)
    layers = mlp.train(x, label, hidden=(64,), l2=0, learning_rate=0.1, steps=2000)
    assert (linear_training.predict(linear, x) == label).mean() <= 0.65
    assert (mlp.predict(layers, x) == label).mean() > 0.99


@pytest.mark.covers("DD-13")
def test_in_polar_coordinates_the_annulus_is_linear():
    np.testing.assert_allclose(polar(np.array([[3.0, 4.0], [0, -2]])), [[5, np.arctan(4 / 3)], [2, -np.pi / 2]])
    (x, label), (new, new_label) = annulus(600, 0), annulus(600, 1)
    model = linear_training.train(polar(x), label, l2=0, learning_rate=1.0, steps=3000)
    assert (linear_training.predict(model, polar(new)) == new_label).all()


def test_points_fill_their_regions_and_stay_inside():
    """Of 4000 points some are within a hundredth of each border; 3/4 of a disc are outside half its radius."""

    def reaches(values, low, high):
        np.testing.assert_allclose([values.min(), values.max()], [low, high], atol=0.011)
        assert low <= values.min() < values.max() <= high

    x, _ = xor(4000)
    reaches(np.abs(x), 0.05, 1)
    assert np.abs(x).mean() == pytest.approx(0.525, abs=0.02)
    x, label = annulus(4000)
    radius = np.hypot(*x.T)
    reaches(radius[label == 0], 0, 0.9)
    reaches(radius[label == 1], 1, 2)
    assert label.mean() == 0.5
    reaches(np.arctan2(*x.T), -np.pi, np.pi)
    x, label = three_modes(4000)
    center = np.round(x[:, 0])
    assert set(center[label == 1]) == {-2, 0, 2}
    assert set(center[label == 0]) == {-3, -1, 1, 3}
    away = np.hypot(x[:, 0] - center, x[:, 1])
    reaches(away, 0, 0.4)
    assert (away > 0.2).mean() == pytest.approx(0.75, abs=0.03)


def test_the_least_and_the_most_bits():
    x, label = parity(2)
    assert x.tolist() == [[-1, -1], [1, -1], [-1, 1], [1, 1]]
    assert label.tolist() == [0, 1, 1, 0]
    assert parity(16)[0].shape == (2**16, 16)
    # Two directions, to the right and to the left: only the second sees class 0 below class 1.
    assert linear_bound(np.array([[0.0, 0], [1, 0.5], [2, -0.5]]), np.array([1, 0, 0]), 2) == 1
    # The one direction is to the right.
    assert linear_bound(np.array([[0.0, 0], [1, 0], [2, 0]]), np.array([0, 1, 1]), 1) == 1
    assert linear_bound(np.array([[0.0, 0], [0, 1], [0, 2]]), np.array([1, 0, 0]), 1) == pytest.approx(2 / 3)
