"""Pairs of sentences from files: side by side, lower-cased, nothing cut or lost in silence."""

import gzip

import chex
import numpy as np
import pytest

from dlcore.data.pairs import Sentences, multi30k, pair_source
from dlcore.data.words import Words

LINES = {
    "train.de": "Ein Mann.\nZwei Hunde laufen über Gras.\nEin Hund",
    "train.en": "A man.\nTwo dogs run over grass.\nA dog",
    "val.de": "Ein Hund",
    "val.en": "A dog",
    "test_2016_flickr.de": "Gras",
    "test_2016_flickr.en": "Grass",
}


def written(folder, **changed):
    for name, text in {**LINES, **changed}.items():
        if text is not None:
            (folder / f"{name}.gz").write_bytes(gzip.compress(f"{text}\n".encode()))
    return folder


def test_files_are_read_side_by_side(tmp_path):
    splits = multi30k(written(tmp_path))
    assert {k: len(s.source) for k, s in splits.items()} == {"train": 3, "valid": 1, "test": 1}
    assert splits["train"].source[1] == "zwei hunde laufen über gras."
    assert splits["train"].target[1] == "two dogs run over grass."
    assert splits["test"].name == "multi30k de-en (test)"
    assert multi30k(tmp_path, "en", "de")["valid"].source == ["a dog"]
    (tmp_path / "val.de.gz").unlink()
    (tmp_path / "val.de").write_text("\ufeffEin Hündin\n", encoding="utf-8")  # with a byte order mark
    assert multi30k(tmp_path)["valid"].source == ["ein hündin"]


def test_tokens_of_a_static_length(tmp_path):
    train = multi30k(written(tmp_path))["train"]
    source, target = Words.of(train.source), Words.of(train.target)
    whole = pair_source(train, source, target)
    chex.assert_shape(whole.arrays["source"], (3, 7))
    chex.assert_shape(whole.arrays["target"], (3, 8))
    assert whole.notes == ()
    short = pair_source(train, source, target, 3)  # "ein mann ." has three
    chex.assert_shape(short.arrays["source"], (2, 4))
    chex.assert_shape(short.arrays["target"], (2, 5))
    assert list(short.names) == ["1", "3"]
    assert short.notes == (
        "multi30k de-en (train): 1 of 3 pairs have a sentence of more than 3 tokens (the longest has 6) and are "
        "left out",
    )
    np.testing.assert_array_equal(short.arrays["source"][1], whole.arrays["source"][2, :4])
    assert source.decode(short.arrays["source"][0]) == "ein mann ."
    assert target.decode(short.arrays["target"][1]) == "a dog"


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"train.en": "A man.\n\nA dog"}, ValueError, r"train.en.gz: line 2 is empty; allowed: one sentence per line"),
        ({"val.en": ""}, ValueError, r"val.en.gz: line 1 is empty"),
        ({"val.en": "A dog\nA cat"}, ValueError, "1 and 2 lines; allowed: as many of each"),
        ({"val.en": "\0".join("A dog")}, ValueError, r"val.en.gz: holds NUL, as UTF-16 does; allowed: UTF-8 text"),
        ({"val.en": None}, FileNotFoundError, r"it has neither val.en.gz nor val.en"),
    ],
)
def test_files_that_do_not_fit_are_named(tmp_path, changed, error, message):
    with pytest.raises(error, match=message):
        multi30k(written(tmp_path, **changed))


def test_missing_folders_and_invalid_sentence_pairs_are_refused(tmp_path):
    words = Words.of(["a dog"])
    with pytest.raises(FileNotFoundError, match="no folder there"):
        multi30k(tmp_path / "no")
    with pytest.raises(ValueError, match="target='de': the language of the source"):
        multi30k(tmp_path, "de", "de")
    with pytest.raises(ValueError, match="sentences: 2 and 1; allowed: as many of each"):
        pair_source(Sentences(["a", "dog"], ["a"]), words, words)
    with pytest.raises(ValueError, match="target='  ': no word in line 2"):
        pair_source(Sentences(["a", "dog"], ["a", "  "]), words, words)
    with pytest.raises(ValueError, match="length=1: all pairs of pairs are longer; allowed: at least 2"):
        pair_source(Sentences(["a dog"], ["a dog"]), words, words, 1)
    (written(tmp_path) / "val.de.gz").write_bytes(b"plain")
    with pytest.raises(ValueError, match=r"val.de.gz: not UTF-8 text"):
        multi30k(tmp_path)
