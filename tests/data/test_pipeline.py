import copy
import json
import subprocess
import sys
import threading

import chex
import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from dlcore.data.device import device_resident
from dlcore.data.pipeline import Pipeline, batch_at, epochs, padded_batches, settings, steps_per_epoch
from dlcore.data.source import Source


def source(length, name="toy"):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (length, 2, 3, 1), np.uint8)
    return Source({"image": image, "label": np.arange(length, dtype=np.int32) * 10}, name=name)


def stream(pipeline, steps):
    return np.concatenate([pipeline.batch_at(step)["index"] for step in range(steps)])


@st.composite
def sizes(draw):
    length = draw(st.integers(1, 40))
    return length, draw(st.integers(1, length))


@pytest.mark.covers("SY-12")
@given(sizes(), st.integers(0, 2**31), st.booleans())
def test_every_example_comes_exactly_once_an_epoch(size, seed, shuffle):
    length, batch_size = size
    seen = stream(Pipeline(Source.indices(length), batch_size, seed, shuffle), steps_per_epoch(3 * length, batch_size))
    for epoch in range(3):
        of_epoch = seen[epoch * length : (epoch + 1) * length]
        np.testing.assert_array_equal(np.sort(of_epoch), np.arange(length))


@pytest.mark.covers("SY-12")
@pytest.mark.parametrize("batch_size", [25, 30])
def test_epochs_are_shuffled_each_in_its_own_way(batch_size):
    seen = stream(Pipeline(source(100), batch_size, seed=1), 10)
    assert seen[:100].tolist() != sorted(seen[:100])
    assert seen[:100].tolist() != seen[100:200].tolist()
    other = stream(Pipeline(source(100), batch_size, seed=2), 10)
    assert seen[:100].tolist() != other[:100].tolist()


@pytest.mark.covers("SY-12")
def test_rows_belong_together():
    data = source(30)
    batch = Pipeline(data, 7, seed=3).batch_at(4)
    np.testing.assert_array_equal(batch["label"], batch["index"] * 10)
    np.testing.assert_array_equal(batch["image"], data.arrays["image"][batch["index"]])
    assert batch["image"].dtype == np.uint8


def test_a_batch_is_a_function_of_the_step_whatever_was_asked_before():
    first, second = Pipeline(source(20), 6, seed=9), Pipeline(source(20), 6, seed=9)
    forward = [first.batch_at(step)["index"] for step in range(30)]
    for step in (29, 0, 17, 3, 28):
        np.testing.assert_array_equal(second.batch_at(step)["index"], forward[step])


def test_batches_are_right_when_threads_ask_for_them_at_once():
    pipeline = Pipeline(source(50), 7, seed=1)
    expected = [Pipeline(source(50), 7, seed=1).batch_at(step)["index"] for step in range(60)]
    wrong = []

    def ask(offset):
        for step in range(offset, 60, 3):
            if not np.array_equal(pipeline.batch_at(step)["index"], expected[step]):
                wrong.append(step)

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_unshuffled_keeps_the_order_of_the_source():
    np.testing.assert_array_equal(stream(Pipeline(source(5), 2, shuffle=False), 4), [0, 1, 2, 3, 4, 0, 1, 2])


@pytest.mark.covers("TR-18")
def test_epoch_accounting():
    assert steps_per_epoch(1000, 100) == 10
    assert steps_per_epoch(1001, 100) == 11
    assert steps_per_epoch(99, 100) == 1
    even = Pipeline(Source.indices(1000), 100)
    assert even.steps_per_epoch == 10
    assert [even.epoch_of(step) for step in (0, 9, 10, 19, 20)] == [0, 0, 1, 1, 2]
    # 10 examples in batches of 4: steps 0, 1, 2 begin at 0, 4, 8 (epoch 0), step 3 at 12 (epoch 1), step 5 at 20.
    odd = Pipeline(Source.indices(10), 4)
    assert odd.steps_per_epoch == 3
    assert [odd.epoch_of(step) for step in range(6)] == [0, 0, 0, 1, 1, 2]
    for arguments, message in (
        ((10, 0), "batch_size=0: out of range; allowed: at least 1"),
        ((-1, 5), "num_examples=-1: out of range; allowed: at least 0"),
        ((10, 1.5), "batch_size=1.5: no whole number"),
        ((3.5, 1), "num_examples=3.5: no whole number"),
    ):
        with pytest.raises(ValueError, match=message):
            steps_per_epoch(*arguments)


