"""A data set: named arrays of equal leading length, indexed by position.

What does not fit in memory is an array that reads its rows when they are asked for (`dlcore.data.streaming`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

__all__ = ["Source", "followed_by", "join", "shuffle_labels", "split_validation"]


@dataclass(frozen=True, eq=False)
class Source:
    """Examples as arrays `[N, ...]`, or just their number where a batch holds only indices.

    arrays: name -> array, all of one leading length; usually `image` ([N, H, W, C], uint8, or float32 in [0, 1]) and
        `label` ([N] int32). `index` is reserved.
    length: N; worked out from the arrays where not given, required where there are none.
    class_names: what label 0, 1, ... is called; may be empty.
    name: what the data set is called, as checkpoints and reports print it.
    notes: one line each on what loading did to the data (files skipped, images converted).
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
            raise ValueError("Source: give arrays, or length where the batches hold only indices")
        length = next(iter(lengths.values())) if self.length is None else int(self.length)
        if length < 0:
            raise ValueError(f"length is {length}; it must not be negative")
        if any(n != length for n in lengths.values()):
            raise ValueError(f"arrays must all have the leading length {length}, got {lengths}")
        object.__setattr__(self, "arrays", dict(self.arrays))
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "notes", tuple(self.notes))

    @staticmethod
    def indices(n: int, name: str = "indices") -> "Source":
        """N positions and nothing else, for techniques that draw their own data (RL episodes, samples)."""
        return Source(length=n, name=name)

    def __len__(self) -> int:
        return self.length or 0

    def __getitem__(self, idx: Any) -> dict[str, np.ndarray]:
        """Rows at `idx` ([B] ints in [0, N), a list or a slice), copied, with `index: [B] int32`.

        Raises: IndexError for a position outside [0, N).
        """
        idx = self._checked(idx)
        return {key: value[idx] for key, value in self.arrays.items()} | {"index": idx.astype(np.int32)}

    def drawn(self, idx: np.ndarray, seed: int, epoch: np.ndarray) -> dict[str, np.ndarray]:
        """As `source[idx]` for training: rows [B] in their epochs [B], with what is drawn anew in every epoch."""
        idx = self._checked(idx)
        rows = {k: v.drawn(idx, seed, epoch) if hasattr(v, "drawn") else v[idx] for k, v in self.arrays.items()}
        return rows | {"index": idx.astype(np.int32)}

    def _checked(self, idx: Any) -> np.ndarray:
        idx = np.arange(len(self))[idx] if isinstance(idx, slice) else np.asarray(idx)
        if idx.size == 0:
            idx = idx.astype(np.int32)
        if idx.ndim != 1 or not np.issubdtype(idx.dtype, np.integer):
            raise IndexError(f"idx must be one-dimensional integers, got shape {idx.shape} of {idx.dtype}")
        outside = idx[(idx < 0) | (idx >= len(self))]
        if outside.size:
            raise IndexError(f"idx {outside[0]} is outside [0, {len(self)})")
        return idx

    def subset(self, idx: Any) -> "Source":
        """The examples at `idx`, in that order, as a source of their own (positions count from 0 again)."""
        here = self._checked(idx)
        arrays = {k: v.subset(here) if hasattr(v, "subset") else v[here] for k, v in self.arrays.items()}
        return replace(self, arrays=arrays, length=len(here))

    def take(self, n: int) -> "Source":
        """The first `n` examples, or all where there are fewer."""
        if n < 0:
            raise ValueError(f"n is {n}; it must not be negative")
        return self.subset(slice(n))


def split_validation(source: Source, fraction: float, seed: int) -> tuple[Source, Source]:
    """Carve round(fraction * N) examples (at least one where fraction > 0) out of `source`: (train, valid).

    Each class keeps its share to within one example where `label` is [N] of ints. The same arguments give the same
    split; both parts keep the order of the source.

    Raises: ValueError for a fraction outside [0, 1), or one that leaves nothing to train on.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction is {fraction}; it must be in [0, 1)")
    length = len(source)
    wanted = max(round(fraction * length), 1) if fraction > 0 else 0
    if wanted >= length > 0 or (fraction > 0 and length == 0):
        raise ValueError(f"fraction {fraction} of {length} examples leaves nothing to train on")
    rng = np.random.default_rng((_checked_seed(seed), 1))
    label = source.arrays.get("label")
    if label is None or label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
        label = np.zeros(length, np.int32)
    _, group, counts = np.unique(label, return_inverse=True, return_counts=True)
    quota = counts * (wanted / max(length, 1))
    take = np.floor(quota).astype(int)
    by_remainder = np.argsort(-(quota - take), kind="stable")
    take[by_remainder[: wanted - take.sum()]] += 1
    order = rng.permutation(length)
    chosen = np.zeros(length, bool)
    for which, amount in enumerate(take):
        chosen[order[group[order] == which][:amount]] = True
    valid = source.subset(np.flatnonzero(chosen))
    return source.subset(np.flatnonzero(~chosen)), replace(valid, name=f"{source.name} (validation)")


def join(first: Source, second: Source) -> Source:
    """The examples of both, one after the other: training and validation, once the settings are chosen.

    Raises: ValueError where they do not hold the same arrays.
    """
    if set(first.arrays) != set(second.arrays):
        raise ValueError(
            f"the sources hold {sorted(first.arrays)} and {sorted(second.arrays)}; they must hold the same"
        )
    arrays = {key: followed_by(value, second.arrays[key]) for key, value in first.arrays.items()}
    return replace(first, arrays=arrays, length=len(first) + len(second), name=f"{first.name} and {second.name}")


def followed_by(first: Any, second: Any) -> Any:
    """Two arrays as one, whether they are in memory or on disk. Raises ValueError where only one of them is."""
    if hasattr(first, "followed_by") != hasattr(second, "followed_by"):
        raise ValueError("one part is in memory and the other on disk; load both with the same memory limit")
    return first.followed_by(second) if hasattr(first, "followed_by") else np.concatenate([first, second])


def shuffle_labels(source: Source, seed: int) -> Source:
    """The same images with their labels permuted: nothing is left to learn but chance.

    Raises: ValueError where the source has no `label`.
    """
    if "label" not in source.arrays:
        raise ValueError(f"source {source.name!r} has no 'label' to shuffle, only {sorted(source.arrays)}")
    order = np.random.default_rng((_checked_seed(seed), 2)).permutation(len(source))
    arrays = {**source.arrays, "label": source.arrays["label"][order]}
    return replace(source, arrays=arrays, name=f"{source.name} (labels shuffled)")


def _checked_seed(seed: int) -> int:
    if seed < 0:
        raise ValueError(f"seed is {seed}; it must not be negative")
    return int(seed)
