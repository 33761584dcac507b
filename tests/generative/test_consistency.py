"""Consistency models: the boundary, the levels and one update by hand, distillation, and the steps of diffusers."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.experiment.resolve import resolve
from dlcore.generative import ddpm
from dlcore.generative.consistency import (
    ConsistencyLevels,
    ConsistencySampling,
    consistency_loss,
    consistency_sample,
    discretization_steps,
    learner,
    pseudo_huber,
    sample_intervals,
)
from dlcore.generative.diffusion import Sampling, noise_of
from dlcore.generative.edm import edm_factors, precondition
from dlcore.generative.schedules import karras_sigmas
from dlcore.learner import example_keys
from dlcore.weights import earlier_run
from dlcore.weights.open import Weights
from experiments import find_experiment
from tests.generative.one_number import Timed
from tests.generative.test_ddpm import Mlp, mmd, moons
from tests.generative.test_edm import exact, read
from tests.generative.test_samplers import fake


class Scaled(nn.Module):
    """Predicts a multiple of its input."""

    start: float = 0.5

    @nn.compact
    def __call__(self, x, t):
        return x * self.param("value", nn.initializers.constant(self.start), ())


def images(n=4):
    return {"image": np.random.default_rng(0).random((n, 2, 2, 1), np.float32), "index": np.arange(n, dtype=np.int32)}


@pytest.mark.covers("GE-35")
def test_the_network_is_the_identity_at_the_smallest_level():
    x = jnp.linspace(-1, 1, 6).reshape(2, 3)
    denoise = precondition(lambda x, c: 100 * jnp.cos(x), 0.5, 0.002)
    np.testing.assert_allclose(denoise(x, jnp.full(2, 0.002)), x, rtol=1e-6)
    # At .502: rise .5, so c_skip = .25 / .5, c_out = .25 / sqrt(.502^2 + .25).
    np.testing.assert_allclose(edm_factors(0.502, 0.5, 0.002)[:2], [0.5, 0.25 / math.sqrt(0.502004)], rtol=1e-5)


@pytest.mark.covers("GE-35")
def test_levels_double_until_the_largest_number():
    """s0 = 10, s1 = 80 of K = 100: log2(8) + 1 = 4 stages of 25 steps; s1 = 25 cuts the last: log2(2) + 1 = 2 of 50."""
    levels = [int(discretization_steps(k, 100)) for k in (0, 11, 12)]
    assert levels == [11, 11, 21]  # 100 / (7 + 1) = 12 steps a stage
    assert [int(discretization_steps(k, 100, 10, 80)) for k in (0, 24, 25, 50, 75, 99)] == [11, 11, 21, 41, 81, 81]
    assert [int(discretization_steps(k, 100, 10, 25)) for k in (0, 49, 50, 10**6)] == [11, 11, 21, 26]
    assert int(discretization_steps(0, 1, 17, 17)) == 18


@pytest.mark.covers("GE-35")
def test_intervals_are_neighbors_drawn_by_their_normal_mass():
    levels = ConsistencyLevels(p_mean=-0.4, p_std=1.5)
    lower, upper = map(np.float64, sample_intervals(jax.random.split(jax.random.key(0), 8192), 6, levels))
    grid = karras_sigmas(6)[::-1]
    n = np.abs(np.log(lower[:, None] / grid)).argmin(1)
    np.testing.assert_allclose(lower, grid[n], rtol=1e-3)
    np.testing.assert_allclose(upper, grid[n + 1], rtol=1e-3)
    mass = np.diff([math.erf((math.log(s) + 0.4) / (1.5 * math.sqrt(2))) for s in grid])
    np.testing.assert_allclose(np.bincount(n, minlength=5) / 8192, mass / mass.sum(), atol=0.02)


def test_the_pseudo_huber_distance_by_hand():
    """|(3, 4)| = 5, c = 12: 13 - 12; without c it is .00054 sqrt(2), and the distance almost 5."""
    x, y = jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2))
    np.testing.assert_allclose(pseudo_huber(x, y, 12.0), [1.0], rtol=1e-6)
    np.testing.assert_allclose(pseudo_huber(x, y), [5 - 0.00054 * math.sqrt(2)], rtol=1e-5)


def hand_loss(value, x0, z, lower, upper, target_value):
    """The loss of F = value x against the target of F = target_value x, in float64."""

    def denoised(x, sigma, value):
        rise, root = sigma - 0.002, np.sqrt(sigma**2 + 0.25)
        return (0.25 / (rise**2 + 0.25) + rise * 0.5 / root * value / root) * x

    difference = denoised(x0 + upper * z, upper, value) - denoised(x0 + lower * z, lower, target_value)
    c = 0.00054 * 2
    return ((np.sqrt((difference**2).sum((1, 2, 3)) + c**2) - c) / (upper - lower).ravel()).mean()


@pytest.mark.covers("GE-35")
def test_one_update_by_hand():
    """The gradient is the slope of the loss with a fixed target: stop_gradient holds the end with less noise."""
    technique = learner(model=Scaled(), optimizer=optax.sgd(0.01), shape=(2, 2, 1), num_steps=10)
    batch = images()
    state = jax.jit(technique.init)(jax.random.key(0), batch)

    @jax.jit
    def step(state):
        keys = example_keys(jax.random.fold_in(state.rng, state.step), batch)
        noise = jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, 1), (2, 2, 1)))(keys)
        levels = sample_intervals(jax.vmap(lambda key: jax.random.fold_in(key, 0))(keys), 11)
        return technique.update(state, batch), noise, levels

    (after, metrics), z, levels = step(state)
    lower, upper = (np.float64(sigma).reshape(4, 1, 1, 1) for sigma in levels)
    x0 = 2 * np.float64(batch["image"]) - 1
    arguments = x0, np.float64(z), lower, upper, 0.5
    assert metrics["loss"].compute() == pytest.approx(hand_loss(0.5, *arguments), rel=1e-3)
    slope = (hand_loss(0.5 + 1e-5, *arguments) - hand_loss(0.5 - 1e-5, *arguments)) / 2e-5
    assert float(after.params["value"]) == pytest.approx(0.5 - 0.01 * slope, rel=1e-3)


@pytest.mark.slow
@pytest.mark.covers("GE-35")
def test_distillation_follows_the_path_of_the_teacher():
    """The exact student of N(m, s^2) maps a path to its end near sigma_min: the loss along Heun's steps is small."""

    def student(x, c_noise):  # x_min = m + (x - m) sqrt((s^2 + sigma_min^2) / (s^2 + sigma^2))
        sigma = jnp.exp(4 * c_noise)[:, None]
        c_skip, c_out, c_in, _ = edm_factors(sigma, 0.5, 0.002)
        x = x / c_in
        end = 0.3 + (x - 0.3) * jnp.sqrt((0.04 + 0.002**2) / (0.04 + sigma**2))
        return (end - c_skip * x) / c_out

    def teacher(x, c_noise):
        return exact(x, c_noise[:, None])

    keys = jax.random.split(jax.random.key(0), 64)
    x = 0.3 + 0.2 * jax.random.normal(jax.random.key(1), (64, 1))
    losses = jax.jit(lambda network, teacher: consistency_loss(network, keys, x, 161, teacher=teacher).mean(),
                     static_argnums=(0, 1))  # fmt: skip
    assert losses(student, teacher) < 0.02
    # The line of the noise is not the path, and the teacher is not consistent with itself.
    assert losses(student, None) > 0.1
    assert losses(teacher, teacher) > 0.1


