"""Guidance: by hand, and precision and recall of samples of a Gaussian mixture."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.guidance import autoguide, cfg_pp_sample, guide_interval, rescale_guidance
from dlcore.generative.samplers import ddim_sample, guide
from dlcore.generative.schedules import sampling_grid, timesteps
from tests.generative.test_samplers import ABAR, grid_of

BARS = jnp.asarray(ABAR, jnp.float32)
ANGLES = 2 * np.pi * np.arange(8) / 8
CENTERS = 0.7 * np.stack([np.cos(ANGLES), np.sin(ANGLES)], -1)
LOG_WEIGHTS = np.log(np.array([[0.25, 0] * 4, [0, 0.25] * 4, [0.125] * 8]) + 1e-30)
"""Eight Gaussians on a ring: class 0 has every other one, class 1 the rest, and 2 stands for no class."""


def mixture(deviation):
    """The best predictor of the noise, where the Gaussians have this deviation."""

    def network(x, t, y):
        bar = BARS[t]

        def log_density(x, y):
            squares = jnp.square(x - jnp.sqrt(bar) * CENTERS).sum(-1)
            return jax.nn.logsumexp(jnp.asarray(LOG_WEIGHTS)[y] - squares / 2 / (bar * deviation**2 + 1 - bar))

        return -jnp.sqrt(1 - bar) * jax.vmap(jax.grad(log_density))(x, y)

    return network


def precision_and_recall(real, fake, k=3):
    """Kynkaanniemi et al. 2019, arXiv:1904.06991: shares inside the balls to the k-th neighbor of the other set."""

    def distances(a, b):
        return np.linalg.norm(a[:, None] - b[None], axis=-1)

    real_radius, fake_radius = (np.sort(distances(x, x), 1)[:, k] for x in (real, fake))
    between = distances(fake, real)
    return (between <= real_radius).any(1).mean(), (between <= fake_radius[:, None]).any(0).mean()


@pytest.mark.covers("GE-43")
def test_precision_and_recall_move_as_the_papers_say():
    """A network that blurs the data: deviation .2, not .1; and a worse one: .35."""
    rng = np.random.default_rng(0)
    real = CENTERS[::2][rng.integers(0, 4, 300)] + 0.1 * rng.normal(size=(300, 2))
    good, worse, y, null = mixture(0.2), mixture(0.35), jnp.zeros(300, int), jnp.full(300, 2)
    grid = sampling_grid(ABAR, timesteps(1000, 40))

    @jax.jit
    def draw(x):
        networks = {
            "plain": lambda x, t: good(x, t, y),
            "guided": guide(good, y, null, 5.0),
            "interval": guide_interval(good, y, null, 5.0, interval=(100, 500)),
            "auto": autoguide(lambda x, t: good(x, t, y), lambda x, t: worse(x, t, y), 2.0),
        }
        samples = {name: ddim_sample(n, x, None, grid, clip_sample=False) for name, n in networks.items()}
        return samples | {"cfg++": cfg_pp_sample(good, y, null, x, grid, scale=0.8, clip_sample=False)}

    samples = draw(jnp.asarray(rng.normal(size=(300, 2)), jnp.float32))
    precision, recall = {}, {}
    for name, sample in samples.items():
        precision[name], recall[name] = precision_and_recall(real, np.asarray(sample))
    # Guidance: more precision, and most of the variety is lost.
    assert precision["guided"] > precision["plain"] + 0.15
    assert recall["guided"] < 0.5 < 0.95 < recall["plain"]
    # The others gain precision at a small loss.
    for name in ("interval", "auto", "cfg++"):
        assert precision[name] > precision["plain"] + 0.08, name
        assert recall[name] > recall["guided"] + 0.4, name
    assert precision["auto"] > precision["interval"]


@pytest.mark.covers("GE-43")
def test_samples_are_guided_within_the_interval_alone():
    def network(x, t, y):
        return jnp.sin(x * y[:, None]) + t / 1000

    x, y, null = jax.random.normal(jax.random.key(0), (4, 3)), jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.full(4, 0.3)
    guided = guide_interval(network, y, null, 3.0, interval=(200, 400))
    both = jax.jit(lambda t: (guided(x, t), network(x, t, y), guide(network, y, null, 3.0)(x, t)))
    for t in (199, 200, 400, 401):
        found, plain, whole = both(np.int32(t))
        np.testing.assert_allclose(found, whole if t in (200, 400) else plain, atol=1e-6)
        assert np.abs(whole - plain).max() > 0.1


@pytest.mark.covers("GE-43")
def test_rescaling_by_hand():
    """g = (0, 4) has deviation 2, c = (1, 2) has .5: wholly rescaled (0, 1); half way (0, 2.5)."""
    guided, conditional = jnp.array([[0.0, 4.0]]), jnp.array([[1.0, 2.0]])
    np.testing.assert_allclose(rescale_guidance(guided, conditional, 1.0), [[0, 1]], atol=1e-6)
    np.testing.assert_allclose(rescale_guidance(guided, conditional, 0.5), [[0, 2.5]], atol=1e-6)
    np.testing.assert_array_equal(rescale_guidance(guided * 0 + 1, conditional, 1.0), [[1, 1]])
    # Deviations below 1, also: g = (0, .4) has .2, c = (1, 1.2) has .1.
    small = rescale_guidance(jnp.array([[0.0, 0.4]]), jnp.array([[1.0, 1.2]]), 1.0)
    np.testing.assert_allclose(small, [[0, 0.2]], atol=1e-6)
    # u = 0, c = (1, 2), w = 3: g = (3, 6) of deviation 1.5, so that c is left.
    network = guide_interval(lambda x, t, y: y * x, jnp.array([[1.0, 2.0]]), jnp.zeros((1, 2)), 3.0, rescale=1.0)
    np.testing.assert_allclose(network(jnp.ones((1, 2)), jnp.int32(0)), [[1, 2]], atol=1e-6)


@pytest.mark.covers("GE-43")
def test_autoguidance_by_hand():
    """1 + 2 (3 - 1) = 5; w = 1 leaves the network."""
    for scale, value in ((2.0, 5), (1.0, 3)):
        output = autoguide(lambda x, t: 3 * x, lambda x, t: x, scale)(jnp.ones((1, 2)), jnp.int32(0))
        np.testing.assert_allclose(output, [[value] * 2])


@pytest.mark.covers("GE-43")
def test_cfg_pp_by_hand():
    """x0 by the guided noise .2 + .5 (.6 - .2) = .4, and .2, the unconditional noise, is added again."""
    a, b = 0.25, 0.64
    grid = grid_of(2)._replace(alphas_cumprod=np.array([a, b, 1.0]))
    x = jnp.full((1, 2), 0.8)
    _, path = cfg_pp_sample(
        lambda x, t, y: jnp.ones_like(x) * y[:, None], jnp.array([0.6]), jnp.array([0.2]), x, grid,
        scale=0.5, clip_sample=False, return_trajectory=True,
    )  # fmt: skip
    first = np.sqrt(b) * (0.8 - np.sqrt(1 - a) * 0.4) / np.sqrt(a) + np.sqrt(1 - b) * 0.2
    np.testing.assert_allclose(path[1], np.full((1, 2), first), rtol=1e-5)
    np.testing.assert_allclose(path[2], np.full((1, 2), (first - np.sqrt(1 - b) * 0.4) / np.sqrt(b)), rtol=1e-5)
    # Where examples are clipped, (1.6 - .35) / .5 = 2.5 becomes 1, and (-1.6 - .35) / .5 = -3.9 becomes -1.
    clipped = jax.jit(
        lambda x: cfg_pp_sample(
            lambda x, t, y: jnp.ones_like(x) * y[:, None], jnp.array([0.6]), jnp.array([0.2]), x, grid, scale=0.5,
            return_trajectory=True,
        )
    )(np.float32([[1.6, -1.6]]))  # fmt: skip
    np.testing.assert_allclose(clipped[1][1], [np.sqrt(b) * np.array([1, -1]) + np.sqrt(1 - b) * 0.2], rtol=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match=r"interval=\(3, 3\): empty; allowed: \(low, high\)"):
        guide_interval(lambda x, t, y: x, 0, 0, 2.0, interval=(3, 3))
