"""The perceptual distance, the adaptive weight and one step of both players by hand; the VQ-VAE where both are off."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative import vq_gan, vq_vae
from dlcore.generative.vq_gan import VQGANState, adaptive_weight, perceptual_distance
from dlcore.generative.vq_model import VQModel
from dlcore.generative.vq_vae import VQVAE, Codebook, VQVAEState
from tests.generative.codebooks import assert_codes_are_encodings, assert_codes_average_and_restart

RATE, X = 0.1, np.array([[-0.9, 0.1], [0.8, 0.5], [-0.3, 0.7]], np.float32)
ROWS = {"image": (X.reshape(3, 1, 2, 1) + 1) / 2, "index": np.arange(3), "mask": np.float32([1, 1, 0])}
CODES, COUNTS = np.array([-1, 0, 1], np.float32), np.array([1, 2, 4], np.float32)


class Scaled(nn.Module):
    """Outputs w x, one of each pixel, and v q of them; v is the decoder's last kernel."""

    last_kernel = ("v",)

    def setup(self):
        starts = {"w": 1.0, "v": 2.0}
        self.w, self.v = (self.param(name, nn.initializers.constant(start), ()) for name, start in starts.items())

    def encode(self, x):
        return self.w * x

    def decode(self, q):
        return self.v * q

    def __call__(self, x, train=False):
        return self.decode(self.encode(x))


class Slope(nn.Module):
    """A logit c x of each pixel."""

    @nn.compact
    def __call__(self, x, train=False):
        return self.param("c", nn.initializers.ones, ()) * x[..., 0]


class Pair(nn.Module):
    """A map of two channels: the standardized pixel and 1."""

    def features(self, x, train=False):
        return {"pair": jnp.concatenate([x, jnp.ones_like(x)], -1)}


def small(**settings):
    settings = {"layers": ("pair",), "num_codes": 3, "commitment": 0.5, "decay": 0.75, "restart_below": 0.0, **settings}
    return vq_gan.learner(
        model=Scaled(),
        discriminator=Slope(),
        generator_optimizer=optax.sgd(RATE),
        discriminator_optimizer=optax.sgd(RATE),
        network=Pair(),
        variables={},
        mean=np.array([0.5]),
        std=np.array([0.25]),
        **settings,
    )


def state_of(params, step=4):
    book = Codebook(CODES[:, None], COUNTS, (CODES * COUNTS)[:, None])
    empty = {"generator": {}, "discriminator": {}}
    opt_state = {name: optax.sgd(RATE).init(params[name]) for name in params}
    return VQGANState(np.int32(step), jax.random.key(0), params, opt_state, empty, book, {})


def directions(x):
    """Unit vectors of (2 x, 1): ((x + 1) / 2 - 0.5) / 0.25 = 2 x."""
    pairs = np.stack([2 * x, np.ones_like(x)], -1)
    return pairs / np.linalg.norm(pairs, axis=-1, keepdims=True)


def distances(y, x):
    """|u(y) - u(x)|^2 of each pixel."""
    return np.square(directions(y) - directions(x)).sum(-1)


def slopes(y, x):
    """Derivative of a distance by y: -2 u(x) . du(y), and du/dy = 2 (1, -2 y) / (4 y^2 + 1)^1.5."""
    by_y = 2 * np.stack([np.ones_like(y), -2 * y], -1) / (4 * y * y + 1)[..., None] ** 1.5
    return -2 * (directions(x) * by_y).sum(-1)


