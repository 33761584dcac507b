"""Fingerprints of data: a 64-bit key of each example, which does not depend on its position, and a digest of a source.

    key of an image on disk    digest of its name (path below the root of the data) and the size of its file
    key of an array's row      digest of the row's bytes: of `image` where there is one, else of every array
    digest of a source         of its keys in order, its arrays other than `image`, and its class names

Two sources with the same digest hold the same examples in the same order with the same targets. Images on disk are not
read: an image that was replaced by another of the same size in bytes goes unnoticed. A file of tokens is identified by
its name and length.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Fingerprint", "changes", "count_shared", "fingerprint", "hash_texts"]

_IMAGE = "image"
_SHOWN = 3


class Fingerprint(NamedTuple):
    """Identity of a source, compared when a run resumes or is evaluated.

    Args:
      examples: number of examples, N.
      digest: digest of the source, 16 hexadecimal digits.
      by: what the keys are computed from: "path and size" of files, "content" of arrays, or "number" where there are
        no keys.
      keys: [N] uint64, one per example; None where `by` is "number", or where they were not kept.
      names: [N] str, names of the examples; None where they have none.
    """

    examples: int
    digest: str
    by: str
    keys: np.ndarray | None = None
    names: np.ndarray | None = None


def hash_texts(texts: Sequence[str], salt: str = "") -> np.ndarray:
    """Hash texts to uniformly distributed 64-bit numbers, the same on every machine.

    Args:
      texts: N texts.
      salt: text that is hashed in front of each text; different salts give independent numbers.

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
    """Compute the fingerprint of a source from its parts.

    Args:
      length: number of examples, N.
      arrays: name -> [N, ...], in memory or streamed.
      names: [N] str, names of the examples, or None.
      sizes: [N] int, sizes of the examples' files in bytes, or None.
      class_names: names of the classes, in the order of the labels.

    Returns:
      The fingerprint.
    """
    total = hashlib.blake2b(repr((length, tuple(class_names))).encode(), digest_size=8)
    if names is not None and sizes is not None:
        keys, by = hash_texts([f"{name}\0{size}" for name, size in zip(names, sizes, strict=True)]), "path and size"
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
    """Return whether an array reads or draws its rows on demand, and is thus identified by its `settings`."""
    return hasattr(array, "settings")


def _row_keys(arrays: Mapping[str, Any], length: int) -> np.ndarray:
    """Digest each row of the arrays; a streamed image is identified by its record's name."""
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


def count_shared(keys: np.ndarray, others: np.ndarray) -> int:
    """Count the keys that another set of keys contains.

    Args:
      keys: [N] uint64.
      others: [M] uint64.

    Returns:
      Number of the N keys that are among `others`.
    """
    return int(np.isin(keys, others).sum())


def changes(before: Fingerprint, now: Fingerprint) -> str | None:
    """Describe what changed between two fingerprints.

    Args:
      before: fingerprint of the earlier source.
      now: fingerprint of the present source.

    Returns:
      A phrase such as "7 examples more (dog/31.png, dog/32.png, ...), 2 fewer"; None where nothing changed.
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