@pytest.mark.covers("SY-12")
@pytest.mark.parametrize("count", [2, 3, 6])
def test_processes_share_one_global_batch(count):
    whole = Pipeline(source(20), 12, seed=5, transform=noise)
    parts = [Pipeline(source(20), 12, 5, True, p, count, noise) for p in range(count)]
    for step in (0, 1, 7):
        joined = [part.batch_at(step) for part in parts]
        for key, value in whole.batch_at(step).items():
            np.testing.assert_array_equal(np.concatenate([part[key] for part in joined]), value)
    assert all(part.settings == whole.settings for part in parts)


def noise(example, rng):
    return {**example, "noise": rng.standard_normal(2).astype(np.float32)}


def test_transform_draws_by_seed_epoch_and_example_whatever_the_batch():
    def drawn(batch_size, seed=3):
        pipeline = Pipeline(source(12), batch_size, seed, transform=noise)
        batches = [pipeline.batch_at(step) for step in range(24 // batch_size)]
        index = np.concatenate([batch["index"] for batch in batches])
        values = np.concatenate([batch["noise"] for batch in batches])
        return values[:12][np.argsort(index[:12])], values[12:][np.argsort(index[12:])]

    first, second = drawn(12)
    np.testing.assert_array_equal(drawn(8)[0], first)
    np.testing.assert_array_equal(drawn(8)[1], second)
    assert len(np.unique(np.concatenate([first, second])[:, 0])) == 24
    assert (drawn(12, seed=4)[0] != first).any()


def test_epochs_are_those_of_the_source_that_lasts_longest():
    both = {"few": Pipeline(source(20), 10), "more": {"inner": Pipeline(source(90), 30)}}
    assert epochs(settings(both["few"]), 3, 1) == pytest.approx(1.5)
    assert epochs(settings(both), 3, 1) == pytest.approx(1.0)
    assert epochs({"few": {"source": "endless"}}, 3, 1) is None
    assert epochs({"source": "streams", "length": 12}, 3, 8) == pytest.approx(2.0)


def test_settings_are_json_and_tell_pipelines_apart():
    both = {"a": Pipeline(source(10, "x"), 5, seed=1), "b": {"c": Pipeline(source(12, "y"), 3, shuffle=False)}}
    found = json.loads(json.dumps(settings(both)))
    others = Source({**source(10, "x").arrays, "image": np.zeros((10, 2, 3, 1), np.uint8)}, name="x")
    assert found["a"]["digest"] != settings(Pipeline(others, 5))["digest"], "name and length are the same"
    assert len(found["a"].pop("digest")) == len(found["b"]["c"].pop("digest")) == 16
    assert found["a"] == {"source": "x", "length": 10, "batch_size": 5, "seed": 1, "shuffle": True}
    assert found["b"]["c"] == {"source": "y", "length": 12, "batch_size": 3, "seed": 0, "shuffle": False}
    batch = batch_at(both, 3)
    np.testing.assert_array_equal(batch["b"]["c"]["index"], [9, 10, 11])
    np.testing.assert_array_equal(batch["a"]["index"], both["a"].batch_at(3)["index"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 11}, "batch_size=11: more than the 10 examples of toy; allowed: at most 10; batch_size=8 fits"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 5, "process_count": 2}, "batch_size=5: invalid; allowed: a multiple of process_count 2"),
        ({"batch_size": 4, "process_index": 2, "process_count": 2}, "process_index=2"),
        ({"batch_size": 4, "seed": -1}, "seed=-1"),
        ({"batch_size": 4, "shuffle": "no"}, "shuffle='no': neither; allowed: True, False"),
        ({"batch_size": 4, "transform": 3}, "transform=3: no function; allowed"),
        ({"batch_size": 4, "process_index": 0.5}, "process_index=0.5: no whole number"),
        ({"batch_size": 4, "process_count": "2"}, "process_count=.*2.*: no whole number"),
    ],
)
def test_bad_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Pipeline(source(10), **arguments)
    for step in (-1, 0.5, float("nan"), None, "1"):
        with pytest.raises(ValueError, match=rf"step={step}: no step; allowed: whole numbers of 0 or more"):
            Pipeline(source(10), 2).batch_at(step)
    with pytest.raises(ValueError, match="epoch=-1: too small; allowed: at least 0"):
        Pipeline(source(10), 2).order(-1)
    for step, batch_size, message in ((-1, 2, "step=-1: out of range"), (1, 0, "batch_size=0: out of range")):
        with pytest.raises(ValueError, match=message):
            epochs({"length": 10}, step, batch_size)


