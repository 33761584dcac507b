"""The spatial transformer starts as the identity and learns the angle that undoes a rotation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

from dlcore.nn import SpatialTransformer, rotation_theta
from dlcore.ops import affine_grid, grid_sample


class Flat(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.tanh(linen.Dense(32)(x.reshape(len(x), -1)))


def rotate(images, angles):
    return grid_sample(images, affine_grid(rotation_theta(angles), images.shape[1:3]))


@pytest.mark.covers("CV-32")
@pytest.mark.parametrize("kind", ["affine", "rotation", "similarity"])
def test_it_starts_as_the_identity(kind):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 6, 2)), jnp.float32)
    layer = SpatialTransformer(Flat(), kind)
    (y, theta), _ = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    np.testing.assert_allclose(y, x, atol=1e-5)
    np.testing.assert_array_equal(theta, np.broadcast_to(np.eye(2, 3), (2, 2, 3)))


@pytest.mark.covers("CV-32")
def test_a_similarity_turns_scales_and_moves():
    """3 times [[cos, -sin], [sin, cos]] of a quarter turn; the third column is where it looks from.

    So the place (x, y) of the output shows (-3 y + 1/4, 3 x - 1/2) of the image, whose corners are at (-1, -1) and
    (1, 1), in columns and rows of 0 to 3: rounded, and inside.
    """
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    layer = SpatialTransformer(Flat(), "similarity", (3, 2), "nearest", "border", True)
    shapes = jax.eval_shape(layer.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    params["theta"]["bias"] = np.float32([np.pi / 2, np.log(3), 0.25, -0.5])
    y, theta = jax.jit(layer.apply)({"params": params}, x)
    np.testing.assert_allclose(theta[0], [[0, -3, 0.25], [3, 0, -0.5]], atol=1e-5)
    for row, column in np.ndindex(3, 2):
        place = -3 * (row - 1) + 0.25, 3 * (2 * column - 1) - 0.5
        j, i = (min(max(round((p + 1) * 1.5), 0), 3) for p in place)
        assert y[0, row, column, 0] == x[0, i, j, 0]


@pytest.mark.slow
@pytest.mark.covers("CV-32")
def test_a_quarter_turn_as_one_sees_it():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4, 1)), jnp.float32)
    np.testing.assert_allclose(rotate(x, jnp.asarray([jnp.pi / 2]))[0], jnp.rot90(x[0]), atol=1e-5)


@pytest.mark.weekly
@pytest.mark.covers("CV-32")
def test_it_learns_to_undo_rotation():
    """A bar and a dot at one of many angles: the upright image is the only supervision."""
    upright = jnp.zeros((1, 9, 9, 1)).at[0, 1:8, 4].set(1.0).at[0, 2, 5:8].set(1.0)
    layer = SpatialTransformer(Flat(), "rotation")
    tx = optax.adam(3e-3)

    def pictures(key, count):
        angles = jax.random.uniform(key, (count,), minval=-0.8, maxval=0.8)
        return angles, rotate(jnp.repeat(upright, count, 0), angles)

    @jax.jit
    def learn(params):
        def step(carry, key):
            params, state = carry
            _, turned = pictures(key, 32)

            def loss(params):
                return jnp.square(layer.apply({"params": params}, turned)[0] - upright).mean()

            value, gradient = jax.value_and_grad(loss)(params)
            change, state = tx.update(gradient, state)
            return (optax.apply_updates(params, change), state), value

        return jax.lax.scan(step, (params, tx.init(params)), jax.random.split(jax.random.key(1), 150))

    params = layer.init(jax.random.key(0), upright)["params"]
    (params, _), losses = learn(params)
    assert float(losses[-10:].mean()) < 0.4 * float(losses[:10].mean())
    angles, turned = pictures(jax.random.key(9), 64)
    theta = layer.apply({"params": params}, turned)[1]
    residual = angles + jnp.arctan2(theta[:, 1, 0], theta[:, 0, 0])
    assert float(jnp.abs(residual).mean()) < 0.4 * float(jnp.abs(angles).mean())
