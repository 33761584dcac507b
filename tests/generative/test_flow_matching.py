"""Flow matching: the exact field of a Gaussian, one update by hand, and the steps of the diffusers library."""

import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative.condition import class_condition
from dlcore.generative.flow_matching import (
    FlowSampling,
    flow_loss,
    flow_path,
    flow_times,
    learner,
    path_straightness,
    reflow_loss,
    reflow_pairs,
    sample_times,
    solve_flow,
)
from dlcore.learner import example_keys
from tests.generative.one_number import Constant

GOLDEN = Path(__file__).parents[1] / "goldens/df_schedulers2.npz"


def images(n=4):
    rng = np.random.default_rng(0)
    return {"image": rng.random((n, 2, 2, 1), np.float32), "index": np.arange(n, dtype=np.int32)}


def velocity(x, t):
    """The goldens' model."""
    return x * jnp.tanh(t / 200) + 0.1 * jnp.sin(3 * x)


@pytest.mark.parametrize(
    ("case", "shift", "solver", "steps"),
    [("flow_euler", 1.0, "euler", 6), ("flow_euler.shift3", 3.0, "euler", 8), ("flow_heun", 1.0, "heun", 5)],
)
def test_every_step_is_that_of_diffusers(case, shift, solver, steps):
    golden = np.load(GOLDEN)
    trace = golden[f"{case}/out.trace"]
    assert json.loads(str(golden["meta"]))["cases"][case]["num_inference_steps"] == steps
    if solver == "heun":  # two calls a step, of which the trace holds both; the last step has one
        trace = np.concatenate([trace[:1], trace[2::2], trace[-1:]])
    # diffusers shifts the times twice: those between which it spaces the steps, and the steps.
    last = shift * 0.001 / (1 + (shift - 1) * 0.001)
    times = flow_times(steps, shift, last=last)
    np.testing.assert_allclose(times, golden[f"{case}/out.sigmas"][[0, *range(1, 2 * steps, 2)]] if solver == "heun"
                               else golden[f"{case}/out.sigmas"], atol=1e-6)  # fmt: skip
    _, path = solve_flow(velocity, jnp.asarray(golden[f"{case}/in.sample"]), times, solver, return_trajectory=True)
    chex.assert_shape(path, trace.shape)
    np.testing.assert_allclose(path, trace, atol=3e-6)


@pytest.mark.covers("GE-32")
def test_the_exact_field_of_a_gaussian_carries_noise_to_it():
    """x_0 ~ N(m, s^2): x_t has variance (1 - t)^2 s^2 + t^2, and the flow maps eps to m + s eps."""
    m, s = 1.5, 0.3

    def field(x, t):
        t = t / 1000
        residual = (x - (1 - t) * m) / ((1 - t) ** 2 * s**2 + t**2)
        return t * residual - (m + (1 - t) * s**2 * residual)  # E[eps | x_t] - E[x_0 | x_t]

    eps = jnp.linspace(-2, 2, 9)[:, None]
    exact = m + s * eps
    errors = {
        (solver, n): np.abs(solve_flow(field, eps, flow_times(n), solver) - exact).max()
        for solver, n in [("euler", 8), ("euler", 64), ("heun", 64)]
    }
    assert errors["euler", 8] > 2 * errors["euler", 64] > 2 * errors["heun", 64]
    assert errors["heun", 64] < 2e-3
    # One step of Euler goes to the mean of the data: at t = 1 the field is eps - m.
    np.testing.assert_allclose(solve_flow(field, eps, flow_times(1)), np.full((9, 1), m), atol=1e-5)


@pytest.mark.covers("GE-32")
def test_one_update_by_hand():
    """A constant c has the loss mean (c - (eps - x_0))^2 and the gradient 2 mean (c - (eps - x_0))."""
    flow = learner(model=Constant(), optimizer=optax.sgd(0.1), shape=(2, 2, 1), time_density="uniform")
    batch = images()
    state = jax.jit(flow.init)(jax.random.key(0), batch)
    after, metrics = jax.jit(flow.update)(state, batch)
    keys = example_keys(jax.random.fold_in(state.rng, 0), batch)
    eps = np.stack([jax.random.normal(jax.random.fold_in(key, 1), (2, 2, 1)) for key in keys])
    error = 0.5 - (eps - (2 * batch["image"] - 1))
    assert metrics["loss"].compute() == pytest.approx(np.square(error).mean(), rel=1e-5)
    assert float(after.params["value"]) == pytest.approx(0.5 - 0.1 * 2 * error.mean(), rel=1e-5)


