"""EDM: the factors and one update by hand, Heun's order on a Gaussian, churn, and diffusers' steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.generative.diffusion import noise_of
from dlcore.generative.edm import EDMSampling, edm_factors, edm_sample, learner, precondition, sample_sigmas
from dlcore.generative.schedules import karras_sigmas
from dlcore.learner import example_keys
from tests.generative.one_number import Constant, Timed
from tests.generative.test_samplers import GOLDEN_2, fake


def read(case):
    with np.load(GOLDEN_2) as golden:
        return {key.split("/")[1]: golden[key] for key in golden.files if key.startswith(f"{case}/")}


EULER = EDMSampling("euler")


@pytest.mark.covers("GE-33")
def test_every_step_of_edm_is_that_of_diffusers():
    golden = read("edm_euler")
    sigmas = EDMSampling(num_inference_steps=6).sigmas()
    np.testing.assert_allclose(sigmas, golden["out.sigmas"], rtol=1e-5)
    trace = golden["out.trace"]
    _, path = edm_sample(fake, jnp.asarray(trace[0], jnp.float32), sigmas, edm_sampling=EULER, return_trajectory=True)
    for step, reference in zip(path, trace, strict=True):
        np.testing.assert_allclose(step, reference, atol=1e-4 * reference.std())


@pytest.mark.covers("GE-33")
def test_the_factors_by_hand():
    """sigma = sigma_data = .5, d = .25: c_skip = .25 / .5, c_out = .25 / sqrt(.5), c_in = 1 / sqrt(.5), log(.5) / 4."""
    np.testing.assert_allclose(edm_factors(0.5), [0.5, 0.35355339, 1.41421356, -0.17328680], rtol=1e-6)
    # F = 1: D = .5 x + .35355; the network gets 1.41421 x.
    denoise = precondition(lambda x, c_noise: x + c_noise)
    np.testing.assert_allclose(
        denoise(jnp.ones((1, 2)), jnp.float32(0.5)), [[0.5 + 0.35355339 * (1.41421356 - 0.17328680)] * 2], rtol=1e-6
    )


@pytest.mark.covers("GE-33")
def test_the_network_has_inputs_and_targets_of_variance_one():
    """x0 ~ N(0, d): the target of F is ((1 - c_skip) x0 - c_skip sigma z) / c_out."""
    sigma, d = np.array([0.01, 0.3, 1.0, 40.0]), 0.7**2
    c_skip, c_out, c_in, _ = (np.float64(f) for f in edm_factors(sigma, 0.7))
    np.testing.assert_allclose(c_in**2 * (sigma**2 + d), 1, rtol=1e-5)
    np.testing.assert_allclose(((1 - c_skip) ** 2 * d + c_skip**2 * sigma**2) / c_out**2, 1, rtol=1e-4)


@pytest.mark.covers("GE-33")
def test_one_update_by_hand():
    """F = c: D - x0 = c_skip (x0 + sigma z) + c_out c - x0, weight 1 / c_out^2; the slope is 2 mean(error / c_out)."""
    technique = learner(model=Constant(), optimizer=optax.sgd(0.1), shape=(2, 2, 1), p_mean=-0.5, p_std=0.8)
    rng = np.random.default_rng(0)
    batch = {"image": rng.random((4, 2, 2, 1), np.float32), "index": np.arange(4, dtype=np.int32)}
    state = jax.jit(technique.init)(jax.random.key(0), batch)
    after, metrics = jax.jit(technique.update)(state, batch)
    keys = example_keys(jax.random.fold_in(state.rng, 0), batch)
    z = np.stack([jax.random.normal(jax.random.fold_in(key, 1), (2, 2, 1)) for key in keys])
    n = np.stack([jax.random.normal(jax.random.fold_in(key, 0)) for key in keys]).reshape(4, 1, 1, 1)
    sigma, x0 = np.exp(-0.5 + 0.8 * np.float64(n)), 2 * np.float64(batch["image"]) - 1
    c_skip, c_out = 0.25 / (sigma**2 + 0.25), 0.5 * sigma / np.sqrt(sigma**2 + 0.25)
    error = c_skip * (x0 + sigma * z) + c_out * 0.5 - x0
    assert metrics["loss"].compute() == pytest.approx((error**2 / c_out**2).mean(), rel=1e-4)
    assert float(after.params["value"]) == pytest.approx(0.5 - 0.1 * 2 * (error / c_out).mean(), rel=1e-4)


def test_levels_are_log_normal():
    sigma = np.log(sample_sigmas(jax.random.split(jax.random.key(0), 4096)))
    np.testing.assert_allclose([sigma.mean(), sigma.std()], [-1.2, 1.2], atol=0.06)


def exact(x, c_noise, mean=0.3, deviation=0.2):
    """F of the exact denoiser of N(mean, deviation^2): D = (deviation^2 x + sigma^2 mean) / (deviation^2 + sigma^2)."""
    sigma = jnp.exp(4 * c_noise)
    c_skip, c_out, c_in, _ = edm_factors(sigma)
    x = x / c_in
    return ((deviation**2 * x + sigma**2 * mean) / (deviation**2 + sigma**2) - c_skip * x) / c_out


@pytest.mark.slow
@pytest.mark.covers("GE-33")
def test_heun_is_nearer_to_the_exact_path_than_euler():
    """The path of N(m, s^2) ends at m + s (x - m) / sqrt(s^2 + sigma_max^2)."""
    x = 80 * jnp.linspace(-2, 2, 9)[:, None]
    end = 0.3 + 0.2 * (x - 0.3) / np.sqrt(0.2**2 + 80**2)
    error = {
        (sampling.solver, n): np.abs(
            edm_sample(exact, x, np.append(karras_sigmas(n), 0), edm_sampling=sampling) - end
        ).max()
        for sampling in (EULER, EDMSampling("heun"))
        for n in (32, 64)
    }
    assert error["heun", 32] < 0.25 * error["euler", 32]
    # Twice the steps: half the error of a method of first order, a quarter of second order.
    assert error["euler", 64] == pytest.approx(error["euler", 32] / 2, rel=0.1)
    assert error["heun", 64] == pytest.approx(error["heun", 32] / 4, rel=0.1)


@pytest.mark.covers("GE-33")
def test_churn_by_hand():
    """One step from 2 to 0, gamma = min(.25 / 1, .4142) = .25: sigma^ = 2.5 and x^ = 4 + sqrt(6.25 - 4) 1.1 z."""
    x, z = jnp.full((1, 1), 4.0), jnp.full((1, 1), 0.5)

    def step(**churn):
        sampling = EULER._replace(s_noise=1.1, **churn)
        return float(edm_sample(exact, x, np.array([2.0, 0.0]), lambda k: z, edm_sampling=sampling)[0, 0])

    def denoised(x, sigma):  # Euler's step to 0 gives D
        return (0.04 * x + sigma**2 * 0.3) / (0.04 + sigma**2)

    assert step(s_churn=0.25) == pytest.approx(denoised(4 + 1.5 * 1.1 * 0.5, 2.5), rel=1e-5)
    assert step(s_churn=9.0) == pytest.approx(denoised(4 + 2 * 1.1 * 0.5, 2 * np.sqrt(2)), rel=1e-5)
    for none in ({}, {"s_churn": 0.25, "s_tmin": 3.0}, {"s_churn": 0.25, "s_tmax": 1.0}):
        assert step(**none) == pytest.approx(denoised(4, 2), rel=1e-5)


def test_levels_that_cannot_be_are_named():
    with pytest.raises(ValueError, match=r"s_tmin=60: above s_tmax, .*; allowed: at most s_tmax=50"):
        EDMSampling(s_tmin=60).sigmas()


def test_the_network_gets_a_thousand_times_c_noise_in_training_and_sampling():
    """F = .5 log(sigma) / 4. One step of Euler from 3 z to 0 gives D(3 z, 3), and sigma_data is .7: d = .49."""
    technique = learner(
        model=Timed(), optimizer=optax.sgd(0.1), shape=(2,), sigma_data=0.7,
        encode=lambda params, keys, batch: batch["x"], decode=lambda params, x: x,
        edm_sampling=EDMSampling("euler", num_inference_steps=1, sigma_max=3.0),
    )  # fmt: skip
    batch = {"x": np.float32([[0.5, -0.2], [0.1, 0.9]]), "index": np.arange(2)}

    @jax.jit
    def run():
        state = technique.init(jax.random.key(0), batch)
        keys = example_keys(state.rng, batch)
        parts = [jax.vmap(lambda key, k=k: jax.random.normal(jax.random.fold_in(key, k), s))(keys)
                 for k, s in ((0, ()), (1, (2,)))]  # fmt: skip
        first = noise_of(keys, (2,))(-1)
        return technique.evaluate(state, batch)["loss"], technique.predict(state, batch)["sample"], parts, first

    loss, sample, (n, z), first = jax.device_get(run())

    def denoised(x, sigma):
        root = np.sqrt(sigma**2 + 0.49)
        return 0.49 / root**2 * x + 0.7 * sigma / root * 0.5 * np.log(sigma) / 4

    np.testing.assert_allclose(sample, denoised(3 * np.float64(first), 3), rtol=1e-5)
    sigma = np.exp(-1.2 + 1.2 * np.float64(n))[:, None]
    error = (denoised(batch["x"] + sigma * z, sigma) - batch["x"]) * np.sqrt(sigma**2 + 0.49) / (0.7 * sigma)
    assert loss.compute() == pytest.approx(np.square(error).mean(), rel=1e-4)
