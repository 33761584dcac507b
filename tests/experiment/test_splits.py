"""What a run keeps of its data, and the example batch that is made of it."""

import dataclasses
import json
import types

import chex
import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.data.splits import Splits, batch_facts, zero_batch
from dlcore.experiment.resolve import resolve
from dlcore.experiment.resolved_run import ResolvedRun
from experiments.classification.supervised import experiment as supervised

CLIPS = Source({"clip": np.ones((6, 2, 4, 4, 3), np.uint8), "label": np.ones(6, np.int32)})
IMAGES = Source({"image": np.ones((3, 4, 4, 1), np.float32)})


def described(batch):
    return {name: (rows.shape, rows.dtype.name) for name, rows in batch.items()}


def test_facts_describe_the_arrays_of_training():
    facts = Splits(CLIPS, None, None, {"dataset": "clips"}).facts
    assert facts == {
        "dataset": "clips",
        "train_size": 6,
        "batch": {"clip": [[2, 4, 4, 3], "uint8"], "label": [[], "int32"]},
    }
    assert json.loads(json.dumps(facts)) == facts


def test_facts_keep_what_the_data_say_that_predict_takes():
    batch = {"clip": [[2, 4, 4, 3], "float32"]}
    assert Splits(CLIPS, None, None, {"batch": batch}).facts["batch"] == batch


def test_a_batch_of_zeros_has_the_described_shapes():
    batch = zero_batch(batch_facts(CLIPS), 5)
    assert described(batch) == {"clip": ((5, 2, 4, 4, 3), "uint8"), "label": ((5,), "int32"), "index": ((5,), "int32")}
    assert not batch["clip"].any()
    assert batch["index"].tolist() == [0, 1, 2, 3, 4]
    assert described(zero_batch({}, 2)) == {"index": ((2,), "int32")}


def test_several_sources_make_a_batch_each():
    batch = zero_batch(Splits({"a": CLIPS, "b": IMAGES}, None, None, {}).facts["batch"], 2)
    assert {name: sorted(part) for name, part in batch.items()} == {
        "a": ["clip", "index", "label"],
        "b": ["image", "index"],
    }
    chex.assert_shape(batch["b"]["image"], (2, 4, 4, 1))


@pytest.mark.parametrize(("spec", "rows"), [({}, 7), ({"batch_size": 4}, 4)])
def test_a_run_makes_as_many_rows_as_it_trained_on(spec, rows):
    run = ResolvedRun(supervised, resolve(supervised, ["--batch_size=7"]))
    assert described(run.example({"batch": batch_facts(IMAGES), **spec})) == {
        "image": ((rows, 4, 4, 1), "float32"),
        "index": ((rows,), "int32"),
    }


def test_a_run_that_does_not_describe_its_batch_reads_its_data():
    splits = Splits(CLIPS, None, None, {"dataset": "clips"})
    page = dataclasses.replace(supervised, data=types.SimpleNamespace(load=lambda: splits))
    run = ResolvedRun(page, resolve(supervised, ["--batch_size=2"]))
    batch = run.example({"dataset": "clips"})
    assert described(batch) == described(zero_batch(batch_facts(CLIPS), 2))
    assert batch["clip"].all()


def test_the_size_of_several_sources_is_the_most_batches_of_one_example():
    """7 by threes are 2.3, 5 by twos 2.5, each rounded up to 3; 2 by ones are 2."""
    sources = {name: IMAGES.subset(np.arange(count) % 3) for name, count in (("a", 7), ("b", 5), ("c", 2))}
    ratios = {"a": 3, "b": 2}
    assert Splits(sources, None, None, {}, batch_ratios=ratios).train_size == 3
    for name, size in (("a", 3), ("b", 3), ("c", 2)):
        assert Splits({name: sources[name]}, None, None, {}, batch_ratios=ratios).train_size == size
    assert Splits(sources, None, None, {}).train_size == 7
