"""Few-shot episodes of characters, and their accuracy.

data=CharacterEpisodes("strokes", way=5, shot=1, query=5), measures=[EpisodeAccuracy(also=("5x5", "20x1"))]
"""

import dataclasses
from typing import Annotated, Any, Literal

import numpy as np

from dlcore.data.augment import to_float
from dlcore.data.episodes import episodes
from dlcore.data.source import Source
from dlcore.data.splits import Splits, batch_facts
from dlcore.learner import CheckedRecord, Range
from dlcore.setting import FlagError

__all__ = ["CharacterEpisodes"]

TRAIN_EPISODES = 20_000
"""Of an epoch."""


VALID_SEED = 10**6


TEST_SEED = 10**6 + 1
"""The same at every seed of a run."""


UNSEEN = 100
"""Characters of strokes to validate and to test on, of each."""


@dataclasses.dataclass(frozen=True)
class CharacterEpisodes(CheckedRecord):
    """Few-shot episodes of characters: supports and queries of a few classes.

    Args:
      dataset: strokes (drawn by a program) or omniglot
      data_dir: omniglot: folder of omniglot28.npz
      way: classes of a measured episode
      shot: supports of each class; 0 describes it by its strokes
      query: queries of each class
      train_way: classes of a training episode; by default as many
      turned: turned training characters are further classes (not with --shot=0)
      characters: strokes: characters to train on
      image_size: strokes: side in pixels
      test_episodes: episodes of the test
    """

    dataset: Annotated[Literal["strokes", "omniglot"], "essential"] = "strokes"
    data_dir: Annotated[str | None, "essential"] = None
    way: Annotated[int, Range(2), "essential"] = 5
    shot: Annotated[int, Range(0), "essential"] = 1
    query: Annotated[int, Range(1)] = 5
    train_way: Annotated[int | None, Range(2)] = None
    turned: bool = True
    characters: Annotated[int, Range(10, 14000)] = 200
    image_size: Annotated[int, Range(8)] = 16
    test_episodes: Annotated[int, Range(2)] = 1000

    @property
    def reads_files(self) -> bool:
        """Whether `data_dir` matters."""
        return self.dataset == "omniglot"

    def load(self, seed: int = 0) -> Splits:
        """Draw episodes: the characters of training, validation and test are others.

        Args:
          seed: seed of the training episodes, and of the characters of omniglot that are held out.
        """
        train, valid, test, messages = self._omniglot(seed) if self.dataset == "omniglot" else self._strokes()
        shared = {"shot": self.shot, "query": self.query, "way": self.way}
        training = {**shared, "way": self.train_way or self.way, "turned": self.turned and self.shot > 0}
        splits = (
            episodes(train, TRAIN_EPISODES, **training, seed=seed),
            episodes(valid, max(2, self.test_episodes // 5), **shared, seed=VALID_SEED),
            episodes(test, self.test_episodes, **shared, seed=TEST_SEED),
        )
        spec = {
            "dataset": self.dataset,
            "image_shape": list(train.arrays["image"].shape[1:]),
            "attributes": train.arrays["attributes"].shape[1] if self.shot == 0 else 0,
            "characters": [len(np.unique(part.arrays["label"])) for part in (train, valid, test)],
            "batch": batch_facts(splits[2]),
            **shared,
        }
        return Splits(*splits, spec, messages)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique its `preprocess`."""
        return {"preprocess": to_float}

    def _omniglot(self, seed: int) -> tuple[Source, Source, Source, tuple[str, ...]]:
        from dlcore.data.omniglot import omniglot

        if self.data_dir is None:
            raise FlagError("--dataset=omniglot: needs --data_dir; allowed: the folder of omniglot28.npz")
        background, evaluation = (omniglot(self.data_dir, part) for part in ("background", "evaluation"))
        labels = np.asarray(background.arrays["label"])
        count = labels.max() + 1
        held_out = np.random.default_rng(seed).permutation(count)[: count // 10]
        inside = np.isin(labels, held_out)
        message = (
            f"Omniglot's background set is partial: {count} characters of 12 alphabets, where the original has "
            f"964 of 30; {len(held_out)} of them are held out for validation"
        )
        train, valid = (background.subset(np.flatnonzero(rows)) for rows in (~inside, inside))
        return train, valid, evaluation, (message,)

    def _strokes(self) -> tuple[Source, Source, Source, tuple[str, ...]]:
        from dlcore.data.stroke_characters import stroke_characters

        ranges = range(2 * UNSEEN, 2 * UNSEEN + self.characters), range(UNSEEN), range(UNSEEN, 2 * UNSEEN)
        return *(stroke_characters(r, size=self.image_size) for r in ranges), ()