@pytest.mark.covers("GE-35")
def test_a_teacher_does_not_learn_and_the_student_draws():
    technique = learner(model=Scaled(), optimizer=optax.sgd(0.01), shape=(2, 2, 1), num_steps=10, teacher=Scaled(0.1))
    batch = images()
    state = jax.jit(technique.init)(jax.random.key(0), batch)
    assert state.locked == {"teacher": {"value": np.float32(0.1)}}
    after, _ = jax.jit(technique.update)(state, batch)
    assert after.locked == state.locked
    assert set(after.params) == {"student"}
    sample = jax.jit(technique.predict)
    other = state.replace(locked={"teacher": {"value": jnp.float32(3.0)}})
    np.testing.assert_array_equal(sample(state, batch)["sample"], sample(other, batch)["sample"])
    assert not np.allclose(sample(state, batch)["sample"], sample(after, batch)["sample"])


@pytest.mark.covers("GE-35")
def test_one_step_is_the_network_at_the_largest_level_and_two_add_noise_between():
    """Levels of two steps: 80, ((80^(1/7) + .002^(1/7)) / 2)^7, .002."""
    x, z = jnp.full((1, 2), 40.0), jnp.array([[0.5, -0.5]])
    middle = ((80 ** (1 / 7) + 0.002 ** (1 / 7)) / 2) ** 7
    denoise = precondition(lambda x, c: fake(x, 1000 * c), 0.5, 0.002)
    first = jnp.clip(denoise(x, jnp.float32(80)), -1, 1)
    np.testing.assert_allclose(consistency_sample(fake, x, lambda k: z, karras_sigmas(2)), first, rtol=1e-5)
    between = first + math.sqrt(middle**2 - 0.002**2) * z
    second = jnp.clip(denoise(between, jnp.float32(middle)), -1, 1)
    np.testing.assert_allclose(consistency_sample(fake, x, lambda k: z, karras_sigmas(3)), second, rtol=1e-4)


