"""Both levels of codes and their priors: one update of each phase by hand, and a small run that uses both levels."""

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
from dlcore.generative import vq_vae_2
from dlcore.generative.autoregressive import sample
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.vq_vae import Codebook
from dlcore.generative.vq_vae_2 import VQVAE2, Priors, TopCondition, VQVAE2State
from tests.generative.codebooks import assert_codes_are_encodings, assert_codes_average_and_restart
from tests.wiring import assert_wiring

K = 16


class Linear(nn.Module):
    """h = w x, z_t = u (h_0 + h_1), z_b = h + a q_t, y = v q_b + c q_t, on images of two pixels."""

    grids = {"top": (1, 1), "bottom": (1, 2)}

    def setup(self):
        self.w, self.u, self.a, self.v, self.c = (self.param(name, nn.initializers.ones, ()) for name in "wuavc")

    def encode(self, x):
        return self.w * x

    def encode_top(self, h):
        return self.u * h.sum(2, keepdims=True)

    def encode_bottom(self, h, top):
        return h + self.a * top

    def decode(self, top, bottom):
        return self.v * bottom + self.c * top

    def __call__(self, x):
        h = self.encode(x)
        return self.decode(self.encode_top(h), self.encode_bottom(h, self.encode_top(h)))


def book(codes, counts):
    codes, counts = np.array(codes, np.float32), np.array(counts, np.float32)
    return Codebook(codes[:, None], counts, (codes * counts)[:, None])


PIXELS = np.array([[-0.9, 0.1], [0.8, 0.5], [-0.3, 0.7]], np.float32)
ROWS = {"image": (PIXELS.reshape(3, 1, 2, 1) + 1) / 2, "index": np.arange(3, dtype=np.int32)}


def by_hand():
    """(Parameters of `Linear`, its codebooks, a state of both)."""
    p = {"w": 1.2, "u": 0.6, "a": 0.5, "v": 0.7, "c": 0.4}
    params = {"autoencoder": {name: np.float32(value) for name, value in p.items()}}
    books = {"top": book([-0.7, 0.1, 1], [1, 2, 4]), "bottom": book([-1, 0.2, 1], [3, 1, 2])}
    opt_state = {"autoencoder": optax.sgd(0.1).init(params["autoencoder"])}
    return p, books, VQVAE2State(np.int32(0), jax.random.key(0), params, opt_state, books)


def quantized_by_hand(p):
    """(h [3, 2], (z_t, k_t, q_t) [3, 1], (z_b, k_b, q_b) [3, 2]) of `PIXELS`."""
    h = p["w"] * PIXELS
    z_t = p["u"] * h.sum(1, keepdims=True)
    k_t = np.abs(z_t - [-0.7, 0.1, 1]).argmin(1)
    q_t = np.array([-0.7, 0.1, 1])[k_t][:, None]
    z_b = h + p["a"] * q_t
    k_b = np.abs(z_b[..., None] - [-1, 0.2, 1]).argmin(-1)
    return h, (z_t, k_t, q_t), (z_b, k_b, np.array([-1, 0.2, 1])[k_b])


@pytest.mark.covers("GE-12")
def test_one_update_of_the_autoencoder_by_hand():
    """Gradients by the chain rule, q passing to z in both levels; the bottom's also pass through a q_t to z_t."""
    learner = vq_vae_2.learner(
        model=Linear(), optimizer=optax.sgd(0.1), num_codes=3, commitment=0.5, decay=0.75, restart_below=0.7
    )
    p, books, state = by_hand()
    after, metrics = jax.device_get(jax.jit(learner.update)(state, ROWS))
    x, count = PIXELS, PIXELS.size
    h, (z_t, k_t, q_t), (z_b, k_b, q_b) = quantized_by_hand(p)
    assert (set(k_t), set(k_b.ravel())) == ({0, 1, 2}, {0, 1, 2})
    e = p["v"] * q_b + p["c"] * q_t - x
    expected = (e**2).mean() + 0.5 * (((z_t - q_t) ** 2).mean() + ((z_b - q_b) ** 2).mean())
    assert metrics["loss"].compute() == pytest.approx(expected, rel=1e-5)
    by_z_b = (2 * e * p["v"] + 0.5 * 2 * (z_b - q_b)) / count
    by_z_t = (2 * e * p["c"] / count + p["a"] * by_z_b).sum(1, keepdims=True) + 0.5 * 2 * (z_t - q_t) / 3
    by_h = by_z_b + p["u"] * by_z_t
    slopes = {
        "w": (by_h * x).sum(), "u": (by_z_t * h.sum(1, keepdims=True)).sum(), "a": (by_z_b * q_t).sum(),
        "v": (2 * e * q_b).mean(), "c": (2 * e * q_t).mean(),
    }  # fmt: skip
    want = {name: value - 0.1 * slopes[name] for name, value in p.items()}
    assert after.params["autoencoder"] == pytest.approx(want, rel=1e-5)
    for level, z, codes in (("top", z_t, k_t), ("bottom", z_b, k_b)):
        one_hot, old = np.eye(3)[codes.ravel()], books[level]
        counts = 0.75 * old.counts + 0.25 * one_hot.sum(0)
        sums = 0.75 * old.sums[:, 0] + 0.25 * z.ravel() @ one_hot
        assert_codes_average_and_restart(after.codebooks[level], z, sums, counts, 0.7)


