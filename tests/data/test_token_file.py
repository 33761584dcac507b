"""Rows of a file of tokens, read on demand, and what they are known by."""

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
    assert np.concatenate(batches).shape == (12, 8)


def test_a_file_is_known_by_its_name_its_length_and_the_part(path):
    digest = token_rows(path, 8, 4).fingerprint.digest
    assert digest == token_rows(path, 8, 4).fingerprint.digest
    assert digest != token_rows(path, 8, 4, (0.0, 0.9)).fingerprint.digest
    assert digest != token_rows(path, 8, 2).fingerprint.digest
    assert token_rows(path, 8, 4).fingerprint.keys is None


def test_what_is_not_there(path):
    with pytest.raises(FileNotFoundError, match="does not exist; allowed: a file of 16-bit tokens"):
        token_rows(path.parent / "no.bin", 8, 4)
    with pytest.raises(ValueError, match="10 tokens; allowed: at least 12"):
        token_rows(path, 12, 4, (0.9, 1.0))
