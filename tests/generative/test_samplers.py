"""Trajectories of the diffusers library, exact recovery of one point, and what must not change a sample."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.diffusion import SAMPLERS, interpolate, sample
from dlcore.generative.dpm_solver import dpmpp_sample
from dlcore.generative.samplers import (
    check_falling,
    condition,
    ddim_sample,
    ddpm_sample,
    euler_sample,
    guide,
    read_prediction,
    target_of,
)
from dlcore.generative.schedules import (
    SCHEDULES,
    add_noise,
    alphas_cumprod,
    linear_betas,
    rescale_zero_terminal_snr,
    sampling_grid,
    timesteps,
)
from dlcore.generative.unipc import unipc_sample

GOLDEN = "tests/goldens/df_schedulers.npz"
GOLDEN_2 = "tests/goldens/df_schedulers2.npz"
ABAR = alphas_cumprod(linear_betas(1000))


def fake(x, t):
    """The goldens' model."""
    return x * jnp.tanh(t / 200) + 0.1 * jnp.sin(3 * x)


def grid_of(steps):
    return sampling_grid(ABAR, timesteps(1000, steps))


def golden_run(case, sampler, schedule, shift=0, visited=None, sigmas="training", start_scale=False, **options):
    """(timesteps, trajectory) here, with alphas_cumprod shifted by `shift` timesteps, and in the golden.

    Euler's golden is in y = x / sqrt(abar), and starts, without leading spacing, at sigma eps instead of
    sqrt(1 + sigma^2) eps.
    """
    with np.load(GOLDEN_2 if case in ("sde_dpmpp_2m", "lcm", "unipc") else GOLDEN) as golden:
        steps = json.loads(str(golden["meta"]))["cases"][case]["num_inference_steps"]
        start = jnp.asarray(golden[f"{case}/in.sample"], jnp.float32)
        name = f"{case}/in.noise"
        noise = jnp.asarray(golden[name], jnp.float32) if name in golden.files else jnp.zeros((1, *start.shape))
        want, want_steps = golden[f"{case}/out.trace"], golden[f"{case}/out.timesteps"]
    abar = alphas_cumprod(SCHEDULES[schedule](1000))
    abar = {0: abar, 1: np.append(abar[1:], 1e-9), -1: np.append(1 - 5e-5, abar[:-1])}[shift]
    visited = timesteps(1000, steps) if visited is None else visited(steps)
    grid = sampling_grid(abar, visited, sigmas=sigmas)
    if start_scale:
        start = start * np.float32(np.sqrt(1 - grid.alphas_cumprod[0]))
    _, path = sampler(
        fake, start, lambda k: noise[jnp.minimum(k, len(noise) - 1)], grid, return_trajectory=True, **options
    )
    if case.startswith("euler"):
        path = path / np.sqrt(grid.alphas_cumprod).reshape(-1, 1, 1, 1, 1)
    return grid.timesteps, path, want_steps, want


def solver_steps(steps):
    return np.round(np.linspace(999, 0, steps + 1))[:-1].astype(np.int32)


@pytest.mark.covers("GE-24", "GE-29", "GE-41")
@pytest.mark.parametrize(
    ("case", "sampler", "schedule", "options"),
    [
        ("ddpm.linear", ddpm_sample, "linear", {"clip_sample": False}),
        ("ddpm.cosine_large_clip", ddpm_sample, "cosine", {"clip_sample": True, "variance_type": "fixed_large"}),
        ("ddim.eta0", ddim_sample, "linear", {"clip_sample": False}),
        (
            "ddim.eta1",
            ddim_sample,
            "scaled_linear",
            {"clip_sample": False, "eta": 1.0, "visited": lambda n: timesteps(1000, n, offset=1)},
        ),
        (
            "euler",
            euler_sample,
            "scaled_linear",
            {"clip_sample": False, "start_scale": True, "visited": lambda n: np.linspace(999, 0, n)},
        ),
        (
            "euler.karras",
            euler_sample,
            "linear",
            {"clip_sample": False, "sigmas": "karras", "visited": lambda n: timesteps(1000, n, offset=1)},
        ),
        ("dpmpp_2m", dpmpp_sample, "linear", {"clip_sample": False, "visited": solver_steps}),
        ("sde_dpmpp_2m", dpmpp_sample, "linear", {"clip_sample": False, "stochastic": True, "visited": solver_steps}),
        ("unipc", unipc_sample, "linear", {"clip_sample": False, "visited": solver_steps}),
        ("dpm_1", dpmpp_sample, "linear", {"clip_sample": False, "order": 1, "visited": solver_steps}),
    ],
)
def test_trajectories_equal_the_librarys(case, sampler, schedule, options):
    grid, path, want_grid, want = golden_run(case, sampler, schedule, **options)
    np.testing.assert_allclose(grid, want_grid, rtol=1e-4)
    np.testing.assert_allclose(path, want, atol=1e-4 * want.std())


