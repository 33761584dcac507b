"""Every procedural source draws the same examples on every machine: the checksums of its first ones.

After a change that is meant: DLCORE_UPDATE_SNAPSHOTS=1 pytest tests/data/test_checksums.py -n 0
"""

import hashlib
import importlib
import inspect
import json
import os
import pkgutil
from pathlib import Path

import numpy as np
import pytest

import dlcore.data
from dlcore.data.source import Source

SNAPSHOT = Path(__file__).resolve().parents[1] / "goldens" / "source_checksums.json"


def procedural_sources():
    """{module.function: function} of every public function of dlcore.data that is called (count, seed) -> Source."""
    found = {}
    for info in pkgutil.iter_modules(dlcore.data.__path__, "dlcore.data."):
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            function = getattr(module, name)
            if not inspect.isfunction(function) or function.__module__ != info.name:
                continue
            signature = inspect.signature(function)
            if [*signature.parameters][:2] == ["count", "seed"] and signature.return_annotation in (Source, "Source"):
                found[f"{info.name.rpartition('.')[2]}.{name}"] = function
    return found


SOURCES = procedural_sources()


def summary(source):
    """{array: its type and shape, and the checksum of whole numbers or the mean and deviation of others}."""
    rows = {}
    for name, array in sorted(source.arrays.items()):
        array = np.asarray(array[:])
        row = {"dtype": array.dtype.name, "shape": list(array.shape)}
        if np.issubdtype(array.dtype, np.floating):
            row |= {"mean": float(array.mean(dtype=np.float64)), "std": float(array.std(dtype=np.float64))}
        else:
            row["sha256"] = hashlib.sha256(
                np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
            ).hexdigest()
        rows[name] = row
    return rows


@pytest.mark.covers("MI-06")
@pytest.mark.parametrize("name", SOURCES)
def test_a_procedural_source_draws_what_it_drew(name):
    now = summary(SOURCES[name](3, 0))
    known = json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {}
    if os.environ.get("DLCORE_UPDATE_SNAPSHOTS"):
        known[name] = now
        SNAPSHOT.write_text(json.dumps({k: known[k] for k in sorted(known) if k in SOURCES}, indent=1) + "\n")
    assert name in known, "a new source: see this file's docstring"
    assert now.keys() == known[name].keys()
    for array, row in known[name].items():
        for key, value in row.items():
            wanted = pytest.approx(value, rel=1e-4, abs=1e-6) if key in ("mean", "std") else value
            assert now[array][key] == wanted, f"{array}: {key}"


@pytest.mark.covers("MI-06")
@pytest.mark.parametrize("name", SOURCES)
def test_another_seed_draws_others(name):
    assert summary(SOURCES[name](3, 1)) != summary(SOURCES[name](3, 0))


def test_the_sources_are_found():
    assert {"adding.adding", "sentiment.sentiment_sentences", "tracks.tracks"} <= set(SOURCES)
    assert len(SOURCES) >= 12
