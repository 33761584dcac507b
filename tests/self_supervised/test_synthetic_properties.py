"""What a step learns from and what it may not see, and a short run in which the domains become alike."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.factor_shapes import factor_shapes, seen_by_camera
from dlcore.self_supervised import synthetic_properties
from experiments.self_supervised.synthetic_properties import pairs

NET = synthetic_properties.PropertyNet(2, 4, (8, 8), 16)


def toy(adversary=1.0):
    return synthetic_properties.learner(
        model=NET,
        optimizer=optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.02, momentum=0.9)),
        strength=lambda step: 1.0,
        factor_scale=jnp.ones(4),
        adversary=adversary,
    )


@pytest.fixture(scope="module")
def rows():
    return pairs(64, 0, 8)[np.arange(64)]


@pytest.mark.slow
@pytest.mark.covers("SS-22")
def test_the_labels_of_photographs_reach_no_update_but_the_measure(rows):
    learner = toy()
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    update, evaluate = jax.jit(learner.update), jax.jit(learner.evaluate)
    other = rows | {"photo_label": 1 - rows["photo_label"], "photo_factors": rows["photo_factors"] + 1}
    (one, _), (two, _) = update(state, rows), update(state, other)
    jax.tree.map(np.testing.assert_array_equal, one.params, two.params)
    first, second = evaluate(state, rows), evaluate(state, other)
    assert first["photo_accuracy"].compute() == pytest.approx(1 - second["photo_accuracy"].compute())
    assert first["accuracy"].compute() == second["accuracy"].compute()
    renamed, _ = update(state, rows | {"label": 1 - rows["label"]})
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), renamed.params["shape"], one.params["shape"])
    assert max(jax.tree.leaves(moved)) > 1e-4, "the renderer's labels are learnt from"


@pytest.mark.slow
@pytest.mark.covers("SS-22")
def test_domains_become_alike_with_the_adversary_alone(rows):
    """The classifier of domains knows little with it, over the last 300 of 500 steps; without it nearly everything."""
    told = {}
    for adversary in (0.0, 1.0):
        learner = toy(adversary)
        state = jax.jit(learner.init)(jax.random.key(1), rows)

        def step(state, _, learner=learner):
            state, metrics = learner.update(state, rows)
            return state, metrics["domain_accuracy"].total / metrics["domain_accuracy"].count

        told[adversary] = float(jax.jit(lambda s, step=step: jax.lax.scan(step, s, length=500)[1][200:].mean())(state))
    assert told[0.0] > max(0.95, told[1.0] + 0.15), told
    assert told[1.0] < 0.65, told


def test_a_camera_makes_other_pixels_of_the_same_shape():
    images = factor_shapes(3, 0, 16).arrays["image"]
    shots = seen_by_camera(images, 1)
    assert shots.shape == images.shape
    assert shots.dtype == np.float32
    np.testing.assert_array_equal(seen_by_camera(images[:2], 1), shots[:2])
    assert np.abs(shots - images).mean() > 0.1
    inside = images > 0.25
    assert all(a[b].mean() > a[~b].mean() + 0.1 for a, b in zip(shots, inside, strict=True))
