"""Carve a validation or test split out of a training split.

Each example that has a name is assigned to a part by a hash of the seed and its name, so that it stays in its part when
other examples are added or removed. The price is that sizes are random: of a class of n examples, fraction * n are held
out on average, with standard deviation sqrt(n * fraction * (1 - fraction)). (One example of each class of five or more
is held out in any case.) `split_test` gives exact sizes, stratified by class, for a split that is the same for every
seed of a run. Examples without names, as in arrays that come with a package, are split by position, with exact sizes
and stratified by class.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dlcore.data.fingerprint import fingerprint, hash_texts
from dlcore.data.source import Source, check_seed, check_source
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["complete_splits", "shared_images", "split_test", "split_validation"]

_LEAST = 5
"""Smallest size of a class that is sure to have an example in the part that is carved by name."""


def complete_splits(
    splits: Mapping[str, Source], fraction: float, seed: int
) -> tuple[Source, Source, Source, tuple[str, ...]]:
    """Complete the splits of a data set to train, validation and test.

    Without a test split the validation split takes its place. Without a validation split, or where that is the test
    split, one is carved from train. With train alone, the carved split is both validation and test.

    Args:
      splits: "train" and, where the data set has them, "valid" and "test".
      fraction: fraction of train that a carved validation split takes, in [0, 1).
      seed: random seed of the carved examples.

    Returns:
      (train, valid, test, messages about replaced splits and shared images).
    """
    if "train" not in splits:
        raise ValueError(f"splits={sorted(splits)}: holds no train; allowed: train, and perhaps valid and test")
    train, valid, test, messages = splits["train"], splits.get("valid"), splits.get("test"), ()
    if test is None and valid is not None:
        test, valid = valid, None
        messages = ("no test split: the validation split is tested, and validation is carved from train",)
    if valid is None:
        train, valid = split_validation(train, fraction, seed)
    if test is None:
        test, messages = valid, ("no test split: the validation split is tested",)
    return train, valid, test, (*messages, *shared_images(train, valid, test))


def shared_images(train: Source, valid: Source, test: Source) -> tuple[str, ...]:
    """Find images with equal pixels that leak from train into validation or test, or that have several labels.

    Args:
      train: training source with `image: [N, H, W, C]` in memory; streamed images are not compared.
      valid: validation source, as `train`.
      test: test source, as `train`.

    Returns:
      Messages: one for each split that shares images with train, and one if images have several labels.
    """
    images = [source.arrays.get("image") for source in (train, valid, test)]
    if not all(isinstance(image, np.ndarray) for image in images):
        return ()
    train_keys, *other_keys = keys = [fingerprint(len(image), {"image": image}).keys for image in images]
    lines = []
    for split, source, keys_of_split in zip(("validation", "test"), (valid, test), other_keys, strict=True):
        shared = np.isin(keys_of_split, train_keys)
        if shared.any() and not (split == "test" and test is valid):
            first = "" if source.names is None else f" ({source.names[shared.argmax()]} is one)"
            lines.append(
                f"{shared.sum():,} of the {len(source):,} {split} images have the pixels of a training image{first}: "
                f"the {split} metrics are too optimistic"
            )
    labels = [source.arrays.get("label") for source in (train, valid, test)]
    if all(label is not None and np.ndim(label) == 1 for label in labels):
        pairs = np.unique(np.stack([np.concatenate(keys), np.concatenate(labels).astype(np.uint64)]), axis=1)
        if several := int((np.unique(pairs[0], return_counts=True)[1] > 1).sum()):
            lines.append(f"{several:,} images appear in several classes with the same pixels")
    return tuple(lines)


def split_validation(source: Source, fraction: float, seed: int, part: str = "validation") -> tuple[Source, Source]:
    """Carve a validation split out of a training split.

    The same arguments give the same split; both parts keep the order of the source. Where `fraction` is above 0:

    - Examples without names: the part has round(fraction * N) examples, at least one, and each class has the same
      fraction in it to within one example.
    - Examples with names: the part has at least one example, and at least one of each class of five or more.

    Args:
      source: training split of N examples; ints `label: [N]`, if any, are its classes.
      fraction: fraction of the examples that the part takes, in [0, 1).
      seed: random seed of the choice of examples.
      part: name of the part, added to the source's name. Examples with names are drawn independently for parts of
        different names.

    Returns:
      (train, valid).
    """
    check_source("source", source)
    check_finite("fraction", fraction)
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction={fraction}: out of range; allowed: in [0, 1)")
    seed, length = check_seed(seed), len(source)
    if fraction > 0 and length < 2:
        raise ValueError(f"fraction={fraction}: leaves nothing of {length} examples to train on; allowed: 0")
    label = _classes(source)
    if fraction == 0:
        is_valid = np.zeros(length, bool)
    elif source.names is None:
        is_valid = _by_position(label, fraction, seed)
    else:
        is_valid = _by_name(source.names, label, fraction, f"{seed} {part}")
    valid = source.subset(np.flatnonzero(is_valid))
    return source.subset(np.flatnonzero(~is_valid)), replace(valid, name=f"{source.name} ({part})")


def split_test(source: Source, fraction: float) -> tuple[Source, Source]:
    """Carve a test split out of all examples: of each class the same fraction, to within one example.

    It is the same for every seed of a run. An example's place in its class is a hash of its name, so that new examples
    move only those at the boundary.

    Args:
      source: all N examples; ints `label: [N]`, if any, are their classes.
      fraction: fraction of the examples that the test split takes, in [0, 1).

    Returns:
      (rest, test).
    """
    check_source("source", source)
    check_shapes(fraction=(fraction, "0 to <1"))
    names = source.names
    order = None if names is None else np.argsort(hash_texts(names, "0 test"), kind="stable")
    is_test = _by_position(_classes(source), fraction, 0, order)
    test = source.subset(np.flatnonzero(is_test))
    return source.subset(np.flatnonzero(~is_test)), replace(test, name=f"{source.name} (test)")


def _classes(source: Source) -> np.ndarray:
    """Return the class of each example; 0 where the source has no classes."""
    label = source.arrays.get("label")
    is_class = label is not None and label.ndim == 1 and np.issubdtype(label.dtype, np.integer)
    return label if is_class else np.zeros(len(source), np.int32)


def _by_position(label: np.ndarray, fraction: float, seed: int, order: np.ndarray | None = None) -> np.ndarray:
    """Choose the first examples of each class in an order, which is random by default."""
    length = len(label)
    num_valid = max(round(fraction * length), 1)
    if num_valid >= length:
        raise ValueError(f"fraction={fraction}: leaves nothing of {length} examples to train on; allowed: less")
    rng = np.random.default_rng((seed, 1))
    _, group, counts = np.unique(label, return_inverse=True, return_counts=True)
    quota = counts * (num_valid / length)
    take = np.floor(quota).astype(int)
    by_remainder = np.argsort(-(quota - take), kind="stable")
    take[by_remainder[: num_valid - take.sum()]] += 1
    order = rng.permutation(length) if order is None else order
    is_valid = np.zeros(length, bool)
    for class_id, amount in enumerate(take):
        is_valid[order[group[order] == class_id][:amount]] = True
    return is_valid


def _by_name(names: np.ndarray, label: np.ndarray, fraction: float, salt: str) -> np.ndarray:
    uniform = hash_texts(names, salt) / 2.0**64
    is_valid = uniform < fraction
    order = np.argsort(uniform, kind="stable")
    # When a class of _LEAST or more grows, its smallest hash stays the smallest or is that of a new example: no example
    # moves from training into the part.
    _, first, counts = np.unique(label[order], return_index=True, return_counts=True)
    is_valid[order[first[counts >= _LEAST]]] = True
    is_valid[order[0]] = True
    if is_valid.all():
        is_valid[order[-1]] = False
    return is_valid
