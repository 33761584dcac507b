"""Words and byte pairs there and back, special tokens, padding, and what a run saves."""

import dataclasses
import json
import sys
import unicodedata

import chex
import numpy as np
import pytest

from dlcore.data.words import END, PAD, START, UNKNOWN, BytePairs, Words, pad_sequences, tokenize, vocabulary_from_dict
from dlcore.extras import MissingPackage

SENTENCES = ["The red circle.", "the green circle", "a red square"]


def test_a_text_is_split_at_punctuation_and_lower_cased():
    assert tokenize("A Grün-Blau dog, isn't it?") == ["a", "grün", "-", "blau", "dog", ",", "isn't", "it", "?"]
    assert tokenize(" \n") == []


def test_texts_that_unicode_calls_equal_have_equal_words():
    """Canonical equivalence (UAX #15): composed or not; and a mark that does not compose belongs to its letter."""
    for text, words in (
        ("Café noir, ǅ", ["café", "noir", ",", "ǆ"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("İstanbul'da", ["i\u0307stanbul'da"]),
        ("J\u030cx", ["\u01f0x"]),
        ("q\u0308y a\u0332\u0332", ["q\u0308y", "a\u0332\u0332"]),
        ("می\u200cخواهم!", ["می\u200cخواهم", "!"]),
        ("≠ a", ["≠", "a"]),
        ("!\u20dd \u0301", ["!\u20dd", "\u0301"]),
        ("한국어", ["한국어"]),
    ):
        for form in ("NFC", "NFD"):
            assert tokenize(unicodedata.normalize(form, text)) == words
    composed, apart = "a café", "a cafe\u0301"
    np.testing.assert_array_equal(Words.of([composed]).encode(apart), Words.of([apart]).encode(composed))
    assert UNKNOWN not in Words.of([composed]).encode(apart)


def test_byte_pairs_keep_the_mark_that_begins_their_words():
    texts = ["a \u2581 b", "x\u2581y \u2581\u2581", "cafe\u0301 a b"]
    pairs = BytePairs.train(texts, 40)
    for text in texts:
        assert pairs.decode(pairs.encode(text)) == " ".join(tokenize(text))
        assert "".join(p.removeprefix("##") for p in pairs.pieces(pairs.encode(text))) == "".join(tokenize(text))


def test_words_are_sorted_by_frequency_behind_the_special_ones():
    words = Words.of(SENTENCES)
    assert words.words == ("circle", "red", "the", ".", "a", "green", "square")
    assert (PAD, START, END, UNKNOWN) == (0, 1, 2, 3)
    assert len(words) == 11
    np.testing.assert_array_equal(words.encode("The blue CIRCLE"), [6, UNKNOWN, 4])
    chex.assert_shape(words.encode(""), (0,))
    assert words.unknown("the blue ring circle") == ["blue", "ring"]
    assert Words.of(SENTENCES, min_count=2).words == ("circle", "red", "the")
    with pytest.raises(ValueError, match="sentences: no word occurs min_count=3 times; allowed: one or more"):
        Words.of(SENTENCES, min_count=3)
    assert len({words, Words(words.words), Words(("a",))}) == 2


def test_decoding_stops_at_the_end_and_keeps_the_unknown():
    words = Words.of(SENTENCES)
    assert words.decode([START, 6, UNKNOWN, 4, END, 5, 5]) == "the <unk> circle"
    assert words.decode([PAD, START, END, 4]) == ""
    assert words.decode(words.encode("The green square.")) == "the green square ."
    with pytest.raises(ValueError, match="tokens: 11 is not in the vocabulary; allowed: 0 to 10"):
        words.decode([11])


def test_byte_pairs_join_to_words_and_leave_nothing_unknown():
    pairs = BytePairs.train(["low lower lowest", "new newer newest wider"] * 3, 40)
    assert 20 < len(pairs) <= 40
    for text in ("lower", "Newest low", "we lost rest"):  # words never seen, of seen characters
        tokens = pairs.encode(text)
        assert tokens.dtype == np.int32
        assert UNKNOWN not in tokens
        assert (tokens > UNKNOWN).all()
        assert pairs.decode([START, *tokens, END, 7]) == " ".join(tokenize(text))
    assert len(pairs.encode("lower")) < 5  # "low" was joined
    assert "".join(pairs.pieces(pairs.encode("wider low"))).replace("##", "") == "widerlow"
    word, *rest = pairs.pieces(pairs.encode("rtrt"))
    assert rest
    assert not word.startswith("##")
    assert all(piece.startswith("##") for piece in rest)
    assert pairs.pieces([START, UNKNOWN, END]) == ["<unk>"]
    assert UNKNOWN in pairs.encode("quiz")
    assert pairs.decode([UNKNOWN]) == "<unk>"
    assert BytePairs.train(["low lower lowest", "new newer newest wider"] * 3, 40) == pairs
    # Four special tokens, five characters and the blank.
    with pytest.raises(ValueError, match=r"size=9: too small .* allowed: at least 10$"):
        BytePairs.train(["low lower"], 9)
    assert [len(BytePairs.train(["low lower"], size)) for size in (10, 12)] == [10, 12]


def test_a_vocabulary_is_saved_as_json_and_read_again():
    for vocabulary in (Words.of(SENTENCES), BytePairs.train(SENTENCES, 40)):
        again = vocabulary_from_dict(json.loads(json.dumps(vocabulary.to_dict())))
        assert type(again) is type(vocabulary)
        assert len(again) == len(vocabulary)
        np.testing.assert_array_equal(again.encode("the green circle ."), vocabulary.encode("the green circle ."))
    with pytest.raises(ValueError, match="kind='bytes': unknown vocabulary; allowed: words, byte_pairs"):
        vocabulary_from_dict({"kind": "bytes"})


def test_a_vocabulary_cannot_be_changed_and_byte_pairs_name_their_package(monkeypatch):
    for vocabulary, field in ((Words.of(SENTENCES), "words"), (BytePairs.train(SENTENCES, 40), "tokenizer")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(vocabulary, field, ())
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for call in (lambda: BytePairs.train(SENTENCES, 40), lambda: BytePairs("{}")):
        with pytest.raises(MissingPackage, match="a vocabulary of byte pairs needs tokenizers, which is not installed"):
            call()


def test_padding_by_hand():
    chex.assert_shape(pad_sequences([]), (0, 2))
    np.testing.assert_array_equal(pad_sequences([[7, 8], [9]]), [[1, 7, 8, 2], [1, 9, 2, 0]])
    np.testing.assert_array_equal(pad_sequences([[7, 8], [9]], 4, start=False), [[7, 8, 2, 0], [9, 2, 0, 0]])
    assert pad_sequences([[7]], end=False, start=False).dtype == np.int32