def test_the_network_gets_the_point_of_the_line_and_a_thousand_times_its_time():
    """Data 2, noise -1, t = .25: x_t = .75 2 - .25 = 1.25; a network that gives x_t + t errs by -3 - 251.25."""
    x, noise = jnp.full((1, 3), 2.0), jnp.full((1, 3), -1.0)
    np.testing.assert_allclose(flow_path(x, noise, 0.25), np.full((1, 3), 1.25))
    losses = reflow_loss(lambda x, t: x + t[:, None], x, noise, jnp.array([0.25]))
    np.testing.assert_allclose(losses, [(-3 - 251.25) ** 2], rtol=1e-6)


DENSITIES = ("uniform", "logit_normal")


def test_times_are_uniform_or_logit_normal():
    run = jax.jit(lambda keys: [sample_times(keys, density) for density in DENSITIES])
    uniform, logit = jax.device_get(run(jax.random.split(jax.random.key(1), 4096)))
    np.testing.assert_allclose([uniform.mean(), uniform.std()], [0.5, 12**-0.5], atol=0.02)
    normal = np.log(logit / (1 - logit))
    np.testing.assert_allclose([normal.mean(), normal.std()], [0, 1], atol=0.05)


@pytest.mark.slow
def test_the_loss_has_times_of_the_density_that_it_is_told():
    keys, x = jax.random.split(jax.random.key(1), 4096)[:64], np.zeros((64, 3), np.float32)

    @jax.jit
    def run(keys):
        losses = [flow_loss(lambda x, t: t[:, None] / 1000 + 0 * x, keys, x, (), d) for d in DENSITIES]
        own = [jax.vmap(lambda key, k=k: jax.random.fold_in(key, k))(keys) for k in (0, 1)]
        noise = jax.vmap(lambda key: jax.random.normal(key, (3,)))(own[1])
        return losses, jax.vmap(jax.random.uniform)(own[0]), noise

    losses, t, noise = jax.device_get(run(keys))
    np.testing.assert_allclose(losses[0], np.square(noise - t[:, None]).mean(1), rtol=1e-4)
    assert not np.allclose(*losses)


def test_half_precision_is_solved_in_float32():
    start = jnp.full((1, 1), 1.0, jnp.bfloat16)
    end = solve_flow(lambda x, t: jnp.ones_like(x), start, flow_times(1000))
    assert end.dtype == jnp.bfloat16
    assert float(end[0, 0]) == pytest.approx(0.0, abs=1e-3)  # 1000 steps of .001, each below bfloat16's next number


def test_a_sample_belongs_to_its_index_and_its_class():
    class Classes(nn.Module):
        @nn.compact
        def __call__(self, x, t, label):
            scale = self.param("value", nn.initializers.constant(1.0), ())
            return scale * jnp.zeros_like(x) + label[:, None, None, None].astype(x.dtype)

    def sample(rows, guidance):
        sampling = FlowSampling(num_inference_steps=2, guidance=guidance)
        flow = learner(model=Classes(), optimizer=optax.sgd(0.1), shape=(2, 2, 1), condition=class_condition(10),
                       decode=lambda params, x: x, flow_sampling=sampling)  # fmt: skip
        batch = {**images(), "label": np.array([0, 1, 2, 3])}
        batch = {k: v[rows] for k, v in batch.items()}
        run = jax.jit(lambda batch: flow.predict(flow.init(jax.random.key(0), batch), batch)["sample"])
        return np.asarray(run(batch))

    whole = sample(slice(None), 1.0)
    np.testing.assert_allclose(sample([2], 1.0), whole[[2]], atol=1e-6)
    # The velocity is the class y, so x_0 = eps - y; the null class is 10: w = 2 gives the velocity 10 + 2 (y - 10).
    guided = sample(slice(None), 2.0)
    np.testing.assert_allclose((whole - guided)[:, 0, 0, 0], [-10, -9, -8, -7], atol=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match=r"guidance=2.0: the network takes no condition; allowed: 1"):
        learner(model=Constant(), optimizer=optax.sgd(0.1), shape=(2,), flow_sampling=FlowSampling(guidance=2.0))


class Gaussian(nn.Module):
    """The exact field of noise to N(1.5, .3^2): of independent pairs, or of pairs that the exact flow connects."""

    reflowed: bool = False

    @nn.compact
    def __call__(self, x, t):
        value = self.param("value", nn.initializers.zeros, ())
        t = t.reshape(-1, *[1] * (x.ndim - 1)) / 1000
        residual = x - (1 - t) * 1.5
        if self.reflowed:  # x_t = (1 - t) (m + s eps) + t eps, so eps = residual / ((1 - t) s + t)
            slope = (1 - 0.3) / ((1 - t) * 0.3 + t)
        else:
            slope = (t - (1 - t) * 0.09) / ((1 - t) ** 2 * 0.09 + t**2)
        return slope * residual - 1.5 + value


