import gc
import threading
import time
import traceback

import pytest

from dlcore.data.prefetch import Prefetch, prefetch


def wait_until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


@pytest.mark.covers("SY-12")
def test_batches_come_in_order_and_through_put():
    got = list(prefetch(lambda step: step * 10, 3, 7, put=lambda batch: batch + 1))
    assert got == [(3, 31), (4, 41), (5, 51), (6, 61)]
    assert list(prefetch(lambda step: step, 4, 4)) == []


def test_it_works_exactly_size_ahead():
    made = []
    with prefetch(lambda step: made.append(step), 0, 100, size=3) as batches:
        wait_until(lambda: len(made) == 3)
        time.sleep(0.05)
        assert made == [0, 1, 2]
        next(batches)
        wait_until(lambda: len(made) == 4)
        time.sleep(0.05)
        assert made == [0, 1, 2, 3]


def broken(step):
    if step == 2:
        raise KeyError("no such file")
    return step


def test_an_exception_reaches_the_consumer_after_the_batches_before_it():
    batches = prefetch(broken, 0, 10)
    assert [next(batches), next(batches)] == [(0, 0), (1, 1)]
    with pytest.raises(KeyError, match="no such file") as caught:
        next(batches)
    assert "broken" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert list(batches) == []


def test_an_error_of_put_reaches_the_consumer():
    def refuse(batch):
        if batch == 2:
            raise MemoryError("no room on the device")
        return batch

    batches = prefetch(lambda step: step, 0, None, put=refuse)
    assert [next(batches), next(batches)] == [(0, 0), (1, 1)]
    with pytest.raises(MemoryError, match="no room"):
        next(batches)
    assert list(batches) == []
    assert not threads()


def test_a_batch_is_made_while_the_one_before_is_put():
    made = threading.Event()

    def put(batch):
        return batch if batch or made.wait(5) else "alone"

    def batch_at(step):
        if step == 1:
            made.set()
        return step

    with prefetch(batch_at, 0, 2, put=put) as batches:
        assert [next(batches)[1], next(batches)[1]] == [0, 1]


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "dlcore-prefetch"]


def test_closing_stops_the_thread_and_ends_the_iteration():
    batches = Prefetch(lambda step: step, 0, None, size=2)
    assert next(batches) == (0, 0)
    assert threads()
    batches.close()
    assert not threads()
    assert list(batches) == []
    batches.close()


def test_the_thread_ends_when_the_iterator_is_dropped_or_exhausted():
    dropped = prefetch(lambda step: step, 0, None)
    next(dropped)
    del dropped
    gc.collect()
    assert not threads()
    done = prefetch(lambda step: step, 0, 2)
    assert len(list(done)) == 2
    assert not threads()


def test_waiting_is_counted():
    gate = threading.Event()
    batches = prefetch(lambda step: gate.wait(5), 0, 1)
    threading.Timer(0.2, gate.set).start()
    next(batches)
    assert 0.1 < batches.wait_seconds < 5
    ready = prefetch(lambda step: step, 0, 1)
    wait_until(lambda: ready._ready.qsize() > 0)
    next(ready)
    assert ready.wait_seconds < batches.wait_seconds


def test_no_room_ahead_and_steps_that_are_none_are_refused():
    with pytest.raises(ValueError, match="size=0: out of range; allowed: at least 1"):
        prefetch(lambda step: step, 0, 1, size=0)
