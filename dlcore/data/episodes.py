"""Few-shot episodes: a few classes, each with support examples to learn from and query examples to classify.

An episode is a pure function of (seed, index): it draws `way` classes without replacement, and of each class
`shot + query` examples without replacement, so that no query is a support. Vinyals et al. 2016, arXiv:1606.04080. With
`turned`, characters rotated by 90, 180 and 270 degrees are additional classes, as in Santoro et al. 2016.
"""

from typing import Any

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.source import Source, check_seed, whole_numbers

__all__ = ["EpisodeArray", "Episodes", "episodes"]

TURNS = 4


class Episodes:
    """Sampler of few-shot episodes.

    Args:
      source: source with `image: [N, H, W, C]` (square where `turned`) and `label: [N]`.
      way: W, number of classes of an episode.
      shot: S, number of supports of each class; 0 where classes are described by `attributes` instead.
      query: Q, number of queries of each class.
      seed: random seed.
      turned: whether a class rotated by 90, 180 and 270 degrees counts as three more classes.
    """

    def __init__(self, source: Source, way: int, shot: int, query: int, seed: int, turned: bool = False):
        for name, number in (("way", way), ("shot", shot), ("query", query)):
            check_whole_number(name, number)
        if missing := [name for name in ("image", "label") if name not in source.arrays]:
            raise ValueError(f"source={source.name!r}: holds no {' and no '.join(missing)}; allowed: one with both")
        label = np.asarray(source.arrays["label"])
        classes, counts = np.unique(label, return_counts=True)
        turns = TURNS if turned else 1
        height, width = np.shape(source.arrays["image"])[1:3]
        if turned and height != width:
            raise ValueError(f"turned=True: the images of {source.name} are {height}x{width}; allowed: square images")
        if not 1 < way <= turns * len(classes):
            raise ValueError(f"{way=}: an episode of {source.name} cannot be; allowed: 2 to {turns * len(classes)}")
        if shot < 0 or query < 1 or shot + query > counts.min():
            raise ValueError(f"{shot=}, {query=}: do not fit; allowed: from 0 and 1, a sum of at most {counts.min()}")
        self.source, self.shot, self._turns = source, shot, turns
        self._sizes, self._seed = (way, shot + query), check_seed(seed)
        self._rows = [np.flatnonzero(label == c) for c in classes]
        self.settings = {
            "of": source.fingerprint.digest, "way": way, "shot": shot, "query": query, "seed": seed, "turned": turned,
        }  # fmt: skip

    def rows(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Draw the examples of one episode.

        Args:
          index: index of the episode.

        Returns:
          (indices of examples in the source [W, S + Q], supports first; quarter turns counter-clockwise of each class
          [W]).
        """
        rng = np.random.default_rng((self._seed, int(index)))
        way, each = self._sizes
        class_ids = rng.choice(self._turns * len(self._rows), way, replace=False)
        rows = [rng.choice(self._rows[c // self._turns], each, replace=False) for c in class_ids]
        return np.stack(rows), class_ids % self._turns

    def images(self, index: int) -> np.ndarray:
        """Draw one episode's images.

        Args:
          index: index of the episode.

        Returns:
          [W, S + Q, H, W, C], supports first.
        """
        rows, turns = self.rows(index)
        images = self.source.arrays["image"][rows]
        for k in range(1, self._turns):
            images[turns == k] = np.rot90(images[turns == k], k, (2, 3))
        return images

    def attributes(self, index: int) -> np.ndarray:
        """Read the descriptions of one episode's classes.

        Args:
          index: index of the episode.

        Returns:
          [W, A].
        """
        return self.source.arrays["attributes"][self.rows(index)[0][:, 0]]


class EpisodeArray:
    """A lazy array of one part of many episodes, drawn when it is indexed.

    Args:
      episodes: sampler of the episodes.
      part: "support", "query" or "attributes".
      count: number of episodes, the length of the array.
    """

    def __init__(self, episodes: Episodes, part: str, count: int):
        self.episodes, self._part = episodes, part
        row = self._read(0)
        self.shape, self.dtype = (count, *row.shape), row.dtype
        self.settings = {**episodes.settings, "part": part}

    def _read(self, index: int) -> np.ndarray:
        if self._part == "attributes":
            return self.episodes.attributes(index)
        images, shot = self.episodes.images(index), self.episodes.shot
        return images[:, :shot] if self._part == "support" else images[:, shot:]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, idx: Any) -> np.ndarray:
        idx = np.arange(len(self))[idx]
        if idx.ndim == 0:
            return self._read(idx)
        return np.stack([self._read(i) for i in idx]) if len(idx) else np.zeros((0, *self.shape[1:]), self.dtype)


@whole_numbers
def episodes(
    source: Source, count: int, *, way: int, shot: int, query: int, seed: int = 0, turned: bool = False
) -> Source:
    """Make a source whose examples are few-shot episodes.

    Args:
      source: source with `image` and `label`; with `shot=0` also `attributes: [N, A]`, the description of each
        example's class.
      count: number of episodes.
      way: W, number of classes of an episode.
      shot: S, number of supports of each class; 0 describes classes by their attributes instead.
      query: Q, number of queries of each class.
      seed: random seed.
      turned: whether a class rotated by 90, 180 and 270 degrees counts as three more classes; not with `shot=0`.

    Returns:
      A source of `query: [count, W, Q, H, W', C]` and `support: [count, W, S, H, W', C]`, or with `shot=0` of
      `attributes: [count, W, A]` in place of `support`; all are drawn when they are indexed.
    """
    check_whole_number("count", count, 1)
    if shot == 0 and "attributes" not in source.arrays:
        raise ValueError(f"shot=0: {source.name} describes no classes; allowed: 1 or more")
    if shot == 0 and turned:
        raise ValueError("turned=True: turned classes have no description; allowed: False where shot=0")
    draws = Episodes(source, way, shot, query, seed, turned)
    first = "support" if shot else "attributes"
    arrays = {name: EpisodeArray(draws, name, count) for name in (first, "query")}
    return Source(arrays, count, name=f"{way}-way {shot}-shot episodes of {source.name}")
