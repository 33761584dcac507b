"""RealNVP and Glow: the inverse, the log-determinant beside automatic differentiation, and one update by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.generative.normalizing_flow import (
    ActNorm,
    AffineCoupling,
    InvertibleConv,
    NormalizingFlow,
    dequantize,
    flow_log_likelihood,
    learner,
)
from dlcore.learner import example_keys

SHAPE = (4, 8, 1)


def randomized(model, x):
    """Parameters none of which is 0, as those of trained networks."""
    shapes = jax.eval_shape(model.init, jax.random.key(1), x)["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: 0.3 * rng.normal(size=p.shape).astype(np.float32), shapes)


@pytest.mark.slow(unless=["swap-2"])
@pytest.mark.covers("GE-36")
@pytest.mark.parametrize(("mixing", "num_steps"), [("conv", 1), ("swap", 2)])
def test_noise_gives_the_image_back_and_the_determinant_is_the_jacobians(mixing, num_steps):
    model = NormalizingFlow(SHAPE, num_levels=2, num_steps=num_steps, width=4, mixing=mixing)
    x = jax.random.normal(jax.random.key(0), (3, *SHAPE))
    params = randomized(model, x)

    def flat(image):
        return model.apply({"params": params}, image.reshape(1, *SHAPE))[0][0]

    @jax.jit
    def run(params, x):
        noise, log_det = model.apply({"params": params}, x)
        again = model.apply({"params": params}, noise, method="decode")
        return noise, log_det, again, flow_log_likelihood(model, params, x)

    noise, log_det, again, found = run(params, x)
    chex.assert_shape(noise, (3, 32))
    np.testing.assert_allclose(again, x, atol=1e-5)
    jacobian = jax.jit(jax.jacfwd(flat))(x[0].ravel())
    assert float(log_det[0]) == pytest.approx(np.linalg.slogdet(np.asarray(jacobian, np.float64))[1], abs=1e-4)
    density = -0.5 * (np.square(noise) + np.log(2 * np.pi)).sum(-1) + log_det
    np.testing.assert_allclose(found, density, rtol=1e-5)


@pytest.mark.covers("GE-36")
def test_the_first_batch_sets_mean_and_variance_of_each_channel():
    x = 3 + jnp.array([1.0, 5.0]) * jax.random.normal(jax.random.key(0), (8, 3, 4, 2))
    (y, log_det), variables = ActNorm().init_with_output(jax.random.key(1), x)
    np.testing.assert_allclose(y.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1, 2)), 1, atol=1e-5)
    # Scales of 1 / deviation at each of 12 pixels.
    assert float(log_det) == pytest.approx(-12 * np.log(np.asarray(x.std((0, 1, 2)))).sum(), rel=1e-5)
    assert set(variables["params"]) == {"bias", "log_scale"}


@pytest.mark.covers("GE-36")
def test_the_mixing_starts_as_a_rotation_and_its_determinant_is_the_matrixs():
    layer, pixels = InvertibleConv(seed=3), jnp.eye(4).reshape(1, 1, 4, 4)
    params = layer.init(jax.random.key(0), pixels)["params"]
    rotation = np.asarray(layer.apply({"params": params}, pixels)[0]).reshape(4, 4)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(4), atol=1e-5)
    params = randomized(layer, pixels)
    mixed, log_det = layer.apply({"params": params}, pixels)
    matrix = np.asarray(mixed, np.float64).reshape(4, 4)
    assert float(log_det) == pytest.approx(4 * np.linalg.slogdet(matrix)[1], abs=1e-4)  # at each of four pixels
    again, log_det_back = layer.apply({"params": params}, mixed, True)
    np.testing.assert_allclose(again, pixels, atol=1e-4)
    assert float(log_det_back) == pytest.approx(-float(log_det))


@pytest.mark.parametrize("swap", [False, True])
def test_a_coupling_keeps_half_of_the_channels_and_starts_as_the_identity(swap):
    layer = AffineCoupling(width=4, swap=swap)
    x = jax.random.normal(jax.random.key(0), (2, 3, 3, 4))
    params, apply = jax.jit(layer.init)(jax.random.key(1), x)["params"], jax.jit(layer.apply)
    y, log_det = apply({"params": params}, x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(log_det, 0)
    y, _ = apply({"params": randomized(layer, x)}, x)
    same, other = (slice(2, 4), slice(0, 2)) if swap else (slice(0, 2), slice(2, 4))
    np.testing.assert_array_equal(y[..., same], x[..., same])
    assert np.abs(y - x)[..., other].min() > 0


class Scaling(nn.Module):
    """The flow x exp(s), of one parameter s."""

    @nn.compact
    def __call__(self, x):
        s = self.param("s", nn.initializers.constant(0.5), ())
        flat = x.reshape(x.shape[0], -1)
        return flat * jnp.exp(s), jnp.full(x.shape[0], flat.shape[1]) * s

    def decode(self, noise):
        return (noise * jnp.exp(-self.get_variable("params", "s"))).reshape(-1, 2, 2, 1)


@pytest.mark.covers("GE-36")
def test_one_update_by_hand():
    """Nats of a dimension: x^2 e^(2s) / 2 + log(2 pi) / 2 - s + log levels; their slope by s is x^2 e^(2s) - 1."""
    levels, rate = 4, 0.1
    flow = learner(model=Scaling(), optimizer=optax.sgd(rate), shape=(2, 2, 1), levels=levels)
    image = np.array([0.0, 0.3, 0.6, 1.0, 0.1, 0.2, 0.7, 0.9], np.float32).reshape(2, 2, 2, 1)
    batch = {"image": image, "index": np.arange(2, dtype=np.int32)}
    state = jax.jit(flow.init)(jax.random.key(0), batch)

    @jax.jit
    def run(state):
        start = state.replace(rng=jax.random.fold_in(state.rng, 0))  # the first update draws by this key
        return *flow.update(state, batch), flow.evaluate(start, batch), flow.loss(state.params, start, batch)[0]

    after, metrics, measured, loss = run(state)
    # Levels 0, 1, 2, 3 hold a quarter of [0, 1] each.
    q = np.array([0, 1, 2, 3, 0, 0, 2, 3]).reshape(image.shape)
    keys = example_keys(jax.random.fold_in(state.rng, 0), batch)
    x = np.asarray(dequantize(keys, jnp.asarray(q), levels), np.float64)
    assert ((x + 0.5) * levels >= q).all()
    assert ((x + 0.5) * levels < q + 1).all()
    nats = x**2 * np.exp(1.0) / 2 + np.log(2 * np.pi) / 2 - 0.5 + np.log(levels)
    assert float(metrics["loss"].compute()) == pytest.approx(nats.mean(), rel=1e-5)
    assert float(measured["loss"].compute()) == pytest.approx(nats.mean(), rel=1e-5)
    assert float(loss) == pytest.approx(nats.mean(), rel=1e-5)
    assert float(metrics["nll_nats_4_levels"].compute()) == pytest.approx(4 * nats.mean(), rel=1e-5)
    assert float(metrics["bits_per_dim_4_levels"].compute()) == pytest.approx(nats.mean() / np.log(2), rel=1e-5)
    assert float(after.params["s"]) == pytest.approx(0.5 - rate * (x**2 * np.exp(1.0) - 1).mean(), rel=1e-5)


def test_samples_are_levels_and_noise_of_temperature_zero_gives_one_image():
    model = NormalizingFlow(SHAPE, num_levels=1, num_steps=1, width=4)
    flow = learner(model=model, optimizer=optax.sgd(0.1), shape=SHAPE, levels=5, temperature=0.0)
    batch = {"image": np.random.default_rng(0).random((4, *SHAPE), np.float32), "index": np.arange(4, dtype=np.int32)}
    state = jax.jit(flow.init)(jax.random.key(0), batch)
    sample = np.asarray(jax.jit(flow.predict)(state, {"index": batch["index"]})["sample"])
    np.testing.assert_allclose(sample, np.broadcast_to(sample[:1], sample.shape))
    assert set(np.round(4 * sample).ravel()) <= {0, 1, 2, 3, 4}
    np.testing.assert_allclose(4 * sample, np.round(4 * sample), atol=1e-6)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"shape=\(6, 4, 1\): sides cannot be halved 2 times, as num_levels=2 asks"):
        NormalizingFlow((6, 4, 1), num_levels=2).init(jax.random.key(0), jnp.zeros((1, 6, 4, 1)))


def test_samples_are_the_levels_of_noise_and_images_get_their_nats():
    """x = .7 z e^(-s) with s = 2: the level of x is floor(4 (x + 1 / 2)), of 0, 1, 2 and 3, shown as thirds."""
    flow = learner(model=Scaling(), optimizer=optax.sgd(0.1), shape=(2, 2, 1), levels=4, temperature=0.7)
    image = np.array([0.0, 0.3, 0.6, 1.0, 0.1, 0.2, 0.7, 0.9], np.float32).reshape(2, 2, 2, 1)
    batch = {"image": image, "index": np.arange(2, dtype=np.int32)}

    @jax.jit
    def run(batch):
        state = flow.init(jax.random.key(0), batch).replace(params={"s": jnp.float32(2)})
        keys = example_keys(jax.random.fold_in(state.rng, 1), batch)
        places = dequantize(example_keys(state.rng, batch), jnp.array([0, 1, 2, 3, 0, 0, 2, 3]).reshape(image.shape), 4)
        z = jax.vmap(lambda key: jax.random.normal(key, (4,)))(keys)
        return flow.predict(state, batch), flow.predict(state, {"index": batch["index"]}), z, places

    out, alone, z, x = jax.device_get(run(batch))
    level = np.clip(np.floor(4 * (0.7 * np.float64(z) * np.exp(-2) + 0.5)), 0, 3)
    np.testing.assert_allclose(out["sample"].reshape(2, 4), level / 3, rtol=1e-6)
    assert set(alone) == {"sample"}
    nats = (x**2 * np.exp(4) / 2 + np.log(2 * np.pi) / 2 - 2 + np.log(4)).sum((1, 2, 3))
    np.testing.assert_allclose(out["nats"], nats, rtol=1e-5)