@pytest.mark.covers("GE-37")
def test_one_update_of_both_players_by_hand():
    """The third image is masked. Hinge: logits c x and c v q are inside (-1, 1), so both have a slope."""
    learner = small(perceptual_weight=0.3, adversarial_weight=0.8, adversarial_start=4, restart_below=0.6)
    w, v, c = 1.2, 0.7, 0.4
    params = {"generator": {"w": np.float32(w), "v": np.float32(v)}, "discriminator": {"c": np.float32(c)}}

    @jax.jit
    def run(state):
        given = learner.evaluate(state, ROWS), learner.predict(state, ROWS), learner.init(jax.random.key(0), ROWS)
        return *learner.update(state, ROWS), *given

    after, metrics, measured, shown, started = jax.device_get(run(state_of(params)))
    # The codebook starts at outputs of the encoder, w = 1, not of the decoder, v = 2.
    assert started.params == {"generator": {"w": 1, "v": 2}, "discriminator": {"c": 1}}
    assert_codes_are_encodings(started.codebook.vectors, X)
    assert int(started.step) == 0
    x = X[:2].ravel().astype(np.float64)
    z = w * x
    nearest = np.abs(z[:, None] - CODES).argmin(1)  # 0, 1, 2, 2
    assert set(nearest) == {0, 1, 2}
    q = CODES[nearest]
    y = v * q
    # Discriminator: mean of (1 - c x) + (1 + c y) descends to c'.
    new_c = c - RATE * (y - x).mean()
    assert after.params["discriminator"]["c"] == pytest.approx(new_c, rel=1e-5)
    assert metrics["d_loss"].compute() == pytest.approx((2 - c * x + c * y).mean(), rel=1e-5)
    # Gradients by v: of the reconstruction, and of -c' y.
    by_y = 2 * (y - x) + 0.3 * slopes(y, x)
    ratio = abs((by_y * q).mean()) / abs((new_c * q).mean())
    assert metrics["adaptive_weight"].compute() == pytest.approx(ratio, rel=1e-4)
    # Autoencoder: the same with the weighted adversary, passed straight through to w, and the commitment.
    total = by_y - 0.8 * ratio * new_c
    by_w = (total * v + 0.5 * 2 * (z - q)) * x
    expected = {"w": w - RATE * by_w.mean(), "v": v - RATE * (total * q).mean()}
    assert after.params["generator"] == pytest.approx(expected, rel=1e-4)
    loss = np.square(y - x).mean() + 0.3 * distances(y, x).mean() + 0.5 * np.square(z - q).mean()
    assert metrics["loss"].compute() == pytest.approx(loss, rel=1e-5)
    assert measured["loss"].compute() == pytest.approx(loss, rel=1e-5)
    assert measured["perceptual"].compute() == pytest.approx(distances(y, x).mean(), rel=1e-5)
    # Codes 0, 1 and twice 2.
    assert measured["usage"].compute() == 1
    assert measured["perplexity"].compute() == pytest.approx(np.sqrt(8), rel=1e-5)
    np.testing.assert_allclose(shown["reconstruction"][:2].ravel(), (y + 1) / 2, rtol=1e-5)
    assert metrics["g_loss"].compute() == pytest.approx(-new_c * y.mean(), rel=1e-4)
    # Codes are averages of the encodings that count.
    one_hot = np.eye(3)[nearest]
    counts = 0.75 * COUNTS + 0.25 * one_hot.sum(0)
    sums = 0.75 * CODES * COUNTS + 0.25 * z @ one_hot
    assert_codes_average_and_restart(after.codebook, z, sums, counts, 0.6)
    assert int(after.step) == 5


@pytest.mark.covers("GE-37")
def test_the_adaptive_weight_is_the_ratio_of_lengths_and_passes_no_gradient():
    """|(3, 4)| = 5 over |(0, 2)| = 2; a vanishing adversary is limited to 10^4."""
    weight_and_slope = jax.jit(jax.value_and_grad(adaptive_weight))
    weight, slope = weight_and_slope(np.float32([3, 4]), np.float32([0, 2]))
    assert float(weight) == pytest.approx(2.5, rel=1e-5)
    assert not np.asarray(slope).any()
    assert float(weight_and_slope(np.float32([3, 4]), np.zeros(2, np.float32))[0]) == 1e4
    with pytest.raises(ValueError, match="adversarial_gradient"):
        adaptive_weight(np.ones(2), np.ones(3))