@pytest.mark.covers("GE-12")
def test_without_a_level_its_mean_vector_stands_for_its_codes():
    """The mean vector is sum n e / sum n."""
    learner = vq_vae_2.learner(model=Linear(), optimizer=optax.sgd(0.1), num_codes=3)
    p, books, state = by_hand()
    _, (_, k_t, q_t), (_, k_b, q_b) = quantized_by_hand(p)
    metrics, out = jax.jit(lambda *given: (learner.evaluate(*given), learner.predict(*given)))(state, ROWS)
    measured = {k: v.compute() for k, v in metrics.items()}
    np.testing.assert_array_equal(out["top_codes"].ravel(), k_t)
    np.testing.assert_array_equal(out["bottom_codes"].reshape(3, 2), k_b)
    y = (np.clip(p["v"] * q_b + p["c"] * q_t, -1, 1) + 1) / 2
    np.testing.assert_allclose(out["reconstruction"].reshape(3, 2), y, rtol=1e-5)
    errors = ((y - (PIXELS + 1) / 2) ** 2).mean(1)
    np.testing.assert_allclose(out["psnr"], -10 * np.log10(errors), rtol=1e-4)
    assert measured["mse"] == pytest.approx(errors.mean(), rel=1e-4)
    for level, codes in (("top", k_t), ("bottom", k_b)):
        share = np.bincount(np.ravel(codes), minlength=3) / np.size(codes)
        assert measured[f"{level}_usage"] == (share > 0).mean()
        entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
        assert measured[f"{level}_perplexity"] == pytest.approx(np.exp(entropy), rel=1e-5)
    means = {level: (old.vectors[:, 0] * old.counts).sum() / old.counts.sum() for level, old in books.items()}
    without_top = (np.clip(p["v"] * q_b + p["c"] * means["top"], -1, 1) - PIXELS) / 2
    without_bottom = (np.clip(p["v"] * means["bottom"] + p["c"] * q_t, -1, 1) - PIXELS) / 2
    assert measured["mse_without_top"] == pytest.approx((without_top**2).mean(), rel=1e-4)
    assert measured["mse_without_bottom"] == pytest.approx((without_bottom**2).mean(), rel=1e-4)


class Unigrams(nn.Module):
    """The same logits at each position; with a map, the map's."""

    @nn.compact
    def __call__(self, x, label=None):
        row = self.param("row", nn.initializers.zeros, (3,))
        return jnp.broadcast_to(row, (*x.shape, 3)) + (0 if label is None else label[..., None, :])


class Table(nn.Module):
    """A row of three numbers for each top code, at both of the bottom's positions."""

    @nn.compact
    def __call__(self, codes):
        return self.param("rows", nn.initializers.zeros, (3, 3))[codes].repeat(2, 2)


