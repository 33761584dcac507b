"""Seeds side by side equal seeds one after the other."""

import chex
import jax
import numpy as np
import optax
import pytest

from dlcore.classification import supervised
from dlcore.data.digits import digits
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
