"""The linear autoencoder against principal components, the sparse code's activations, what denoising gains."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.digits import digits
from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.generative import autoencoder
from dlcore.generative.autoencoder import Autoencoder, activation_divergence, mean_activation
from dlcore.learner import State, example_keys
from dlcore.run import Placement, fit, make_mesh
from tests.random_weights import random_like
from tests.wiring import assert_wiring


def batch(n=256):
    return {"image": digits("train").arrays["image"][:n], "index": np.arange(n, dtype=np.int32)}


def trained(learner, rows, steps):
    """Full-batch training in one scan."""

    @jax.jit
    def run(state):
        return jax.lax.scan(lambda s, _: (learner.update(s, rows)[0], None), state, None, steps)[0]

    return run(jax.jit(learner.init)(jax.random.key(0), rows))


@pytest.mark.slow
@pytest.mark.covers("GE-06")
def test_a_linear_autoencoder_is_principal_components():
    """Of 32 points with scatter s_i^2 = 16, 9, 4, .25, .16, .04, three dimensions leave (.25 + .16 + .04) / 32."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(n, 6)))[0] for n in (32, 16))
    left = np.linalg.qr(left - left.mean(0))[0]
    x = 0.5 + left * [4, 3, 2, 0.5, 0.4, 0.2] @ right.T
    rows = {"image": x.reshape(32, 4, 4, 1).astype(np.float32), "index": np.arange(32, dtype=np.int32)}
    best = 0.45 / 32
    learner = autoencoder.learner(
        model=Autoencoder((4, 4, 1), hidden=(), latent_dim=3),
        optimizer=optax.adam(optax.cosine_decay_schedule(1e-2, 6000)),
    )
    loss = jax.jit(learner.evaluate)(trained(learner, rows, 6000), rows)["loss"].compute()
    assert loss == pytest.approx(best, rel=1e-3)


@pytest.mark.slow
@pytest.mark.covers("GE-07")
def test_the_sparse_code_is_as_active_as_it_should_be_and_not_narrow():
    """128 units for 64 pixels; without the penalty they are far more active."""
    rows, active = batch(128), {}
    for kind in ("plain", "sparse"):
        model = Autoencoder((8, 8, 1), hidden=(), latent_dim=128, activation=nn.sigmoid)
        learner = autoencoder.learner(model=model, optimizer=optax.adam(1e-2), kind=kind, rho=0.1)
        state = trained(learner, rows, 400)
        codes = jax.jit(learner.predict)(state, rows)["features"]
        active[kind] = float(np.abs(codes).mean())
        if kind == "sparse":
            metrics = jax.jit(learner.evaluate)(state, rows)
    assert active["sparse"] == pytest.approx(0.1, rel=0.1)
    assert active["plain"] > 0.3
    assert metrics["mean_activation"].compute() == pytest.approx(active["sparse"], rel=1e-5)
    # Sparse and yet better than the mean image, whose error is the variance of the pixels.
    assert metrics["mse"].compute() < 0.5 * rows["image"].var(0).mean()


@pytest.mark.slow
@pytest.mark.covers("GE-06")
def test_convolutions_stand_around_the_dense_layers():
    """Two halvings, a dense code and back: the same as the layers of XLA and NumPy one after the other."""
    model = Autoencoder((8, 12, 1), hidden=(6,), latent_dim=4, widths=(2, 3))
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(2, 8, 12, 1)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    params = random_like(shapes, 0.3, rng)

    @jax.jit
    def run(params):
        z = model.apply({"params": params}, x, method="encode")
        return z, model.apply({"params": params}, z, method="decode")

    z, y = run(params)
    assert model.grid == (2, 3)
    assert {name: p["kernel"].shape for name, p in params.items()} == {
        "down0": (4, 4, 1, 2), "down1": (4, 4, 2, 3), "encoder0": (18, 6), "encoder1": (6, 4),
        "decoder0": (4, 6), "decoder1": (6, 18), "up1": (4, 4, 2, 3), "up0": (4, 4, 1, 2),
    }  # fmt: skip
    numbers, hidden = ("NHWC", "HWIO", "NHWC"), x
    for name in ("down0", "down1"):
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        out = jax.lax.conv_general_dilated(hidden, kernel, (2, 2), [(1, 1)] * 2, dimension_numbers=numbers)
        hidden = jax.nn.relu(out + bias)
    hidden = jax.nn.relu(hidden.reshape(2, 18) @ params["encoder0"]["kernel"] + params["encoder0"]["bias"])
    np.testing.assert_allclose(z, hidden @ params["encoder1"]["kernel"] + params["encoder1"]["bias"], atol=1e-5)
    chex.assert_equal_shape([y, x])
    flat = jax.nn.relu(z @ params["decoder0"]["kernel"] + params["decoder0"]["bias"])
    start = jax.nn.relu(flat @ params["decoder1"]["kernel"] + params["decoder1"]["bias"]).reshape(2, 2, 3, 3)
    for name, shape in (("up1", (2, 4, 6, 2)), ("up0", (2, 8, 12, 1))):
        kernel, bias = params[name]["kernel"], params[name]["bias"]

        def down(v, kernel=kernel):
            return jax.lax.conv_general_dilated(v, kernel, (2, 2), [(1, 1)] * 2, dimension_numbers=numbers)

        (out,) = jax.linear_transpose(down, jnp.zeros(shape))(start)
        start = out + bias if name == "up0" else jax.nn.relu(out + bias)
    np.testing.assert_allclose(y, start, atol=1e-5)