def with_priors(top, rows, bottom):
    learner = vq_vae_2.learner(
        model=Linear(), optimizer=optax.sgd(0.1), num_codes=3, priors=Priors(Unigrams(), Table(), Unigrams()),
        prior_optimizer=optax.sgd(0.5), is_prior_step=lambda step: step >= 2,
    )  # fmt: skip
    prior = {"top": {"row": top}, "condition": {"rows": rows}, "bottom": {"row": bottom}}
    params = {"autoencoder": dict.fromkeys("wuavc", np.float32(0.8)), "prior": jax.tree.map(np.float32, prior)}
    opt_state = {"autoencoder": optax.sgd(0.1).init(None), "prior": optax.sgd(0.5).init(None)}
    books = {"top": book([-0.7, 0.1, 1], [1, 1, 1]), "bottom": book([-1, 0.2, 1], [1, 1, 1])}
    return learner, VQVAE2State(np.int32(2), jax.random.key(0), params, opt_state, books)


@pytest.mark.covers("GE-12")
def test_one_update_of_the_priors_by_hand():
    """-log p(k_t) - log p(k_b | k_t) over three codes an image; autoencoder and codebooks stay. One image is masked."""
    rng = np.random.default_rng(0)
    top, rows, bottom = rng.normal(size=3), rng.normal(size=(3, 3)), rng.normal(size=3)
    learner, state = with_priors(top, rows, bottom)
    after, metrics = jax.device_get(jax.jit(learner.update)(state, ROWS | {"mask": np.float32([1, 1, 0])}))
    # w x = -.72 .08 | .64 .4; z_t = .8 of the sums -.64, 1.04: codes 0 and 2; z_b = w x + .8 (-.7 | 1):
    # -1.28 -.48 | 1.44 1.2: codes 0, 1 (-.48 is .52 from -1 and .68 from .2: 0) and 2, 2
    k_t, k_b = [0, 2], [[0, 0], [2, 2]]

    def softmax(logits):
        return np.exp(logits) / np.exp(logits).sum()

    nats_t = [-np.log(softmax(top)[k]) for k in k_t]
    nats_b = [[-np.log(softmax(bottom + rows[t])[k]) for k in b] for t, b in zip(k_t, k_b, strict=True)]
    assert metrics["top_bits"].compute() == pytest.approx(np.mean(nats_t) / np.log(2), rel=1e-5)
    assert metrics["bottom_bits"].compute() == pytest.approx(np.mean(nats_b) / np.log(2), rel=1e-5)
    per_code = (np.sum(nats_t) + np.sum(nats_b)) / 6
    assert metrics["prior_bits"].compute() == pytest.approx(per_code / np.log(2), rel=1e-5)
    assert metrics["mse"].compute() is None
    slope_top, slope_rows = np.zeros(3), np.zeros((3, 3))
    for t, b in zip(k_t, k_b, strict=True):
        slope_top += (softmax(top) - np.eye(3)[t]) / 6
        slope_rows[t] += sum((softmax(bottom + rows[t]) - np.eye(3)[k]) / 6 for k in b)
    prior = after.params["prior"]
    np.testing.assert_allclose(prior["top"]["row"], top - 0.5 * slope_top, rtol=1e-5)
    np.testing.assert_allclose(prior["condition"]["rows"], rows - 0.5 * slope_rows, rtol=1e-5)
    np.testing.assert_allclose(prior["bottom"]["row"], bottom - 0.5 * slope_rows.sum(0), rtol=1e-5)
    assert after.params["autoencoder"] == state.params["autoencoder"]
    chex.assert_trees_all_equal(after.codebooks, state.codebooks)
    assert int(after.step) == 3


