"""The divergence in closed form and by draws, the bounds around a marginal that is known, and a net that learns."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.digits import digits
from dlcore.data.factor_shapes import factor_shapes
from dlcore.data.source import Source
from dlcore.generative import vae
from dlcore.generative.latents import attribute_direction, edit
from dlcore.generative.vae import VAE, kl_to_standard_normal, log_normal, reparameterize
from dlcore.learner import State, example_keys
from tests.random_weights import random_like
from tests.wiring import assert_wiring


def batch(n=256):
    return {"image": digits("train").arrays["image"][:n], "index": np.arange(n, dtype=np.int32)}


def trained(learner, rows, steps, size=64):
    """Training on random batches in one scan."""

    @jax.jit
    def run(rng):
        def step(state, key):
            idx = jax.random.choice(key, len(rows["index"]), (size,), replace=False)
            return learner.update(state, jax.tree.map(lambda v: jnp.asarray(v)[idx], rows))[0], None

        return jax.lax.scan(step, learner.init(rng, rows), jax.random.split(rng, steps))[0]

    return run(jax.random.key(0))


@pytest.mark.covers("GE-09")
def test_the_divergence_by_hand_and_log_density():
    # mean 1, variance 1/4: (1 + 1/4 - 1 - ln 1/4) / 2 = (0.25 + 1.386294) / 2 = 0.818147
    assert float(kl_to_standard_normal(jnp.float32(1), jnp.log(0.25))) == pytest.approx(0.818147, abs=1e-6)
    assert float(kl_to_standard_normal(jnp.float32(0), jnp.float32(0))) == 0
    # N(1; 0, 1) twice: -(ln 2 pi + 1) = -2.837877;  with variance 4: -(ln 2 pi + ln 4 + 1/4) = -3.474171
    x = jnp.ones((1, 2))
    np.testing.assert_allclose(log_normal(x, 0.0, 0.0), [-2.837877], rtol=1e-6)
    np.testing.assert_allclose(log_normal(x, jnp.zeros((1, 2)), jnp.full((1, 2), math.log(4))), [-3.474171], rtol=1e-6)


@pytest.mark.covers("GE-10")
def test_draws_estimate_the_divergence_and_gradients_pass_through_them():
    """E_q [log q - log p] over 200,000 draws is the closed form, and so are its derivatives: mu, and (s^2 - 1) / 2."""
    key = jax.random.key(0)

    @jax.jit
    @jax.value_and_grad
    def estimate(q):
        mean, log_variance = (jnp.full((200_000, 1), v) for v in q)
        z = reparameterize(key, mean, log_variance)
        return (log_normal(z, mean, log_variance) - log_normal(z, 0.0, 0.0)).mean()

    value, slopes = estimate((1.0, math.log(0.25)))
    assert float(value) == pytest.approx(0.818147, abs=0.005)
    assert float(slopes[0]) == pytest.approx(1.0, abs=0.01)
    assert float(slopes[1]) == pytest.approx((0.25 - 1) / 2, abs=0.01)


@pytest.mark.covers("GE-10")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_draws_and_densities_of_half_precision_are_those_of_float32(dtype):
    rng = np.random.default_rng(0)
    mean, log_variance = (jnp.asarray(rng.normal(size=(2, 500)), dtype) for _ in range(2))
    exact = [v.astype(jnp.float32) for v in (mean, log_variance)]
    z = reparameterize(jax.random.key(0), mean, log_variance)
    np.testing.assert_array_equal(z, reparameterize(jax.random.key(0), *exact).astype(dtype))
    density = log_normal(z, mean, log_variance)
    assert density.dtype == jnp.float32
    np.testing.assert_allclose(density, log_normal(z.astype(jnp.float32), *exact), rtol=1e-6)


PIXELS = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
ROWS = {"image": PIXELS.reshape(3, 1, 2, 1), "index": np.arange(3, dtype=np.int32)}


def draw_keys(rng, k):
    return example_keys(jax.random.fold_in(rng, k), ROWS)


normal = jax.vmap(lambda key: jax.random.normal(key, (2,)))


@pytest.fixture(scope="module")
def single_layers():
    """(learner, parameters, state) of a network without a hidden layer."""
    learner = vae.learner(
        model=VAE((1, 2, 1), hidden=(), latent_dim=2), optimizer=optax.sgd(0.1), beta=2.0, binarization="threshold",
        importance_samples=3,
    )  # fmt: skip
    params = random_like(jax.eval_shape(learner.init, jax.random.key(0), ROWS).params, scale=0.7)
    return learner, params, State(np.int32(0), jax.random.key(0), params, optax.sgd(0.1).init(params))


@pytest.fixture(scope="module")
def by_hand(single_layers):
    """(parameters, normal draws, what the learner measures and predicts)."""
    learner, params, state = single_layers

    @jax.jit
    def run(state):
        again = [jax.vmap(jax.random.fold_in, (0, None))(draw_keys(state.rng, 2), k) for k in range(3)]
        draws = {
            "evaluate": normal(draw_keys(state.rng, 1)),
            "weights": jnp.stack([normal(key) for key in again]),
            "sample": normal(draw_keys(state.rng, 3)),
        }
        masked = {**ROWS, "mask": np.float32([1, 1, 0])}
        given = {
            "loss": learner.loss(state.params, state, masked)[0],
            "evaluate": learner.evaluate(state, masked),
            "predict": learner.predict(state, {**ROWS, "other": ROWS["image"][::-1]}),
            "sample": learner.predict(state, {"index": ROWS["index"]}),
            "decoded": learner.predict(state, {"index": ROWS["index"], "latent": np.float32([[0.3, -1]])}),
        }
        return draws, given

    return params, *jax.device_get(run(state))


def layers_of(params):
    names = ("encoder_mean", "encoder_log_variance", "decoder_logits")
    return [(params[name]["kernel"], params[name]["bias"]) for name in names]


def terms(params, eps):
    """(mean, log variance, deviation, z, logits, nats of the pixels, divergence of each dimension)."""
    (w, m0), (u, v0), (d, c) = layers_of(params)
    mean, log_variance = PIXELS @ w + m0, PIXELS @ u + v0
    deviation = np.exp(log_variance / 2)
    z = mean + deviation * eps
    scores = z @ d + c
    nats = (np.log1p(np.exp(scores)) - PIXELS * scores).sum(-1)
    return mean, log_variance, deviation, z, scores, nats, (mean**2 + deviation**2 - 1 - log_variance) / 2


@pytest.mark.covers("GE-09", "GE-10")
def test_one_update_by_hand(single_layers):
    """z = m + s eps, L = sum_d [softplus(l_d) - x_d l_d] + beta sum (m^2 + s^2 - 1 - log s^2) / 2."""
    learner, params, state = single_layers

    @jax.jit
    def step(state):
        return *learner.update(state, ROWS), normal(draw_keys(jax.random.fold_in(state.rng, 0), 1))

    after, metrics, eps = jax.device_get(step(state))
    d, _ = layers_of(params)[2]
    mean, _, deviation, z, scores, nats, divergence = terms(params, eps)
    assert metrics["loss"].compute() == pytest.approx((nats + 2 * divergence.sum(-1)).mean(), rel=1e-5)
    by_score = (1 / (1 + np.exp(-scores)) - PIXELS) / 3
    by_z = by_score @ d.T
    by_mean, by_log = by_z + 2 * mean / 3, by_z * deviation * eps / 2 + (deviation**2 - 1) / 3
    slopes = {
        "encoder_mean": {"kernel": PIXELS.T @ by_mean, "bias": by_mean.sum(0)},
        "encoder_log_variance": {"kernel": PIXELS.T @ by_log, "bias": by_log.sum(0)},
        "decoder_logits": {"kernel": z.T @ by_score, "bias": by_score.sum(0)},
    }
    for name, layer in slopes.items():
        for part, slope in layer.items():
            np.testing.assert_allclose(after.params[name][part], params[name][part] - 0.1 * slope, atol=1e-5)


@pytest.mark.covers("GE-09")
def test_the_bounds_by_hand(by_hand):
    """log w = log p(x | z) + log N(z; 0, 1) - log N(z; m, s^2) of three draws: their mean, and the log of the mean w.

    The third image is padding.
    """
    params, draws, given = by_hand
    _, _, _, _, _, nats, divergence = terms(params, draws["evaluate"])
    metrics = {name: metric.compute() for name, metric in given["evaluate"].items()}
    kl = divergence.sum(-1)
    assert metrics["kl_nats"] == pytest.approx(kl[:2].mean(), rel=1e-5)
    assert metrics["reconstruction_nats"] == pytest.approx(nats[:2].mean(), rel=1e-5)
    assert metrics["loss"] == pytest.approx((nats + 2 * kl)[:2].mean(), rel=1e-5)
    assert float(given["loss"]) == pytest.approx(metrics["loss"], rel=1e-6)
    log_w = []
    for eps in draws["weights"]:
        _, log_variance, _, z, _, nats, _ = terms(params, eps)
        log_w.append(-nats + (-(z**2) + log_variance + eps**2).sum(-1) / 2)
    assert metrics["elbo_nll_nats_threshold"] == pytest.approx(-np.mean(log_w, 0)[:2].mean(), rel=1e-4)
    iwae = np.log(np.exp(log_w).mean(0))
    assert metrics["iwae3_nll_nats_threshold"] == pytest.approx(-iwae[:2].mean(), rel=1e-4)


def test_predictions_by_hand(by_hand):
    params, draws, given = by_hand
    _, _, (d, c) = layers_of(params)

    def decoded(z):
        return 1 / (1 + np.exp(-(z @ d + c)))

    mean, *_, divergence = terms(params, 0)
    out = given["predict"]
    np.testing.assert_allclose(out["features"], mean, atol=1e-5)
    np.testing.assert_allclose(out["kl"], divergence, atol=1e-5)
    y = decoded(mean)
    np.testing.assert_allclose(out["reconstruction"].reshape(3, 2), y, atol=1e-5)
    np.testing.assert_allclose(out["psnr"], -10 * np.log10(((y - PIXELS) ** 2).mean(1)), rtol=1e-4)
    np.testing.assert_allclose(out["sample"].reshape(3, 2), decoded(draws["sample"]), atol=1e-5)
    # The path leads to the images in reverse order: that of the one in the middle stays.
    chex.assert_shape(out["path"], (3, 8, 1, 2, 1))
    np.testing.assert_allclose(out["path"][:, 0].reshape(3, 2), y, atol=1e-5)
    np.testing.assert_allclose(out["path"][:, 7].reshape(3, 2), y[::-1], atol=1e-5)
    assert np.abs(np.diff(out["path"][0], axis=0)).reshape(7, 2).max(1).min() > 1e-3
    assert set(given["sample"]) == {"sample"}
    np.testing.assert_allclose(given["sample"]["sample"], out["sample"], atol=1e-6)
    assert set(given["decoded"]) == {"decoded"}
    np.testing.assert_allclose(given["decoded"]["decoded"].ravel(), decoded(np.array([0.3, -1])), atol=1e-5)


class Linear(nn.Module):
    """p(x|z) = N(w z, s^2) of one pixel, with the exact posterior, moved by `off`."""

    off: float = 0.0
    w: float = 2.0
    s2: float = 0.5
    likelihood: str = "gaussian"
    latent_dim: int = 1

    def encode(self, x):
        total = self.w**2 + self.s2
        x = x.reshape(-1, 1)
        return self.w * x / total + self.off, jnp.full_like(x, math.log(self.s2 / total))

    def decode(self, z):
        mean = (self.w * z).reshape(-1, 1, 1, 1) + 0 * self.scope_variable()
        return mean, jnp.full_like(mean, math.log(self.s2))

    @nn.compact
    def scope_variable(self):
        return self.param("unused", nn.initializers.zeros, ())

    def __call__(self, x):
        return self.decode(self.encode(x)[0])


@pytest.mark.covers("GE-09")
def test_each_draw_of_the_exact_posterior_gives_the_likelihood():
    """x ~ N(0, w^2 + s^2): -log N(x; 0, 4.5), in nats; the mean of p(x | z) is clipped to an image."""
    rows = {"image": np.random.default_rng(0).random((3, 1, 1, 1), np.float32), "index": np.arange(3)}
    rows["mask"] = np.float32([1, 1, 0])
    learner = vae.learner(model=Linear(), optimizer=optax.sgd(0.1), importance_samples=2)
    state = State(np.int32(0), jax.random.key(0), {"unused": np.float32(0)}, ())
    metrics, out = jax.jit(lambda state: (learner.evaluate(state, rows), learner.predict(state, rows)))(state)
    x = rows["image"].ravel()
    exact = 0.5 * (np.log(2 * np.pi * 4.5) + np.square(x[:2]) / 4.5).mean()
    for name in ("elbo_nll_nats_density", "iwae2_nll_nats_density"):
        assert metrics[name].compute() == pytest.approx(exact, rel=1e-5)
    np.testing.assert_allclose(out["reconstruction"].ravel(), 4 / 4.5 * x, rtol=1e-5)
    assert out["sample"].min() >= 0


@pytest.mark.weekly
@pytest.mark.covers("GE-09")
def test_the_bounds_lie_below_the_known_likelihood_and_touch_it():
    """x ~ N(0, w^2 + s^2): with the exact posterior each draw gives log p(x); with another one ELBO < IWAE < log p."""
    rows = {"image": np.random.default_rng(0).random((512, 1, 1, 1), np.float32), "index": np.arange(512)}
    exact = 0.5 * (math.log(2 * math.pi * 4.5) + np.square(rows["image"]) / 4.5).mean()

    def bounds(off, samples):
        learner = vae.learner(model=Linear(off), optimizer=optax.sgd(0.1), importance_samples=samples)
        state = learner.init(jax.random.key(0), rows)
        metrics = jax.jit(learner.evaluate)(state, rows)
        return tuple(metrics[f"{n}_nll_nats_density"].compute() for n in ("elbo", f"iwae{samples}"))

    np.testing.assert_allclose(bounds(0.0, 3), exact, rtol=1e-5)
    elbo, iwae_5 = bounds(0.4, 5)
    _, iwae_200 = bounds(0.4, 200)
    # The gap of the ELBO is KL(q || posterior) = off^2 / (2 s^2 / (w^2 + s^2)) = 0.16 / 0.2222 = 0.72.
    assert elbo - exact == pytest.approx(0.72, abs=0.1)
    assert exact - 0.02 < iwae_200 < iwae_5 < elbo
    assert iwae_200 == pytest.approx(exact, abs=0.03)


@pytest.fixture(scope="module")
def learned():
    """A small net on binarized digits."""
    learner = vae.learner(
        model=VAE((8, 8, 1), hidden=(64,), latent_dim=8), optimizer=optax.adam(3e-3), importance_samples=20
    )
    rows = batch(1024)
    return learner, rows, trained(learner, rows, 800)


@pytest.mark.slow
@pytest.mark.covers("GE-09")
def test_a_trained_net_bounds_digits_reconstructs_and_samples(learned):
    learner, rows, state = learned
    test = {"image": digits("test").arrays["image"], "index": np.arange(500, dtype=np.int32)}
    metrics = {k: v.compute() for k, v in jax.jit(learner.evaluate)(state, test).items()}
    elbo, iwae = metrics["elbo_nll_nats_dynamic"], metrics["iwae20_nll_nats_dynamic"]
    p = rows["image"].mean(0).clip(0.01, 0.99)
    independent = -(test["image"] * np.log(p) + (1 - test["image"]) * np.log(1 - p)).sum((1, 2, 3)).mean()
    assert iwae < elbo < independent - 1, (iwae, elbo, independent)
    assert metrics["loss"] == pytest.approx(elbo, abs=0.5)
    assert metrics["kl_nats"] + metrics["reconstruction_nats"] == pytest.approx(metrics["loss"], rel=1e-5)
    out = jax.jit(learner.predict)(state, test)
    np.testing.assert_allclose(out["kl"].sum(-1).mean(), metrics["kl_nats"], rtol=1e-4)
    baseline = -10 * np.log10(np.square(test["image"] - rows["image"].mean(0)).mean((1, 2, 3))).mean()
    assert out["psnr"].mean() > baseline + 0.5
    # Samples have the data's mean and vary.
    assert np.abs(np.asarray(out["sample"]).mean(0) - rows["image"].mean(0)).mean() < 0.06
    assert 0.3 < np.asarray(out["sample"]).var(0).mean() / rows["image"].var(0).mean() < 1.1


class Constant(nn.Module):
    """p(x|z) is the same for every code: pixels of probability 1/4 and 3/4, or of mean 0.4 and deviations 0.01, 0.1."""

    likelihood: str
    latent_dim: int = 2

    def decode(self, z):
        pixels = jnp.array([0.25, 0.75]) if self.likelihood == "bernoulli" else jnp.array([0.4, 0.4])
        first = jnp.log(pixels / (1 - pixels)) if self.likelihood == "bernoulli" else pixels
        log_variance = 2 * jnp.log(jnp.array([0.01, 0.1]))
        return tuple(jnp.broadcast_to(v[None, :, None, None], (len(z), 2, 1, 1)) for v in (first, log_variance))


@pytest.mark.covers("GE-09")
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_samples_are_drawn_from_the_pixels_distribution_where_it_is_asked(likelihood):
    rows = Source.indices(2000)[:]
    state = State(jnp.zeros((), jnp.int32), jax.random.key(0), {}, ())
    mean, sampled = (
        np.asarray(
            vae.learner(model=Constant(likelihood), optimizer=optax.sgd(0.1), draw_pixels=draw).predict(state, rows)[
                "sample"
            ]
        ).reshape(2000, 2)
        for draw in (False, True)
    )
    expected = [0.25, 0.75] if likelihood == "bernoulli" else [0.4, 0.4]
    np.testing.assert_allclose(mean, np.tile(expected, (2000, 1)), rtol=1e-5)
    np.testing.assert_allclose(sampled.mean(0), expected, atol=0.04)
    assert abs(np.corrcoef(sampled.T)[0, 1]) < 0.1  # each pixel has noise of its own: 0 +- 1 / sqrt(2000)
    if likelihood == "bernoulli":
        assert set(np.unique(sampled)) == {0, 1}
    else:
        np.testing.assert_allclose(sampled.std(0), [0.01, 0.1], rtol=0.1)


@pytest.mark.weekly
def test_convolutions_halve_the_sides_and_the_decoder_mirrors_them():
    """Codes are of all pixels; a shape that cannot be halved is refused; on digits the net learns in 300 steps."""
    model = VAE((8, 8, 1), widths=(8, 16), hidden=(32,), latent_dim=4)
    learner = vae.learner(model=model, optimizer=optax.adam(3e-3), importance_samples=20)
    rows = batch(1024)
    fresh, state = learner.init(jax.random.key(0), rows), trained(learner, rows, 300)
    kernels = {name: layer["kernel"].shape for name, layer in state.params.items()}
    assert kernels["down1"] == kernels["up1"] == (4, 4, 8, 16)
    assert kernels["encoder0"] == kernels["decoder_map"][::-1] == (2 * 2 * 16, 32)
    slopes = jax.jacobian(lambda x: model.apply({"params": state.params}, x, method="encode")[0])(rows["image"][:1])
    assert (np.abs(slopes).max((0, 1, 2)) > 0).all()
    before, after = (float(learner.evaluate(s, rows)["elbo_nll_nats_dynamic"].compute()) for s in (fresh, state))
    assert after < before - 15, (before, after)
    with pytest.raises(ValueError, match=r"sides cannot be halved 2 times.* multiples of 4"):
        VAE((6, 6, 1), widths=(8, 16)).init(jax.random.key(0), jnp.zeros((1, 6, 6, 1)))


@pytest.mark.slow
def test_predictions_do_not_depend_on_their_batch_and_the_path_has_its_ends(learned):
    learner, rows, state = learned
    predict = jax.jit(learner.predict)
    two = {k: v[[5, 3]] for k, v in rows.items()}
    whole = predict(state, {k: v[:8] for k, v in rows.items()})
    out = predict(state, {**two, "other": two["image"][::-1]})
    for name in ("features", "reconstruction", "sample", "psnr"):
        np.testing.assert_allclose(out[name], np.asarray(whole[name])[[5, 3]], atol=1e-5)
    np.testing.assert_allclose(out["path"][:, 0], out["reconstruction"], atol=1e-5)
    decoded = predict(state, {"latent": out["features"], "index": two["index"]})["decoded"]
    np.testing.assert_allclose(decoded, out["reconstruction"], atol=1e-6)


@pytest.mark.slow
def test_the_codes_of_a_large_beta_say_nothing(learned):
    _, rows, state = learned
    make = {
        b: vae.learner(model=VAE((8, 8, 1), hidden=(64,), latent_dim=8), optimizer=optax.adam(3e-3), beta=b)
        for b in (1.0, 3.0)
    }
    metrics = {b: make[b].loss(state.params, state, rows) for b in make}
    kl = metrics[1.0][1]["kl_nats"].compute()
    assert float(metrics[3.0][0] - metrics[1.0][0]) == pytest.approx(2 * kl, rel=1e-4)


@pytest.mark.weekly
@pytest.mark.covers("GE-11")
def test_editing_moves_a_known_factor_monotonically():
    """The direction of the x position, fitted on training codes, moves the shapes of test images to the right."""
    source, test = factor_shapes(512, size=8), factor_shapes(16, seed=1, size=8)
    learner = vae.learner(
        model=VAE((8, 8, 1), hidden=(64,), latent_dim=6, likelihood="gaussian"), optimizer=optax.adam(3e-3), beta=0.5
    )
    state = trained(learner, source[:], 400)
    predict = jax.jit(learner.predict)
    codes = np.asarray(predict(state, source[:])["features"])
    x = source.arrays["factors"][:, 0]
    direction = attribute_direction(codes, x)
    amounts = np.array([-0.2, -0.1, 0, 0.1, 0.2])
    centered = np.asarray(predict(state, test[:])["features"]).mean(0, keepdims=True)
    moved = edit(jnp.asarray(centered), direction, amounts)[:, 0]
    drawn = np.asarray(predict(state, {"latent": moved, "index": np.arange(5)})["decoded"])[..., 0]
    along = (np.arange(8) + 0.5) / 8
    column, row = ((drawn.sum(axis) * along).sum(1) / drawn.sum((1, 2)) for axis in (1, 2))
    assert (np.diff(column) > 0.02).all(), column
    assert np.ptp(row) < 0.3 * np.ptp(column), (row, column)


@pytest.mark.slow
def test_a_batch_of_nothing_but_padding_is_finite(learned):
    learner, rows, state = learned
    empty = {**{k: v[:64] for k, v in rows.items()}, "mask": np.zeros(64, np.float32)}
    after, metrics = jax.jit(learner.update)(state, empty)
    assert metrics["loss"].compute() is None
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(after.params))


@pytest.mark.slow
def test_the_wiring_of_vae_is_as_it_was():
    """A regression: the number holds the code as it was."""
    network = VAE((8, 12, 1), widths=(4, 6), hidden=(8,), latent_dim=3, likelihood="gaussian")
    assert_wiring(network, (2, 8, 12, 1), [4.55219, -0.726582])
