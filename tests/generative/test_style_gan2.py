"""Three updates of both players by hand: augmentation, lazy penalties, the average of path lengths, and p."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative import style_gan2
from dlcore.generative.adaptive_augmentation import augment_images
from dlcore.learner import example_keys

RATE, R1, PATH = 0.1, 0.7, 1.5


class Scale(nn.Module):
    """G(z, n) = a z + n on images of 2 x 2 pixels, so that J = a I."""

    num_noise: int = 4

    def setup(self):
        self.a = self.param("a", nn.initializers.constant(0.8), ())

    def __call__(self, z, train=False):
        return self.synthesize(z[:, :4], z[:, 4:])

    def styles(self, z):
        return z

    def synthesize(self, w, noise):
        return (self.a * w + noise).reshape(-1, 2, 2, 1)


class Line(nn.Module):
    """logit = v x + b."""

    @nn.compact
    def __call__(self, x, train=False):
        v = self.param("v", lambda _: jnp.array([0.3, -0.2, 0.5, 0.1]))
        return x.reshape(-1, 4) @ v + self.param("b", nn.initializers.constant(0.2), ())


def toy(**settings):
    settings = {"r1": R1, "r1_interval": 2, "path_weight": PATH, "path_interval": 2, "ema": 0.5, **settings}
    return style_gan2.learner(
        generator=Scale(),
        discriminator=Line(),
        generator_optimizer=optax.sgd(RATE),
        discriminator_optimizer=optax.sgd(RATE),
        encode=lambda batch: batch["image"],
        decode=lambda x: x,
        latent_dim=8,
        ada_target=0.1,
        ada_images=10,
        **settings,
    )


def batch():
    images = np.random.default_rng(0).normal(size=(3, 2, 2, 1)).astype(np.float32)
    return {"image": images, "index": np.arange(3, dtype=np.int32), "mask": np.array([1, 1, 0], np.float32)}


@functools.partial(jax.jit, static_argnums=2)
def draws(rng, probability, ada):
    """Draw latents [2, 3, 8], the augmentations' maps M [3, 3, 4, 4] and offsets o [3, 3, 4], and y [3, 4].

    T x = M x + o by example: o is the image of 0, the columns of M are those of the unit images, less o.
    """
    index = {"index": jnp.arange(3)}
    keys = [example_keys(jax.random.fold_in(rng, k), index) for k in range(6)]
    normal = jax.vmap(lambda key: jax.random.normal(key, (8,)))
    latents, y = (
        jnp.stack([normal(keys[0]), normal(keys[1])]),
        jax.vmap(lambda key: jax.random.normal(key, (2, 2, 1)))(keys[5]).reshape(3, 4),
    )
    if not ada:
        return latents, jnp.tile(jnp.eye(4), (3, 3, 1, 1)), jnp.zeros((3, 3, 4)), y
    units = jnp.concatenate([jnp.zeros((1, 4)), jnp.eye(4)]).reshape(5, 1, 2, 2, 1).repeat(3, 1)
    images = jnp.stack(
        [jax.vmap(lambda x, k=k: augment_images(keys[k], x, probability))(units) for k in (2, 3, 4)]
    ).reshape(3, 5, 3, 4)
    maps = (images[:, 1:] - images[:, :1]).transpose(0, 2, 3, 1)
    return latents, maps, images[:, 0], y


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.slow(unless=["False"])
@pytest.mark.covers("GE-44")
@pytest.mark.parametrize("ada", [False, True])
def test_three_updates_by_hand(ada):
    """Steps 0 and 2 have both penalties, twice as strong, step 1 none; the third row is padding."""
    learner, rows = toy(ada=ada), batch()
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    assert (float(state.augment_probability), float(state.path_length)) == (0, 0)
    state = state.replace(augment_probability=jnp.float32(0.5))
    update = jax.jit(learner.update)
    v, b, a, length, p = np.array([0.3, -0.2, 0.5, 0.1]), 0.2, 0.8, 0.0, 0.5
    real = rows["image"][:2].reshape(2, 4).astype(np.float64)
    average = a
    for step in range(3):
        rng = jax.random.fold_in(state.rng, step)
        z, maps, offsets, y = (np.asarray(x, np.float64) for x in draws(rng, jnp.float32(p), ada))
        z, maps, offsets, y = z[:, :2], maps[:, :2], offsets[:, :2], y[:2]
        # D(T x) and D(T G(z)); the slope of R1 by v is M M^T v, since grad_x v (M x + o) = M^T v.
        x0 = np.einsum("bij,bj->bi", maps[0], real) + offsets[0]
        x1 = np.einsum("bij,bj->bi", maps[1], a * z[0, :, :4] + z[0, :, 4:]) + offsets[1]
        d0, d1 = sigmoid(x0 @ v + b), sigmoid(x1 @ v + b)
        r = np.sign(x0 @ v + b).mean()
        slope = (-(1 - d0)[:, None] * x0 + d1[:, None] * x1).mean(0)
        slope_b = (-(1 - d0) + d1).mean()
        if step % 2 == 0:
            slope = slope + 2 * R1 * np.einsum("bij,bkj,k->bi", maps[0], maps[0], v).mean(0)
        v, b = v - RATE * slope, b - RATE * slope_b
        # D(T G(z)) against the new D; |J^T y| = a |y| / sqrt(4 pixels).
        latent = np.einsum("bij,bj->bi", maps[2], z[1, :, :4])
        x2 = a * latent + np.einsum("bij,bj->bi", maps[2], z[1, :, 4:]) + offsets[2]
        slope = (-(1 - sigmoid(x2 @ v + b)) * (latent @ v)).mean()
        if step % 2 == 0:
            norms = np.linalg.norm(y, axis=1) / 2
            # The average is the first mean, then the mean of two.
            length = length + ((a * norms).mean() - length) / (1 + step // 2)
            slope = slope + 2 * PATH * (2 * (a * norms - length) * norms).mean()
        a = a - RATE * slope
        decay = min(0.5, (1 + step) / (10 + step))
        average = average + (1 - decay) * (a - average)
        p = np.clip(p + np.sign(r - 0.1) * 2 / 10, 0, 1) if ada else p
        state, metrics = update(state, rows)
        np.testing.assert_allclose(state.params["discriminator"]["v"], v, rtol=1e-4)
        np.testing.assert_allclose(state.params["discriminator"]["b"], b, rtol=1e-4)
        np.testing.assert_allclose(state.params["generator"]["a"], a, rtol=1e-4)
        np.testing.assert_allclose(state.generator_ema["params"]["a"], average, rtol=1e-4)
        np.testing.assert_allclose(state.path_length, length, rtol=1e-4)
        np.testing.assert_allclose(state.augment_probability, p, rtol=1e-6)
        assert metrics["d_loss"].compute() == pytest.approx(-(np.log(d0) + np.log(1 - d1)).mean(), rel=1e-4)
        assert metrics["g_loss"].compute() == pytest.approx(-np.log(sigmoid(x2 @ v + b)).mean(), rel=1e-4)
        assert metrics["path_average"].compute() == pytest.approx(length, rel=1e-4)
        assert metrics["d_real"].compute() == pytest.approx(d0.mean(), rel=1e-4)
        assert metrics["d_fake"].compute() == pytest.approx(d1.mean(), rel=1e-4)
        assert int(state.step) == step + 1
        assert metrics["real_sign"].compute() == pytest.approx(r)
        assert metrics["augment_probability"].compute() == pytest.approx(p)


@pytest.mark.slow
@pytest.mark.covers("GE-44")
def test_without_augmentation_and_penalties_it_is_the_gan():
    """The same draws and the same losses as `dlcore.generative.gan`, bit for bit."""
    from dlcore.generative import gan

    plain = gan.learner(
        generator=Scale(),
        discriminator=Line(),
        generator_optimizer=optax.sgd(RATE),
        discriminator_optimizer=optax.sgd(RATE),
        encode=lambda batch: batch["image"],
        latent_dim=8,
        ema=0.5,
    )
    learner, rows = toy(ada=False, r1=0.0, path_weight=0.0), batch()
    state = learner.init(jax.random.key(0), rows).replace(augment_probability=jnp.float32(0.5))
    expected, _ = jax.jit(plain.update)(plain.init(jax.random.key(0), rows), rows)
    after, _ = jax.jit(learner.update)(state, rows)
    chex.assert_trees_all_equal(after.params, expected.params)
    chex.assert_trees_all_equal(after.generator_ema, expected.generator_ema)
    assert (after.augment_probability, after.path_length) == (0.5, 0)


def test_bad_settings_are_named():
    for name, value in {"r1": -1.0, "path_weight": -1.0, "r1_interval": 0, "path_interval": 0, "ema": 1.0}.items():
        with pytest.raises(ValueError, match=f"{name}={value}: out of range"):
            toy(**{name: value})