@pytest.mark.covers("GE-12")
def test_samples_draw_the_bottom_given_the_top_that_was_drawn():
    """The table makes the bottom's codes copies of the top's: with both uniform otherwise, only such images appear."""
    learner, state = with_priors(np.zeros(3), 50 * np.eye(3), np.zeros(3))
    rows = Source.indices(32)[:]

    @jax.jit
    def run(state, rows):
        return learner.predict(state, rows), learner.evaluate(state, ROWS), learner.init(jax.random.key(0), ROWS)

    out, metrics, started = jax.device_get(run(state, rows))
    assert set(out) == {"sample"}
    drawn = out["sample"][:, 0, :, 0]
    copies = np.clip(0.8 * np.array([-1, 0.2, 1]) + 0.8 * np.array([-0.7, 0.1, 1]), -1, 1)
    assert {round(float(v), 4) for v in drawn[:, 0]} == {round(float(v), 4) for v in (copies + 1) / 2}
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 1])
    turned = run(state, jax.tree.map(lambda x: x[::-1], rows))[0]["sample"][:, 0, :, 0]
    np.testing.assert_allclose(turned, drawn[::-1], atol=1e-6)
    # Codes of the images are 0: 0 0, 2: 2 2 (see the update above) and 1: 1 2, whose last code costs 50 nats:
    # w x = -.24 .56, z_t = .8 (.32), z_b = -.16 .64.
    measured = {name: metrics[f"{name}_bits"].compute() * np.log(2) for name in ("top", "bottom", "prior")}
    expected = {"top": np.log(3), "bottom": 50 / 6, "prior": (3 * np.log(3) + 50) / 9}
    assert measured == pytest.approx(expected, rel=1e-5)
    # Codebooks start at outputs of the encoders, w = u = a = 1: the sums of pixels, and each pixel with its sum.
    sums = PIXELS.sum(1)
    np.testing.assert_allclose(np.sort(started.codebooks["top"].vectors[:, 0]), np.sort(sums), atol=1e-6)
    assert_codes_are_encodings(started.codebooks["bottom"].vectors, PIXELS + sums[:, None])
    assert started.params["autoencoder"] == dict.fromkeys("wuavc", 1)
    shapes = {"top": {"row": (3,)}, "condition": {"rows": (3, 3)}, "bottom": {"row": (3,)}}
    assert jax.tree.map(np.shape, started.params["prior"]) == shapes
    assert int(started.step) == 0


@pytest.fixture(scope="module")
def map_prior():
    """A PixelCNN that reads a map of a 3 x 3 grid of top codes, with random weights, and its condition."""
    condition, model = TopCondition(5, features=4), PixelCNN(3, 1, features=8, num_layers=1, first_kernel=3)
    top = jnp.arange(18).reshape(2, 3, 3) % 5
    rng = np.random.default_rng(0)

    def normal(shapes):
        return jax.tree.map(lambda s: jnp.asarray(0.5 * rng.normal(size=s.shape), jnp.float32), shapes)

    of_condition = normal(jax.eval_shape(condition.init, jax.random.key(0), top))
    m = condition.apply(of_condition, top)
    params = normal(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((2, 6, 6, 1), jnp.int32), m))["params"]
    return condition, of_condition, model, params, top


@pytest.mark.weekly
@pytest.mark.covers("GE-12")
def test_each_top_code_changes_the_bottom_around_it_and_no_order_is_broken(map_prior):
    """Code (1, 1) reaches, by a 3x3 convolution, the whole grid of 3 x 3; pixels after one still say nothing of it."""
    condition, of_condition, model, params, top = map_prior
    x = jnp.zeros((2, 6, 6, 1), jnp.int32)

    def logits(top, x):
        return model.apply({"params": params}, x, condition.apply(of_condition, top))

    before = logits(top, x)
    moved = np.abs(logits(top.at[:, 0, 0].set(4 - top[:, 0, 0]), x) - before).max((0, 3, 4))
    assert (moved[:2, :2] > 1e-4).all()
    assert (moved[4:, :] == 0).any()
    later = logits(top, x.at[:, 2, 3].set(1))
    flat = np.abs(later - before).max((0, 3, 4)).ravel()
    assert (flat[: 2 * 6 + 4] == 0).all()
    assert flat[2 * 6 + 4] > 1e-4


@pytest.mark.slow
@pytest.mark.covers("GE-12")
def test_sampling_row_by_row_reads_the_map_where_it_is(map_prior):
    condition, of_condition, model, params, top = map_prior
    keys = jax.random.split(jax.random.key(1), 2)
    label = condition.apply(of_condition, top)
    settings = {"label": label, "temperature": 6.0}  # at 1 one level has nearly all of the probability
    cached = jax.jit(lambda: sample(model, params, keys, (6, 6, 1), **settings))()
    plain = sample(_Whole(model), params, keys, (6, 6, 1), cached=False, **settings)
    assert np.bincount(np.ravel(plain), minlength=3).min() > 5
    np.testing.assert_array_equal(cached, plain)


class _Whole:
    """A model whose samples are drawn by passes over the whole image."""

    def __init__(self, model):
        self.apply = model.apply