@pytest.mark.covers("GE-24")
@pytest.mark.parametrize("shift", [-1, 1])
def test_a_wrong_index_of_alphas_cumprod_leaves_the_librarys_path(shift):
    _, path, _, want = golden_run("ddim.eta0", ddim_sample, "linear", shift, clip_sample=False)
    assert np.abs(path - want).max() > 1e-3 * want.std()


@pytest.mark.covers("GE-29")
@pytest.mark.parametrize("clip", [False, True])
def test_euler_takes_the_steps_of_ddim(clip):
    x, grid = jax.random.normal(jax.random.key(0), (2, 3)), grid_of(7)
    options = {"clip_sample": clip, "return_trajectory": True}
    euler, ddim = jax.jit(lambda x: [s(fake, x, None, grid, **options)[1] for s in (euler_sample, ddim_sample)])(x)
    np.testing.assert_allclose(euler, ddim, atol=1e-4)


@pytest.mark.covers("GE-29")
@pytest.mark.parametrize(("name", "prediction"), [("dpmpp", "v"), ("ddim", "v"), ("euler", "sample")])
def test_the_sampling_path_is_the_same_for_every_prediction(name, prediction):
    """A network of v or x_0 that knows what `fake` knows of the noise draws what `fake` draws."""
    bars = jnp.asarray(ABAR, jnp.float32)

    def other(x, t):
        x0, eps = read_prediction(fake(x, t), x, bars[t])
        return target_of(x0, eps, bars[t], prediction)

    keys = jax.random.split(jax.random.key(0), 2)
    options = {"sampler": name, "num_inference_steps": 5, "return_trajectory": True}

    @jax.jit
    def run(keys):
        want = sample(fake, keys, (3,), ABAR, **options)
        return want[1], sample(other, keys, (3,), ABAR, prediction=prediction, **options)[1]

    want, path = run(keys)
    np.testing.assert_allclose(path, want, atol=2e-3)


def test_the_velocity_is_the_librarys():
    with np.load(GOLDEN) as golden:
        x, z = golden["ddpm.linear/in.sample"][0], golden["ddpm.linear/in.z"][0]
        for t, want in zip((900, 400, 0), golden["ddpm.linear/out.velocity"], strict=True):
            np.testing.assert_allclose(target_of(x, z, ABAR[t], "v"), want, atol=1e-4)


@pytest.mark.covers("GE-26")
def test_guidance_is_one_call_between_the_unconditional_and_the_conditional_network():
    calls = []

    def network(x, t, y):
        calls.append(x.shape)
        return jnp.sin(x * y[:, None]) + t / 1000

    x, y = jax.random.normal(jax.random.key(0), (4, 3)), jnp.array([1.0, 2.0, 3.0, 4.0])
    null, t = jnp.full(4, 0.3), jnp.int32(500)
    without, given = network(x, t, null), network(x, t, y)
    calls.clear()
    np.testing.assert_array_equal(guide(network, y, null, 0.0)(x, t), without)
    assert calls == [(8, 3)]
    np.testing.assert_allclose(guide(network, y, null, 1.0)(x, t), given, atol=1e-6)
    np.testing.assert_allclose(guide(network, y, null, 3.0)(x, t), without + 3 * (given - without), atol=1e-5)


