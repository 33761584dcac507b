"""The grammar of German and English: agreement, word order, and one translation each."""

import itertools

import pytest

from dlcore.data.grammar import grammar_pairs

ENDINGS = {
    "der": ("e", ["hund", "mann", "vogel", "baum", "ball"]),
    "den": ("en", ["hund", "mann", "vogel", "baum", "ball"]),
    "die": ("e", ["katze", "frau", "blume", "uhr", "lampe"]),
    "das": ("e", ["kind", "pferd", "haus", "auto", "boot"]),
    "einen": ("en", ["hund", "mann", "vogel", "baum", "ball"]),
    "eine": ("e", ["katze", "frau", "blume", "uhr", "lampe"]),
}


@pytest.fixture(scope="module")
def pairs():
    return grammar_pairs(3000)


def test_each_sentence_has_one_translation_and_few_are_drawn_twice(pairs):
    there, back = {}, {}
    for german, english in zip(pairs.source, pairs.target, strict=True):
        assert there.setdefault(german, english) == english
        assert back.setdefault(english, german) == german
    assert len(there) > 2900


def test_articles_and_adjectives_agree_with_their_nouns(pairs):
    seen = set()
    for sentence in pairs.source:
        words = sentence.split()
        for i, word in enumerate(words):
            if word in ENDINGS:
                ending, nouns = ENDINGS[word]
                noun = words[i + 1]
                if noun not in nouns:
                    assert noun.endswith(ending)
                    noun = words[i + 2]
                assert noun in nouns, sentence
                seen.add(word)
    assert seen == set(ENDINGS)
    for sentence in pairs.target:
        words = sentence.split()
        articles = [pair for pair in itertools.pairwise(words) if pair[0] in ("a", "an")]
        assert all((word == "an") == (after[0] in "aeiou") for word, after in articles)


def test_verbs_stand_where_german_has_them(pairs):
    """Second in a main clause, behind the object after `weil`, and an infinitive at the end."""
    for german, english in zip(pairs.source, pairs.target, strict=True):
        main, *because = german.removesuffix(" .").split(" , ")
        words = main.split()
        if words[0] in ("heute", "jetzt", "oft", "hier"):
            assert words[1].endswith("t") or words[1] == "will"
        if because:
            assert because[0].split()[0] == "weil"
            assert because[0].split()[-1] in ("sieht", "sucht", "findet", "kauft", "malt", "liebt", "will")
        assert german.split().count("will") == english.split().count("wants")
        if "will" in words:
            assert words[-1].endswith("en")


def test_a_pair_is_a_function_of_seed_and_index(pairs):
    few = grammar_pairs(5)
    assert (few.source, few.target) == (pairs.source[:5], pairs.target[:5])
    other = grammar_pairs(5, 1, "en", "de")
    assert other.source[0].split()[-1] == "."
    assert set(other.source).isdisjoint(few.target)
    assert grammar_pairs(5, 0, "en", "de")[:2] == (few.target, few.source)
    with pytest.raises(ValueError, match="source='de', target='fr': not these two; allowed: de and en, or en and de"):
        grammar_pairs(1, 0, "de", "fr")
    with pytest.raises(ValueError, match="seed=-1: too small"):
        grammar_pairs(1, -1)
