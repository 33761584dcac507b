"""Seeds side by side equal seeds one after the other."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.classification import supervised
from dlcore.data.digits import digits
from dlcore.learner import Learner, State, Sum
from dlcore.models import create_model
from dlcore.rl.seeds import over_seeds, split_by_seed

BATCH = {"x": np.array([1.0, 2.0, 6.0], np.float32)}
"""Of sum 9 and mean 3."""


def number_of(rng):
    """A number from 0 to 96 that a key decides."""
    return (jax.random.key_data(rng)[1] % 97).astype(jnp.float32)


def adding_learner(classes=None):
    """One parameter: a number of the root key, which each update raises by the sum of the batch."""

    def init(rng, batch):
        return State(jnp.int32(0), rng, {"w": number_of(rng) + batch["x"][1]}, {"seen": batch["x"][0]})

    def update(state, batch):
        params = {"w": state.params["w"] + batch["x"].sum()}
        return state.replace(step=state.step + 1, params=params), evaluate(state, batch)

    def evaluate(state, batch):
        return {"score": Sum.of(state.params["w"] * batch["x"])}

    return Learner(init, update, evaluate, lambda state, batch: state.params["w"] * batch["x"], classes=classes)


def test_two_seeds_train_measure_and_predict_side_by_side_on_the_same_batch():
    """Each starts at its own number + 2; an update adds 1 + 2 + 6 = 9; the metric is 3 w, its mean over the seeds."""
    several, rng = over_seeds(adding_learner(), 2), jax.random.key(7)
    first = several.init(rng, BATCH)
    w = np.array([number_of(key) for key in jax.random.split(rng)]) + 2
    assert w[0] != w[1]
    np.testing.assert_allclose(first.params["w"], w, rtol=1e-6)
    np.testing.assert_array_equal(first.opt_state["seen"], [1, 1])
    assert first.rng == rng
    after, metrics = several.update(first, BATCH)
    after, _ = several.update(after, BATCH)
    assert (int(first.step), int(after.step)) == (0, 2)
    np.testing.assert_array_equal(after.inner.step, [2, 2])
    np.testing.assert_allclose(after.params["w"], w + 18, rtol=1e-6)
    measured = several.evaluate(after, BATCH)
    for found, w_found in ((metrics, w), (measured, w + 18)):
        values = {name: metric.compute() for name, metric in found.items()}
        expected = {"score": 3 * w_found.mean(), "score/seed0": 3 * w_found[0], "score/seed1": 3 * w_found[1]}
        assert values == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(several.predict(after, BATCH), np.outer(BATCH["x"], w + 18), rtol=1e-6)  # [B, seeds]


def test_the_labels_of_several_seeds_are_checked_as_those_of_one():
    def classes(state, batch):
        return {"label": 5 + state.params["w"].ndim + len(batch["x"])}  # [] of one seed: 5 + 0 + 3

    several = over_seeds(adding_learner(classes), 3)
    assert several.classes(several.init(jax.random.key(0), BATCH), BATCH) == {"label": 8}
    assert over_seeds(adding_learner(), 3).classes is None


@pytest.mark.weekly
def test_each_seed_is_the_learner_from_its_own_key():
    learner = supervised.learner(model=create_model("mlp", num_classes=10, hidden=(8,)), optimizer=optax.sgd(0.1))
    batch = digits("train")[np.arange(16)]
    rng = jax.random.key(3)
    several = over_seeds(learner, 3)
    state, metrics = jax.jit(several.update)(jax.jit(several.init)(rng, batch), batch)
    for k, key in enumerate(jax.random.split(rng, 3)):
        alone, own = jax.jit(learner.update)(jax.jit(learner.init)(key, batch), batch)
        mine = jax.tree.map(lambda x, k=k: x[k], state.inner.params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), mine, alone.params)
        assert metrics[f"loss/seed{k}"].compute() == pytest.approx(own["loss"].compute(), rel=1e-6)
    assert metrics["loss"].count == 48
    chex.assert_shape(several.predict(state, batch)["logits"], (16, 3, 10))


def test_every_seed_starts_steps_and_is_measured_on_the_whole_batch():
    """Two seeds and the batch (1, 2, 6), whose mean is 3: a parameter starts at 3 and grows by it with each step."""

    def metrics(state, batch):
        return {"sum": Sum.of(state.params + batch, jnp.ones(3))}

    def update(state, batch):
        return state.replace(step=state.step + 1, params=state.params + batch.mean()), metrics(state, batch)

    def init(rng, batch):
        return State(jnp.int32(0), rng, batch.mean(), ())

    batch = jnp.array([1.0, 2.0, 6.0])
    several = over_seeds(Learner(init, update, metrics, lambda state, batch: state.params * batch), 2)
    before = several.init(jax.random.key(0), batch)
    np.testing.assert_array_equal(before.params, [3, 3])
    assert (jax.random.key_data(before.inner.rng[0]) != jax.random.key_data(before.inner.rng[1])).any()
    after, trained = several.update(before, batch)
    np.testing.assert_array_equal(after.params, [6, 6])
    assert (after.step, after.inner.step.tolist()) == (1, [1, 1])
    # (1 + 2 + 6) / 3 + 3 = 6 before the step and 9 after it; the merged metric counts each example once per seed.
    assert {name: (metric.compute(), metric.count) for name, metric in trained.items()} == {
        "sum": (6, 6),
        "sum/seed0": (6, 3),
        "sum/seed1": (6, 3),
    }
    assert several.evaluate(after, batch)["sum/seed1"].compute() == 9
    np.testing.assert_array_equal(several.predict(after, batch), [[6, 6], [12, 12], [36, 36]])


def test_one_seed_is_the_learner_itself():
    learner = supervised.learner(model=create_model("mlp", num_classes=10), optimizer=optax.sgd(0.1))
    assert over_seeds(learner, 1) is learner
    with pytest.raises(ValueError, match="seeds=0"):
        over_seeds(learner, 0)


def test_rows_by_seed():
    history = [
        {"step": 5, "split": "train", "loss": 1.5, "loss/seed0": 1.0, "loss/seed1": 2.0},
        {"step": 5, "split": "valid", "loss": 3.0, "loss/seed0": 3.0},
    ]
    joined, seeds = split_by_seed(history)
    assert joined == [{"step": 5, "split": "train", "loss": 1.5}, {"step": 5, "split": "valid", "loss": 3.0}]
    assert seeds == [{"step": 5, "split": "seed 0", "loss": 1.0}, {"step": 5, "split": "seed 1", "loss": 2.0}]
