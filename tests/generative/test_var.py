"""Residual quantization over scales and one update of each phase by hand, the mask, and decoding with a cache."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative import var
from dlcore.generative.var import ScaleTransformer, residual_quantize, sample, scale_mask
from dlcore.generative.vq_vae import Codebook, VQVAEState
from tests.generative.codebooks import assert_codes_are_encodings, assert_codes_average_and_restart
from tests.wiring import assert_wiring

K, SCALES, D = 5, (1, 2, 3), 4


@pytest.mark.covers("GE-39")
def test_each_scale_quantizes_what_the_coarser_ones_left():
    """2 x 2 numbers of mean 3.25: code 3, residuals 1, 0, -2, 2.

    Of the codes 0, 3 and -3 the nearest are 0, 0, -3 and 3, so that the sums are 3, 3, 0, 6.
    """
    vectors = np.float32([[0], [3], [-3]])
    z = np.float32([4, 3, 1, 5]).reshape(1, 2, 2, 1)
    quantize = jax.jit(residual_quantize, static_argnums=2)
    residuals, codes, sums = quantize(z, vectors, (1, 2))
    assert float(residuals[0][0, 0, 0, 0]) == pytest.approx(3.25, rel=1e-5)
    assert int(codes[0][0, 0, 0]) == 1
    np.testing.assert_allclose(residuals[1].ravel(), [1, 0, -2, 2], atol=1e-5)
    np.testing.assert_array_equal(codes[1].ravel(), [0, 0, 2, 1])
    np.testing.assert_allclose(sums[0].ravel(), [3, 3, 3, 3])
    np.testing.assert_allclose(sums[1].ravel(), [3, 3, 0, 6])


@pytest.mark.covers("GE-39")
def test_the_mask_is_causal_between_scales_and_full_within_one():
    expected = [[1, 0, 0, 0, 0], *[[1, 1, 1, 1, 1]] * 4]
    np.testing.assert_array_equal(scale_mask((1, 2)), np.array(expected, bool))


@pytest.fixture(scope="module")
def transformer():
    """(model, parameters with a head that is not zero, jitted apply)."""
    model = ScaleTransformer(K, SCALES, width=8, depth=2, num_heads=2)
    maps = [np.zeros((1, s, s, D), np.float32) for s in SCALES]
    shapes, rng = jax.eval_shape(model.init, jax.random.key(0), maps)["params"], np.random.default_rng(0)
    params = jax.tree.map(lambda s: (0.7 * rng.normal(size=s.shape)).astype(np.float32), shapes)
    return model, params, jax.jit(lambda maps: model.apply({"params": params}, maps)[0])


@pytest.mark.slow
@pytest.mark.covers("GE-39")
def test_logits_depend_on_their_own_and_coarser_scales_alone(transformer):
    _, _, apply = transformer
    rng = np.random.default_rng(0)
    maps = [rng.normal(size=(1, s, s, D)).astype(np.float32) for s in SCALES]
    before = apply(maps)
    for changed in range(len(SCALES)):
        others = [m + (k == changed) * np.eye(1, D, dtype=np.float32) for k, m in enumerate(maps)]
        after = apply(others)
        for k in range(len(SCALES)):
            # The start token stands in the place of the first map.
            is_equal = np.allclose(before[k], after[k], atol=1e-6)
            assert is_equal == (k < changed or changed == 0)


@pytest.mark.slow
@pytest.mark.covers("GE-39")
def test_at_temperature_zero_codes_are_the_most_probable(transformer):
    model, params, _ = transformer
    vectors = np.random.default_rng(1).normal(size=(K, D)).astype(np.float32)
    keys = jax.vmap(jax.random.key)(np.arange(3))
    draw = jax.jit(lambda temperature: sample(model, params, vectors, keys, temperature=temperature))
    chex.assert_trees_all_close(draw(0.0), draw(1e-6))
    assert all((codes == codes[:1]).all() for codes in draw(0.0)[0])


@pytest.mark.slow
@pytest.mark.covers("GE-39")
def test_decoding_with_a_cache_equals_decoding_without(transformer):
    model, params, _ = transformer
    vectors = np.random.default_rng(1).normal(size=(K, D)).astype(np.float32)
    keys = jax.vmap(jax.random.key)(np.arange(6))
    draw = jax.jit(lambda keys: [sample(model, params, vectors, keys, cached=cached) for cached in (True, False)])
    with_cache, without = draw(keys)
    chex.assert_trees_all_equal(with_cache[0], without[0])
    chex.assert_trees_all_close(with_cache[1], without[1], atol=1e-5)
    assert len(np.unique(with_cache[0][-1])) > 1
    for codes, side in zip(with_cache[0], SCALES, strict=True):
        chex.assert_shape(codes, (6, side, side))
    chex.assert_trees_all_close(draw(keys[::-1])[0][1], with_cache[1][::-1], atol=1e-5)


class Scaled(nn.Module):
    """Outputs w x, one of each pixel, and v q of them."""

    grid = (2, 2)

    def setup(self):
        self.w, self.v = (self.param(name, nn.initializers.ones, ()) for name in "wv")

    def encode(self, x):
        return self.w * x

    def decode(self, q):
        return self.v * q

    def __call__(self, x, train=False):
        return self.decode(self.encode(x))


class Frequencies(nn.Module):
    """Independent codes."""

    num_codes: int = 3
    scales: tuple = (1, 2)

    @nn.compact
    def __call__(self, maps, first=0, caches=None, train=False):
        logits = self.param("logits", nn.initializers.zeros, (3,))
        return [jnp.broadcast_to(logits, (*m.shape[:3], 3)) for m in maps], []


X = np.array([[0.6, 0.4, -0.8, 0.9], [-0.5, 0.3, 0.2, -0.9], [0.1, 0.2, 0.3, 0.4]], np.float32)
ROWS = {"image": (X.reshape(3, 2, 2, 1) + 1) / 2, "index": np.arange(3), "mask": np.float32([1, 1, 0])}
CODES, COUNTS = np.array([0, 0.8, -0.8], np.float32), np.array([1, 2, 4], np.float32)


def small(**settings):
    learner = var.learner(
        model=Scaled(),
        prior=Frequencies(),
        optimizer=optax.sgd(0.1),
        prior_optimizer=optax.sgd(0.5),
        num_codes=3,
        commitment=0.5,
        decay=0.75,
        restart_below=0.9,
        **settings,
    )
    params = {"autoencoder": {"w": np.float32(1.2), "v": np.float32(0.7)}, "prior": {"logits": np.zeros(3, np.float32)}}
    opt_state = {name: optax.sgd(0.1).init(params[name]) for name in params}
    book = Codebook(CODES[:, None], COUNTS, (CODES * COUNTS)[:, None])
    return learner, VQVAEState(np.int32(3), jax.random.key(0), params, opt_state, book)


def quantized():
    """z, then codes, residuals and sums of both scales by NumPy, of the two images that count."""
    z = 1.2 * X[:2].astype(np.float64)
    first = np.abs(z.mean(1)[:, None] - CODES).argmin(1)
    coarse = np.repeat(CODES[first][:, None], 4, 1).astype(np.float64)
    second = np.abs((z - coarse)[..., None] - CODES).argmin(-1)
    return z, [first[:, None], second], [z.mean(1)[:, None], z - coarse], [coarse, coarse + CODES[second]]


@pytest.mark.covers("GE-39")
def test_one_update_of_the_autoencoder_by_hand():
    """L = mean (v f^ - x)^2 + .5 mean over both scales of mean (w x - f^_s)^2; codes average residuals of both."""
    learner, state = small()
    after, metrics = jax.device_get(jax.jit(learner.update)(state, ROWS))
    z, codes, residuals, (coarse, total) = quantized()
    x, error = X[:2], 0.7 * total - X[:2]
    commitment = (np.square(z - coarse).mean() + np.square(z - total).mean()) / 2
    assert metrics["loss"].compute() == pytest.approx(np.square(error).mean() + 0.5 * commitment, rel=1e-5)
    by_w = ((2 * error * 0.7 + 0.5 * ((z - coarse) + (z - total))) * x).mean()
    expected = {"w": 1.2 - 0.1 * by_w, "v": 0.7 - 0.1 * (2 * error * total).mean()}
    assert after.params["autoencoder"] == pytest.approx(expected, rel=1e-5)
    one_hot = np.eye(3)[np.concatenate([a.ravel() for a in codes])]
    counts = 0.75 * COUNTS + 0.25 * one_hot.sum(0)
    sums = 0.75 * CODES * COUNTS + 0.25 * np.concatenate([r.ravel() for r in residuals]) @ one_hot
    outputs = np.concatenate([r.ravel() for r in residuals])
    assert_codes_average_and_restart(after.codebook, outputs, sums, counts, 0.9)
    chex.assert_trees_all_equal(after.params["prior"], state.params["prior"])
    assert int(after.step) == 4


@pytest.mark.covers("GE-39")
def test_one_update_of_the_transformer_by_hand():
    """Uniform logits of three codes: the gradient is 1/3 minus the frequencies of the ten codes that count."""
    learner, state = small(is_prior_step=lambda step: step >= 3)
    after, metrics = jax.device_get(jax.jit(learner.update)(state, ROWS))
    codes = np.concatenate([a.ravel() for a in quantized()[1]])
    frequencies = np.bincount(codes, minlength=3) / 10
    np.testing.assert_allclose(after.params["prior"]["logits"], 0.5 * (frequencies - 1 / 3), atol=1e-6)
    assert metrics["prior_bits"].compute() == pytest.approx(np.log2(3), rel=1e-5)
    assert metrics["bits_2"].compute() == pytest.approx(np.log2(3), rel=1e-5)
    chex.assert_trees_all_equal(after.params["autoencoder"], state.params["autoencoder"])
    chex.assert_trees_all_equal(after.codebook, state.codebook)


@pytest.mark.covers("GE-39")
def test_samples_and_measures_by_hand():
    """Logits (0, .05, .01) at a temperature of .001: samples have code 1, 0.8, on both scales; v = .25 makes it .4."""
    learner, state = small(temperature=1e-3)
    logits = np.float32([0, 0.05, 0.01])
    params = {"autoencoder": {"w": np.float32(1.2), "v": np.float32(0.25)}, "prior": {"logits": logits}}

    @jax.jit
    def run(state):
        alone = learner.predict(state, {"index": np.arange(2)})
        given = learner.predict(state, ROWS), learner.evaluate(state, ROWS), learner.init(jax.random.key(0), ROWS)
        return alone, *given

    alone, out, metrics, started = jax.device_get(run(state.replace(params=params)))
    assert set(alone) == {"sample"}
    np.testing.assert_allclose(alone["sample"], np.full((2, 2, 2, 1), 0.7), rtol=1e-5)
    _, codes, _, (_, total) = quantized()
    np.testing.assert_array_equal(out["codes"][:2].reshape(2, 4), codes[1])
    y = (0.25 * total + 1) / 2
    np.testing.assert_allclose(out["reconstruction"][:2].reshape(2, 4), y, rtol=1e-5)
    psnr = -10 * np.log10(np.square(y - (X[:2] + 1) / 2).mean(1))
    np.testing.assert_allclose(out["psnr"][:2], psnr, rtol=1e-4)
    measured = {name: metric.compute() for name, metric in metrics.items()}
    assert measured["psnr"] == pytest.approx(psnr.mean(), rel=1e-4)
    nats = [np.log(np.exp(logits.astype(np.float64)).sum()) - logits[a] for a in codes]
    for side, each in zip((1, 2), nats, strict=True):
        assert measured[f"bits_{side}"] == pytest.approx(each.mean() / np.log(2), rel=1e-5)
    assert measured["prior_bits"] == pytest.approx(np.concatenate(nats, 1).mean() / np.log(2), rel=1e-5)
    share = np.bincount(np.concatenate(codes, 1).ravel(), minlength=3) / 10
    assert measured["usage"] == (share > 0).mean()
    entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
    assert measured["perplexity"] == pytest.approx(np.exp(entropy), rel=1e-5)
    # The codebook starts at outputs of the encoder, w = 1, and the transformer as a uniform guess.
    assert started.params["autoencoder"] == {"w": 1, "v": 1}
    np.testing.assert_array_equal(started.params["prior"]["logits"], np.zeros(3))
    assert_codes_are_encodings(started.codebook.vectors, X)
    assert int(started.step) == 0


def test_scales_that_do_not_rise_to_the_grid_are_refused():
    optimizers = {"optimizer": optax.sgd(0.1), "prior_optimizer": optax.sgd(0.1)}
    with pytest.raises(ValueError, match=r"scales=\(2, 1\): no rising sides"):
        var.learner(model=Scaled(), prior=Frequencies(scales=(2, 1)), **optimizers)


@pytest.mark.slow
def test_the_wiring_of_scale_transformer_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        ScaleTransformer(5, (1, 2), width=8, depth=1, num_heads=2),
        [np.ones((2, 1, 1, 4), np.float32), np.arange(32, dtype=np.float32).reshape(2, 2, 2, 4)],
        [23.6767, -1.02912],
    )
