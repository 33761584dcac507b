"""Fingerprints of data: a 64-bit key for each example, whatever its position, and a digest of a source.

    key of an image on disk    digest of its name (path below the root of the data) and the size of its file
    key of an array's row      digest of the row's bytes: of `image` where there is one, else of every array
    digest of a source         of its keys in order, its arrays other than `image`, and its class names

Two sources with one digest hold the same examples in the same order with the same targets. Images on disk are not read:
an image that was replaced by another of the same size in bytes goes unnoticed. A file of tokens is
known by its name and length.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Fingerprint", "changes", "count_in", "fingerprint", "hashed"]

_IMAGE = "image"
_SHOWN = 3


class Fingerprint(NamedTuple):
    """Identity of a source, compared when a run resumes or is evaluated.

    Args:
      examples: their number.
      digest: 16 hexadecimal digits.
      by: content of the keys: "path and size", "content", or "number" where there are only positions.
      keys: [N] uint64, one an example; None where there are only positions, or where they were not kept.
      names: [N] str of the examples; None where they have none.
    """

    examples: int
    digest: str
    by: str
    keys: np.ndarray | None = None
    names: np.ndarray | None = None


def hashed(texts: Sequence[str], salt: str = "") -> np.ndarray:
    """Digest texts to numbers that are uniform and the same on every machine.

    Args:
      texts: N of them.
      salt: other salts give other numbers.

    Returns:
      [N] uint64.
    """
    start = hashlib.blake2b(salt.encode(), digest_size=8)

    def digest(text: str) -> bytes:
        state = start.copy()
        state.update(b"\0" + text.encode("utf-8", "surrogateescape"))
        return state.digest()

    return np.frombuffer(b"".join(map(digest, texts)), "<u8")


def fingerprint(
    length: int,
    arrays: Mapping[str, Any],
    names: np.ndarray | None = None,
    sizes: np.ndarray | None = None,
    class_names: Sequence[str] = (),
) -> Fingerprint:
    """Fingerprint the parts of a source.

    Args:
      length: N.
      arrays: name -> [N, ...], in memory or streamed.
      names: [N] str of the examples, or None.
      sizes: [N] bytes of the examples' files, or None.
      class_names: names of the classes, in the order of the labels.

    Returns:
      The fingerprint.
    """
    total = hashlib.blake2b(repr((length, tuple(class_names))).encode(), digest_size=8)
    if names is not None and sizes is not None:
        keys, by = hashed([f"{name}\0{size}" for name, size in zip(names, sizes, strict=True)]), "path and size"
    elif any(_on_demand(array) for name, array in arrays.items() if name != _IMAGE):
        keys, by = None, "number"
    elif arrays:
        keys, by = _row_keys({_IMAGE: arrays[_IMAGE]} if _IMAGE in arrays else arrays, length), "content"
    else:
        keys, by = None, "number"
    if keys is not None:
        total.update(keys.tobytes())
    for name in sorted(set(arrays) - {_IMAGE}):
        if _on_demand(arrays[name]):
            total.update(f"{name} {arrays[name].shape} {sorted(arrays[name].settings.items())}".encode())
            continue
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return Fingerprint(length, total.hexdigest(), by, keys, names)


def _on_demand(array: Any) -> bool:
    """Return whether an array reads its rows from a file (`dlcore.data.token_file`): it is known by its settings."""
    return hasattr(array, "settings")


def _row_keys(arrays: Mapping[str, Any], length: int) -> np.ndarray:
    """Digest each row of the arrays; a streamed image is known by its record's name."""
    states = [hashlib.blake2b(digest_size=8) for _ in range(length)]
    for name in sorted(arrays):
        array = arrays[name]
        if hasattr(array, "name_of"):
            rows = (array.name_of(int(record)).encode() for record in array.records)
        else:
            rows = map(np.ascontiguousarray, np.asarray(array).reshape(length, -1)) if length else ()
        for state, row in zip(states, rows, strict=True):
            state.update(row)
    return np.frombuffer(b"".join(state.digest() for state in states), "<u8")


def count_in(keys: np.ndarray, others: np.ndarray) -> int:
    """Count the keys that another set of keys contains.

    Args:
      keys: [N] uint64.
      others: [M] uint64.

    Returns:
      How many of the N.
    """
    return int(np.isin(keys, others).sum())


def changes(before: Fingerprint, now: Fingerprint) -> str | None:
    """Say what changed between two fingerprints.

    Args:
      before: facts of the earlier source.
      now: facts of the present source.

    Returns:
      Such as "7 examples more (dog/31.png, dog/32.png, ...), 2 fewer"; None where nothing did.
    """
    if before.digest == now.digest:
        return None
    if before.keys is None or now.keys is None or before.by != now.by:
        return f"{before.examples:,} examples before, {now.examples:,} now, with other content"
    new = ~np.isin(now.keys, before.keys)
    gone = int((~np.isin(before.keys, now.keys)).sum())
    if new.all() and len(new):
        return f"none of its {len(new):,} examples was among the {before.examples:,} of before"
    parts = []
    if new.any():
        examples_shown = [] if now.names is None else list(now.names[new][:_SHOWN])
        more = ", ..." if examples_shown and new.sum() > len(examples_shown) else ""
        parts.append(
            f"{new.sum():,} examples more" + (f" ({', '.join(examples_shown)}{more})" if examples_shown else "")
        )
    if gone:
        parts.append(f"{gone:,} {'fewer' if parts else 'examples fewer'}")
    if not parts and now.examples != before.examples:
        parts.append(f"{before.examples:,} examples before, {now.examples:,} now, the same ones repeated")
    return ", ".join(parts) or "the same examples in another order or with other targets"