def test_sides_that_cannot_be_halved_are_refused():
    model = Autoencoder((8, 10, 1), widths=(2, 3))
    with pytest.raises(ValueError, match=r"as widths=\(2, 3\) asks"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 8, 10, 1)))


@pytest.mark.weekly
@pytest.mark.covers("GE-06", "GE-07")
@pytest.mark.parametrize("kind", ["plain", "sparse", "denoising"])
def test_each_kind_learns_with_convolutions(kind):
    """In 300 steps the error is below half of that of the mean image."""
    rows = batch(128)
    model = Autoencoder((8, 8, 1), (64,), 32, nn.sigmoid if kind == "sparse" else None, widths=(8, 16))
    learner = autoencoder.learner(model=model, optimizer=optax.adam(5e-3), kind=kind, rho=0.1)
    metrics = jax.jit(learner.evaluate)(trained(learner, rows, 300), rows)
    assert metrics["mse"].compute() < 0.5 * rows["image"].var(0).mean()


@pytest.mark.covers("GE-07")
def test_the_penalties_by_hand():
    # rho = 1/4, a = 1/2: 1/4 ln(1/2) + 3/4 ln(3/2) = -0.173287 + 0.304099
    np.testing.assert_allclose(activation_divergence(jnp.array([0.5, 0.25]), 0.25), [0.130812, 0], atol=1e-6)
    # Activations of 0 and 1 count as 1e-6 and 1 - 1e-6, in float32.
    low, high = 0.25 * np.log(0.25 / 1e-6) + 0.75 * np.log(0.75), 0.25 * np.log(0.25) + 0.75 * np.log(0.75 / 1e-6)
    np.testing.assert_allclose(activation_divergence(jnp.array([0.0, 1.0]), 0.25), [low, high], rtol=5e-3)
    codes = jnp.array([[1.0, -2], [3, 0], [np.nan, np.nan]])
    np.testing.assert_allclose(mean_activation(codes, jnp.array([1.0, 1, 0])), [2, -1])
    rows = {**batch(4), "mask": np.array([1, 1, 1, 0], np.float32)}
    model = Autoencoder((8, 8, 1), hidden=(), latent_dim=3)
    make = {
        w: autoencoder.learner(model=model, optimizer=optax.sgd(0.1), kind="sparse", penalty="l1", sparsity_weight=w)
        for w in (0.0, 2.0)
    }
    params = random_like(jax.eval_shape(model.init, jax.random.key(0), rows["image"])["params"], 0.1)
    state = State(np.int32(0), jax.random.key(0), params, optax.sgd(0.1).init(params))

    @jax.jit
    def run(params):
        codes = model.apply({"params": params}, rows["image"][:3], method="encode")
        return codes, *(make[w].loss(params, state, rows)[0] for w in (0.0, 2.0))

    codes, without, having = jax.device_get(run(params))
    assert having - without == pytest.approx(2 * float(np.abs(codes).sum() / 3), rel=1e-4)


