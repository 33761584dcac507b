"""Outpainting and un-rotation: what is hidden, what is turned, and what a network makes of it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.learner import ModelState
from dlcore.self_supervised import outpainting, unrotation
from dlcore.self_supervised.outpainting import crop_alone
from dlcore.self_supervised.unrotation import rotate_image


@pytest.mark.covers("SS-26")
def test_everything_outside_the_crop_is_hidden():
    """4 x 6 pixels with a crop of 2 x 2 in one of 15 positions: around it lies the mean of its four pixels."""
    x = jnp.arange(24.0).reshape(4, 6, 1) / 24
    cuts = jax.jit(jax.vmap(lambda key: crop_alone(key, x, 0.5)))(jax.random.split(jax.random.key(0), 100))
    weight, pixels = np.asarray(cuts.weight), np.asarray(x)[..., 0]
    np.testing.assert_array_equal(weight.sum((1, 2)), 20)
    assert len({w.tobytes() for w in weight}) == 15
    for n in range(100):
        mean = pixels[weight[n] == 0].mean()
        np.testing.assert_allclose(cuts.trivial[n], mean, rtol=1e-5)
        np.testing.assert_allclose(cuts.input[n, ..., 0], np.where(weight[n] > 0, mean, pixels), rtol=1e-5)
        np.testing.assert_array_equal(cuts.target[n], x)


@pytest.mark.covers("SS-26")
def test_an_image_is_turned_about_its_center():
    """Of four angles, each is a quarter turn of NumPy; of any angle, the corners hold the mean color."""
    x = jnp.asarray(np.random.default_rng(0).random((5, 5, 2)), jnp.float32)
    keys = jax.random.split(jax.random.key(0), 40)
    quarter, free = jax.jit(lambda keys: [jax.vmap(lambda k, n=n: rotate_image(k, x, n))(keys) for n in (4, 0)])(keys)
    turns = [np.rot90(x, k) for k in range(4)]
    found = [int(np.argmin([np.abs(image - turn).max() for turn in turns])) for image in np.asarray(quarter.input)]
    assert set(found) == {0, 1, 2, 3}
    for image, k in zip(quarter.input, found, strict=True):
        np.testing.assert_allclose(image, turns[k], atol=1e-4)
    mean = np.asarray(x).mean((0, 1))
    for drawn in (quarter, free):
        np.testing.assert_array_equal(drawn.target[0], x)
        np.testing.assert_array_equal(drawn.weight, 1)
        np.testing.assert_allclose(drawn.trivial, np.broadcast_to(mean, (40, 5, 5, 2)), rtol=1e-5)
    assert len(np.unique(np.asarray(free.input).round(4), axis=0)) == 40
    with pytest.raises(ValueError, match=r"image=\(4, 5, 1\): a turn changes its shape; allowed: \[S, S, C\]"):
        rotate_image(keys[0], jnp.zeros((4, 5, 1)))


class Painter(nn.Module):
    """A hidden layer of the whole image, and its pixels."""

    @nn.compact
    def __call__(self, x, train=False):
        return nn.Dense(x[0].size)(nn.relu(nn.Dense(64)(x.reshape(x.shape[0], -1)))).reshape(x.shape)


@pytest.mark.slow(unless=["dlcore.self_supervised.outpainting-settings0"])
@pytest.mark.covers("SS-26")
@pytest.mark.parametrize(
    ("technique", "settings"), [(outpainting, {"crop_share": 0.75}), (unrotation, {"num_angles": 4})]
)
def test_the_reconstruction_is_ahead_of_the_mean_image(technique, settings):
    """Four patterns, each of which every crop and every turn tells apart: a hidden layer reconstructs them."""
    patterns = np.random.default_rng(0).random((4, 4, 4, 1), np.float32).round()
    batch = {"image": patterns[np.arange(32) % 4], "index": np.arange(32, dtype=np.int32)}
    learner = technique.learner(model=Painter(), optimizer=optax.adam(1e-2), **settings)

    @jax.jit
    def run(state):
        return learner.evaluate(jax.lax.fori_loop(0, 200, lambda i, s: learner.update(s, batch)[0], state), batch)

    params = jax.tree.map(
        lambda leaf: np.random.default_rng(1).normal(size=leaf.shape, scale=0.2).astype(np.float32),
        jax.eval_shape(Painter().init, jax.random.key(0), batch["image"])["params"],
    )
    state = ModelState(np.int32(0), jax.random.key(0), params, optax.adam(1e-2).init(params), {})
    metrics = run(state)
    mean_image = np.square(patterns - patterns.mean(0)).mean()
    assert metrics["mse"].compute() < 0.5 * min(mean_image, metrics["mse_mean"].compute())
