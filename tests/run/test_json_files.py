"""JSON without NaN, and errors that name the file."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.run.json_files import json_text, read_json, write_json


def test_nan_and_infinity_become_null():
    value = {
        "nan": math.nan,
        "list": [1, math.inf, "x", None, True],
        "array": np.array([[1.5, np.nan]]),
        "scalar": np.float32(-np.inf),
        "count": np.int64(3),
        "device": jnp.array([0.5, jnp.nan]),
        "tuple": (1, 2),
    }
    assert json.loads(json_text(value), parse_constant=pytest.fail) == {
        "nan": None,
        "list": [1, None, "x", None, True],
        "array": [[1.5, None]],
        "scalar": None,
        "count": 3,
        "device": [0.5, None],
        "tuple": [1, 2],
    }


def test_files_are_written_in_one_move(tmp_path):
    write_json(tmp_path / "a.json", {"b": math.nan})
    assert read_json(tmp_path / "a.json", ["b"]) == {"b": None}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "it is empty"),
        (b"{", "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON .*recursion"),
        (b"[1]", "it holds no JSON object"),
        (b"{}", "it has no 'step'"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, content, problem):
    path = tmp_path / "finished.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}: {problem}.*allowed: the file that the run wrote"):
        read_json(path, ["step"])