def make(first):
    return vq_vae_2.learner(
        model=VQVAE2((8, 8, 1), width=16, embedding_dim=8, num_res_blocks=0),
        optimizer=optax.adam(5e-3),
        priors=Priors(*(
            TopCondition(K, features=8) if part == "condition"
            else PixelCNN(K, 1, features=8, num_layers=1, first_kernel=3, head_features=8, embedding_dim=4)
            for part in Priors._fields
        )),
        prior_optimizer=optax.adam(5e-3),
        is_prior_step=lambda step: step >= first,
        num_codes=K,
    )  # fmt: skip


@pytest.fixture(scope="module")
def learned():
    """Half of the steps train the autoencoder, half the priors."""
    learner, images = make(200), digits("train").arrays["image"]
    update, batches = jax.jit(learner.update, donate_argnums=0), Pipeline(Source({"image": images}), 32)
    state = jax.jit(learner.init)(jax.random.key(0), batches.batch_at(0))
    for step in range(400):
        state, _ = update(state, batches.batch_at(step))
    return learner, state


@pytest.mark.weekly
@pytest.mark.covers("GE-12")
def test_both_levels_are_used_and_the_bottom_is_cheaper_given_its_own_top(learned):
    learner, state = learned
    images, measure = digits("test").arrays["image"], jax.jit(learner.evaluate)
    test = {"image": images, "index": np.arange(500, dtype=np.int32)}
    result = {k: v.compute() for k, v in measure(state, test).items()}
    assert result["mse"] < 0.25 * np.square(images - digits("train").arrays["image"].mean(0)).mean()
    assert result["mse_without_top"] > 1.2 * result["mse"], result
    assert result["mse_without_bottom"] > 1.2 * result["mse"], result
    assert min(result["top_perplexity"], result["bottom_perplexity"]) > K / 4, result
    assert result["prior_bits"] == pytest.approx((4 * result["top_bits"] + 16 * result["bottom_bits"]) / 20, rel=1e-4)
    # p(bottom | another image's top) is smaller than p(bottom | its own top).
    codes = jax.jit(learner.predict)(state, test)
    prior, network = state.params["prior"], PixelCNN(K, 1, 0, 8, 1, 3, head_features=8, embedding_dim=4)
    bits = []
    for shift in (0, 1):
        condition = TopCondition(K, features=8).apply(
            {"params": prior["condition"]}, jnp.roll(codes["top_codes"], shift, 0)
        )
        logits = network.apply({"params": prior["bottom"]}, codes["bottom_codes"][..., None], condition)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), codes["bottom_codes"][..., None, None], -1)
        bits.append(-float(log_p.mean()) / np.log(2))
    assert bits[0] == pytest.approx(result["bottom_bits"], rel=1e-4)
    assert bits[1] > bits[0] + 0.1, bits


@pytest.mark.weekly
@pytest.mark.covers("GE-12")
def test_samples_decode_and_do_not_depend_on_their_batch(learned):
    learner, state = learned
    predict = jax.jit(learner.predict)
    drawn = np.asarray(predict(state, Source.indices(64)[:])["sample"])
    chex.assert_shape(drawn, (64, 8, 8, 1))
    assert np.abs(drawn.mean(0) - digits("train").arrays["image"].mean(0)).mean() < 0.1
    assert drawn.var(0).mean() > 0.3 * digits("train").arrays["image"].var(0).mean()
    np.testing.assert_allclose(predict(state, Source.indices(64)[[5, 3]])["sample"], drawn[[5, 3]], atol=1e-5)


def test_a_size_that_cannot_be_halved_once_more_is_named():
    with pytest.raises(ValueError, match=r"shape=\(10, 10, 1\): sides cannot be halved 2 times; allowed: mult"):
        VQVAE2((10, 10, 1)).init(jax.random.key(0), jnp.zeros((1, 10, 10, 1)))


@pytest.mark.slow
def test_the_wiring_of_top_condition_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(TopCondition(5, features=4), np.arange(12).reshape(2, 2, 3) % 5, [8.6589, 1.88217])


@pytest.mark.slow
def test_the_wiring_of_vqvae_2_is_as_it_was():
    """A regression: the number holds the code as it was."""
    network = VQVAE2((8, 12, 2), width=4, embedding_dim=3, downsamplings=1, num_res_blocks=1)
    assert_wiring(network, (2, 8, 12, 2), [11.2401, 0.928757])
