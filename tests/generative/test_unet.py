"""Shapes, the start at zero, and that the step is heard."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.unet import UNet, timestep_embedding
from tests.wiring import assert_wiring


def started(shape=(2, 8, 8, 1), **fields):
    model = UNet(**{"width": 8, "channel_multipliers": (1, 2), **fields})
    x = jax.random.normal(jax.random.key(0), shape)
    t = jnp.arange(shape[0])
    return jax.jit(model.apply), jax.jit(model.init)(jax.random.key(1), x, t), x, t


@pytest.mark.weekly
@pytest.mark.parametrize("fields", [{}, {"patch_size": 2}, {"num_res_blocks": 2, "attention": False}])
def test_the_output_has_the_inputs_shape_and_starts_at_zero(fields):
    apply, variables, x, t = started(**fields)
    y = apply(variables, x, t)
    chex.assert_equal_shape([y, x])
    np.testing.assert_array_equal(y, 0)


@pytest.mark.weekly
def test_patches_cost_less_and_keep_pixels_apart():
    apply, variables, x, t = started(shape=(1, 16, 16, 3), patch_size=2)
    head = variables["params"]["head"]
    head["kernel"] = 0.1 * jax.random.normal(jax.random.key(2), head["kernel"].shape)
    assert head["kernel"].shape[-1] == 12
    assert len(np.unique(np.asarray(apply(variables, x, t)[0, :2, :2]).round(5))) == 12


@pytest.mark.weekly
@pytest.mark.covers("GE-24")
def test_the_step_changes_what_is_predicted():
    apply, variables, x, _ = started()
    leaves, tree = jax.tree.flatten(variables)
    keys = jax.random.split(jax.random.key(3), len(leaves))
    variables = tree.unflatten(
        [leaf + 0.1 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=True)]
    )
    early, late = (apply(variables, x, jnp.full(2, t)) for t in (5, 900))
    assert np.abs(early - late).max() > 1e-3
    one = apply(variables, x[1:], jnp.array([900]))
    mixed = apply(variables, x, jnp.array([5, 900]))
    np.testing.assert_allclose(mixed[1:], one, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(mixed[:1], early[:1], rtol=1e-4, atol=1e-5)


def test_embedding_by_hand():
    # 4 features: frequencies 1 and 1 / 100; t = 2.
    want = [np.sin(2), np.sin(0.02), np.cos(2), np.cos(0.02)]
    np.testing.assert_allclose(timestep_embedding(jnp.array([2]), 4)[0], want, rtol=1e-6)
    with pytest.raises(ValueError, match="features=3: odd"):
        timestep_embedding(jnp.array([2]), 3)


@pytest.mark.slow
def test_the_wiring_of_unet_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        UNet(width=8, channel_multipliers=(1,), patch_size=2), (2, 4, 8, 3), np.array([3.0, 700.0]), [13.2862, 4.1778]
    )


@pytest.mark.slow
def test_the_wiring_of_a_unet_of_two_levels_is_as_it_was():
    """A regression: the number holds the code as it was, with attention in the middle."""
    assert_wiring(UNet(width=8, channel_multipliers=(1, 2)), (2, 4, 8, 3), np.array([3.0, 700.0]), [11.9745, -2.84328])
