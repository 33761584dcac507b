"""Energy-based models: gradients and chains of a Gaussian by hand, one update by hand, and the replay buffer."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative.energy_based import Langevin, contrastive_energy_loss, energy_of, langevin_sample, learner
from dlcore.learner import example_keys

THETA = 0.8
LANGEVIN = Langevin(langevin_steps=1, sampling_steps=3, step_size=0.5, noise_scale=0.0)


class Gaussian(nn.Module):
    """Logits whose energy is theta |x|^2 / 2 - log C, of the parameter theta; C equal logits."""

    num_classes: int = 1

    @nn.compact
    def __call__(self, x):
        theta = self.param("theta", nn.initializers.constant(THETA), ())
        return jnp.repeat(-theta * jnp.square(x).sum(-1, keepdims=True) / 2, self.num_classes, -1)


def gaussian_learner(**settings):
    return learner(
        model=settings.pop("model", Gaussian()),
        optimizer=optax.sgd(0.1),
        shape=(2,),
        encode=lambda batch: batch["point"],
        decode=lambda x: x,
        langevin=settings.pop("langevin", LANGEVIN),
        **{"buffer_size": 5, "restart": 0.0, **settings},
    )


def points(count=2):
    values = np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)
    return {"point": values, "index": np.arange(count, dtype=np.int32), "label": np.arange(count, dtype=np.int32) % 2}


def test_the_energy_is_that_of_the_sum_over_classes():
    """-log(1 + 3) and, of one logit, -f."""
    np.testing.assert_allclose(energy_of(jnp.log(jnp.array([[1.0, 3.0]]))), [-np.log(4)], rtol=1e-6)
    np.testing.assert_allclose(energy_of(jnp.array([[2.5]])), [-2.5], rtol=1e-6)


@pytest.mark.covers("GE-45")
def test_the_contrastive_gradient_of_a_gaussian_is_exact():
    """With E = theta x^2 / 2 it is (E+[x^2] - E-[x^2]) / 2, and 0 where the samples are as wide as the data.

    -log p = theta x^2 / 2 - log(theta) / 2 + ... has the slope (E+[x^2] - 1 / theta) / 2. The points +-1 / sqrt(theta)
    have the mean square 1 / theta of exact samples, so that both slopes agree.
    """
    x = jnp.array([1.0, -2.0, 0.5, 3.0])  # mean square 14.25 / 4 = 3.5625
    exact = jnp.array([1.0, -1.0, 1.0, -1.0]) / jnp.sqrt(THETA)

    def loss(theta, samples):
        return contrastive_energy_loss(theta * x**2 / 2, theta * samples**2 / 2).mean()

    def negative_log_likelihood(theta):
        return (theta * x**2 / 2 - jnp.log(theta) / 2).mean()

    slope, likelihood, none = jax.jit(
        lambda theta: (jax.grad(loss)(theta, exact), jax.grad(negative_log_likelihood)(theta), jax.grad(loss)(theta, x))
    )(THETA)
    assert float(slope) == pytest.approx((3.5625 - 1 / 0.8) / 2, rel=1e-5)  # 1.15625
    assert float(slope) == pytest.approx(float(likelihood), rel=1e-5)
    assert float(none) == 0


def test_the_penalty_is_of_both_energies():
    """2 - 3 + 0.1 (4 + 9) = 0.3."""
    np.testing.assert_allclose(contrastive_energy_loss(jnp.array([2.0]), jnp.array([3.0]), 0.1), [0.3], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("GE-45")
def test_the_stationary_variance_of_langevin_on_a_gaussian():
    """The map x' = (1 - h theta / 2) x + sqrt(h) z has the variance v = 1 / (theta (1 - h theta / 4)).

    It solves v = (1 - h theta / 2)^2 v + h. With theta = 2 and h = 1 the factor of x is 0: the variance is 1 after one
    step, where exp(-E) has 1 / 2. With h = 0.5 it is 1 / (2 * 0.75) = 2 / 3; the start's share falls to 0.5^40. Its
    estimate from 40,000 chains has the deviation 0.67 sqrt(2 / 40,000) = 0.005.
    """
    start = jnp.full(40_000, 3.0)
    noise = lambda k: jax.random.normal(jax.random.fold_in(jax.random.key(0), k), start.shape)  # noqa: E731

    def variance(num_steps, step_size, noise_scale=1.0):
        settings = {"num_steps": num_steps, "step_size": step_size, "noise_scale": noise_scale}
        return float(jnp.square(langevin_sample(jnp.square, start, noise, **settings)).mean())

    assert variance(1, 1.0) == pytest.approx(1, abs=0.03)
    assert variance(20, 0.5) == pytest.approx(2 / 3, abs=0.025)
    # Without noise the steps are those of gradient descent: 3 * 0.5^4.
    assert variance(4, 0.5, 0.0) == pytest.approx((3 * 0.5**4) ** 2, rel=1e-5)


@pytest.mark.covers("GE-45")
def test_one_update_by_hand():
    """Without noise a step of h = 0.5 shrinks a chain by 1 - 0.5 theta / 2 = 0.8; classes have equal logits.

    E = theta s - log 2 with s = |x|^2 / 2, so dL / dtheta = s+ - s- + 2 a (E+ s+ + E- s-); the cross-entropy is log 2,
    and flat.
    """
    penalty, weight = 0.3, 2.0
    ebm = gaussian_learner(model=Gaussian(2), buffer_size=2, energy_penalty=penalty, class_weight=weight)
    batch = points()
    state = jax.jit(ebm.init)(jax.random.key(0), batch)
    # Both chains start from the same point, whichever row of the buffer is drawn.
    state = state.replace(buffer=jnp.array([[1.0, -2.0], [1.0, -2.0]]))
    after, metrics = jax.jit(ebm.update)(state, batch)
    factor = 1 - 0.5 * THETA / 2
    chain = np.array([1.0, -2.0]) * factor
    real, fake = np.square(batch["point"]).sum(-1) / 2, np.square(chain).sum() / 2
    energy, sample_energy = THETA * real - np.log(2), THETA * fake - np.log(2)
    slope = (real - fake + 2 * penalty * (energy * real + sample_energy * fake)).mean()
    assert float(after.params["theta"]) == pytest.approx(THETA - 0.1 * slope, rel=1e-5)
    loss = energy - sample_energy + penalty * (energy**2 + sample_energy**2) + weight * np.log(2)
    assert float(metrics["loss"].compute()) == pytest.approx(loss.mean(), rel=1e-5)
    assert float(metrics["energy"].compute()) == pytest.approx(energy.mean(), rel=1e-5)
    assert float(metrics["sample_energy"].compute()) == pytest.approx(sample_energy, rel=1e-5)
    assert float(metrics["class"].compute()) == pytest.approx(np.log(2), rel=1e-5)
    np.testing.assert_allclose(after.buffer, [chain, chain], rtol=1e-5)


@pytest.mark.covers("GE-45")
def test_samples_replace_the_oldest_of_the_buffer():
    """Of 5 rows, 2 and 2 are replaced, then the last and the first."""
    batch, ebm = points(), gaussian_learner(restart=0.0)
    state = jax.jit(ebm.init)(jax.random.key(0), batch).replace(buffer=jnp.full((5, 2), 7.0))
    chex.assert_shape(state.buffer, (5, 2))
    update = jax.jit(ebm.update)
    state, _ = update(state, batch)
    np.testing.assert_allclose(state.buffer, [[5.6, 5.6]] * 2 + [[7, 7]] * 3, rtol=1e-5)  # 0.8 * 7
    assert int(state.pointer) == 2
    for _ in range(2):
        before, (state, _) = state, update(state, batch)
    changes = np.any(np.asarray(state.buffer) != np.asarray(before.buffer), -1)
    np.testing.assert_array_equal(changes, [True, False, False, False, True])


@pytest.mark.slow
def test_a_restart_begins_from_noise():
    """A chain from noise in [-1, 1] ends within 0.8 after its step."""
    batch, ebm = points(), gaussian_learner(restart=1.0)
    state = jax.jit(ebm.init)(jax.random.key(0), batch).replace(buffer=jnp.full((5, 2), 7.0))
    samples = jax.jit(ebm.update)(state, batch)[0].buffer[:2]
    assert np.abs(samples).max() <= 0.8
    assert len(np.unique(samples)) == 4


@pytest.mark.covers("GE-45")
def test_chains_start_at_rows_of_the_buffer_or_anew():
    """Without noise a step is the factor .8: all else is the start. Of eight chains about half restart."""
    ebm, batch = gaussian_learner(restart=0.5, buffer_size=9, langevin=LANGEVIN._replace(start_range=2.0)), points(8)

    @jax.jit
    def run():
        state = ebm.init(jax.random.key(0), batch)
        keys = [example_keys(jax.random.fold_in(state.rng, k), batch) for k in (0, 1)]  # of the first step, of samples
        of = [[jax.vmap(lambda key, k=k: jax.random.fold_in(key, k))(each) for k in range(4)] for each in keys]
        uniform = jax.vmap(lambda key: jax.random.uniform(key, (2,), minval=-2, maxval=2))
        rows = jax.vmap(lambda key: jax.random.randint(key, (), 0, 9))(of[0][2])
        is_new = jax.vmap(lambda key: jax.random.bernoulli(key, 0.5))(of[0][3])
        first = uniform(jax.random.split(jax.random.fold_in(jax.random.key(0), 0), 9))
        starts = first, uniform(of[0][1]), uniform(of[1][1])
        after, _ = ebm.update(state, batch)
        return state, after, ebm.predict(state, batch)["sample"], rows, is_new, starts

    state, after, sample, rows, is_new, (first, fresh, drawn) = jax.device_get(run())
    np.testing.assert_allclose(state.buffer, first, rtol=1e-6)
    assert 0 < is_new.sum() < 8
    np.testing.assert_allclose(after.buffer[:8], 0.8 * np.where(is_new[:, None], fresh, first[rows]), rtol=1e-5)
    np.testing.assert_allclose(sample, 0.8**3 * drawn, rtol=1e-5)


@pytest.mark.covers("GE-45")
def test_samples_come_from_noise_and_the_index_alone():
    """Three steps shrink the noise from [-1, 1] by 0.8^3; accuracy counts the class 0 of equal logits."""
    ebm, batch = gaussian_learner(model=Gaussian(2), class_weight=1.0), points(4)
    state = jax.jit(ebm.init)(jax.random.key(0), batch)
    predict = jax.jit(ebm.predict)
    sample = np.asarray(predict(state, {"index": batch["index"]})["sample"])
    assert np.abs(sample).max() <= 0.8**3
    other = predict(state, {"index": batch["index"][::-1]})["sample"]
    np.testing.assert_allclose(other, sample[::-1], rtol=1e-6)
    metrics = jax.jit(ebm.evaluate)(state, {**batch, "mask": np.array([1, 1, 1, 0])})
    expected = THETA * np.square(sample[:3]).sum(-1) / 2 - np.log(2)
    assert float(metrics["sample_energy"].compute()) == pytest.approx(expected.mean(), rel=1e-5)
    assert float(metrics["accuracy"].compute()) == pytest.approx(2 / 3)
    assert ebm.classes is not None
    assert ebm.classes(*jax.eval_shape(lambda *x: x, state, batch)) == {"label": 2}
    assert gaussian_learner().classes is None


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="buffer_size=5: smaller than a batch; allowed: at least 6"):
        gaussian_learner().init(jax.random.key(0), points(6))
