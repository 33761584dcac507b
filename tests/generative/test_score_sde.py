"""Score SDE: marginals, scores, samples and exact likelihoods of a Gaussian mixture, and one update by hand."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative.diffusion import noise_of
from dlcore.generative.score_sde import (
    SDE,
    ScoreSampling,
    annealed_langevin,
    flow_log_likelihood,
    learner,
    score_loss,
    score_of,
    score_sample,
)
from dlcore.learner import example_keys
from tests.generative.one_number import Constant

VE, VP = SDE("ve", sigma_max=20.0), SDE("vp")
MEANS = np.array([[-0.8, 0.3], [0.6, -0.2]])
WEIGHTS = np.array([0.3, 0.7])
DEVIATION = 0.2
"""A mixture of two Gaussians in the plane."""


def log_density(x, signal, spread):
    """log p_t of the mixture: means a m, variances (a s)^2 + b^2."""
    variance = (signal * DEVIATION) ** 2 + spread**2
    squares = jnp.square(x[..., None, :] - signal * MEANS).sum(-1)
    return jax.nn.logsumexp(np.log(WEIGHTS) - squares / 2 / variance, -1) - jnp.log(2 * math.pi * variance)


def exact_score(sde):
    return lambda x, t: jax.grad(lambda x: log_density(x, *sde.marginal(t)).sum())(x)


@pytest.mark.slow(unless=["vp"])
@pytest.mark.covers("GE-34")
@pytest.mark.parametrize("sde", [VE._replace(sigma_max=200.0), VP], ids=["ve", "vp"])
def test_the_flow_gives_the_exact_likelihood_of_a_mixture(sde):
    """log p at the first time; bits per dimension are -log2 p / 2."""
    x = np.array([[-0.8, 0.3], [0.1, 0.1], [0.9, -0.6], [0.0, 1.0]])

    @jax.jit
    def run(x):
        likelihood = flow_log_likelihood(exact_score(sde), x, sde, num_steps=100)
        return likelihood, log_density(x, *sde.marginal(sde.first_time))

    likelihood, expected = run(np.float32(x))
    # p_1 is not quite normal: its mean is off by a_1 m, .001 to .01 of its deviation.
    np.testing.assert_allclose(likelihood, expected, atol=0.01)


@pytest.mark.slow
@pytest.mark.covers("GE-34")
def test_signs_estimate_the_divergence_without_bias():
    """In two dimensions the mean over the four sign vectors is the trace itself."""
    signs = np.float32([[1, 1], [1, -1], [-1, 1], [-1, -1]])[:, None].repeat(2, 1)

    @jax.jit
    def run(x):
        estimate = flow_log_likelihood(exact_score(VP), x, VP, probes=signs)
        return estimate, log_density(x, *VP.marginal(VP.first_time))

    estimate, expected = run(np.float32([[0.1, 0.1], [0.9, -0.6]]))
    np.testing.assert_allclose(estimate, expected, atol=0.01)


@pytest.mark.slow(unless=["ve-sde", "vp-ode"])
@pytest.mark.covers("GE-34")
@pytest.mark.parametrize(
    ("sde", "sampler"), [(VE, "sde"), (VP, "sde"), (VE, "ode"), (VP, "ode"), (VE, "langevin")],
    ids=["ve-sde", "vp-sde", "ve-ode", "vp-ode", "langevin"],
)  # fmt: skip
def test_samples_have_the_moments_of_the_mixture(sde, sampler):
    """Mean .3 (-.8) + .7 (.6) = .18, variance .04 + .3 .7 1.4^2 = .4516 along the first axis; weights .3 and .7."""

    def noise(k):
        return jax.random.normal(jax.random.fold_in(jax.random.key(2), k + 1), (1000, 2))

    score = exact_score(sde)

    @jax.jit
    def draw():
        start = sde.prior_deviation() * noise(-1)
        if sampler == "langevin":
            sigmas = np.geomspace(20, 0.01, 50)
            times = jnp.log(jnp.asarray(sigmas) / 0.01) / math.log(2000)
            return annealed_langevin(lambda x, level: score(x, times[level]), start, noise, sigmas, langevin_steps=12)
        return score_sample(score, start, noise, sde, num_steps=200, stochastic=sampler == "sde")

    x = np.asarray(draw())
    assert (x[:, 0] < -0.1).mean() == pytest.approx(0.3, abs=0.05)
    assert x[:, 0].mean() == pytest.approx(0.18, abs=0.07)
    assert x[:, 0].var() == pytest.approx(0.4516, rel=0.12)
    # Langevin's few steps at the last levels leave some of the noise of those before.
    assert x[x[:, 0] > 0.1, 1].std() == pytest.approx(0.2, rel=0.2 if sampler == "langevin" else 0.12)


@pytest.mark.covers("GE-34")
def test_marginals_and_rates_by_hand():
    """VE at .5: sqrt(.01 20); VP at .5: a = exp(-.25 19.9 / 4 - .025), beta = 10.05. The rates are their slopes."""
    np.testing.assert_allclose(VE.marginal(0.5), [1, math.sqrt(0.2)], rtol=1e-5)
    assert (VE.first_time, VP.first_time, VE.prior_deviation(), VP.prior_deviation()) == (0, 1e-5, 20, 1)
    signal = math.exp(-0.25 * 19.9 / 4 - 0.025)
    np.testing.assert_allclose(VP.marginal(0.5), [signal, math.sqrt(1 - signal**2)], rtol=1e-5)
    np.testing.assert_allclose(VP.rates(0.5), [-5.025, 10.05], rtol=1e-6)
    for sde in (VE, VP):  # d a / dt = rate a,   d b^2 / dt = 2 rate b^2 + g^2
        (before, after), (rate, squared) = (sde.marginal(t) for t in (0.499, 0.501)), map(float, sde.rates(0.5))
        signal, spread = map(float, sde.marginal(0.5))
        assert float(after[0] - before[0]) / 0.002 == pytest.approx(rate * signal, rel=1e-2, abs=1e-4)
        slope = float(after[1] ** 2 - before[1] ** 2) / 0.002
        assert slope == pytest.approx(2 * rate * spread**2 + squared, rel=1e-2, abs=1e-3)


def test_one_step_of_langevin_by_hand():
    """e = .1 at the last level .5: x - .1 .25 x / .25 + sqrt(.05) z = .9 + .2236 .5, then once more denoised."""
    x, z = jnp.ones((1, 1)), jnp.full((1, 1), 0.5)
    options = {"langevin_steps": 1, "step_size": 0.1}
    after = annealed_langevin(lambda x, level: -x / 0.25, x, lambda k: z, [0.5], denoise=False, **options)
    assert float(after[0, 0]) == pytest.approx(0.9 + math.sqrt(0.05) * 0.5, rel=1e-5)
    assert float(annealed_langevin(lambda x, level: -x / 0.25, x, lambda k: z, [0.5], **options)[0, 0]) == 0


class Timed(nn.Module):
    """Predicts its parameter times the time, which it gets in thousandths."""

    @nn.compact
    def __call__(self, x, t):
        time = t.reshape(-1, *[1] * (x.ndim - 1)) / 1000
        return jnp.zeros_like(x) + self.param("value", nn.initializers.constant(0.5), ()) * time


@pytest.mark.covers("GE-34")
@pytest.mark.parametrize("sde", [VE, VP], ids=["ve", "vp"])
def test_one_update_by_hand(sde):
    """F = c t gives b s = -c t, the loss mean (z - c t)^2 and the slope 2 mean (c t - z) t."""
    technique = learner(model=Timed(), optimizer=optax.sgd(0.1), shape=(2, 2, 1), sde=sde)
    batch = {"image": np.random.default_rng(0).random((4, 2, 2, 1), np.float32), "index": np.arange(4)}

    @jax.jit
    def run():
        state = technique.init(jax.random.key(0), batch)
        keys = example_keys(jax.random.fold_in(state.rng, 0), batch)
        first, second = (jax.vmap(lambda key, k=k: jax.random.fold_in(key, k))(keys) for k in (0, 1))
        t = jax.vmap(lambda key: jax.random.uniform(key, minval=0.0 if sde is VE else 1e-5))(first)
        return *technique.update(state, batch), t, jax.vmap(lambda key: jax.random.normal(key, (2, 2, 1)))(second)

    after, metrics, t, z = jax.device_get(run())
    t = t.reshape(4, 1, 1, 1)
    assert metrics["loss"].compute() == pytest.approx(np.square(z - 0.5 * t).mean(), rel=1e-4)
    assert float(after.params["value"]) == pytest.approx(0.5 - 0.1 * 2 * ((0.5 * t - z) * t).mean(), rel=1e-4)


@pytest.mark.covers("GE-34")
def test_the_learner_draws_by_langevin_at_falling_levels():
    """Levels 2, 1 and .5, two steps each: x - .1 s^2 c / s + sqrt(.2) s z, from 2 z; at last denoised, - .5 c."""
    technique = learner(
        model=Constant(),
        optimizer=optax.sgd(0.1),
        shape=(3,),
        encode=lambda params, keys, batch: batch["x"],
        decode=lambda params, x: x,
        sde=SDE("ve", sigma_min=0.5, sigma_max=2.0),
        score_sampling=ScoreSampling("langevin", num_inference_steps=3, langevin_steps=2, step_size=0.1),
    )
    batch = {"x": np.zeros((2, 3), np.float32), "index": np.arange(2)}

    @jax.jit
    def run():
        state = technique.init(jax.random.key(0), batch)
        noise = noise_of(example_keys(state.rng, batch), (3,))
        return technique.predict(state, batch)["sample"], jax.vmap(noise)(np.arange(-1, 6))

    drawn, z = run()
    x = 2 * np.float64(z[0])
    for level, each in zip((2, 2, 1, 1, 0.5, 0.5), np.float64(z[1:]), strict=True):
        x += -0.1 * level * 0.5 + np.sqrt(0.2) * level * each
    np.testing.assert_allclose(drawn, x - 0.5 * 0.5, rtol=1e-4, atol=1e-5)


def test_the_network_gets_scaled_examples_and_a_thousand_times_the_time():
    """VE at t = .5: b = .4472; F = x / sqrt(1 + .2) + 500, s = -F / b."""
    score = jax.jit(score_of(lambda x, t: x + t, VE))(np.full((1, 2), 3, np.float32), np.float32(0.5))
    np.testing.assert_allclose(score, [[-(3 / math.sqrt(1.2) + 500) / math.sqrt(0.2)] * 2], rtol=1e-5)


@pytest.mark.slow
def test_the_exact_score_of_one_point_has_the_loss_0():
    keys, x = jax.random.split(jax.random.key(0), 16), np.full((16, 2), 0.4, np.float32)

    def point(x, t):
        signal, spread = (f[:, None] for f in VP.marginal(t))
        return (signal * 0.4 - x) / spread**2

    np.testing.assert_allclose(jax.jit(lambda x: score_loss(point, keys, x, VP))(x), np.zeros(16), atol=1e-4)


def test_settings_that_cannot_be_are_named():
    with pytest.raises(ValueError, match=r"sigma_min=50\.0: out of range; allowed: above 0, below sigma_max=50\.0"):
        learner(model=Constant(), optimizer=optax.sgd(0.1), shape=(2,), sde=SDE("ve", sigma_min=50.0))


def test_the_pages_bits_of_levels_are_those_of_a_gaussian():
    """x ~ N(0, .25): -log2 of the density at the point of each level, plus log2(16 / 2) = 3 bits for its width.

    The score has no forward mode, as a U-Net's convolutions have none.
    """
    from dlcore.evaluators.flow_bits import bits_of_levels

    sde, key = SDE(), jax.random.key(0)
    images = jax.random.uniform(jax.random.key(1), (4, 2, 1, 1))

    @jax.custom_vjp
    def scale(x, variance):
        return -x / variance

    scale.defvjp(lambda x, variance: (-x / variance, variance), lambda variance, g: (-g / variance, None))

    def score(x, t):
        signal, spread = sde.marginal(t)
        return scale(x, signal**2 * 0.25 + spread**2)

    bits = jax.jit(lambda images: bits_of_levels(score, key, images, sde, 40))(images)
    noise = np.float64(jax.random.uniform(jax.random.fold_in(key, 0), images.shape))
    x = 2 * (np.floor(np.float64(images) * 16) + noise) / 16 - 1
    nats = 0.5 * (x / 0.5) ** 2 + math.log(0.5) + 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(bits, nats.mean((1, 2, 3)) / math.log(2) + 3, atol=1e-2)


@pytest.mark.covers("GE-34")
def test_two_steps_of_each_solver_by_hand():
    """A score of 1 everywhere, noise of 1: dx / dt = rate x - g^2, or half of that along the probability flow."""
    x = np.float32([[0.5]])
    for sde, times in ((VP, (1, 0.5005, 1e-3)), (VE, (1, 0.5, 0))):

        def velocity(x, t, share, sde=sde):
            rate, squared = map(float, sde.rates(t))
            return rate * x - share * squared

        stochastic = flow = 0.5
        for t, s in itertools.pairwise(times):
            stochastic += (s - t) * velocity(stochastic, t, 1)
            stochastic += math.sqrt((t - s) * float(sde.rates(t)[1])) if t == 1 else 0  # the last step adds none
            first = velocity(flow, t, 0.5)
            flow += (s - t) * (first + velocity(flow + (s - t) * first, s, 0.5)) / 2
        drawn = jax.jit(
            lambda x, sde=sde: [
                score_sample(lambda x, t: jnp.ones_like(x), x, jnp.ones_like, sde, num_steps=2, stochastic=way)
                for way in (True, False)
            ]
        )(x)
        np.testing.assert_allclose(np.ravel(drawn), [stochastic, flow], rtol=1e-4)


@pytest.mark.slow(unless=["ode"])
@pytest.mark.covers("GE-34")
@pytest.mark.parametrize("sampler", ["sde", "ode"])
def test_the_learner_draws_in_the_steps_that_it_is_asked_for(sampler):
    technique = learner(
        model=Constant(), optimizer=optax.sgd(0.1), shape=(3,), sde=VE, decode=lambda params, x: x,
        encode=lambda params, keys, batch: batch["x"], score_sampling=ScoreSampling(sampler, num_inference_steps=3),
    )  # fmt: skip
    batch = {"x": np.zeros((2, 3), np.float32), "index": np.arange(2)}

    @jax.jit
    def run():
        state = technique.init(jax.random.key(0), batch)
        noise = noise_of(example_keys(state.rng, batch), (3,))
        score = score_of(lambda x, t: 0.5 * jnp.ones_like(x), VE)
        expected = score_sample(score, 20 * noise(-1), noise, VE, num_steps=3, stochastic=sampler == "sde")
        return technique.predict(state, batch)["sample"], expected

    np.testing.assert_allclose(*run(), rtol=1e-5)