@pytest.mark.covers("GE-35")
def test_every_step_of_a_consistency_model_is_that_of_diffusers():
    golden = read("consistency")
    sigmas = np.append(karras_sigmas(40)[::10], 0.002)
    np.testing.assert_allclose(sigmas, golden["out.sigmas"], rtol=1e-5)
    trace, noise = golden["out.trace"], jnp.asarray(golden["in.noise"], jnp.float32)
    start = jnp.asarray(trace[0], jnp.float32)
    _, path = consistency_sample(fake, start, lambda k: noise[k], sigmas, return_trajectory=True)
    for step, reference in zip(path, trace, strict=True):
        np.testing.assert_allclose(step, reference, atol=1e-4 * reference.std())


def test_settings_that_cannot_be_are_named():
    levels = ConsistencyLevels(sigma_min=90.0)
    with pytest.raises(ValueError, match=r"sigma_min=90\.0: out of range; allowed: above 0"):
        learner(model=Scaled(), optimizer=optax.sgd(0.1), shape=(2,), num_steps=10, consistency_levels=levels)


def test_other_shapes_are_named():
    with pytest.raises(ValueError, match="y="):
        pseudo_huber(jnp.zeros((1, 2)), jnp.zeros((2, 2)))
    chex.assert_shape(pseudo_huber(jnp.zeros((3, 2)), jnp.zeros((3, 2))), (3,))


def test_a_run_of_another_page_or_of_other_images_is_no_teacher(monkeypatch, tmp_path):
    page = find_experiment("generative.consistency")
    flags = resolve(page, []).replace(init_from=str(tmp_path))
    with pytest.raises(ValueError, match=r"no such run; allowed: the folder of a run of generative\.edm"):
        page.settings["init_from"].origin(flags)
    teacher_run = Weights("init_from", tmp_path, spec={"image_shape": [4, 4, 1]}, settings={"sigma_data": 0.3})
    monkeypatch.setattr(earlier_run, "origin", lambda *args: teacher_run)
    with pytest.raises(ValueError, match=r"trained with sigma_data=0\.3; allowed: 0\.5"):
        page.settings["init_from"].origin(flags)
    monkeypatch.setattr(earlier_run, "origin", lambda *args: teacher_run._replace(settings={}))
    with pytest.raises(ValueError, match=r"image_shape.*\[8, 8, 1\]"):
        page.run(flags, {"image_shape": [8, 8, 1]}).start().check(None)
    assert page.run(resolve(page, []), {}, 1, None).start() is None


@pytest.mark.weekly
@pytest.mark.covers("GE-35")
def test_one_step_is_better_than_one_and_two_of_ddim():
    """Two moons, the same network and steps of training: the distance of samples to held-out points."""
    points, batch = moons(2048, 0), {"index": np.arange(500)}
    consistency = learner(
        model=Mlp(),
        optimizer=optax.adam(2e-3),
        shape=(2,),
        num_steps=1000,
        consistency_levels=ConsistencyLevels(s1=160),
    )
    diffusion = {
        n: ddpm.learner(
            model=Mlp(), optimizer=optax.adam(2e-3), shape=(2,), sampling=Sampling("ddim", n, spacing="trailing")
        )
        for n in (1, 2)
    }

    @functools.partial(jax.jit, static_argnums=0)
    def train(update, state):
        def step(state, k):
            index = jax.random.randint(jax.random.fold_in(jax.random.key(1), k), (256,), 0, len(points))
            return update(state, {"image": jnp.asarray(points)[index], "index": index})[0], None

        return jax.lax.scan(step, state, jnp.arange(1000))[0]

    distance = {}
    for name, technique, samplers in (
        ("consistency", consistency, {1: consistency}),
        ("ddim", diffusion[1], diffusion),
    ):
        state = technique.init(jax.random.key(0), {"image": points[:1], "index": np.arange(1)})
        state = train(technique.update, state)
        for n, sampler in samplers.items():
            distance[name, n] = mmd(np.asarray(jax.jit(sampler.predict)(state, batch)["sample"]), moons(500, 1))
    assert distance["consistency", 1] < 0.5 * min(distance["ddim", 1], distance["ddim", 2]), distance


