"""The opinion of each sentence by a reader of another make, and a bag of words that knows nothing."""

import numpy as np
import pytest

from dlcore.data import sentiment
from dlcore.data.sentiment import WORDS, sentiment_sentences, word_counts


@pytest.fixture(scope="module")
def source():
    return sentiment_sentences(600, 3)


def sentences(source):
    return [[WORDS[t] for t in row if t] for row in source.arrays["text"]]


def opinion(words):
    """The last clause decides, whatever joins it: one adjective, turned round by a negation."""
    last = words[max((i + 1 for i, w in enumerate(words) if w in (",", "but", "and")), default=0) :]
    praise = any(w in sentiment.GOOD for w in last)
    assert praise != any(w in sentiment.BAD for w in last)
    return praise != any(w in sentiment.NEGATIONS for w in last)


@pytest.mark.covers("SQ-15")
def test_the_label_is_the_opinion_of_the_last_clause(source):
    got = [opinion(words) for words in sentences(source)]
    np.testing.assert_array_equal(source.arrays["label"], got)
    assert 0.45 < np.mean(got) < 0.55
    np.testing.assert_array_equal(source.arrays["length"], [len(words) for words in sentences(source)])
    assert len({len(words) for words in sentences(source)}) > 10
    assert source.arrays["length"].max() <= sentiment.LENGTH


@pytest.mark.covers("SQ-15")
def test_the_first_clause_agrees_after_and_alone(source):
    for words in sentences(source):
        for join in ("but", "and", ","):
            if join in words:
                first = words[words[0] == "although" : words.index(join)]
                assert (opinion(first) == opinion(words)) == (join == "and"), words


@pytest.mark.covers("SQ-15")
def test_counting_words_says_little():
    from sklearn.linear_model import LogisticRegression

    train, test = sentiment_sentences(1500, 0).arrays, sentiment_sentences(500, 1).arrays
    fitted = LogisticRegression(max_iter=300).fit(word_counts(train["text"]), train["label"])
    assert fitted.score(word_counts(test["text"]), test["label"]) < 0.6


def test_counts_leave_the_padding_out_and_a_sentence_depends_on_seed_and_index_alone(source):
    counts = word_counts(source.arrays["text"])
    np.testing.assert_array_equal(counts.sum(1), source.arrays["length"])
    np.testing.assert_array_equal(sentiment_sentences(5, 3).arrays["text"], source.arrays["text"][:5])
    with pytest.raises(ValueError, match="count=0"):
        sentiment_sentences(0)