class Coins(nn.Module):
    """Codes s(w x) of each pixel, decoded to v z."""

    def setup(self):
        self.w, self.v = (self.param(name, nn.initializers.ones, ()) for name in "wv")

    def encode(self, x):
        return nn.sigmoid(self.w * x.reshape(len(x), -1))

    def decode(self, z):
        return (self.v * z).reshape(-1, 1, 2, 1)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"kind": "plain"}, marks=pytest.mark.covers("GE-06")),
        pytest.param({"kind": "sparse", "rho": 0.2, "sparsity_weight": 3.0}, marks=pytest.mark.covers("GE-07")),
        pytest.param({"kind": "denoising", "noise": 0.5}, marks=pytest.mark.covers("GE-08")),
    ],
    ids=lambda settings: settings["kind"],
)
def test_one_update_by_hand(settings):
    """The mean of sum (v s(w x') - x)^2, x' = x or noisy, and 3 sum KL(.2 || mean code) where it is sparse."""
    learner = autoencoder.learner(model=Coins(), optimizer=optax.sgd(0.1), **settings)
    image = np.random.default_rng(1).random((3, 1, 2, 1), np.float32)
    rows = {"image": image, "index": np.arange(3, dtype=np.int32)}
    params, codes = {"w": np.float32(1.5), "v": np.float32(0.7)}, np.float32([[0.3, 1.6]])
    state = State(np.int32(0), jax.random.key(0), params, optax.sgd(0.1).init(params))

    @jax.jit
    def step(state):
        keys = example_keys(jax.random.fold_in(state.rng, state.step), rows)
        given = learner.predict(state, {**rows, "other": image[::-1]}), learner.predict(state, {"latent": codes})
        noise = jax.vmap(lambda key: jax.random.normal(key, (1, 2, 1)))(keys)
        one, none = (learner.loss(state.params, state, {**rows, "mask": np.float32([k, 0, 0])})[0] for k in (1, 0))
        measured = learner.evaluate(state, {**rows, "mask": np.float32([1, 1, 0])}), one, none
        return learner.update(state, rows)[0].params, noise, *given, *measured

    after, noise, out, decoded, metrics, one, none = jax.device_get(step(state))
    x, seen = image.reshape(3, 2), np.clip(image + settings.get("noise", 0) * noise, 0, 1).reshape(3, 2)
    z = 1 / (1 + np.exp(-1.5 * seen))
    by_y = 2 * (0.7 * z - x) / 3
    by_z, a = by_y * 0.7, z.mean(0)
    if settings["kind"] == "sparse":
        by_z = by_z + 3 * (-0.2 / a + 0.8 / (1 - a)) / 3
    assert after["v"] == pytest.approx(0.7 - 0.1 * (by_y * z).sum(), rel=1e-5)
    assert after["w"] == pytest.approx(1.5 - 0.1 * (by_z * z * (1 - z) * seen).sum(), rel=1e-5)
    assert set(decoded) == {"decoded"}
    np.testing.assert_allclose(decoded["decoded"].ravel(), [0.21, 1], rtol=1e-5)  # .7 (.3), and .7 (1.6), clipped
    # The path leads from the codes, of noisy images where it is denoising, to those of the clean other image.
    shown = out.get("noisy", image).reshape(3, 2)
    np.testing.assert_allclose(out["features"], 1 / (1 + np.exp(-1.5 * shown)), rtol=1e-5)
    chex.assert_shape(out["path"], (3, 8, 1, 2, 1))
    np.testing.assert_allclose(out["path"][:, 0].reshape(3, 2), 0.7 * out["features"], rtol=1e-5)
    np.testing.assert_allclose(out["path"][:, 7].reshape(3, 2), 0.7 / (1 + np.exp(-1.5 * x[::-1])), rtol=1e-5)
    # Measures of the first two images; the penalty of the first alone, and of none.
    errors, codes = np.square(0.7 * out["features"] - x), out["features"]
    psnr = -10 * np.log10(np.square(0.7 * codes - x).mean(1)[:2])
    expected = {"loss": errors[:2].sum(1).mean(), "mse": errors[:2].mean(), "psnr": psnr.mean()}
    if settings["kind"] == "sparse":
        expected["mean_activation"] = codes[:2].mean()
    if settings["kind"] == "denoising":
        noisy = -10 * np.log10(np.square(shown - x).mean(1)[:2])
        expected |= {"psnr_noisy": noisy.mean(), "psnr_gain": (psnr - noisy).mean()}
    assert {name: metric.compute() for name, metric in metrics.items()} == pytest.approx(expected, rel=1e-4)
    pulled = (0.2 * np.log(0.2 / codes[0]) + 0.8 * np.log(0.8 / (1 - codes[0]))).sum()
    assert float(one) == pytest.approx(errors[0].sum() + (3 * pulled if settings["kind"] == "sparse" else 0), rel=1e-4)
    assert float(none) == 0


