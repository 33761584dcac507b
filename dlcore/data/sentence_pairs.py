"""SentencePairs: sentences in two languages, and their vocabularies."""

import dataclasses
import functools
from typing import Annotated, Literal

import numpy as np

from dlcore.data.facts import Facts
from dlcore.data.grammar import grammar_pairs
from dlcore.data.pairs import Sentences, multi30k, pair_source
from dlcore.data.source import Source
from dlcore.data.splits import Splits
from dlcore.data.words import BytePairs, Words, vocabulary_from_dict
from dlcore.learner import CheckedRecord, Range
from dlcore.setting import FlagError, PositiveInt

__all__ = ["SHORTEST", "SentencePairs", "vocabularies"]


@dataclasses.dataclass(frozen=True)
class SentencePairs(CheckedRecord):
    """Sentences in two languages.

    Args:
      dataset: grammar, which a program draws, or multi30k
      data_dir: multi30k: the folder of train.de.gz and the other files
      source: language that is read
      target: language that is written
      vocabulary: words, those of each language; or byte_pairs, parts of words that both share
      vocabulary_size: byte pairs
      min_count: words: how often a word must come in the training split
      length: most tokens of a sentence to train on; longer pairs are left out
      buckets: groups of equal size, by length, that a step takes a batch of each of
      train_size: grammar: sentences to train on, less those of the other splits
      test_size: grammar: sentences to test on, and as many to validate on
    """

    dataset: Annotated[Literal["grammar", "multi30k"], "essential"] = "grammar"
    data_dir: Annotated[str | None, "essential"] = None
    source: Annotated[str, "essential"] = "de"
    target: Annotated[str, "essential"] = "en"
    vocabulary: Annotated[Literal["words", "byte_pairs"], "essential"] = "words"
    vocabulary_size: Annotated[int, Range(32)] = 6000
    min_count: PositiveInt = 2
    length: PositiveInt = 32
    buckets: PositiveInt = 1
    train_size: PositiveInt = 20_000
    test_size: PositiveInt = 1_000

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset == "multi30k"

    def sentences(self) -> dict[str, Sentences]:
        """Read the sentences.

        Returns:
          {"train", "valid", "test"} -> sentences.
        """
        if self.dataset == "multi30k" and self.data_dir is None:
            raise FlagError("--data_dir: missing; allowed: --dataset=multi30k --data_dir=FOLDER of train.de.gz")
        return _read(self.dataset, self.data_dir, (self.source, self.target), (self.train_size, self.test_size))

    def load(self) -> Splits:
        """Read the sentences, learn the vocabularies from the training split, and turn all into tokens."""
        splits = self.sentences()
        train = splits["train"]
        if self.vocabulary == "byte_pairs":
            shared = BytePairs.train([*train.source, *train.target], self.vocabulary_size)
            source, target, saved = shared, shared, {"vocabulary": shared.to_dict()}
        else:
            source, target = (Words.of(side, self.min_count) for side in (train.source, train.target))
            saved = {"source_vocabulary": source.to_dict(), "vocabulary": target.to_dict()}
        pairs = pair_source(train, source, target, self.length)
        valid, test = (pair_source(splits[name], source, target) for name in ("valid", "test"))
        spec = {
            "dataset": train.name,
            **saved,
            "window": max(self.length, *(split.arrays["source"].shape[1] - 1 for split in (valid, test))),
            "batch": SHORTEST,
            "signature": "BLEU-4 of the corpus, one reference, lower case, words and marks split by "
            f"dlcore.data.words.tokenize, no smoothing, {splits['test'].name}",
        }
        return Splits(_bucketed(pairs, self.buckets), valid, test, spec, notes=(*pairs.notes, spec["signature"]))


@functools.lru_cache(maxsize=2)
def _read(dataset: str, data_dir: str | None, languages: tuple[str, str], sizes: tuple[int, int]) -> dict:
    """The sentences of the three splits; of the grammar none of the others' is trained on."""
    if dataset == "multi30k":
        return multi30k(data_dir, *languages)
    counts = {"train": (sizes[0], 0), "valid": (sizes[1], 1), "test": (sizes[1], 2)}
    splits = {name: grammar_pairs(count, seed, *languages) for name, (count, seed) in counts.items()}
    held_out = {*splits["valid"].source, *splits["test"].source}
    train = splits["train"]
    train_pairs = [pair for pair in zip(train.source, train.target, strict=True) if pair[0] not in held_out]
    return splits | {"train": Sentences(*map(list, zip(*train_pairs, strict=True)), train.name)}


def _bucketed(pairs: Source, buckets: int) -> Source | dict[str, Source]:
    """Groups of equal size, from short pairs to long ones, each padded to its own longest."""
    if buckets == 1:
        return pairs
    lengths = {side: (pairs.arrays[side] > 0).sum(1) for side in ("source", "target")}
    order = np.argsort(np.maximum(*lengths.values()), kind="stable")
    if len(order) < buckets:
        raise FlagError(f"--buckets={buckets}: more than the {len(order)} pairs; allowed: at most as many")
    groups = {}
    for i, rows in enumerate(map(np.sort, np.array_split(order, buckets))):
        arrays = {side: pairs.arrays[side][rows, : lengths[side][rows].max()] for side in lengths}
        groups[f"length{i}"] = Source(arrays, name=f"{pairs.name}, bucket {i}", names=pairs.names[rows])
    return groups


SHORTEST = {"source": [[2], "int32"], "target": [[3], "int32"]}
"""`batch` of `Splits.spec`: a pair of one word each with special tokens; no parameter depends on the length."""


def vocabularies(facts: Facts) -> tuple[Words | BytePairs, Words | BytePairs]:
    """Read the vocabularies of a run.

    Args:
      facts: facts of the data, with `vocabulary`, and `source_vocabulary` if the source has its own.

    Returns:
      (source vocabulary, target vocabulary); the same object if they share it.
    """
    target = vocabulary_from_dict(facts.vocabulary)
    return target if facts.source_vocabulary is None else vocabulary_from_dict(facts.source_vocabulary), target
