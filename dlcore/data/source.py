"""A data set: named arrays of equal leading length, indexed by position.

Images that do not fit in memory are an array that reads its rows on demand (`dlcore.data.streaming`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

__all__ = ["Source", "followed_by", "join", "shuffle_labels", "split_validation"]


@dataclass(frozen=True, eq=False)
class Source:
    """Examples as arrays `[N, ...]`, or just their number where a batch holds only indices.

    Args:
      arrays: name -> array, all of one leading length; usually `image` ([N, H, W, C], uint8, or float32 in [0, 1]) and
        `label` ([N] int32). `index` is reserved.
      length: N; None takes that of the arrays; required where there are none.
      class_names: names of labels 0, 1, ...; may be empty.
      name: of the data set, as checkpoints and reports print it.
      notes: what loading did to the data (files skipped, images converted), a line each.

    Raises:
      ValueError: the arrays differ in length, one is called `index`, or there is neither an array nor a length.
    """

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    length: int | None = None
    class_names: tuple[str, ...] = ()
    name: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        lengths = {key: len(value) for key, value in self.arrays.items()}
        if "index" in lengths:
            raise ValueError("arrays: the name 'index' is reserved for the position of an example")
        if self.length is None and not lengths:
            raise ValueError("length=None: unknown without arrays; allowed: the number of examples")
        length = next(iter(lengths.values())) if self.length is None else int(self.length)
        if length < 0:
            raise ValueError(f"length={length}: negative; allowed: 0 or more")
        if any(n != length for n in lengths.values()):
            raise ValueError(f"arrays must all have the leading length {length}, got {lengths}")
        object.__setattr__(self, "arrays", dict(self.arrays))
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "notes", tuple(self.notes))

    @staticmethod
    def indices(n: int, name: str = "indices") -> "Source":
        """Build a source of positions alone, for techniques that draw their own data (RL episodes, samples).

        Args:
          n: number of positions.
          name: of the source.

        Returns:
          A source whose batches hold only `index`.
        """
        return Source(length=n, name=name)

    def __len__(self) -> int:
        return self.length or 0

    def __getitem__(self, idx: Any) -> dict[str, np.ndarray]:
        """Copy rows.

        Args:
          idx: [B] ints in [0, N), a list or a slice.

        Returns:
          Arrays [B, ...] by name, with `index: [B] int32`.

        Raises:
          IndexError: a position is outside [0, N).
        """
        idx = self._checked(idx)
        return {key: value[idx] for key, value in self.arrays.items()} | {"index": idx.astype(np.int32)}

    def drawn(self, idx: np.ndarray, seed: int, epoch: np.ndarray) -> dict[str, np.ndarray]:
        """Copy rows to train on: as `source[idx]`, but random crops of images on disk are drawn anew in every epoch.

        Args:
          idx: [B] ints in [0, N).
          seed: of the crops.
          epoch: [B] int, the epoch of each row.

        Returns:
          Arrays [B, ...] by name, with `index: [B] int32`.
        """
        idx = self._checked(idx)
        rows = {k: v.drawn(idx, seed, epoch) if hasattr(v, "drawn") else v[idx] for k, v in self.arrays.items()}
        return rows | {"index": idx.astype(np.int32)}

    def _checked(self, idx: Any) -> np.ndarray:
        idx = np.arange(len(self))[idx] if isinstance(idx, slice) else np.asarray(idx)
        if idx.size == 0:
            idx = idx.astype(np.int32)
        if idx.ndim != 1 or not np.issubdtype(idx.dtype, np.integer):
            raise IndexError(f"idx: shape {idx.shape} of {idx.dtype}; allowed: one-dimensional integers")
        outside = idx[(idx < 0) | (idx >= len(self))]
        if outside.size:
            raise IndexError(f"idx={outside[0]}: out of range; allowed: in [0, {len(self)})")
        return idx

    def subset(self, idx: Any) -> "Source":
        """Select examples as a source of their own, whose positions count from 0.

        Args:
          idx: [B] ints in [0, N), a list or a slice.

        Returns:
          The examples in that order.
        """
        here = self._checked(idx)
        arrays = {k: v.subset(here) if hasattr(v, "subset") else v[here] for k, v in self.arrays.items()}
        return replace(self, arrays=arrays, length=len(here))

    def take(self, n: int) -> "Source":
        """Select the first examples.

        Args:
          n: number of examples; all where there are fewer.

        Returns:
          A source of its own.

        Raises:
          ValueError: `n` is negative.
        """
        if n < 0:
            raise ValueError(f"n={n}: negative; allowed: 0 or more")
        return self.subset(slice(n))


def split_validation(source: Source, fraction: float, seed: int) -> tuple[Source, Source]:
    """Carve a validation split out of a training split.

    Each class keeps its share to within one example where `label` is [N] of ints. The same arguments give the same
    split; both parts keep the order of the source.

    Args:
      source: training split, of N examples.
      fraction: share of the validation split, in [0, 1): round(fraction * N) examples, at least one where it is above
        0.
      seed: of the examples.

    Returns:
      (train, valid).

    Raises:
      ValueError: `fraction` is outside [0, 1) or leaves nothing to train on, or `seed` is negative.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction={fraction}: out of range; allowed: in [0, 1)")
    length = len(source)
    num_valid = max(round(fraction * length), 1) if fraction > 0 else 0
    if num_valid >= length > 0 or (fraction > 0 and length == 0):
        raise ValueError(f"fraction={fraction}: leaves nothing of {length} examples to train on")
    rng = np.random.default_rng((_checked_seed(seed), 1))
    label = source.arrays.get("label")
    if label is None or label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
        label = np.zeros(length, np.int32)
    _, group, counts = np.unique(label, return_inverse=True, return_counts=True)
    quota = counts * (num_valid / max(length, 1))
    take = np.floor(quota).astype(int)
    by_remainder = np.argsort(-(quota - take), kind="stable")
    take[by_remainder[: num_valid - take.sum()]] += 1
    order = rng.permutation(length)
    chosen = np.zeros(length, bool)
    for which, amount in enumerate(take):
        chosen[order[group[order] == which][:amount]] = True
    valid = source.subset(np.flatnonzero(chosen))
    return source.subset(np.flatnonzero(~chosen)), replace(valid, name=f"{source.name} (validation)")


