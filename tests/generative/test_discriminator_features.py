"""The features by hand, from the discriminator's own layers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.dcgan import Discriminator
from dlcore.generative.discriminator_features import discriminator_features


@pytest.mark.covers("SS-27")
def test_features_are_the_maps_that_the_head_reads():
    """Images of 12 pixels have two strided layers (6 and 3 pixels) and one more; the head reads the last map."""
    discriminator, rng = Discriminator(2), np.random.default_rng(0)
    x = jnp.asarray(rng.uniform(-1, 1, (3, 12, 12, 1)), jnp.float32)
    shapes = jax.eval_shape(discriminator.init, jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.random(leaf.shape), jnp.float32), shapes)

    @jax.jit
    def run(variables, x):
        whole, pooled = (discriminator_features(discriminator, variables, x, grid) for grid in (None, 2))
        return whole, pooled, discriminator.apply(variables, x)

    whole, pooled, logits = run(variables, x)
    chex.assert_shape(whole, (3, 6 * 6 * 2 + 3 * 3 * 4 + 3 * 3 * 4))
    head = variables["params"]["head"]
    np.testing.assert_allclose(whole[:, -36:] @ head["kernel"][:, 0] + head["bias"], logits, rtol=1e-4)
    first = np.asarray(whole[:, :72]).reshape(3, 6, 6, 2)
    kernel, bias = (np.asarray(variables["params"]["conv0"][name]) for name in ("kernel", "bias"))
    padded = np.pad(np.asarray(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    corner = np.einsum("bijc,ijcf->bf", padded[:, :4, :4], kernel) + bias
    np.testing.assert_allclose(first[:, 0, 0], np.where(corner > 0, corner, 0.2 * corner), rtol=1e-4)
    chex.assert_shape(pooled, (3, 4 * (2 + 4 + 4)))
    np.testing.assert_allclose(
        np.asarray(pooled[:, :8]).reshape(3, 2, 2, 2), first.reshape(3, 2, 3, 2, 3, 2).max((2, 4)), rtol=1e-5
    )


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="grid=0: out of range; allowed: 1 or more, or None"):
        discriminator_features(Discriminator(2), {}, jnp.zeros((1, 8, 8, 1)), 0)
