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
from dlcore.run.seeds import over_seeds, split_by_seed


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
    assert seeds == [
        {"step": 5, "split": "seed 0", "loss": 1.0},
        {"step": 5, "split": "seed 1", "loss": 2.0},
    ]
