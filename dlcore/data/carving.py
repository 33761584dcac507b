"""Carve a validation or test split out of a training split.

Examples that have names are carved one by one, by a digest of the seed and the name: an example stays where it is
whatever is added to the data or removed from it. A rule that keeps every example in its place can look at nothing but
that example, so the sizes of the parts, and the shares of the classes in them, are those of independent draws: of a
class of n examples fraction * n are held out on average, give or take sqrt(n * fraction * (1 - fraction)). Examples
without names (embedded arrays, which do not grow) are carved by their positions, with exact sizes and shares.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dlcore.data.fingerprint import fingerprint, hashed
from dlcore.data.source import Source, checked_seed

__all__ = ["complete_splits", "shared_images", "split_validation"]

_LEAST = 5
"""Examples from which on a class has at least one in the part that is carved by name."""


def complete_splits(
    splits: Mapping[str, Source], fraction: float, seed: int
) -> tuple[Source, Source, Source, tuple[str, ...]]:
    """Make three splits of those that a data set has: without a test split the validation split is tested.

    Args:
      splits: train, and those of valid and test that are there.
      fraction: share of train that is carved for validation where nothing else is there for it.
      seed: random seed of the held-out examples.

    Returns:
      (train, valid, test, what was done, in words).

    Raises:
      ValueError: see `split_validation`.
    """
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
    """Find validation and test images that are trained on, too, and images of several classes, by their pixels.

    Args:
      train: source with `image: [N, H, W, C]`; images that are decoded batch by batch are not compared.
      valid: likewise.
      test: likewise.

    Returns:
      A line for each of the two splits with such images, and one on images with several labels.
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
                f"{shared.sum():,} of the {len(source):,} {split} images are trained on, too, by their pixels{first}: "
                "what they measure is too good"
            )
    labels = [source.arrays.get("label") for source in (train, valid, test)]
    if all(label is not None and np.ndim(label) == 1 for label in labels):
        pairs = np.unique(np.stack([np.concatenate(keys), np.concatenate(labels).astype(np.uint64)]), axis=1)
        if several := int((np.unique(pairs[0], return_counts=True)[1] > 1).sum()):
            lines.append(f"{several:,} images stand in several classes, with the same pixels")
    return tuple(lines)


def split_validation(source: Source, fraction: float, seed: int, part: str = "validation") -> tuple[Source, Source]:
    """Carve a validation split out of a training split.

    The same arguments give the same split; both parts keep the order of the source. By position, each class keeps its
    share to within one example, and the part has round(fraction * N) examples, at least one where `fraction` is above
    0. By name, a class of five or more examples has at least one in the part, and so has the source.

    Args:
      source: training split, of N examples; `label: [N]` of ints are its classes.
      fraction: share of the validation split, in [0, 1).
      seed: random seed of the examples.
      part: name of what is carved; by name, parts of other names hold independent examples.

    Returns:
      (train, valid).

    Raises:
      ValueError: `fraction` is outside [0, 1) or leaves nothing to train on, or `seed` is negative.
    """
    if not 0 <= fraction < 1:
        raise ValueError(f"fraction={fraction}: out of range; allowed: in [0, 1)")
    seed, length = checked_seed(seed), len(source)
    if fraction > 0 and length < 2:
        raise ValueError(f"fraction={fraction}: leaves nothing of {length} examples to train on")
    label = source.arrays.get("label")
    if label is None or label.ndim != 1 or not np.issubdtype(label.dtype, np.integer):
        label = np.zeros(length, np.int32)
    if fraction == 0:
        is_valid = np.zeros(length, bool)
    elif source.names is None:
        is_valid = _by_position(label, fraction, seed)
    else:
        is_valid = _by_name(source.names, label, fraction, f"{seed} {part}")
    valid = source.subset(np.flatnonzero(is_valid))
    return source.subset(np.flatnonzero(~is_valid)), replace(valid, name=f"{source.name} ({part})")


def _by_position(label: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    length = len(label)
    num_valid = max(round(fraction * length), 1)
    if num_valid >= length:
        raise ValueError(f"fraction={fraction}: leaves nothing of {length} examples to train on")
    rng = np.random.default_rng((seed, 1))
    _, group, counts = np.unique(label, return_inverse=True, return_counts=True)
    quota = counts * (num_valid / length)
    take = np.floor(quota).astype(int)
    by_remainder = np.argsort(-(quota - take), kind="stable")
    take[by_remainder[: num_valid - take.sum()]] += 1
    order = rng.permutation(length)
    is_valid = np.zeros(length, bool)
    for class_id, amount in enumerate(take):
        is_valid[order[group[order] == class_id][:amount]] = True
    return is_valid


def _by_name(names: np.ndarray, label: np.ndarray, fraction: float, salt: str) -> np.ndarray:
    uniform = hashed(names, salt) / 2.0**64
    is_valid = uniform < fraction
    order = np.argsort(uniform, kind="stable")
    # The smallest number of a class stays the smallest among more examples, or a new one takes its place: no example
    # that was trained on moves into the part.
    _, first, counts = np.unique(label[order], return_index=True, return_counts=True)
    is_valid[order[first[counts >= _LEAST]]] = True
    is_valid[order[0]] = True
    if is_valid.all():
        is_valid[order[-1]] = False
    return is_valid
