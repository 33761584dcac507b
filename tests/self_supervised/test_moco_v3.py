"""MoCo v3: one update by hand, a patch embedding that stays bit for bit, and batches of one."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.self_supervised import moco_v3
from dlcore.self_supervised.networks import unit
from tests import siamese_toys as toys


def learner(norm=False):
    return moco_v3.learner(**toys.settings(norm), momentum=lambda step: 0.9, temperature=0.5)


@pytest.mark.covers("SS-33")
def test_one_update_by_hand():
    params, target = toys.weights(2), toys.weights(4)
    built = learner()
    state = toys.state_of(built, params=params, target_params=target)
    views = toys.views(state)
    keys = [toys.unit_rows(v @ target["w"]) for v in views]

    def loss(params):
        total = 0
        for own, other in ((0, 1), (1, 0)):
            queries = toys.unit_rows(views[own] @ params["w"] @ params["q"])
            total += -2 * 0.5 * np.diag(toys.log_softmax(queries @ keys[other].T / 0.5)).mean()
        return total

    hits = []
    for own, other in ((0, 1), (1, 0)):
        scores = toys.unit_rows(views[own] @ params["w"] @ params["q"]) @ keys[other].T
        hits.append(scores.argmax(-1) == np.arange(4))
    assert 0 < np.mean(hits) < 1
    after = toys.check_update(built, state, params, loss, accuracy=np.mean(hits))
    for name, value in after.params.items():
        np.testing.assert_allclose(after.target_params[name], 0.9 * target[name] + 0.1 * value, atol=1e-6)


@pytest.mark.covers("SS-33")
def test_a_frozen_patch_embedding_takes_no_step():
    tx = moco_v3.freeze_patch_embedding(optax.sgd(0.5))
    params = {"backbone": {"patch_embed": {"kernel": np.float32(2)}, "head": np.float32(2)}, "patch": np.float32(2)}
    steps, _ = tx.update(params, tx.init(params))
    assert steps == {"backbone": {"patch_embed": {"kernel": 0}, "head": -1}, "patch": -1}


class Patches(nn.Module):
    """A patch embedding of a backbone, and a projection."""

    @nn.compact
    def __call__(self, x, train=False):
        class Backbone(nn.Module):
            @nn.compact
            def __call__(self, x):
                return nn.Dense(3, name="patch_embed")(x)

        h = Backbone(name="backbone")(x.reshape(len(x), -1))
        z = nn.Dense(3, name="projection")(jnp.tanh(h))
        return {"features": h, "projections": z, "embeddings": unit(z), "predictions": z}


@pytest.mark.slow
@pytest.mark.covers("SS-33")
@pytest.mark.parametrize("frozen", [True, False])
def test_the_patch_embedding_stays_bit_for_bit(frozen):
    """Under weight decay and clipping too, in the online network and, but for the average's rounding, in the target."""
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1, weight_decay=0.1))
    built = moco_v3.learner(
        model=Patches(), optimizer=tx, augment=toys.augment, momentum=lambda step: 0.5, frozen_patches=frozen
    )
    state = jax.jit(built.init)(jax.random.key(0), toys.ROWS)
    initial, update = jax.device_get(state.params), jax.jit(built.update)
    for _ in range(3):
        state, _ = update(state, toys.ROWS)
    for name, is_equal in (("backbone", frozen), ("projection", False)):
        same = jax.tree.map(np.array_equal, jax.device_get(state.params[name]), initial[name])
        assert all(jax.tree.leaves(same)) == is_equal
    if frozen:
        chex.assert_trees_all_close(state.target_params["backbone"], initial["backbone"], rtol=1e-6)


def test_one_image_has_no_negatives():
    built = learner()
    rows = {name: value[:1] for name, value in toys.ROWS.items()}
    with pytest.raises(ValueError, match="batch_size=1: one image has no negatives; allowed: at least 2"):
        jax.eval_shape(built.update, toys.state_of(built), rows)


@pytest.mark.weekly
@pytest.mark.covers("SS-33")
@pytest.mark.parametrize(("spmd", "norm"), [("jit", True), ("pmap", True)])
def test_eight_devices_equal_one(spmd, norm):
    toys.check_eight_devices(learner, spmd, norm)
