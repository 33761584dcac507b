"""Synthetic film reviews of one sentence, from a grammar, labeled as praise or blame.

    sentence   clause | clause "but" clause | clause "and" clause | "although" clause "," clause
    clause     noun verb [negation] [intensifier] adjective ["at all" after a negation]

An adjective praises or blames, a negation reverses it, and an intensifier changes nothing. The last clause decides the
label: after "but", and after "although" and its comma, it contradicts the clause before; after "and" it agrees. Half of
all clauses have a negation, so a bag of words says little about the label.
"""

import numpy as np

from dlcore.data.source import Source, whole_numbers
from dlcore.ops.checks import check_indices, check_shapes

__all__ = ["WORDS", "sentiment_sentences", "word_counts"]

NOUNS = ("the film", "the plot", "the cast", "the music", "the ending", "the script", "the acting", "the pace")
VERBS = ("was", "is", "seemed", "felt")
NEGATIONS = ("not", "never", "hardly")
INTENSIFIERS = ("very", "really", "quite", "truly", "extremely")
GOOD = ("good", "brilliant", "funny", "touching", "clever", "great", "moving", "fresh")
BAD = ("bad", "dull", "awful", "boring", "stupid", "weak", "clumsy", "stale")
JOINS = ("single", "but", "and", "although")

_FIRST = 4
"""Token of the first word; the tokens before are <pad>, <s>, </s> and <unk>, as in `dlcore.data.words`."""

WORDS = (
    "<pad>",
    "<s>",
    "</s>",
    "<unk>",
    *sorted({w for group in (NOUNS, VERBS, NEGATIONS, INTENSIFIERS, GOOD, BAD) for p in group for w in p.split()}),
    "although",
    "and",
    "at",
    "all",
    "but",
    ",",
)
"""Word of each token."""

LENGTH = 18
"""Words of the longest sentence: two clauses of eight, "although" and a comma."""


def _one_of(rng: np.random.Generator, group: tuple[str, ...]) -> str:
    return group[rng.integers(len(group))]


def _clause(rng: np.random.Generator, praise: bool) -> list[str]:
    negated = rng.random() < 0.5
    adjectives = GOOD if praise != negated else BAD
    words = [*_one_of(rng, NOUNS).split(), _one_of(rng, VERBS)]
    if negated:
        words.append(_one_of(rng, NEGATIONS))
    if rng.random() < 0.5:
        words.append(_one_of(rng, INTENSIFIERS))
    words.append(_one_of(rng, adjectives))
    return [*words, "at", "all"] if negated and rng.random() < 0.5 else words


def _sentence(rng: np.random.Generator) -> tuple[list[str], bool]:
    praise, conjunction = bool(rng.integers(2)), _one_of(rng, JOINS)
    if conjunction == "single":
        return _clause(rng, praise), praise
    if conjunction == "and":
        return [*_clause(rng, praise), "and", *_clause(rng, praise)], praise
    if conjunction == "but":
        return [*_clause(rng, not praise), "but", *_clause(rng, praise)], praise
    return ["although", *_clause(rng, not praise), ",", *_clause(rng, praise)], praise


@whole_numbers
def sentiment_sentences(count: int, seed: int = 0) -> Source:
    """Generate labeled sentences.

    Args:
      count: N, number of sentences.
      seed: sentence i of a seed is the same whatever `count`.

    Returns:
      A source of `text: [N, LENGTH] int32` (w1 .. wn and <pad>), `length: [N] int32` (n, the number of words) and
      `label: [N] int32` (1 for praise, 0 for blame).
    """
    check_shapes(count=(count, "int >= 1"))
    token = {word: i for i, word in enumerate(WORDS)}
    text, length, label = np.zeros((count, LENGTH), np.int32), np.zeros(count, np.int32), np.zeros(count, np.int32)
    for i in range(count):
        words, label[i] = _sentence(np.random.default_rng((seed, i)))
        length[i] = len(words)
        text[i, : len(words)] = [token[word] for word in words]
    names = ("blame", "praise")
    return Source({"text": text, "length": length, "label": label}, count, class_names=names, name="film sentences")


def word_counts(text: np.ndarray) -> np.ndarray:
    """Count how often each word occurs in each sentence: a bag of words.

    Args:
      text: [N, L] int, tokens of WORDS.

    Returns:
      Counts [N, len(WORDS)] float32; 0 for <pad> and the other special tokens.
    """
    check_shapes(text=(text, "int N L"))
    check_indices("text", text, len(WORDS), "words")
    counts = np.zeros((len(text), len(WORDS)), np.float32)
    np.add.at(counts, (np.arange(len(text))[:, None], text), 1)
    counts[:, :_FIRST] = 0
    return counts
