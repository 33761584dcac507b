"""The identity that adaLN-zero starts from, and the published size."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.generative import ddpm
from dlcore.generative.condition import class_condition
from dlcore.generative.dit import DiT
from tests.wiring import assert_wiring


@pytest.mark.weekly
@pytest.mark.covers("AT-31")
def test_it_starts_at_zero_with_loss_one_and_a_step_moves_it():
    model = DiT(width=8, depth=1, num_heads=2, num_classes=3)
    learner = ddpm.learner(
        model=model, optimizer=optax.sgd(0.1), shape=(4, 4, 1), condition=class_condition(3), condition_dropout=0.0
    )
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.random((512, 4, 4, 1), np.float32),
        "label": rng.integers(0, 3, 512).astype(np.int32),
        "index": np.arange(512, dtype=np.int32),
    }
    state = learner.init(jax.random.key(0), batch)
    x, t = jax.random.normal(jax.random.key(1), (2, 4, 4, 1)), jnp.array([3, 700])
    run = jax.jit(lambda params, label: model.apply({"params": params}, x, t, label))
    zeros, ones = jnp.zeros(2, jnp.int32), jnp.ones(2, jnp.int32)
    assert not run(state.params, zeros).any()
    after, metrics = jax.jit(learner.update)(state, batch)
    assert metrics["loss"].compute() == pytest.approx(1, abs=0.05)
    assert np.abs(run(after.params, zeros)).max() > 1e-4
    np.testing.assert_allclose(run(after.params, zeros), run(after.params, ones), atol=1e-7)  # gates are still shut
    noise = jax.random.normal(jax.random.key(2), (64,))
    opened = jax.tree.map(lambda leaf: leaf + 0.3 * jnp.resize(noise, leaf.shape), after.params)
    assert np.abs(run(opened, zeros) - run(opened, ones)).max() > 1e-3


@pytest.mark.slow
@pytest.mark.covers("AT-31")
def test_the_published_size():
    """The original's 675,129,632 has 256 x 1,152 positions among its parameters."""
    model = DiT(width=1152, depth=28, num_heads=16, patch_size=2, num_classes=1000, out_channels=8)
    inputs = jnp.zeros((1, 32, 32, 4)), jnp.zeros(1), jnp.zeros(1, jnp.int32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == 675_129_632 - 256 * 1152


def test_patches_that_do_not_divide_the_sides_are_named():
    with pytest.raises(ValueError, match="x=5x4: sides do not divide; allowed: multiples of patch_size=2"):
        jax.eval_shape(DiT(width=8, num_heads=2).init, jax.random.key(0), jnp.zeros((1, 5, 4, 1)), jnp.zeros(1))


@pytest.mark.slow
def test_the_wiring_of_di_t_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        DiT(width=8, depth=2, num_heads=2, num_classes=3),
        (2, 4, 8, 3),
        np.array([3.0, 700.0]),
        np.array([0, 2]),
        [45.2059, 11.7375],
    )


@pytest.mark.slow
def test_the_wiring_of_a_dit_whose_blocks_embed_for_themselves_is_as_it_was():
    """A regression: the number holds the code as it was, of more channels out than in."""
    model = DiT(8, 2, 2, num_classes=3, out_channels=5, shared_embedding=False, ends_at_period=True)
    assert_wiring(model, (2, 4, 8, 3), np.array([3.0, 700.0]), np.array([0, 2]), [40.4466, 17.9232])
