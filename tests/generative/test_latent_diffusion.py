"""The autoencoder's divergence and bound by hand, the scale of latents, and what the second phase leaves alone."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative import autoencoder_kl, ddpm, diffusion
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.condition import class_condition
from dlcore.generative.dit import DiT
from dlcore.generative.latent_diffusion import LatentDiffusion, latent_scale
from dlcore.generative.vae import kl_to_standard_normal
from dlcore.learner import State, example_keys

SMALL = AutoencoderKL((4, 4), latent_channels=2, image_channels=1, groups=2)


def images(count=8, side=4):
    rng = np.random.default_rng(0)
    rows = {"image": rng.random((count, side, side, 1), np.float32), "label": np.zeros(count, np.int32)}
    return {**rows, "index": np.arange(count, dtype=np.int32)}


@pytest.mark.covers("GE-25")
def test_the_divergence_of_a_wide_normal():
    """KL(N(1, .25) || N(0, 1)) = (1 + .25 - 1 + log 4) / 2 = .818147, and none from itself."""
    assert float(kl_to_standard_normal(jnp.float32(1), jnp.log(0.25))) == pytest.approx(0.818147, abs=1e-6)
    assert float(kl_to_standard_normal(jnp.float32(0), jnp.float32(0))) == 0


@pytest.mark.covers("GE-25")
def test_the_scale_of_latents_counts_means_and_variances():
    """Means 1 and 5 have the variance 4; variances 2 and 8 have the mean 5: √9."""
    mean, logvar = np.array([1, 5]).reshape(2, 1, 1, 1), np.log([2, 8]).reshape(2, 1, 1, 1)
    assert latent_scale(mean, logvar) == pytest.approx(3)


class Scaled(nn.Module):
    """Latents of mean a x and log variance b x, decoded to c z."""

    def setup(self):
        self.a, self.b, self.c = (self.param(name, nn.initializers.ones, ()) for name in "abc")

    def encode(self, x):
        return self.a * x, self.b * x

    def decode(self, z):
        return self.c * z

    def __call__(self, x):
        mean, log_variance = self.encode(x)
        return self.decode(mean), mean, log_variance


@pytest.mark.covers("GE-25")
def test_one_update_of_the_autoencoder_by_hand():
    """z = m + exp(l / 2) eps, L = mean |c z - x| + .5 mean (m^2 + e^l - 1 - l) / 2, of x in [-1, 1]."""
    learner = autoencoder_kl.learner(model=Scaled(), optimizer=optax.sgd(0.1), kl_weight=0.5)
    image = np.random.default_rng(1).random((3, 1, 2, 1), np.float32)
    rows = {"image": image, "index": np.arange(3, dtype=np.int32)}
    masked = {**rows, "mask": np.float32([1, 1, 0])}
    params = {"a": np.float32(0.8), "b": np.float32(-0.6), "c": np.float32(0.7)}
    state = State(np.int32(0), jax.random.key(0), params, optax.sgd(0.1).init(params))

    @jax.jit
    def step(state):
        keys = example_keys(jax.random.fold_in(state.rng, state.step), rows)
        normal = jax.vmap(lambda key: jax.random.normal(key, (1, 2, 1)))
        same = state.replace(params={"a": 1.0, "b": 0.0, "c": 1.0})  # mean and image are equal
        exact = learner.evaluate(same, masked)["psnr"]
        measured = learner.evaluate(state, masked), learner.loss(state.params, state, masked)[0], exact
        given = *measured, learner.predict(state, rows), learner.init(jax.random.key(0), rows).params
        return learner.update(state, rows)[0].params, normal(keys), normal(example_keys(state.rng, rows)), *given

    after, eps, other, metrics, loss, exact, out, started = jax.device_get(step(state))
    assert exact.compute() == pytest.approx(100)  # of an error of 1e-10 at least
    x = 2 * image - 1
    mean, log_variance = 0.8 * x, -0.6 * x
    spread = np.exp(log_variance / 2) * eps
    by_y = np.sign(0.7 * (mean + spread) - x) / 6
    by_mean, by_log = 0.7 * by_y + 0.5 * mean / 6, 0.7 * by_y * spread / 2 + 0.5 * (np.exp(log_variance) - 1) / 12
    want = {"a": 0.8 - 0.1 * (by_mean * x).sum(), "b": -0.6 - 0.1 * (by_log * x).sum()}
    want["c"] = 0.7 - 0.1 * (by_y * (mean + spread)).sum()
    assert after == pytest.approx(want, rel=1e-5)
    # Evaluation reads the mean, and the loss draws; the third image is padding.
    divergence = ((mean**2 + np.exp(log_variance) - 1 - log_variance) / 2)[:2].mean()
    error, noisy = (np.abs(0.7 * z - x)[:2].mean() for z in (mean, mean + np.exp(log_variance / 2) * other))
    psnr = -10 * np.log10(np.square(0.7 * mean - x)[:2].mean((1, 2, 3)) / 4)
    expected = {"loss": error + 0.5 * divergence, "l1": error, "kl": divergence, "psnr": psnr.mean()}
    assert {name: metric.compute() for name, metric in metrics.items()} == pytest.approx(expected, rel=1e-4)
    assert float(loss) == pytest.approx(noisy + 0.5 * divergence, rel=1e-5)
    np.testing.assert_allclose(out["image"], (0.7 * mean + 1) / 2, rtol=1e-5)
    np.testing.assert_allclose(out["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(out["logvar"], log_variance, rtol=1e-5)
    assert started == {"a": 1, "b": 1, "c": 1}


class Sized(Scaled):
    """`Scaled`, with a parameter of the shape that it was started with."""

    downsampling: int = 4
    image_channels: int = 3

    @nn.compact
    def __call__(self, x):
        self.param("started", nn.initializers.zeros, x.shape)
        return Scaled.__call__(self, x)


class Sum(nn.Module):
    """w (z + t + label)."""

    @nn.compact
    def __call__(self, z, t, label=None):
        return self.param("w", nn.initializers.ones, ()) * (z + (t + label)[:, None, None, None])


@pytest.mark.covers("GE-25")
def test_latents_are_divided_by_their_scale_and_the_network_reads_them():
    """(m + exp(l / 2) eps) / 4 of x in [-1, 1], and (c 4 z + 1) / 2 back; no gradient reaches the autoencoder."""
    model, rng = LatentDiffusion(Sum(), Sized()), np.random.default_rng(0)
    image, z = rng.random((2, 1, 2, 1), np.float32), rng.normal(size=(2, 3, 5, 2)).astype(np.float32)
    t, label, keys = np.float32([2, 7]), np.array([1, 3]), jax.random.split(jax.random.key(0), 2)
    shapes = jax.eval_shape(model.init, jax.random.key(0), z, t, label)["params"]
    assert shapes["autoencoder"]["started"].shape == (1, 12, 20, 3)
    assert shapes["scale"].shape == ()
    numbers = {"a": np.float32(0.8), "b": np.float32(-0.6), "c": np.float32(0.1)}
    params = {"network": {"w": np.float32(3)}, "scale": np.float32(4)}
    params["autoencoder"] = {**numbers, "started": np.zeros((1, 12, 20, 3), np.float32)}

    @jax.jit
    def run(params):
        def encoded(params):
            return model.apply({"params": params}, image, keys, method="encoded")

        noise = jax.vmap(lambda key: jax.random.normal(key, (1, 2, 1)))(keys)
        slopes = jax.grad(lambda params: encoded(params).sum())(params)
        outputs = model.apply({"params": params}, z, t, label), model.apply({"params": params}, z, method="decoded")
        return encoded(params), noise, slopes, *outputs

    latents, noise, slopes, predicted, decoded = jax.device_get(run(params))
    x = 2 * image - 1
    np.testing.assert_allclose(latents, (0.8 * x + np.exp(-0.3 * x) * noise) / 4, rtol=1e-4)
    assert not any(np.any(slope) for slope in jax.tree.leaves(slopes))
    np.testing.assert_allclose(predicted, 3 * (z + np.reshape([3, 10], (2, 1, 1, 1))), rtol=1e-5)
    np.testing.assert_allclose(decoded, np.clip((0.1 * 4 * z + 1) / 2, 0, 1), rtol=1e-4, atol=1e-6)


@pytest.mark.weekly
@pytest.mark.covers("GE-25")
def test_the_autoencoder_learns_to_decode_what_it_encodes():
    learner = autoencoder_kl.learner(model=SMALL, optimizer=optax.adam(1e-2), kl_weight=1e-4)
    batch = images()
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    update, evaluate = jax.jit(learner.update), jax.jit(learner.evaluate)
    before = evaluate(state, batch)
    for _ in range(60):
        state, _ = update(state, batch)
    after = {name: value.compute() for name, value in evaluate(state, batch).items()}
    assert after["loss"] == pytest.approx(after["l1"] + 1e-4 * after["kl"], rel=1e-5)
    assert after["psnr"] > before["psnr"].compute() + 3
    chex.assert_shape(jax.jit(learner.predict)(state, batch)["mean"], (8, 2, 2, 2))


@pytest.mark.weekly
@pytest.mark.covers("GE-25")
def test_latents_are_smaller_have_variance_one_and_samples_decode():
    model = LatentDiffusion(DiT(width=8, depth=1, num_heads=2, patch_size=1, num_classes=1), SMALL)
    learner = ddpm.learner(
        model=model,
        optimizer=optax.sgd(0.1),
        shape=(2, 2, 2),
        condition=class_condition(1),
        encode=lambda params, keys, batch: model.apply({"params": params}, batch["image"], keys, method="encoded"),
        decode=lambda params, z: model.apply({"params": params}, z, method="decoded"),
        locked=("autoencoder", "scale"),
        noise_schedule=diffusion.NoiseSchedule(num_timesteps=10),
        prediction="v",
        sampling=diffusion.Sampling("ddim", num_inference_steps=2, clip_sample=False),
    )
    batch = images(256)
    state = jax.jit(learner.init)(jax.random.key(0), batch)
    assert set(state.params) == {"network"}
    bias = state.locked["autoencoder"]["quant_conv"]["bias"]
    state.locked["autoencoder"]["quant_conv"]["bias"] = bias.at[2:].add(2)  # posteriors e times as wide
    mean, logvar = SMALL.apply({"params": state.locked["autoencoder"]}, 2 * batch["image"] - 1, method="encode")
    scale = latent_scale(mean, logvar)
    assert scale > 2
    state = state.replace(locked={**state.locked, "scale": jnp.float32(scale)})
    params, keys = {**state.params, **state.locked}, jax.random.split(jax.random.key(1), 256)
    z = model.apply({"params": params}, batch["image"], keys, method="encoded")
    chex.assert_shape(z, (256, 2, 2, 2))
    assert float(z.std()) == pytest.approx(1, abs=0.05)
    after, _ = jax.jit(learner.update)(state, batch)
    jax.tree.map(np.testing.assert_array_equal, after.locked, state.locked)
    drawn = jax.jit(learner.predict)(after, {k: batch[k][:4] for k in ("label", "index")})["sample"]
    chex.assert_shape(drawn, (4, 4, 4, 1))
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    again = model.apply({"params": params}, z * 0 + mean / scale, method="decoded")
    decoded = SMALL.apply({"params": state.locked["autoencoder"]}, 2 * batch["image"] - 1)[0]
    np.testing.assert_allclose(again, np.clip((decoded + 1) / 2, 0, 1), atol=1e-5)


def test_other_latents_and_odd_sides_are_named():
    inputs = jnp.zeros((1, 4, 4, 1))
    variables = jax.eval_shape(SMALL.init, jax.random.key(0), inputs)
    with pytest.raises(ValueError, match=r"z=\(1, 2, 2, 3\): another latent; allowed: \[B, h, w, 2\]"):
        jax.eval_shape(lambda v: SMALL.apply(v, jnp.zeros((1, 2, 2, 3)), method="decode"), variables)
