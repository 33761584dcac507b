"""Rows of a file of tokens, read on demand, and what they are known by."""

import chex
import numpy as np
import pytest

from dlcore.data.pipeline import Pipeline
from dlcore.data.token_file import token_rows


@pytest.fixture
def path(tmp_path):
    np.arange(100, 200, dtype=np.uint16).tofile(tmp_path / "train.bin")
    return tmp_path / "train.bin"


def test_rows_are_read_from_the_file(path):
    source = token_rows(path, 8, 4, (0.0, 0.5))
    assert len(source) == 11  # (50 - 8) // 4 + 1
    rows = source[np.array([0, 10, 3])]
    np.testing.assert_array_equal(rows["text"][:, 0], [100, 140, 112])
    np.testing.assert_array_equal(rows["text"][1], np.arange(140, 148))
    assert rows["text"].dtype == np.uint16
    np.testing.assert_array_equal(token_rows(path, 8, 8, (0.5, 1.0))[[0]]["text"][0], np.arange(150, 158))
    batches = [Pipeline(source, 4, seed=1).batch_at(step)["text"] for step in range(3)]
    chex.assert_shape(np.concatenate(batches), (12, 8))


def test_a_file_is_known_by_its_name_its_length_and_the_part(path):
    digest = token_rows(path, 8, 4).fingerprint.digest
    assert digest == token_rows(path, 8, 4).fingerprint.digest
    assert digest != token_rows(path, 8, 4, (0.0, 0.9)).fingerprint.digest
    assert digest != token_rows(path, 8, 2).fingerprint.digest
    assert token_rows(path, 8, 4).fingerprint.keys is None


def test_missing_files_and_short_splits_are_refused(path):
    with pytest.raises(FileNotFoundError, match="does not exist; allowed: a file of tokens of uint16"):
        token_rows(path.parent / "no.bin", 8, 4)
    for size, stride, name in ((0, 4, "size"), (8, 0, "stride")):
        with pytest.raises(ValueError, match=f"{name}=0: out of range; allowed: at least 1"):
            token_rows(path, size, stride)
    with pytest.raises(ValueError, match="10 tokens; allowed: at least 12"):
        token_rows(path, 12, 4, (0.9, 1.0))


TOKENS = np.arange(1000, 1100)


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32", "int64"])
@pytest.mark.parametrize("is_npy", [False, True])
def test_tokens_of_other_dtypes_are_the_same_rows(tmp_path, dtype, is_npy):
    path, tokens = tmp_path / "train.bin", TOKENS.astype(dtype)
    if is_npy:  # whatever its name
        with path.open("wb") as file:
            np.save(file, tokens)
    else:
        tokens.tofile(path)
    source = token_rows(path, 8, 4, (0.5, 1.0), dtype="uint16" if is_npy else dtype, num_tokens=1100)
    assert len(source) == 11  # (50 - 8) // 4 + 1
    rows = source[np.array([0, 10])]["text"]
    np.testing.assert_array_equal(rows[:, 0], [1050, 1090])
    assert rows.dtype == (np.uint16 if dtype == "uint16" else np.int32)
    with pytest.raises(ValueError, match="token 99 is 1099; allowed: 0 to 1098, those of the vocabulary"):
        token_rows(path, 8, 4, dtype="uint16" if is_npy else dtype, num_tokens=1099)


@pytest.mark.parametrize(
    ("tokens", "dtype", "message"),
    [
        (TOKENS.astype(np.uint32), "uint16", "every second number is 0 to 3, as in a file of uint32; allowed: dtype="),
        (TOKENS.astype(np.int64), "uint16", "as in a file of int64; allowed: dtype=int64"),
        (TOKENS.astype(np.uint16)[:99], "uint32", "198 bytes; allowed: a multiple of 4, whole numbers of uint32"),
        (TOKENS.astype(np.uint16), "uint32", r"token 0 is 65602536; allowed: 0 to 50256"),  # 1000 + 1001 * 2^16
        (-TOKENS.astype(np.int32), "int32", "token 0 is -1000; allowed: 0 to 50256"),
        (TOKENS, "uint8", "dtype='uint8': unknown; allowed: uint16, uint32, int32, int64"),
    ],
)
def test_a_file_of_another_dtype_is_named(tmp_path, tokens, dtype, message):
    tokens.tofile(tmp_path / "train.bin")
    with pytest.raises(ValueError, match=message):
        token_rows(tmp_path / "train.bin", 8, 4, dtype=dtype, num_tokens=50257)


def test_files_of_wider_numbers_are_refused_from_32_numbers_on_and_texts_from_64_bytes_on(tmp_path):
    """The upper halves are at most 3: numbers below 4 * 2^16."""
    path = tmp_path / "train.bin"
    for upper, count, wider in ((3, 32, True), (3, 31, False), (4, 32, False)):
        (np.arange(1000, 1000 + count) + upper * 2**16).astype(np.uint32).tofile(path)
        if wider:
            with pytest.raises(ValueError, match="every second number is 0 to 3"):
                token_rows(path, 8, 8)
        else:
            assert len(token_rows(path, 8, 8)) == 2 * count // 8
    path.write_bytes(b"a" * 62)
    assert len(token_rows(path, 8, 8)) == 3
    path.write_bytes(b"a" * 64)
    with pytest.raises(ValueError, match="a text, "):
        token_rows(path, 8, 8)


def test_a_text_of_four_letters_is_no_file_of_wider_numbers(tmp_path):
    """Its numbers are all 0 to 3, as the upper halves of wider ones are."""
    (np.arange(200) % 4).astype(np.uint16).tofile(tmp_path / "dna.bin")
    assert len(token_rows(tmp_path / "dna.bin", 8, 8, num_tokens=4)) == 25


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"the quick brown fox jumps over the lazy dog " * 10, "a text, b'the quick brown fox ', ...; allowed: its"),
        (b"PK\x03\x04" + bytes(60), "a .zip or .npz; allowed: numbers of uint16"),
        (b"\x1f\x8b\x08\0" + bytes(60), "compressed by gzip; allowed: numbers of uint16"),
    ],
)
def test_files_of_another_kind_are_no_tokens(tmp_path, content, problem):
    """Two letters are a number of 16 bits, which a vocabulary of 50,257 has."""
    (tmp_path / "train.bin").write_bytes(content)
    with pytest.raises(ValueError, match=problem):
        token_rows(tmp_path / "train.bin", 8, 8)


def test_an_npy_that_holds_no_tokens_is_named(tmp_path):
    for tokens in (np.ones((2, 3), np.int32), np.ones(6, np.float32)):
        np.save(tmp_path / "y.npy", tokens)
        with pytest.raises(ValueError, match=r"a .npy of \w+\[[\d, ]+\]; allowed: one axis of whole numbers"):
            token_rows(tmp_path / "y.npy", 1, 1)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "y.npy").read_bytes()[:20])
    with pytest.raises(ValueError, match=r"cut.npy': .*; allowed: a .npy of whole numbers"):
        token_rows(tmp_path / "cut.npy", 1, 1)


def test_rows_are_indexed_as_an_array(path):
    rows = token_rows(path, 8, 4).arrays["text"]
    np.testing.assert_array_equal(rows[-1], np.arange(192, 200))
    assert rows[2].dtype == np.uint16
    chex.assert_shape(rows[:0], (0, 8))
    for part in ((0.5, 0.5), (-0.1, 1.0), (0.0, 1.1)):
        with pytest.raises(ValueError, match=r"no part; allowed: two fractions in \[0, 1\], the smaller first"):
            token_rows(path, 8, 4, part)
