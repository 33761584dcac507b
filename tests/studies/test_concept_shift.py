"""The users' opinions, the personal features, each arm and the verdict."""

import numpy as np
import pytest

from experiments.studies import concept_shift as study


@pytest.mark.covers("MI-08")
def test_users_get_the_same_words_and_mean_the_opposite_by_some():
    x, spam, user = study.mails(6000, 10, 0.2, 1, 0)  # whose two turned words matter: opinions 0.35 and 0.82
    # A word is in three of ten mails of either user: a deviation of sqrt(.21 / 3000) = .0084.
    np.testing.assert_allclose(x[user == 0].mean(0), x[user == 1].mean(0), atol=5 * 0.0084 * np.sqrt(2))
    assert spam.mean() == pytest.approx(0.5, abs=0.03)
    opinion = np.random.default_rng(1).normal(size=10)
    for word in range(10):
        signs = []
        for who in (0, 1):
            has = x[user == who][:, word] == 1
            signs.append(np.sign(spam[user == who][has].mean() - spam[user == who][~has].mean()))
        if abs(opinion[word]) > 0.3:
            assert signs[0] == np.sign(opinion[word])
            assert (signs[0] == signs[1]) == (word >= 2), "the first fifth of the words is turned"


def test_personal_features_are_doubled_for_the_second_user():
    x, user = np.array([[1.0, 0], [1, 1]]), np.array([0, 1])
    np.testing.assert_array_equal(study.personal(x, user), [[1, 0, 0, 0], [1, 1, 1, 1]])


@pytest.mark.slow
@pytest.mark.covers("MI-08")
def test_only_the_personal_filter_can_serve_both():
    found = study.accuracies(0, 800, 12, 0.25)
    assert found["personal"] > found["shared"] + 0.05
    assert found["users"] == pytest.approx(0.5, abs=0.06)


@pytest.mark.covers("MI-08")
def test_the_verdict_turns_where_the_arms_are_swapped():
    good = [{"shared": 0.8, "personal": 0.95, "users": 0.5}] * 2
    assert study.report(good).holds
    assert study.report(good).headline.values == [0.95, 0.95]
    assert not study.report([{"shared": 0.95, "personal": 0.8, "users": 0.5}] * 2).holds
    assert not study.report([good[0], good[0] | {"users": 0.6}]).holds
