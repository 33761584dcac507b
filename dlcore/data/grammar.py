"""Pairs of a German sentence and its English translation, drawn from a small grammar.

    heute will der kleine hund einen roten ball finden , weil die frau ein altes haus malt .
    today the small dog wants to find a red ball , because the woman paints an old house .

The sentences have the differences of the two languages: in German the verb comes second, but after its object in a
clause with "weil"; an infinitive ends its clause; and articles and adjectives agree with the gender and the case of
their noun. So a word-by-word translation is often wrong. Each German sentence has exactly one English translation, and
vice versa.
"""

from typing import Any

import numpy as np

from dlcore.data.pairs import Sentences
from dlcore.data.source import whole_numbers
from dlcore.ops.checks import check_range

__all__ = ["LANGUAGES", "grammar_pairs"]

LANGUAGES = ("de", "en")

_NOUNS = {
    "m": (("hund", "dog"), ("mann", "man"), ("vogel", "bird"), ("baum", "tree"), ("ball", "ball")),
    "f": (("katze", "cat"), ("frau", "woman"), ("blume", "flower"), ("uhr", "watch"), ("lampe", "lamp")),
    "n": (("kind", "child"), ("pferd", "horse"), ("haus", "house"), ("auto", "car"), ("boot", "boat")),
}
_ADJECTIVES = (
    ("klein", "small"),
    ("groß", "big"),
    ("rot", "red"),
    ("alt", "old"),
    ("jung", "young"),
    ("weiß", "white"),
    ("blau", "blue"),
    ("neu", "new"),
)
_VERBS = (
    ("sieht", "sehen", "sees", "see"),
    ("sucht", "suchen", "seeks", "seek"),
    ("findet", "finden", "finds", "find"),
    ("kauft", "kaufen", "buys", "buy"),
    ("malt", "malen", "paints", "paint"),
    ("liebt", "lieben", "loves", "love"),
)
_ADVERBS = (("heute", "today"), ("jetzt", "now"), ("oft", "often"), ("hier", "here"))
_ARTICLE = {
    # (definite, nominative) -> gender -> (article, ending of the adjective)
    (True, True): {"m": ("der", "e"), "f": ("die", "e"), "n": ("das", "e")},
    (True, False): {"m": ("den", "en"), "f": ("die", "e"), "n": ("das", "e")},
    (False, True): {"m": ("ein", "er"), "f": ("eine", "e"), "n": ("ein", "es")},
    (False, False): {"m": ("einen", "en"), "f": ("eine", "e"), "n": ("ein", "es")},
}
_Words = list[str]


def _pick(rng: np.random.Generator, items: Any) -> Any:
    return items[rng.integers(len(items))]


def _noun_phrase(rng: np.random.Generator, nominative: bool) -> tuple[_Words, _Words]:
    """Return an article, perhaps an adjective, and a noun, in German and in English."""
    gender = _pick(rng, "mfn")
    definite = bool(rng.integers(2))
    article, ending = _ARTICLE[definite, nominative][gender]
    german, english = _pick(rng, _NOUNS[gender])
    adjective = _pick(rng, _ADJECTIVES) if rng.integers(2) else None
    after = [english] if adjective is None else [adjective[1], english]
    indefinite = "an" if after[0][0] in "aeiou" else "a"
    return (
        [article, *([] if adjective is None else [adjective[0] + ending]), german],
        ["the" if definite else indefinite, *after],
    )


def _clause(rng: np.random.Generator, subordinate: bool) -> tuple[_Words, _Words]:
    """Return a clause of a subject, a verb and an object, in some with an adverb or "wants to"."""
    subject, english_subject = _noun_phrase(rng, True)
    target, english_target = _noun_phrase(rng, False)
    finite, infinitive, english, english_infinitive = _pick(rng, _VERBS)
    wants = bool(rng.integers(2))
    verb, rest = ("will", [infinitive]) if wants else (finite, [])
    spoken = [*english_subject, *(["wants", "to", english_infinitive] if wants else [english]), *english_target]
    if subordinate:
        return ["weil", *subject, *target, *rest, verb], ["because", *spoken]
    if not rng.integers(2):
        return [*subject, verb, *target, *rest], spoken
    adverb, english_adverb = _pick(rng, _ADVERBS)
    return [adverb, verb, *subject, *target, *rest], [english_adverb, *spoken]


@whole_numbers
def grammar_pairs(count: int, seed: int = 0, source: str = "de", target: str = "en") -> Sentences:
    """Draw pairs of sentences.

    Args:
      count: N, number of pairs.
      seed: random seed; pair i depends on (seed, i) and not on `count`.
      source: language of the source sentences, "de" or "en".
      target: language of the translations, the other of the two.

    Returns:
      The sentences, with a blank between words and punctuation marks.
    """
    if sorted((source, target)) != sorted(LANGUAGES):
        raise ValueError(f"source={source!r}, target={target!r}: not these two; allowed: de and en, or en and de")
    check_range("count", count, 0)
    sides: dict[str, list[str]] = {language: [] for language in LANGUAGES}
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        clauses = [_clause(rng, False)]
        if rng.integers(2):
            clauses.append(_clause(rng, True))
        for side, language in enumerate(LANGUAGES):
            sides[language].append(" , ".join(" ".join(clause[side]) for clause in clauses) + " .")
    return Sentences(sides[source], sides[target], f"grammar {source}-{target}")