@pytest.mark.slow(only=["ddpm-1", "sde_dpmpp-*", "*-7", "tcd-1000", "unipc-1000", "euler-1000"])
@pytest.mark.covers("GE-24")
@pytest.mark.parametrize("steps", [1, 7, 1000])
@pytest.mark.parametrize("name", SAMPLERS)
def test_one_point_is_recovered_exactly(name, steps):
    """The best predictor of data that is one point knows the noise: eps = (x - sqrt(abar) p) / sqrt(1 - abar)."""
    point = jnp.array([0.5, -0.25])

    def denoise(x, t):
        bar = jnp.asarray(ABAR, jnp.float32)[t]
        return (x - jnp.sqrt(bar) * point) / jnp.sqrt(1 - bar)

    keys = jax.random.split(jax.random.key(0), 4)
    drawn = sample(denoise, keys, (2,), ABAR, sampler=name, num_inference_steps=steps)
    np.testing.assert_allclose(drawn, jnp.broadcast_to(point, (4, 2)), atol=1e-3)


def gaussian(bar_of, mean=0.3, deviation=0.2):
    """The best predictor for data N(mean, deviation^2)."""

    def denoise(x, t):
        bar = bar_of[t]
        return (x - jnp.sqrt(bar) * mean) * jnp.sqrt(1 - bar) / (bar * deviation**2 + 1 - bar)

    return denoise


@pytest.mark.weekly(unless=["ddim-200-extra1", "ddpm-1000-extra0", "dpmpp-200-extra3"])
@pytest.mark.slow(unless=["ddim-200-extra1", "dpmpp-200-extra3"])
@pytest.mark.covers("GE-29")
@pytest.mark.parametrize(
    ("name", "steps", "extra"),
    [("ddpm", 1000, {}), ("ddim", 200, {}), ("ddim", 1000, {"eta": 1.0}), ("dpmpp", 200, {})],
)
def test_a_gaussian_is_drawn_with_its_moments(name, steps, extra):
    keys = jax.random.split(jax.random.key(1), 4000)
    denoise = gaussian(jnp.asarray(ABAR, jnp.float32))
    x = np.asarray(
        sample(denoise, keys, (1,), ABAR, sampler=name, num_inference_steps=steps, clip_sample=False, **extra)
    )
    assert x.mean() == pytest.approx(0.3, abs=0.02)
    assert x.std() == pytest.approx(0.2, rel=0.1)


@pytest.mark.slow
def test_second_order_needs_fewer_steps():
    """From one start, 10 steps of DPM-Solver++ are nearer to the exact path's end than 10 of DDIM."""
    keys = jax.random.split(jax.random.key(2), 64)
    denoise = gaussian(jnp.asarray(ABAR, jnp.float32))
    exact, coarse, second = (
        sample(denoise, keys, (1,), ABAR, sampler=name, num_inference_steps=steps, clip_sample=False)
        for name, steps in (("ddim", 1000), ("ddim", 10), ("dpmpp", 10))
    )
    assert np.abs(second - exact).mean() < 0.5 * np.abs(coarse - exact).mean()


@pytest.mark.slow(only=["ddpm", "sde_dpmpp", "tcd", "euler", "unipc"])
@pytest.mark.covers("GE-29")
@pytest.mark.parametrize("name", SAMPLERS)
def test_samples_have_their_shape_and_depend_on_their_key_alone(name):
    keys = jax.random.split(jax.random.key(0), 5)
    options = {"sampler": name, "num_inference_steps": 4}
    draw = jax.jit(lambda keys: sample(fake, keys, (4, 3, 1), ABAR, return_trajectory=True, **options))
    all_five, path = draw(keys)
    chex.assert_shape(all_five, (5, 4, 3, 1))
    chex.assert_shape(path, (5, 5, 4, 3, 1))
    np.testing.assert_allclose(path[-1], all_five)
    few, _ = draw(keys[2:4])
    np.testing.assert_allclose(few, all_five[2:4], rtol=1e-5, atol=1e-6)
    assert not np.allclose(draw(jax.random.split(jax.random.key(9), 5))[0], all_five)