@pytest.mark.covers("GE-37")
def test_the_perceptual_distance_compares_directions():
    """Layer a: (3, 0) and (0, 5) are at right angles: 2; (1, 1) and (2, 2) agree: 0; mean 1. Layer b: opposite, 4."""
    maps = {"a": np.float32([[[[3, 0], [1, 1]]]]), "b": np.float32([[[[0, -2]]]])}
    targets = {"a": np.float32([[[[0, 5], [2, 2]]]]), "b": np.float32([[[[0, 7]]]]), "other": np.zeros(1)}
    distance_and_slope = jax.jit(jax.value_and_grad(lambda maps, targets: perceptual_distance(maps, targets)[0]))
    assert float(distance_and_slope(maps, targets)[0]) == pytest.approx(1 + 4, rel=1e-6)
    zeros = jax.tree.map(np.zeros_like, maps)
    chex.assert_tree_all_finite(distance_and_slope(zeros, targets)[1])
    with pytest.raises(ValueError, match="targets"):
        perceptual_distance(maps, {**targets, "b": np.zeros((1, 1, 1, 3))})


@pytest.mark.covers("GE-37")
def test_the_discriminator_waits_for_its_start():
    learner = small(perceptual_weight=0.0, adversarial_start=5)
    params = {"generator": {"w": np.float32(1.2), "v": np.float32(0.7)}, "discriminator": {"c": np.float32(0.4)}}
    update = jax.jit(learner.update)
    before, start = (jax.device_get(update(state_of(params, step), ROWS)[0].params) for step in (4, 5))
    assert before["discriminator"]["c"] == np.float32(0.4)
    assert start["discriminator"]["c"] != np.float32(0.4)
    # Without the adversary v descends 2 (y - x) q, of y = 0.7 q.
    x = X[:2].ravel().astype(np.float64)
    q = CODES[np.abs(1.2 * x[:, None] - CODES).argmin(1)]
    alone = 0.7 - RATE * (2 * (0.7 * q - x) * q).mean()
    assert before["generator"]["v"] == pytest.approx(alone, rel=1e-5)
    assert start["generator"]["v"] != pytest.approx(alone, rel=1e-3)


@pytest.mark.slow
@pytest.mark.covers("GE-37")
def test_without_both_losses_a_step_is_that_of_the_vq_vae():
    learner = small(perceptual_weight=0.0, adversarial_weight=0.0)
    generator = {"w": np.float32(1.2), "v": np.float32(0.7)}
    after, metrics = jax.jit(learner.update)(state_of({"generator": generator}), ROWS)
    plain = vq_vae.learner(
        model=Scaled(), optimizer=optax.sgd(RATE), num_codes=3, commitment=0.5, decay=0.75, restart_below=0.0
    )
    book = Codebook(CODES[:, None], COUNTS, (CODES * COUNTS)[:, None])
    opt_state = optax.sgd(RATE).init(generator)
    expected, plain_metrics = jax.jit(plain.update)(
        VQVAEState(np.int32(4), jax.random.key(0), generator, opt_state, book), ROWS
    )
    chex.assert_trees_all_close(after.params["generator"], expected.params, rtol=1e-6)
    chex.assert_trees_all_close(after.codebook, expected.codebook, rtol=1e-6)
    assert metrics["loss"].compute() == pytest.approx(plain_metrics["loss"].compute(), rel=1e-6)


def test_without_an_adversary_there_is_one_player():
    learner = small(adversarial_weight=0.0)
    state = jax.eval_shape(learner.init, jax.random.key(0), ROWS)
    assert set(state.params) == {"generator"}
    after, metrics = jax.eval_shape(learner.update, state, ROWS)
    assert set(metrics) == {"loss", "commitment", "mse", "psnr", "perceptual"}
    assert set(after.params) == {"generator"}


def test_both_autoencoders_name_their_last_kernel():
    for model in (VQVAE((8, 8, 1), width=4), VQModel((8, 8, 1), channels=(8, 8))):
        params = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))["params"]
        kernel = params
        for name in model.last_kernel:
            kernel = kernel[name]
        assert kernel.shape[-1] == 1  # channels of the image
