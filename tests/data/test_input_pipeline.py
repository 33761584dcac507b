"""Both input pipelines give the same batches in the same order, from every step on."""

import gc
import re
import sys
import threading
import time

import chex
import numpy as np
import pytest

from dlcore.data.input_pipeline import INPUT_PIPELINES, GrainBatches, check_input_pipeline, open_batches
from dlcore.data.pipeline import Pipeline
from dlcore.data.prefetch import Prefetch
from dlcore.data.source import Source
from dlcore.extras import MissingPackage

STEPS = 7
"""Batches of 4 of 10 examples: the steps cross the ends of two epochs."""


def pipeline(**options):
    def noisy(example, rng):
        return {**example, "x": example["x"] + rng.normal(size=3)}

    x = np.random.default_rng(0).normal(size=(10, 3))
    return Pipeline(Source({"x": x, "label": np.arange(10, dtype=np.int32)}), 4, seed=3, transform=noisy, **options)


@pytest.mark.covers("SY-16")
@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("process", [(0, 1), (1, 2)])
def test_grain_gives_our_batches_bit_by_bit(first, process):
    """From the start, from the middle of an epoch, and the rows of the second of two processes."""
    pytest.importorskip("grain")
    pipe = pipeline(process_index=process[0], process_count=process[1])
    batches = {}
    for name in INPUT_PIPELINES:
        with open_batches(name, pipe.batch_at, first, STEPS, size=3) as opened:
            batches[name] = list(opened)
    assert [step for step, _ in batches["grain"]] == list(range(first, STEPS))
    for ours, grains in zip(batches["dlcore"], batches["grain"], strict=True):
        assert grains[1]["x"].dtype == np.float64
        chex.assert_trees_all_equal(ours, grains)


def test_the_kinds_of_batches():
    with open_batches("dlcore", pipeline().batch_at, 0, 1) as batches:
        assert isinstance(batches, Prefetch)
    pytest.importorskip("grain")
    with open_batches("grain", pipeline().batch_at, 0, 1) as batches:
        assert isinstance(batches, GrainBatches)


def test_grain_moves_batches_and_works_ahead():
    pytest.importorskip("grain")
    steps = []
    with GrainBatches(lambda step: steps.append(step) or 10 * step, 2, 100, 3, put=lambda batch: batch + 1) as batches:
        assert [next(batches), next(batches)] == [(2, 21), (3, 31)]
        end = time.monotonic() + 5
        while len(steps) < 5 and time.monotonic() < end:
            time.sleep(0.005)
        time.sleep(0.05)
        assert sorted(steps) == [2, 3, 4, 5, 6]  # the three batches after the two that were taken
    assert list(batches) == []


def test_waiting_for_grain_is_counted():
    pytest.importorskip("grain")
    with GrainBatches(lambda step: time.sleep(0.1), 0, 1) as batches:
        assert next(batches) == (0, None)
        assert 0.05 < batches.wait_seconds < 5


def broken(step):
    if step == 2:
        raise KeyError("no such file")
    return step


def test_an_exception_in_grains_threads_reaches_the_consumer_after_the_batches_before_it():
    pytest.importorskip("grain")
    batches = GrainBatches(broken, 0, 10)
    assert [next(batches), next(batches)] == [(0, 0), (1, 1)]
    with pytest.raises(KeyError, match="no such file"):
        next(batches)
    assert list(batches) == []


def test_grains_threads_end_with_their_iterator():
    pytest.importorskip("grain")
    before = threading.active_count()
    dropped = GrainBatches(lambda step: step, 0, 100)
    next(dropped)
    del dropped
    gc.collect()
    with GrainBatches(lambda step: step, 0, 100) as batches:
        next(batches)
    end = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.005)
    assert threading.active_count() <= before


def test_bad_arguments(monkeypatch):
    monkeypatch.setitem(sys.modules, "grain", None)
    message = (
        "input_pipeline=grain needs grain, which is not installed: pip install -e '.[grain]' in a checkout of dlcore"
    )
    for call in (lambda: check_input_pipeline("grain"), lambda: open_batches("grain", broken, 0, 1)):
        with pytest.raises(MissingPackage, match=re.escape(message)):
            call()


GRAIN = """
import collections
asked = []
ReadOptions = collections.namedtuple("ReadOptions", ["num_threads", "prefetch_buffer_size"])
class MapDataset:
    def __init__(self, steps, function=None):
        self.steps, self.function = steps, function
    @classmethod
    def range(cls, start, stop):
        return cls(range(start, stop))
    def map(self, function):
        return MapDataset(self.steps, function)
    def to_iter_dataset(self, options):
        asked.append(options)
        return (self.function(step) for step in self.steps)
"""
"""The part of grain that is called, in one thread."""


@pytest.fixture
def stand_in(stand_in_package):
    """A package of this name that computes each batch when it is asked for."""
    return stand_in_package("grain", GRAIN)


def test_batches_of_a_stand_in_for_grain_are_counted_moved_and_closed(stand_in):
    read = []
    with open_batches("grain", lambda step: read.append(step) or 10 * step, 2, 6, 3, put=lambda x: x + 1) as batches:
        assert isinstance(batches, GrainBatches)
        assert batches.wait_seconds == 0
        assert [next(batches), next(batches)] == [(2, 21), (3, 31)]
    assert read == [2, 3]
    assert list(batches) == []
    assert stand_in.asked == [(3, 3)]
    assert list(GrainBatches(str, 4, 6)) == [(4, "4"), (5, "5")]
    assert stand_in.asked[1] == (2, 2)


def test_waiting_for_a_stand_in_is_measured_and_its_errors_end_it(stand_in):
    def slow(step):
        time.sleep(0.02)
        return {0: "a"}[step]

    batches = GrainBatches(slow, 0, 9, size=1)
    assert next(batches) == (0, "a")
    assert 0.02 <= batches.wait_seconds < 5
    with pytest.raises(KeyError):
        next(batches)
    assert 0.04 <= batches.wait_seconds < 5
    assert list(batches) == []
