"""Simple methods on sequences, by hand and by other libraries."""

import numpy as np
import pytest

from dlcore.diagnostics.simple_sequences import KneserNey, best_kneser_ney, linear_prediction, word_vectors


def test_probabilities_of_kneser_ney_sum_to_one_after_any_context():
    text = np.random.default_rng(0).integers(5, size=300)
    model = KneserNey(text, 4, 6)
    contexts = np.array([[0, 1, 2], [5, 5, 5], [-1, -1, 3], [-1, -1, -1], list(text[7:10])])
    sums = sum(model.probabilities(contexts, np.full(5, token)) for token in range(6))
    np.testing.assert_allclose(sums, 1)


def test_kneser_ney_bigrams_by_hand():
    """The text abacab: ab 2, ba 1, ac 1, ca 1; each of a, b, c follows 2, 1, 1 different tokens."""
    model = KneserNey(np.array([0, 1, 0, 2, 0, 1]), 2, 3)
    high, low = 3 / (3 + 2 * 1), 2 / (2 + 2 * 1)  # n1 / (n1 + 2 n2) of bigrams, and of counts 2, 1, 1
    b = ((1 - low) + low * 3 / 3) / 4
    assert model.probabilities(np.array([[0]]), np.array([1])) == pytest.approx(((2 - high) + high * 2 * b) / 3)
    assert model.probabilities(np.array([[-1]]), np.array([1])) == pytest.approx(b)


def test_the_best_order_of_a_text_of_period_three():
    text = np.tile([0, 1, 0, 2, 0, 0, 1, 2], 40)
    model = best_kneser_ney(text[:200], text[200:260], 3, longest=5)
    assert model.order >= 3
    assert model.loss(text[260:]) < KneserNey(text[:200], 2, 3).loss(text[260:]) / 2


def test_words_of_one_topic_have_near_vectors():
    rng = np.random.default_rng(0)
    text = np.concatenate([rng.integers(5, size=50) + 5 * (i % 2) for i in range(40)])
    vectors = word_vectors(text, 10, 2, window=4)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    assert cosine[:5, :5].min() > 0.9
    assert cosine[:5, 5:].max() < 0.5


def test_recursive_least_squares_are_those_of_ridge_regression():
    """Without forgetting, the last prediction is that of the ridge regression of all samples before."""
    from sklearn.linear_model import Ridge

    signal = np.random.default_rng(0).normal(size=(1, 60)).cumsum(1)
    predictions, _ = linear_prediction(signal, taps=3, forgetting=1.0, ridge=0.5)
    padded = np.concatenate([np.zeros(3), signal[0]])
    rows = np.lib.stride_tricks.sliding_window_view(padded, 3)[:60]
    ridge = Ridge(alpha=0.5, fit_intercept=False).fit(rows[:-1], signal[0, :-1])
    assert predictions[0, -1] == pytest.approx(ridge.predict(rows[-1:])[0], rel=1e-6)


@pytest.mark.parametrize(("order", "tokens"), [(0, [0, 1, 0]), (9, [0, 1, 0]), (2, [0, 5, 0])])
def test_bad_orders_and_tokens(order, tokens):
    with pytest.raises(ValueError):
        KneserNey(np.array(tokens), order, 3)