def join(first: Source, second: Source) -> Source:
    """Append one source to another: training and validation, once the settings are chosen.

    Args:
      first: gives name, class names and notes.
      second: with the same arrays.

    Returns:
      The examples of both.

    Raises:
      ValueError: the sources hold different arrays.
    """
    if set(first.arrays) != set(second.arrays):
        raise ValueError(
            f"the sources hold {sorted(first.arrays)} and {sorted(second.arrays)}; they must hold the same"
        )
    arrays = {key: followed_by(value, second.arrays[key]) for key, value in first.arrays.items()}
    return replace(first, arrays=arrays, length=len(first) + len(second), name=f"{first.name} and {second.name}")


def followed_by(first: Any, second: Any) -> Any:
    """Append one array to another, in memory or on disk.

    Args:
      first: [N, ...].
      second: [M, ...].

    Returns:
      [N + M, ...].

    Raises:
      ValueError: only one of them is in memory.
    """
    if hasattr(first, "followed_by") != hasattr(second, "followed_by"):
        raise ValueError("one part is in memory and the other on disk; load both with the same memory limit")
    return first.followed_by(second) if hasattr(first, "followed_by") else np.concatenate([first, second])


def shuffle_labels(source: Source, seed: int) -> Source:
    """Permute the labels: nothing is left to learn but chance.

    Args:
      source: with `label`.
      seed: of the permutation.

    Returns:
      The source with the same images.

    Raises:
      ValueError: there is no `label`, or `seed` is negative.
    """
    if "label" not in source.arrays:
        raise ValueError(f"source {source.name!r} has no 'label' to shuffle, only {sorted(source.arrays)}")
    order = np.random.default_rng((_checked_seed(seed), 2)).permutation(len(source))
    arrays = {**source.arrays, "label": source.arrays["label"][order]}
    return replace(source, arrays=arrays, name=f"{source.name} (labels shuffled)")


def _checked_seed(seed: int) -> int:
    if seed < 0:
        raise ValueError(f"seed={seed}: negative; allowed: 0 or more")
    return int(seed)