def reflow(student=None, teacher_steps=32, **settings):
    return learner(model=student or Gaussian(True), teacher=Gaussian(), optimizer=optax.sgd(0.1), shape=(2,),
                   encode=lambda params, keys, batch: jnp.asarray(batch["x"]), time_density="uniform",
                   teacher_steps=teacher_steps, **settings)  # fmt: skip


POINTS = {"x": np.zeros((8, 2), np.float32), "index": np.arange(8, dtype=np.int32)}


@pytest.mark.slow
@pytest.mark.covers("GE-32")
def test_reflow_learns_pairs_that_the_teacher_draws():
    """The flow maps eps to 1.5 + .3 eps: the straight field has no loss on these pairs, the field of all pairs has."""
    noise = np.stack([jax.random.normal(jax.random.fold_in(k, 1), (2,)) for k in jax.random.split(jax.random.key(3))])
    x, eps = reflow_pairs(lambda x, t: Gaussian().apply({"params": {"value": 0.0}}, x, t),
                          jax.random.split(jax.random.key(3)), jnp.zeros((2, 2)), num_steps=32)  # fmt: skip
    np.testing.assert_allclose(eps, noise, atol=1e-6)
    np.testing.assert_allclose(x, 1.5 + 0.3 * noise, atol=0.02)
    losses = {}
    for name, student in (("straight", Gaussian(True)), ("curved", Gaussian())):
        technique = reflow(student)
        state = technique.init(jax.random.key(0), POINTS)
        losses[name] = float(jax.jit(technique.evaluate)(state, POINTS)["loss"].compute())
    assert losses["straight"] < 1e-3 < 1e-2 < losses["curved"], losses


@pytest.mark.slow
@pytest.mark.covers("GE-32")
def test_the_paths_of_the_straight_field_are_lines_and_one_step_is_exact():
    eps, times, ends = jax.random.normal(jax.random.key(0), (16, 2)), flow_times(16), {}
    for reflowed in (False, True):

        def velocity(x, t, reflowed=reflowed):
            return Gaussian(reflowed).apply({"params": {"value": 0.0}}, x, jnp.full(16, t))

        @jax.jit
        def run(eps, velocity=velocity):
            path = solve_flow(velocity, eps, times, return_trajectory=True)[1]
            return solve_flow(velocity, eps, flow_times(1)), path_straightness(path, times).mean()

        ends[reflowed] = run(eps)
    np.testing.assert_allclose(ends[True][0], 1.5 + 0.3 * eps, atol=1e-5)
    np.testing.assert_allclose(ends[False][0], np.full((16, 2), 1.5), atol=1e-5)
    assert ends[True][1] < 1e-8 < 0.01 < ends[False][1]


def test_the_straightness_of_a_bent_path_by_hand():
    """0 at t = 1, 3 at t = .5, 4 at 0: velocities -6 and -2 against -4, squared 4 twice, each for half of the time."""
    path = jnp.array([0.0, 3.0, 4.0])[:, None, None]
    np.testing.assert_allclose(path_straightness(path, np.array([1.0, 0.5, 0.0])), [4.0])
    np.testing.assert_allclose(path_straightness(path, np.array([1.0, 0.25, 0.0])), [0.0], atol=1e-6)


@pytest.mark.covers("GE-32")
def test_one_update_of_reflow_by_hand():
    """One step of the teacher goes to 1.5: the target is eps - 1.5, and a constant c has the gradient 2 mean error."""
    technique = reflow(Constant(), teacher_steps=1)
    state = technique.init(jax.random.key(0), POINTS)
    assert set(state.params) == {"student"}
    assert set(state.locked) == {"teacher"}
    after, metrics = jax.jit(technique.update)(state, POINTS)
    keys = example_keys(jax.random.fold_in(state.rng, 0), POINTS)
    error = 0.5 - (np.stack([jax.random.normal(jax.random.fold_in(key, 1), (2,)) for key in keys]) - 1.5)
    assert metrics["loss"].compute() == pytest.approx(np.square(error).mean(), rel=1e-5)
    assert float(after.params["student"]["value"]) == pytest.approx(0.5 - 0.1 * 2 * error.mean(), rel=1e-5)
    assert after.locked == state.locked