POINT = 0.5


def knows_the_point(x, t):
    """The noise of data that is one point, in the dtype of x."""
    bar = jnp.asarray(ABAR, jnp.float32)[t]
    return ((x - jnp.sqrt(bar) * POINT) / jnp.sqrt(1 - bar)).astype(x.dtype)


@pytest.mark.slow(unless=["ddim-bfloat16-*", "euler-bfloat16-*", "unipc-bfloat16-*"])
@pytest.mark.covers("GE-24", "GE-29")
@pytest.mark.parametrize(("dtype", "atol"), [("float16", 2e-3), ("bfloat16", 1.5e-2)])
@pytest.mark.parametrize("name", SAMPLERS)
def test_half_precision_draws_what_float32_draws(name, dtype, atol):
    """In half precision abar of the first timesteps is 1: 1 - abar = .0001 must not be computed there."""
    x = jnp.linspace(-1.5, 1.5, 4)[None]

    @jax.jit
    def draw(x, grid):
        def noise(k):
            return jnp.sin(40.0 * k + jnp.arange(4.0))[None]

        return [SAMPLERS[name](network, x, noise, grid) for network in (knows_the_point, lambda x, t: x)]

    for spacing in ("leading", "trailing", "linspace"):
        grid = sampling_grid(ABAR, timesteps(1000, 20, spacing))
        half, same_half = draw(x.astype(dtype), grid)
        exact, same = draw(x, grid)
        assert half.dtype == same_half.dtype == dtype
        np.testing.assert_allclose(exact, np.full((1, 4), POINT), atol=1e-4)
        np.testing.assert_allclose(half.astype(jnp.float32), exact, atol=atol)
        np.testing.assert_allclose(same_half.astype(jnp.float32), same, atol=5 * atol)


@pytest.mark.covers("GE-24")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_half_precision_reads_and_aims_at_what_float32_does(prediction, dtype):
    """At abar = .9999 signal = .99995 and spread = .01, worked out in float64."""
    x0, eps = np.array([0.5, -0.25]), np.array([1.5, -1.0])
    signal, spread = np.sqrt(0.9999), np.sqrt(0.0001)
    x = jnp.asarray(signal * x0 + spread * eps, dtype)
    target = {"epsilon": eps, "v": signal * eps - spread * x0, "sample": x0}[prediction]
    found = target_of(jnp.asarray(x0, dtype), jnp.asarray(eps, dtype), 0.9999, prediction)
    assert found.dtype == dtype
    np.testing.assert_allclose(found.astype(jnp.float32), target, rtol=4e-3)
    # The network knows what x rounds to: float64 reads the same from the same numbers.
    output = jnp.asarray(target, dtype)
    y, o = np.float64(x.astype(jnp.float32)), np.float64(output.astype(jnp.float32))
    expected = {
        "epsilon": ((y - spread * o) / signal, o),
        "v": (signal * y - spread * o, signal * o + spread * y),
        "sample": (o, (y - signal * o) / spread),
    }[prediction]
    for value, reference in zip(read_prediction(output, x, 0.9999, prediction), expected, strict=True):
        assert value.dtype == dtype
        np.testing.assert_allclose(value.astype(jnp.float32), reference, rtol=4e-3)


def test_a_half_precision_abar_is_refused():
    """bfloat16(.9999) = 1: 1 - abar is lost before any arithmetic."""
    x, abar = jnp.ones(2, jnp.bfloat16), jnp.bfloat16(0.9999)
    for call in (
        lambda: read_prediction(x, x, abar),
        lambda: target_of(x, x, abar, "v"),
        lambda: add_noise(x, x, abar),
    ):
        with pytest.raises(ValueError, match="=bfloat16: cannot hold 1 - abar; allowed: float32"):
            call()