@pytest.mark.covers("GE-08")
def test_a_denoising_autoencoder_reads_noisy_images_and_is_compared_with_clean_ones():
    rows = batch(4)
    model = Autoencoder((8, 8, 1), hidden=(), latent_dim=3)
    learner = autoencoder.learner(model=model, optimizer=optax.sgd(0.1), kind="denoising", noise=0.3)
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    outputs = jax.jit(learner.predict)(state, rows)
    noisy, clean = np.asarray(outputs["noisy"]), rows["image"]
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    # Noise of deviation 0.3 cut at 0 and 1: on black pixels, half of its square stays.
    assert np.square(noisy[clean == 0]).mean() == pytest.approx(0.3**2 / 2, rel=0.35)
    restored = np.clip(jax.jit(lambda p: model.apply({"params": p}, noisy))(state.params), 0, 1)
    metrics = jax.jit(learner.evaluate)(state, rows)
    assert metrics["mse"].compute() == pytest.approx(np.square(restored - clean).mean(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.covers("GE-08")
def test_denoising_gains_over_its_noisy_input():
    """On digits that it was not trained on; the plain autoencoder is given clean images and reports no gain."""
    rows = batch(512)
    model = Autoencoder((8, 8, 1), hidden=(64,), latent_dim=32)
    learner = autoencoder.learner(model=model, optimizer=optax.adam(5e-3), kind="denoising", noise=0.3)
    state = trained(learner, rows, 400)
    test = {"image": digits("test").arrays["image"], "index": np.arange(500, dtype=np.int32)}
    metrics = {k: v.compute() for k, v in jax.jit(learner.evaluate)(state, test).items()}
    assert metrics["psnr_gain"] > 3, metrics
    assert metrics["psnr"] - metrics["psnr_noisy"] == pytest.approx(metrics["psnr_gain"], abs=1e-3)
    noisy = jax.jit(learner.predict)(state, test)["noisy"]
    by_hand = -10 * np.log10(np.square(noisy - test["image"]).mean((1, 2, 3)))
    assert metrics["psnr_noisy"] == pytest.approx(by_hand.mean(), rel=1e-5)
    # Noise of deviation 0.3 cut at 0 and 1: on black pixels, half of it stays.
    black = np.asarray(noisy)[test["image"] == 0]
    assert np.square(black).mean() == pytest.approx(0.3**2 / 2, rel=0.05)
    plain = autoencoder.learner(model=model, optimizer=optax.adam(3e-3))
    assert "psnr_gain" not in plain.evaluate(state, test)


@pytest.mark.slow
def test_the_path_leads_from_one_image_to_the_other():
    rows = batch(3)
    learner = autoencoder.learner(model=Autoencoder((8, 8, 1), hidden=(8,), latent_dim=4), optimizer=optax.sgd(0.1))
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    out = jax.jit(learner.predict)(state, {**rows, "other": rows["image"][[1, 2, 0]]})
    chex.assert_shape(out["path"], (3, 8, 8, 8, 1))
    np.testing.assert_allclose(out["path"][:, 0], out["reconstruction"], atol=1e-5)
    np.testing.assert_allclose(out["path"][:, -1], np.asarray(out["reconstruction"])[[1, 2, 0]], atol=1e-5)


@pytest.mark.weekly
def test_activations_are_averaged_over_replicas():
    source = Pipeline(Source({"image": batch(32)["image"]}), 16)
    placements = Placement(make_mesh("data:1", jax.devices()[:1])), Placement(make_mesh("data:8"), spmd="pmap")

    def params(p):
        model = Autoencoder((8, 8, 1), hidden=(), latent_dim=3, activation=nn.sigmoid)
        learner = autoencoder.learner(model=model, optimizer=optax.sgd(0.01), kind="sparse")
        return fit(learner, source, steps=2, placement=p, progress=False).state.params

    chex.assert_trees_all_close(*map(params, placements), atol=2e-6)


@pytest.mark.slow
def test_a_batch_of_nothing_but_padding_is_finite():
    for kind in ("sparse", "denoising"):
        model = Autoencoder((8, 8, 1), hidden=(), latent_dim=3, activation=nn.sigmoid)
        learner = autoencoder.learner(model=model, optimizer=optax.sgd(0.1), kind=kind)
        rows = {**batch(2), "mask": np.zeros(2, np.float32)}
        state = jax.jit(learner.init)(jax.random.key(0), rows)
        after, metrics = jax.jit(learner.update)(state, rows)
        assert metrics["loss"].compute() is None
        chex.assert_trees_all_equal(after.params, state.params)


@pytest.mark.slow
def test_the_wiring_of_autoencoder_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(Autoencoder((8, 12, 1), widths=(4, 6), hidden=(8,), latent_dim=3), (2, 8, 12, 1), [22.653, -14.1465])
