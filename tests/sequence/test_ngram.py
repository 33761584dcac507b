"""The loss of counts, by hand."""

import numpy as np
import pytest

from dlcore.sequence.ngram import ngram_loss


def test_counts_of_a_short_text():
    # "a b a b a a": after a come b, b, a; after b come a, a. Smoothing 1/2 over two tokens.
    train, test = np.array([0, 1, 0, 1, 0, 0], np.uint8), np.array([0, 1, 1])
    assert ngram_loss(train, test, 1, 2, 0.5) == pytest.approx(-(np.log(2.5 / 4) + np.log(0.5 / 3)) / 2)
    # Single tokens: four of six are a.
    assert ngram_loss(train, test, 0, 2, 0.5) == pytest.approx(-(np.log(4.5 / 7) + 2 * np.log(2.5 / 7)) / 3)
    # A context that never came up: uniform.
    assert ngram_loss(train, np.array([1, 1, 0]), 2, 2, 0.5) == pytest.approx(np.log(2))


def test_too_high_orders_are_refused():
    with pytest.raises(ValueError, match="order=3: does not fit; allowed: below 3 tokens"):
        ngram_loss(np.arange(9), np.arange(3), 3, 9)
    # 2^62 numbers of contexts and their next tokens fit, 2^63 do not.
    zeros = np.zeros(64, int)
    assert ngram_loss(zeros, zeros, 61, 2, 0.0) == 0
    with pytest.raises(ValueError, match=r"order=62: does not fit; .* contexts within 64 bits"):
        ngram_loss(zeros, zeros, 62, 2)
    with pytest.raises(ValueError, match="contexts within 64 bits"):
        ngram_loss(np.arange(9), np.arange(9), 8, 1000)