@pytest.mark.covers("GE-26")
def test_guidance_of_a_half_precision_network_is_weighed_in_float32():
    """1 + 7.5 (1.0078125 - 1) = 1.05859375; in bfloat16 it would round to 1.0625."""

    def network(x, t, y):
        return (x * 0 + y[:, None]).astype(jnp.bfloat16)

    x, y = jnp.ones((1, 2), jnp.bfloat16), jnp.array([1.0078125])
    np.testing.assert_array_equal(guide(network, y, jnp.ones(1), 7.5)(x, jnp.int32(0)), [[1.05859375] * 2])


@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_is_not_predicted_where_there_is_nothing_else(name):
    """Where abar is 0 the noise says nothing of x_0, and 0 / 0 would be the sample."""
    keys = jax.random.split(jax.random.key(0), 2)
    abar = alphas_cumprod(rescale_zero_terminal_snr(linear_betas(10)))
    options = {"sampler": name, "num_inference_steps": 5, "spacing": "trailing"}
    with pytest.raises(ValueError, match=r"alphas_cumprod=0: timestep 9 is noise alone.*allowed: prediction=v, sample"):
        sample(fake, keys, (2,), abar, **options)
    with pytest.raises(ValueError, match="alphas_cumprod=1: timestep 0 has no noise in float32; allowed: below 1"):
        sample(fake, keys, (2,), np.append(1.0, abar[1:-1]), **{**options, "spacing": "linspace"})


@pytest.mark.parametrize("eta", [-0.1, 2.0, float("nan")])
def test_an_impossible_eta_is_refused(eta):
    with pytest.raises(ValueError, match=f"eta={eta:g}: out of range; allowed: 0 to 1"):
        ddim_sample(fake, jnp.ones((1, 2)), lambda k: 0.0, grid_of(3), eta=eta)


def test_eta_draws_noise_and_zero_does_not():
    x = jax.random.normal(jax.random.key(0), (2, 3))

    def end(value, eta):
        return ddim_sample(fake, x, lambda k: jnp.full_like(x, value), grid_of(3), eta=eta)

    np.testing.assert_array_equal(end(0.0, 0.0), end(1.0, 0.0))
    assert not np.allclose(end(0.0, 0.5), end(1.0, 0.5))


def test_clipping_keeps_the_clean_example_inside():
    x = 3 * jax.random.normal(jax.random.key(0), (4, 3))

    @jax.jit
    def run(x):
        return {
            name: sampler(lambda x, t: -x, x, lambda k: jnp.zeros_like(x), grid_of(5), clip_sample=True)
            for name, sampler in SAMPLERS.items()
        }

    for name, end in run(x).items():
        assert np.abs(end).max() <= 1 + 1e-5, name


@pytest.mark.slow(unless=["ddim"])
@pytest.mark.covers("GE-29")
@pytest.mark.parametrize("name", SAMPLERS)
def test_interpolation_runs_from_one_sample_to_the_other(name):
    keys = jax.random.split(jax.random.key(3), 2)
    options = {"sampler": name, "num_inference_steps": 4}
    shares = np.float32([0, 0.5, 1])

    @jax.jit
    def run(keys):
        ends = sample(fake, keys, (4, 3, 1), ABAR, **options)
        return ends, interpolate(fake, keys, shares, (4, 3, 1), ABAR, **options)

    ends, path = jax.device_get(run(keys))
    np.testing.assert_allclose(path[::2], ends, atol=1e-5)
    assert all(np.abs(path[1] - end).max() > 0.1 for end in ends)


@pytest.mark.slow
@pytest.mark.covers("GE-29")
def test_noise_halfway_lies_on_the_arc():
    keys = jax.random.split(jax.random.key(4), 2)
    a, b = (jax.random.normal(jax.random.fold_in(key, 0), (40,)) for key in keys)
    _, path = interpolate(fake, keys, jnp.array([0.5, 1 / 3]), (40,), ABAR, return_trajectory=True)
    angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    for start, share in zip(path[0], (1 / 2, 1 / 3), strict=True):
        want = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
        np.testing.assert_allclose(start, want, atol=1e-5)
    assert np.linalg.norm(path[0, 0]) > 0.95 * min(np.linalg.norm(a), np.linalg.norm(b))


