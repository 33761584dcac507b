"""Search by embedding and the threshold of verification."""

import jax
import numpy as np
import pytest

from dlcore.classical_vision.retrieval import acceptance_threshold, all_pairs, search
from dlcore.metrics.retrieval import recall_at_k, verification


@pytest.mark.covers("FE-06")
def test_search_by_hand_and_as_brute_force():
    gallery = np.array([[2.0, 0], [0, 3], [1, 1]])
    found = search(np.array([[5.0, 1]]), gallery, 3)  # cosines 5, 1, 6/sqrt 2 = 4.24 over sqrt 26
    np.testing.assert_array_equal(found.index, [[0, 2, 1]])
    np.testing.assert_allclose(found.similarity, [[5, 6 / np.sqrt(2), 1]] / np.sqrt(26), rtol=1e-6)
    rng = np.random.default_rng(0)
    q, g = rng.normal(size=(30, 5)), rng.normal(size=(40, 5))
    cosine = (q / np.linalg.norm(q, axis=1, keepdims=True)) @ (g / np.linalg.norm(g, axis=1, keepdims=True)).T
    got = search(q, g, 4, batch_size=7)
    np.testing.assert_array_equal(got.index, np.argsort(-cosine, 1)[:, :4])
    labels, asked = rng.integers(0, 6, 40), rng.integers(0, 6, 30)
    hit = (labels[np.asarray(got.index)] == asked[:, None]).any(1).mean()
    assert hit == recall_at_k(q, asked, 4, g, labels)


@pytest.mark.covers("FE-06")
def test_verification_by_hand():
    # pairs of (1, 0), (0, 1), (1, 1) with labels 0, 1, 0: cosines 0, .707, .707
    similarity, same = all_pairs(np.array([[1.0, 0], [0, 1], [1, 1]]), np.array([0, 1, 0]))
    np.testing.assert_allclose(similarity, [0, np.sqrt(0.5), np.sqrt(0.5)], rtol=1e-6)
    np.testing.assert_array_equal(same, [False, True, False])
    scores, same = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]), np.array([True, True, False, True, False, False])
    # none of three different pairs may pass: above .7; one of three: above .5
    assert acceptance_threshold(scores, same, 0.0) == pytest.approx(0.7)
    assert (scores[~same] >= acceptance_threshold(scores, same, 0.0)).sum() == 0
    assert (scores[~same] >= acceptance_threshold(scores, same, 1 / 3)).sum() == 1
    assert (scores[same] >= acceptance_threshold(scores, same, 1 / 3)).sum() == 3
    # two of three: just above .4; all three: .4 itself
    assert acceptance_threshold(scores, same, 2 / 3) == np.nextafter(0.4, 1)
    assert acceptance_threshold(scores, same, 1.0) == 0.4


@pytest.mark.covers("FE-06")
def test_the_threshold_is_a_point_of_the_roc():
    rng = np.random.default_rng(0)
    same = rng.uniform(size=500) < 0.3
    scores = rng.normal(size=500) + 1.5 * same
    for rate in (0.01, 0.1):
        t = acceptance_threshold(scores, same, rate)
        assert (scores[~same] >= t).mean() <= rate
        assert (scores[same] >= t).mean() == pytest.approx(verification(scores, same, (rate,)).true_accept_at[rate])


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"k=3: out of range; allowed: 1\.\.2"):
        search(np.eye(2), np.eye(2), 3)
    with pytest.raises(ValueError, match=r"k=0: out of range; allowed: 1\.\.2"):
        search(np.eye(2), np.eye(2), 0)
    assert jax.eval_shape(lambda x: search(x, np.eye(2), 1).index, np.eye(2)).shape == (2, 1)
    with pytest.raises(ValueError, match=r"embeddings.shape=\(1, 2\)"):
        all_pairs(np.zeros((1, 2)), np.zeros(1))
    with pytest.raises(ValueError, match="different pairs"):
        acceptance_threshold([0.1], [True])
    with pytest.raises(ValueError, match="false_accept_rate=2:"):
        acceptance_threshold([0.1, 0.2], [True, False], 2)


@pytest.mark.parametrize("length", [1e-30, 1e20])
def test_embeddings_of_any_length_have_a_direction(length):
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    mixed = np.where(np.arange(20)[:, None] % 2, np.float32(length) * x, x)
    np.testing.assert_array_equal(search(x, mixed, 1).index[:, 0], np.arange(20))
    np.testing.assert_allclose(all_pairs(mixed, np.zeros(20))[0], all_pairs(x, np.zeros(20))[0], atol=1e-6)
