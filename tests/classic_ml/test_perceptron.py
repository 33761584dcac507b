"""The perceptron: a worked run, Novikoff's bound, and what it does where no line separates."""

import numpy as np
import pytest

from dlcore.classic_ml import perceptron


@pytest.mark.covers("DD-30")
def test_a_run_by_hand():
    """(1, 1) as +: 0 is a mistake, w = (1, 1). (0, 2) as -: 2 > 0, w = (1, -1). Pass two: 0 is a mistake, w = (2, 0);
    (0, 2): -0 is one, w = (2, -2). Pass three: 0 again, (3, -1); (0, 2): -2 is right. Pass four: 2, and no mistake."""
    w, mistakes = perceptron.binary_perceptron([[1, 1], [0, 2]], [1, -1], epochs=5)
    np.testing.assert_array_equal(w, [3, -1])
    np.testing.assert_array_equal(mistakes, [2, 2, 1, 0, 0])
    w, mistakes = perceptron.binary_perceptron([[0.5, 0.5], [0, 1]], [1, -1], epochs=5)
    np.testing.assert_array_equal(w, [1.5, -0.5])  # the scale changes no decision
    np.testing.assert_array_equal(mistakes, [2, 2, 1, 0, 0])


@pytest.mark.covers("DD-30")
@pytest.mark.parametrize("seed", range(5))
def test_mistakes_stay_below_novikoffs_bound(seed):
    rng = np.random.default_rng(seed)
    u = rng.normal(size=4)
    u /= np.linalg.norm(u)
    x = rng.normal(size=(400, 4))
    x = x[np.abs(x @ u) > 0.3]
    sign = np.sign(x @ u)
    gamma, radius = perceptron.margin(u, x, sign), np.linalg.norm(x, axis=1).max()
    assert gamma > 0.3
    w, mistakes = perceptron.binary_perceptron(x, sign, epochs=100)
    assert mistakes[-1] == 0
    assert perceptron.margin(w, x, sign) > 0
    assert 0 < mistakes.sum() <= (radius / gamma) ** 2


@pytest.mark.covers("DD-30")
def test_it_never_stops_on_xor():
    x = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 1], [1, 1, 1]])
    _, mistakes = perceptron.binary_perceptron(x, [-1, 1, 1, -1], epochs=50)
    assert (mistakes > 0).all()


@pytest.mark.covers("DD-30")
def test_three_separable_classes_are_learnt():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 120)
    x = np.array([[5.0, 0], [-5, 0], [0, 8]])[label] + rng.uniform(-1, 1, (120, 2))
    model = perceptron.train(x, label + 4, epochs=100)
    assert model.mistakes[-1] == 0
    np.testing.assert_array_equal(perceptron.predict(model, x), label + 4)


def test_the_margin_is_the_least_signed_distance():
    """(3, 4) . (3, 1) = 13 and (3, 4) . (1, 2) = 11, over the length 5; the second may be on the wrong side."""
    x = np.array([[3.0, 1], [1, 2]])
    assert perceptron.margin(np.array([3.0, 4]), x, np.array([1, 1])) == pytest.approx(11 / 5)
    assert perceptron.margin(np.array([3.0, 4]), x, np.array([1, -1])) == pytest.approx(-11 / 5)
    with pytest.raises(ValueError, match=r"no direction; allowed: \[2\], not all 0"):
        perceptron.margin(np.zeros(2), x, np.array([1, 1]))