@pytest.mark.covers("GE-29")
def test_a_condition_shifts_the_noise_by_the_slope_of_its_log_probability():
    """abar is .7 halfway from .9 to .5: eps - 3 sqrt(.3) d log p / dx, of log p = x_0 t + x_1^2: (t, 2 x_1)."""
    x, t = np.float32([[0.2, -0.4], [1.5, 0.3]]), np.float32(0.5)
    conditioned = condition(lambda x, t: x + t, lambda x, t: x[:, 0] * t + x[:, 1] ** 2, np.array([0.9, 0.5, 0.2]), 3.0)
    slope = np.stack([np.full(2, 0.5), 2 * x[:, 1]], -1)
    np.testing.assert_allclose(jax.jit(conditioned)(x, t), x + 0.5 - 3 * np.sqrt(0.3) * slope, rtol=1e-5)


@pytest.mark.parametrize("levels", [[3.0, 3.0], [1.0, 2.0], [2.0, -1.0]])
def test_levels_that_do_not_fall_to_numbers_of_at_least_zero_are_refused(levels):
    with pytest.raises(ValueError, match=r"sigmas=.*: do not fall; allowed: falling numbers of at least 0"):
        check_falling("sigmas", levels)


@pytest.mark.slow
@pytest.mark.weekly(only=["ddpm", "sde_dpmpp"])
@pytest.mark.covers("GE-29")
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "tcd"])  # its long jumps need distillation
def test_a_conditioned_mixture_is_its_component(name):
    """Data: N(-.5, .2^2) or N(.4, .2^2). grad log p(y | x) turns the mixture's noise into that of component y."""
    bars = jnp.asarray(ABAR, jnp.float32)

    def scores(x, t):
        bar = bars[t]
        means = jnp.sqrt(bar) * jnp.array([-0.5, 0.4])
        return -jnp.square(x - means) / (2 * (bar * 0.04 + 1 - bar))

    def mixture(x, t):
        slope = jax.grad(lambda x: jax.nn.logsumexp(scores(x, t), -1).sum())(x)
        return -jnp.sqrt(1 - bars[t]) * slope

    conditioned = condition(mixture, lambda x, t: jax.nn.log_softmax(scores(x, t))[:, 1], ABAR)
    x = jnp.linspace(-2, 2, 9)[:, None]
    for t in (0, 300, 999):
        np.testing.assert_allclose(conditioned(x, t), gaussian(bars, 0.4)(x, t), atol=1e-4)
        np.testing.assert_array_equal(condition(mixture, lambda x, t: x[:, 0], ABAR, 0.0)(x, t), mixture(x, t))
    steps = 1000 if name in ("ddpm", "sde_dpmpp") else 100
    keys = jax.random.split(jax.random.key(5), 1000)
    drawn = sample(conditioned, keys, (1,), ABAR, sampler=name, num_inference_steps=steps, clip_sample=False)
    assert float(drawn.mean()) == pytest.approx(0.4, abs=0.03)
    assert float(drawn.std()) == pytest.approx(0.2, rel=0.1)


def test_euler_starts_where_no_image_is_left():
    """At abar = 0 the velocity is -x0: from x = eps = 1 and x0 = .5, abar = .64 gives .8 * .5 + .6 = 1."""
    grid = grid_of(2)._replace(alphas_cumprod=np.array([0.0, 0.64, 1.0]))
    _, path = euler_sample(lambda x, t: -0.5 * x, jnp.ones(1), None, grid, prediction="v", return_trajectory=True)
    np.testing.assert_allclose(path[0], 1, rtol=1e-6)


def test_examples_may_be_single_numbers():
    keys = jax.random.split(jax.random.key(0), 3)
    drawn = jax.eval_shape(lambda: sample(fake, keys, (), ABAR, num_inference_steps=2))
    chex.assert_shape(drawn, (3,))
