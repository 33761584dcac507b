"""A data set: named arrays of equal leading length, indexed by position.

Images that do not fit in memory are an array-like object that reads rows on demand (`dlcore.data.streaming`).
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from dlcore.choices import check_whole_number
from dlcore.data.fingerprint import Fingerprint, fingerprint

__all__ = ["Source", "check_seed", "check_source", "concatenate", "join", "shuffle_labels", "whole_numbers"]

_Function = TypeVar("_Function", bound=Callable)

_NUM_CHECKED_IMAGES = 64

_LARGEST_FLOAT = 32.0
"""Images below it may be normalized by their mean and deviation; above it they are numbers of pixels."""


@dataclass(frozen=True, eq=False)
class Source:
    """Examples as named arrays `[N, ...]`; without arrays, N alone, for techniques that draw their own data.

    Args:
      arrays: name -> array, all of one leading length; usually `image` ([N, H, W, C], uint8, or float32 in [0, 1]) and
        `label` ([N] int32). `index` is reserved.
      length: N; None takes that of the arrays; required where there are none.
      class_names: names of labels 0, 1, ...; may be empty.
      name: name of the data set, as checkpoints and reports print it.
      notes: messages about changes to the data while loading (files skipped, images converted), a line each.
      names: [N] str, a name of each example that does not depend on its position, such as its path below the root of
        the data; None if examples are known by position only.
      sizes: [N] int, size of each example's file in bytes; None if there are no files.
      keypoint_names: names of an object's keypoints; empty if the data has none.
    """

    arrays: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)
    length: int | None = None
    class_names: tuple[str, ...] = ()
    name: str = ""
    notes: tuple[str, ...] = ()
    names: np.ndarray | None = field(default=None, repr=False)
    sizes: np.ndarray | None = field(default=None, repr=False)
    keypoint_names: tuple[str, ...] = ()

    def __post_init__(self):
        if not isinstance(self.arrays, Mapping):
            raise ValueError(f"arrays={type(self.arrays).__name__}: no dict; allowed: name -> array [N, ...]")
        if isinstance(self.class_names, str) or not hasattr(self.class_names, "__len__"):
            raise ValueError(f"class_names={self.class_names!r}: no names; allowed: a list of names")
        for key, value in self.arrays.items():
            if not getattr(value, "shape", ()) or not hasattr(value, "dtype"):
                raise ValueError(f"arrays: {key} is {type(value).__name__}; allowed: arrays [N, ...]")
        lengths = {key: len(value) for key, value in self.arrays.items()}
        if "index" in lengths:
            raise ValueError("arrays: 'index' is reserved for the position of an example; allowed: other names")
        if self.length is None and not lengths:
            raise ValueError("length=None: unknown without arrays; allowed: the number of examples")
        length = next(iter(lengths.values())) if self.length is None else self.length
        check_whole_number("length", length, 0)
        if any(n != length for n in lengths.values()):
            raise ValueError(f"arrays: leading lengths {lengths}; allowed: {length} for each array")
        for name in ("names", "sizes"):
            value = getattr(self, name)
            is_list = hasattr(value, "__len__") and not isinstance(value, str)
            if value is not None and not (is_list and len(value) == length):
                raise ValueError(f"{name}={value!r:.60}: not one an example; allowed: {length} of them")
        self._check_labels()
        self._check_images()
        object.__setattr__(self, "arrays", dict(self.arrays))
        object.__setattr__(self, "length", int(length))
        object.__setattr__(self, "class_names", tuple(self.class_names))
        object.__setattr__(self, "notes", tuple(self.notes))

    @staticmethod
    def indices(n: int, name: str = "indices") -> "Source":
        """Build a source without arrays, for techniques that draw their own data (RL episodes, samples).

        Args:
          n: number of positions.
          name: name of the source.

        Returns:
          A source whose batches hold only `index`.
        """
        return Source(length=n, name=name)

    def _check_images(self) -> None:
        """Refuse numbers up to 255 that are no uint8 in the first images: networks divide uint8 alone by 255."""
        images = self.arrays.get("image")
        if not isinstance(images, np.ndarray) or images.ndim != 4 or images.dtype == np.uint8:
            return
        if not np.issubdtype(images.dtype, np.floating) and not np.issubdtype(images.dtype, np.integer):
            return
        largest = float(np.nanmax(images[:_NUM_CHECKED_IMAGES], initial=0))
        if largest > _LARGEST_FLOAT:
            raise ValueError(f"image: {images.dtype} up to {largest:g}; allowed: uint8, or floats in [0, 1]")

    def _check_labels(self) -> None:
        """Refuse labels beyond the class names; a negative one may stand for none."""
        count = len(self.class_names)
        for key in ("label", "labels"):
            labels = self.arrays.get(key)
            if not count or not isinstance(labels, np.ndarray) or isinstance(labels, np.memmap) or not labels.size:
                continue
            if np.issubdtype(labels.dtype, np.floating) and (fractions := np.ravel(labels != np.floor(labels))).any():
                value = np.ravel(labels)[fractions.argmax()]
                raise ValueError(f"{key}={value:g}: no class; allowed: 0 to {count - 1}, of {count} class_names")
            if np.issubdtype(labels.dtype, np.integer) and labels.max() >= count:
                at = list(map(int, np.unravel_index(labels.argmax(), labels.shape)))
                raise ValueError(f"{key}{at}={labels.max()}: has no name; allowed: 0 to {count - 1}, of class_names")

    def __len__(self) -> int:
        return self.length or 0

    @functools.cached_property
    def fingerprint(self) -> Fingerprint:
        """Identity of this source; see `dlcore.data.fingerprint`."""
        return fingerprint(len(self), self.arrays, self.names, self.sizes, self.class_names)

    def __getitem__(self, idx: Any) -> dict[str, np.ndarray]:
        """Read examples as a batch.

        Args:
          idx: [B] ints in [0, N), a list or a slice.

        Returns:
          Arrays [B, ...] by name, and their positions `index: [B] int32`.

        Raises:
          IndexError: a position is outside [0, N).
        """
        idx = self._checked(idx)
        return {key: value[idx] for key, value in self.arrays.items()} | {"index": idx.astype(np.int32)}

    def sample(self, idx: np.ndarray, seed: int, epoch: np.ndarray) -> dict[str, np.ndarray]:
        """Read examples as a training batch: as `source[idx]`, but images on disk may be cropped at random.

        Args:
          idx: [B] ints in [0, N).
          seed: random seed of the crops.
          epoch: [B] int, the epoch of each example.

        Returns:
          Arrays [B, ...] by name, and their positions `index: [B] int32`.

        Raises:
          IndexError: a position is outside [0, N).
        """
        idx = self._checked(idx)
        rows = {k: v.sample(idx, seed, epoch) if hasattr(v, "sample") else v[idx] for k, v in self.arrays.items()}
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
        """Select examples, as a new source whose positions start at 0.

        Args:
          idx: [B] ints in [0, N), a list or a slice.

        Returns:
          The source of these examples, in the order of `idx`.

        Raises:
          IndexError: a position is outside [0, N).
        """
        here = self._checked(idx)
        arrays = {k: v.subset(here) if hasattr(v, "subset") else v[here] for k, v in self.arrays.items()}
        fields = {k: v[here] for k, v in (("names", self.names), ("sizes", self.sizes)) if v is not None}
        return replace(self, arrays=arrays, length=len(here), **fields)

    def take(self, n: int) -> "Source":
        """Select the first examples.

        Args:
          n: number of examples, at least 0.

        Returns:
          A new source of the first min(n, N) examples.
        """
        check_whole_number("n", n, 0)
        return self.subset(slice(n))


def join(first: Source, second: Source) -> Source:
    """Append one source to another, such as the validation to the training split for a final training.

    Args:
      first: source of the first examples; its class names and notes are kept.
      second: source of the other examples, with the same arrays.

    Returns:
      The source of N1 + N2 examples, called "FIRST and SECOND".
    """
    check_source("first", first)
    check_source("second", second)
    if first.class_names and second.class_names and first.class_names != second.class_names:
        names = ", ".join(map(str, first.class_names))
        raise ValueError(f"second={second.name!r}: other classes; allowed: {names}, those of the first")
    if set(first.arrays) != set(second.arrays):
        here, there = (", ".join(sorted(source.arrays)) for source in (first, second))
        raise ValueError(f"second={second.name!r}: holds {there}; allowed: {here}, the arrays of the first")
    for key, value in first.arrays.items():
        here, there = np.shape(value)[1:], np.shape(second.arrays[key])[1:]
        if here != there:
            raise ValueError(f"second={second.name!r}: {key} of {list(there)}; allowed: {list(here)}, as in the first")
    arrays = {key: concatenate(value, second.arrays[key]) for key, value in first.arrays.items()}
    fields = {
        key: None if a is None or b is None else np.concatenate([a, b])
        for key, a, b in (("names", first.names, second.names), ("sizes", first.sizes, second.sizes))
    }
    return replace(
        first, arrays=arrays, length=len(first) + len(second), name=f"{first.name} and {second.name}", **fields
    )


def concatenate(first: Any, second: Any) -> Any:
    """Append one array to another, in memory or on disk.

    Args:
      first: [N, ...].
      second: [M, ...].

    Returns:
      [N + M, ...].
    """
    if hasattr(first, "concatenate") != hasattr(second, "concatenate"):
        storage = ["on disk" if hasattr(part, "concatenate") else "in memory" for part in (first, second)]
        raise ValueError(
            f"second={type(second).__name__}: {storage[1]}, and the first part {storage[0]}; allowed: both in memory "
            "or both on disk, by the same memory limit"
        )
    if np.shape(first)[1:] != np.shape(second)[1:] or not np.ndim(first) or not np.ndim(second):
        raise ValueError(f"second.shape={np.shape(second)}: other examples; allowed: [M, ...] of {np.shape(first)}")
    return first.concatenate(second) if hasattr(first, "concatenate") else np.concatenate([first, second])


def shuffle_labels(source: Source, seed: int) -> Source:
    """Permute the labels, so that they no longer depend on the inputs: a learner must not beat chance.

    Args:
      source: source with `label`.
      seed: random seed of the permutation.

    Returns:
      The source with permuted labels; the other arrays stay in place.
    """
    check_source("source", source)
    if "label" not in source.arrays:
        raise ValueError(f"source={source.name!r}: holds no label, only {sorted(source.arrays)}; allowed: one with it")
    order = np.random.default_rng((check_seed(seed), 2)).permutation(len(source))
    arrays = {**source.arrays, "label": source.arrays["label"][order]}
    return replace(source, arrays=arrays, name=f"{source.name} (labels shuffled)")


def check_source(name: str, source: Any) -> None:
    """Check that an argument is a source, and no array or pipeline.

    Args:
      name: of the argument, for the error.
      source: what was given.
    """
    if not hasattr(source, "arrays"):
        raise ValueError(f"{name}={type(source).__name__}: no source; allowed: Source(arrays)")


def check_seed(seed: int) -> int:
    """Check a seed.

    Args:
      seed: random seed.

    Returns:
      The seed.
    """
    check_whole_number("seed", seed, 0)
    return int(seed)


def whole_numbers(function: _Function) -> _Function:
    """Decorate a function that draws data: an int parameter takes whole numbers alone.

    Args:
      function: the function.

    Returns:
      It, which raises ValueError where another number or a word stands in the place of an int, or `seed` is negative.
    """
    signature = inspect.signature(function)
    names = [name for name, parameter in signature.parameters.items() if parameter.annotation is int]

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        arguments = signature.bind(*args, **kwargs).arguments
        for name in names:
            check_whole_number(name, arguments.get(name, 0))
        if "seed" in names:
            check_seed(arguments.get("seed", 0))
        return function(*args, **kwargs)

    return checked  # pyright: ignore[reportReturnType]
