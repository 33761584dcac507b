"""Fingerprints of sources: equal for equal examples, different for any change, and what they say about it."""

import hashlib

import numpy as np
import pytest

from dlcore.data.digits import digits
from dlcore.data.fingerprint import changes, hash_texts
from dlcore.data.source import Source


def files(count, first=0, size=100):
    names = np.array([f"dog/{i}.png" for i in range(first, first + count)], object)
    arrays = {"image": np.zeros((count, 2, 2, 3), np.uint8), "label": np.ones(count, np.int32)}
    return Source(arrays, None, ("cat", "dog"), names=names, sizes=np.full(count, size))


def test_equal_sources_have_equal_fingerprints_and_any_change_shows():
    data = digits("train")
    print_ = data.fingerprint
    assert print_.digest == digits("train").fingerprint.digest
    assert (print_.examples, print_.by, len(print_.keys), len(print_.digest)) == (1297, "content", 1297, 16)
    one = digits("train")
    one.arrays["image"][700, 3, 3] += 0.1
    assert changes(print_, one.fingerprint) == "1 examples more, 1 fewer"
    other = digits("train")
    other.arrays["label"][700] = (other.arrays["label"][700] + 1) % 10
    assert changes(print_, other.fingerprint) == "the same examples in another order or with other targets"
    renamed = Source(data.arrays, class_names=tuple("abcdefghij"))
    assert print_.digest != renamed.fingerprint.digest
    assert "another order" in changes(print_, data.subset(slice(None, None, -1)).fingerprint)
    assert changes(print_, data.take(1290).fingerprint) == "7 examples fewer"
    assert changes(print_, digits("test").fingerprint).startswith("none of its 500 examples")


def test_a_fingerprint_is_this_hash_whatever_the_order_of_the_arrays():
    """Fingerprints that checkpoints hold stay comparable."""
    arrays = {
        "label": np.array([1, 0], "<i4"),
        "image": np.arange(8, dtype=np.uint8).reshape(2, 2, 2, 1),
        "box": np.array([0.5, 2], "<f4"),
    }
    rows = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in arrays["image"]]
    text = b"(2, ('cat', 'dog'))" + b"".join(rows)
    text += b"box float32 (2,)" + arrays["box"].tobytes() + b"label int32 (2,)" + arrays["label"].tobytes()
    digest = hashlib.blake2b(text, digest_size=8).hexdigest()
    for names in (("image", "label", "box"), ("box", "label", "image")):
        assert Source({name: arrays[name] for name in names}, None, ("cat", "dog")).fingerprint.digest == digest
    # Without images all arrays tell the rows, also in the order of their names.
    pair = {name: arrays[name] for name in ("label", "box")}
    rows = [hashlib.blake2b(pair["box"][i].tobytes() + pair["label"][i].tobytes(), digest_size=8) for i in range(2)]
    found = Source(pair, None, ("cat", "dog")).fingerprint.keys
    assert found.tolist() == [int.from_bytes(row.digest(), "little") for row in rows]


def test_files_are_known_by_path_and_size():
    before = files(20)
    assert changes(before.fingerprint, files(20).fingerprint) is None
    more = changes(before.fingerprint, files(25).fingerprint)
    assert more == "5 examples more (dog/20.png, dog/21.png, dog/22.png, ...)"
    assert changes(before.fingerprint, files(22, first=1).fingerprint) == (
        "3 examples more (dog/20.png, dog/21.png, dog/22.png), 1 fewer"
    )
    assert changes(before.fingerprint, files(20, size=101).fingerprint).startswith("none of its 20 examples")


def test_without_keys_only_numbers_can_be_told():
    before = files(20).fingerprint._replace(keys=None)
    assert changes(before, files(20).fingerprint) is None
    assert changes(before, files(27).fingerprint) == "20 examples before, 27 now, with other content"
    assert Source.indices(5).fingerprint.digest == Source.indices(5).fingerprint.digest
    assert Source.indices(5).fingerprint.digest != Source.indices(6).fingerprint.digest
    assert Source.indices(5).fingerprint.keys is None


@pytest.mark.parametrize("salt", ["", "0 test"])
def test_hashed_texts_are_uniform_and_fixed(salt):
    numbers = hash_texts([f"cat/{i}.png" for i in range(10_000)], salt) / 2.0**64
    # Each tenth holds 1,000 on average, give or take 30.
    assert np.abs(np.histogram(numbers, 10, (0, 1))[0] - 1000).max() < 150
    # The first eight bytes of BLAKE2b of the salt, a zero byte and the name, little-endian.
    assert hash_texts(["a"], "").tolist() == [int.from_bytes(hashlib.blake2b(b"\0a", digest_size=8).digest(), "little")]


def test_examples_that_are_there_twice_are_told():
    before = files(20)
    twice = before.subset([*range(20), 3])
    assert changes(before.fingerprint, twice.fingerprint) == "20 examples before, 21 now, the same ones repeated"