@pytest.mark.covers("GE-35")
def test_the_learner_draws_in_two_steps_and_measures_at_its_levels_by_hand():
    """F = .5 log(sigma) / 4 and sigma_data is .7. Levels 4, 1 and .25 of rho 1: 4, 2.125 and .25."""
    technique = learner(
        model=Timed(), optimizer=optax.sgd(0.1), shape=(2,), num_steps=10, sigma_data=0.7,
        encode=lambda params, keys, batch: batch["x"], decode=lambda params, x: x,
        consistency_levels=ConsistencyLevels(s0=3, s1=3, sigma_min=0.25, sigma_max=4.0, rho=1.0, p_mean=0.3, p_std=0.5),
        consistency_sampling=ConsistencySampling(2, clip_sample=False),
    )  # fmt: skip
    batch = {"x": np.float32([[0.5, -0.2], [0.1, 0.9]]), "index": np.arange(2)}

    @jax.jit
    def run():
        state = technique.init(jax.random.key(0), batch)
        keys = example_keys(state.rng, batch)
        of = [jax.vmap(lambda key, k=k: jax.random.fold_in(key, k))(keys) for k in (0, 1)]
        bounds = [(np.log(sigma) - 0.3) / 0.5 for sigma in (0.25, 4)]
        normal = jax.vmap(lambda key: jax.random.truncated_normal(key, *bounds))(of[0])
        z, noise = jax.vmap(lambda key: jax.random.normal(key, (2,)))(of[1]), noise_of(keys, (2,))
        measured, drawn = technique.evaluate(state, batch)["loss"], technique.predict(state, batch)["sample"]
        return measured, drawn, normal, z, noise(-1), noise(0)

    loss, sample, normal, z, first, second = jax.device_get(run())

    def denoised(x, sigma):
        rise, root = sigma - 0.25, np.sqrt(sigma**2 + 0.49)
        return 0.49 / (rise**2 + 0.49) * x + 0.7 * rise / root * 0.5 * np.log(sigma) / 4

    x = denoised(denoised(4 * np.float64(first), 4) + np.sqrt(2.125**2 - 0.25**2) * second, 2.125)
    np.testing.assert_allclose(sample, x, rtol=1e-4)
    # Three intervals of 1.25: which one holds the level that was drawn.
    n = np.clip(np.floor((np.exp(0.3 + 0.5 * np.float64(normal)) - 0.25) / 1.25), 0, 2)[:, None]
    lower, upper = 0.25 + 1.25 * n, 1.5 + 1.25 * n
    gap = denoised(batch["x"] + upper * z, upper) - denoised(batch["x"] + lower * z, lower)
    c = 0.00054 * math.sqrt(2)
    assert loss.compute() == pytest.approx(
        ((np.sqrt((gap**2).sum(1) + c**2) - c) / (upper - lower)[:, 0]).mean(), rel=1e-3
    )


def test_the_smallest_level_of_training_may_be_left_out_of_the_list():
    """Of one example c the exact D(x, sigma) is c + (x - c) sigma_min / sigma; the last noise, 5.84 z, leaves 0.002."""
    least, deviation, c = 0.002, 0.5, 0.7

    def exact(scaled, t):
        sigma = jnp.exp(4 * t / 1000)
        x = scaled * jnp.sqrt(sigma**2 + deviation**2)
        skip = deviation**2 / ((sigma - least) ** 2 + deviation**2)
        out = deviation * (sigma - least) / jnp.sqrt(sigma**2 + deviation**2)
        return (c + (x - c) * least / sigma - skip * x) / out

    levels, x = [80, 24.4, 5.84], jnp.full((1, 2), 80.0)

    @jax.jit
    def run():
        given = {"noise": lambda k: jnp.float32(3), "sigma_data": deviation, "clip_sample": False}
        whole = consistency_sample(exact, x, sigmas=np.array([*levels, least]), sigma_min=least, **given)
        return consistency_sample(exact, x, sigmas=np.array(levels), sigma_min=least, **given), whole

    found, whole = run()
    np.testing.assert_allclose(found, np.full((1, 2), c + 3 * least), atol=1e-5)
    np.testing.assert_array_equal(found, whole)