def longer(example, rng):
    return {"x": np.zeros(1 + int(example["index"]))}


def test_pipelines_and_examples_that_do_not_fit_are_named():
    for call, message in (
        (lambda: batch_at([Pipeline(source(10), 2)], 0), "pipelines=list: no pipeline; allowed: a Pipeline, or a dict"),
        (lambda: padded_batches(np.zeros(3), 2), "source=ndarray: no source; allowed"),
        (lambda: device_resident(source(10)), "pipeline=Source: no pipeline; allowed"),
        (
            lambda: Pipeline(source(10), 2, transform=lambda e, r: None).batch_at(0),
            "transform: returned NoneType; allowed",
        ),
        (
            lambda: Pipeline(source(10), 2, transform=longer).batch_at(0),
            r"transform: x is .* for example \d and .* for the one before; allowed: arrays of the same names and",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.covers("SY-12")
@given(st.integers(0, 30), st.integers(1, 12), st.integers(1, 4))
def test_padded_batches_hold_every_example_once(length, share, count):
    batch_size = share * count
    seen = []
    for process in range(count):
        batches = list(padded_batches(Source.indices(length), batch_size, process, count))
        assert len(batches) == steps_per_epoch(length, batch_size)
        for batch in batches:
            chex.assert_shape([batch["mask"], batch["index"]], (share,))
            assert batch["mask"].dtype == np.float32
            assert (batch["index"][batch["mask"] == 0] == 0).all()
            seen.append(batch["index"][batch["mask"] == 1])
    np.testing.assert_array_equal(np.sort(np.concatenate(seen or [[]])), np.arange(length))


def test_padded_batches_keep_order_and_refuse_bad_shares_at_once():
    index = [batch["index"].tolist() for batch in padded_batches(source(5), 3)]
    assert index == [[0, 1, 2], [3, 4, 0]]
    with pytest.raises(ValueError, match="process_count"):
        padded_batches(source(5), 3, 0, 2)


@pytest.mark.covers("SY-12")
@pytest.mark.parametrize("batch_size", [5, 7, 17])
def test_device_resident_batches_equal_the_hosts(batch_size):
    pipeline = Pipeline(source(17), batch_size, seed=2)
    resident = device_resident(pipeline)
    for step in (0, 1, 2, 3, 9, 4):
        host, device = pipeline.batch_at(step), resident.batch_at(step)
        assert host.keys() == device.keys()
        for key in host:
            assert isinstance(device[key], jax.Array)
            assert device[key].dtype == host[key].dtype
            np.testing.assert_array_equal(device[key], host[key])
    assert (resident.settings, resident.batch_size) == (pipeline.settings, batch_size)
    assert resident.steps_per_epoch == pipeline.steps_per_epoch
    assert resident.epoch_of(9) == pipeline.epoch_of(9)
    np.testing.assert_array_equal(copy.copy(resident).batch_at(4)["index"], device["index"])


def test_device_resident_under_a_sharding_and_by_process():
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:4]), ("data",)), PartitionSpec("data"))
    pipeline = Pipeline(source(17), 8, seed=2)
    batch = device_resident(pipeline, sharding).batch_at(2)
    assert batch["image"].sharding == sharding
    np.testing.assert_array_equal(batch["image"], pipeline.batch_at(2)["image"])
    second = Pipeline(source(17), 8, seed=2, process_index=1, process_count=2)
    np.testing.assert_array_equal(device_resident(second).batch_at(2)["index"], second.batch_at(2)["index"])


def test_device_resident_compiles_once_and_refuses_host_transforms():
    resident = device_resident(Pipeline(source(6), 4))
    resident.batch_at(0)
    with jax.no_tracing():
        for step in range(1, 6):
            resident.batch_at(step)
    with pytest.raises(ValueError, match="transform"):
        device_resident(Pipeline(source(6), 4, transform=noise))


def test_importing_the_data_package_is_light():
    code = "import sys, dlcore.data, dlcore.data.image_classification, dlcore.data.augment; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"tensorflow_datasets", "sklearn", "grain", "PIL", "matplotlib"} & set(loaded)
