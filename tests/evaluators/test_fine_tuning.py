"""Fine-tuning goes on from the weights it is given, with the labels it is given, and says what it measures."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.data.source import Source
from dlcore.evaluators.fine_tuning import Encoder, Recipe, Tuning, fine_tuning, label_counts
from dlcore.learner import Learner, State, Sum
from dlcore.run.evaluate import Evaluation
from dlcore.run.sharding import make_mesh
from dlcore.run.step import Placement


def images(n, seed):
    """The class is which of eight pixels of the first row is bright, among noise that is as bright elsewhere."""
    rng = np.random.default_rng(seed)
    label = (np.arange(n) % 4).astype(np.int32)
    image = rng.random((n, 8, 8, 1), np.float32)
    image[:, 0] = 0.0
    image[np.arange(n), 0, 2 * label] = 1.0
    return Source({"image": image, "label": label})


def toy():
    """A dense layer to eight features; its bias stands for the collections besides the parameters."""

    def init(key):
        return {"params": {"w": jax.random.normal(key, (64, 8)) / 8}, "batch_stats": {"steps": jnp.zeros(())}}

    def apply(variables, x, key):
        features = x.reshape(len(x), -1) @ variables["params"]["w"]
        return features, {"batch_stats": {"steps": variables["batch_stats"]["steps"] + (key is not None)}}

    return Encoder(init, apply, lambda state: {"params": state.params, "batch_stats": {"steps": jnp.zeros(())}})


def knowing():
    """Weights that look at the first row alone: what a perfect pretext would give."""
    return {"w": 4 * jnp.eye(64, 8)}


@pytest.mark.covers("SS-01", "TL-06")
def test_few_labels_do_for_features_that_are_right_already():
    rows = images(200, 1)

    def predict(state, batch):
        return batch["index"]

    learner = Learner(None, None, None, predict)
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    evaluator = fine_tuning(
        rows, images(100, 0), rows, encoder=toy(), counts=(8, 16), num_classes=4, recipe=Recipe(60, 16, 0.03)
    )
    state = State(jnp.zeros((), jnp.int32), jax.random.key(0), knowing(), ())
    found = Evaluation(learner, placement).evaluator_measures(state, [evaluator], rows, 64)
    assert tuple(found) == evaluator.names
    assert found["fine_tune_16"] > 0.9
    for count in (8, 16):
        assert found[f"fine_tune_{count}"] > found[f"fine_tune_{count}_untrained"] + 0.15


def test_all_labels_make_the_supervised_encoder():
    train, queries = images(400, 0), images(200, 1)
    evaluator = fine_tuning(
        None, train, queries, encoder=toy(), counts=(), num_classes=4, recipe=Recipe(60, 64, 0.03), supervised=400
    )
    found = evaluator.finish({"params": knowing(), "batch_stats": {"steps": 0.0}})
    assert tuple(found) == evaluator.names == ("supervised", "knn_supervised", "probe_supervised")
    assert min(found.values()) > 0.9, found


def test_every_weight_moves_and_statistics_go_on():
    tuning = Tuning(toy(), Recipe(steps=5, batch_size=8), 4)
    start = {"params": knowing(), "batch_stats": {"steps": jnp.zeros(())}}
    tuned, head = tuning.train(start, images(8, 0))
    assert (np.asarray(tuned["params"]["w"]) != np.asarray(start["params"]["w"])).mean() > 0.9
    assert tuned["batch_stats"]["steps"] == 5
    chex.assert_shape(head["kernel"], (8, 4))
    rows = images(7, 2)
    whole = tuning.features(tuned, rows)
    np.testing.assert_allclose(whole, rows.arrays["image"].reshape(7, -1) @ tuned["params"]["w"], rtol=1e-4, atol=1e-6)


def test_amounts_of_labels():
    # 1 % and 10 % of 1,000; 1 % of 500 is 5, fewer than a label a class; equal counts come once.
    assert label_counts((0.1, 0.01), 1000, 10) == (10, 100)
    assert label_counts((0.01, 10, 50), 500, 10) == (10, 50)
    assert label_counts((), 500, 10) == ()
    with pytest.raises(ValueError, match=r"fine_tune=501: more than the training examples; allowed: at most 500"):
        label_counts((501,), 500, 10)
    for amount in (0.0, -1.0, 2.5):
        with pytest.raises(ValueError, match="no number of labels; allowed: a count, or a share between 0 and 1"):
            label_counts((amount,), 500, 10)


def test_counts_start_evaluators_from_the_state():
    """`start` gives the first accumulator; the learner's metrics are untouched."""
    from dlcore.learner import Evaluator

    evaluator = Evaluator(
        lambda acc, outputs, rows: acc + outputs.sum(), lambda acc: {"sum": acc}, start=lambda s: s.params
    )
    learner = Learner(None, None, lambda s, b: {"n": Sum.of(b["index"])}, lambda s, b: b["index"])
    state = State(jnp.zeros((), jnp.int32), jax.random.key(0), jnp.float32(100), ())
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    found = Evaluation(learner, placement).evaluator_measures(state, [evaluator], Source.indices(4), 3)
    assert found == {"sum": 106.0}


def test_labels_that_are_no_class_are_refused():
    with pytest.raises(ValueError, match=r"label\[\d+\]=3: out of range; allowed: 0 to 2, of 3 classes"):
        Tuning(toy(), Recipe(steps=1, batch_size=8), 3).train(knowing(), images(8, 0))
