"""Quantization and the codebook's averages by hand, restarts, a small run."""

from functools import partial

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
from dlcore.generative import vq_vae
from dlcore.generative.vq_vae import (
    VQVAE,
    Codebook,
    CodebookPerplexity,
    CodebookUsage,
    VQVAEState,
    codebook_from,
    nearest_codes,
    straight_through,
    update_codebook,
)
from dlcore.ops.replica import REPLICA
from tests.generative.codebooks import assert_codes_are_encodings, assert_codes_average_and_restart
from tests.wiring import assert_wiring

K = 16


@pytest.mark.covers("GE-12")
def test_a_residual_block_adds_to_its_input():
    """Constant maps: kernels sum over 3 x 3 places but at the border, so the middle pixel is checked.

    One channel in, x = 2; two residual blocks x + w2 relu(w1 relu(x)) with w1 = 1 / 9 a place and w2 = 0.5: 3, 4.5.
    """
    net = vq_vae.VQVAE((8, 8, 1), width=1, embedding_dim=1, downsamplings=1, num_res_blocks=2)
    shapes = jax.eval_shape(net.init, jax.random.key(0), np.zeros((1, 8, 8, 1), np.float32))["params"]

    def constant(path, leaf):
        kind = "bias" if path[-1].key == "bias" else path[0].key
        value = 0 if kind == "bias" else 0.5 if kind.endswith("conv2") else 1 / 9
        return np.full(leaf.shape, value, np.float32)

    params = jax.tree_util.tree_map_with_path(constant, shapes)
    y = jax.jit(lambda x: net.apply({"params": params}, x, method="decode"))(np.full((1, 12, 12, 1), 2, np.float32))
    np.testing.assert_allclose(y[0, 11:13, 11:13, 0], 4.5, rtol=1e-5)


@pytest.mark.covers("GE-12")
def test_codes_are_the_nearest_and_gradients_pass_straight_through():
    vectors = jnp.array([[0.0, 0], [3, 0], [0, 3], [3, 0]])
    z = jnp.array([[[1.4, 0.1], [1.6, 0.1]], [[2.9, 2.8], [-1, 2]]])
    np.testing.assert_array_equal(nearest_codes(z, vectors), [[0, 1], [1, 2]])  # the first of two equal ones

    def through(z):
        q = vectors[nearest_codes(z, vectors)]
        return (straight_through(z, q) * jnp.arange(8.0).reshape(z.shape)).sum(), q

    (value, q), gradient = jax.value_and_grad(through, has_aux=True)(z)
    assert float(value) == pytest.approx(float((q * np.arange(8).reshape(2, 2, 2)).sum()))
    np.testing.assert_array_equal(gradient, np.arange(8).reshape(2, 2, 2))


@pytest.mark.slow
@pytest.mark.covers("GE-12")
def test_the_codebook_is_an_average_by_hand():
    book = Codebook(jnp.array([[1.0], [2]]), jnp.array([4.0, 4]), jnp.array([[4.0], [8]]))
    z, codes = jnp.array([[3.0], [5], [9], [7]]), jnp.array([0, 0, 1, 1])
    new = update_codebook(book, z, codes, jnp.array([1, 1, 1, 0]), jax.random.key(0), decay=0.75, restart_below=0.0)
    # counts .75 * 4 + .25 * (2, 1); sums .75 * (4, 8) + .25 * (8, 9)
    np.testing.assert_allclose(new.counts, [3.5, 3.25])
    np.testing.assert_allclose(new.sums[:, 0], [5, 8.25])
    np.testing.assert_allclose(new.vectors[:, 0], [5 / 3.5, 8.25 / 3.25], rtol=1e-6)
    padding = update_codebook(book, z, codes, jnp.zeros(4), jax.random.key(0))
    chex.assert_trees_all_equal(padding, book)


@pytest.mark.covers("GE-12")
def test_a_dead_code_restarts_at_an_output_that_counts():
    """Code 2 has 1 of 301 counts, below 3 % of a third; code 1, unused in this batch, is not dead yet.

    Counts are .99 of (200, 100, 1) and .01 of (2, 0, 0): 198.02, 99 and .99, on average 99.3367.
    """
    book = Codebook(jnp.array([[0.0], [1], [50]]), jnp.array([200.0, 100, 1]), jnp.array([[0.0], [100], [50]]))
    z, mask, keys = jnp.array([[0.1], [0.2], [99]]), jnp.array([1, 1, 0]), jax.random.split(jax.random.key(0), 9)

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def update(key, restart_below):
        return update_codebook(book, z, jnp.zeros(3, int), mask, key, restart_below=restart_below)

    new = update(keys, 0.03)
    restarts = new.vectors[:, 2, 0]
    assert {round(float(v), 4) for v in restarts} == {0.1, 0.2}
    np.testing.assert_allclose(new.vectors[:, 1, 0], np.ones(9), rtol=1e-6)
    # Its count is the average, so that it stays until it has had time to be used.
    np.testing.assert_allclose(new.counts[0], [198.02, 99, 99.3367], rtol=1e-5)
    np.testing.assert_allclose(new.sums[:, 2, 0], 99.3367 * restarts, rtol=1e-5)
    np.testing.assert_allclose(update(keys, 0.0).vectors[:, 2, 0], np.full(9, 50), rtol=1e-5)


def test_the_usage_of_codes_leaves_padding_out():
    """Of five codes, 0 appears twice and 3 six times: shares 1/4 and 3/4. The third grid is padding."""
    codes = np.array([[[0, 3], [3, 3]], [[0, 3], [3, 3]], [[1, 2], [2, 4]]])
    found = vq_vae.codebook_usage(jnp.asarray(codes), jnp.array([1, 1, 0]), 5)
    assert found["usage"].compute() == pytest.approx(2 / 5)
    assert found["perplexity"].compute() == pytest.approx(4 / 3**0.75)


@pytest.mark.covers("GE-12")
def test_usage_and_perplexity_are_of_all_examples_and_not_of_batches():
    """Codes 0 and 1 in turns: each batch of one code has perplexity 1, all together 2 of 4."""
    parts = [jnp.array([6, 0, 0, 0]), jnp.array([0, 6, 0, 0])]
    perplexity, usage = (kind(parts[0]).merge(kind(parts[1])) for kind in (CodebookPerplexity, CodebookUsage))
    assert perplexity.compute() == pytest.approx(2)
    assert usage.compute() == 0.5
    assert CodebookPerplexity(parts[0]).compute() == pytest.approx(1)
    assert perplexity.empty().compute() is None
    # Shares 1/2, 1/4, 1/4: entropy 1.5 ln 2.
    assert CodebookPerplexity(jnp.array([4, 2, 2])).compute() == pytest.approx(2**1.5)


@pytest.mark.slow
def test_the_first_codebook_are_outputs_without_a_repetition():
    z = jnp.arange(40.0).reshape(20, 2)
    book = codebook_from(jax.random.key(0), z, 20)
    assert sorted(book.vectors[:, 0].tolist()) == z[:, 0].tolist()
    chex.assert_shape(codebook_from(jax.random.key(0), z[:3], 7).vectors, (7, 2))


class Scaled(nn.Module):
    """Outputs w x, one of each pixel, and v q of them."""

    def setup(self):
        self.w, self.v = (self.param(name, nn.initializers.ones, ()) for name in "wv")

    def encode(self, x):
        return self.w * x

    def decode(self, q):
        return self.v * q

    def __call__(self, x):
        return self.decode(self.encode(x))


@pytest.mark.covers("GE-12")
def test_one_update_of_the_autoencoder_by_hand():
    """L = mean (v q - x)^2 + .5 mean (w x - q)^2: v q passes straight through to w, and codes follow averages alone."""
    settings = {"num_codes": 3, "commitment": 0.5, "decay": 0.75, "restart_below": 0.6}
    learner = vq_vae.learner(model=Scaled(), optimizer=optax.sgd(0.1), **settings)
    x = np.array([[-0.9, 0.1], [0.8, 0.5], [-0.3, 0.7]], np.float32)
    rows = {"image": (x.reshape(3, 1, 2, 1) + 1) / 2, "index": np.arange(3, dtype=np.int32)}
    params = {"w": np.float32(1.2), "v": np.float32(0.7)}
    codes, counts = np.array([-1, 0, 1], np.float32), np.array([1, 2, 4], np.float32)
    book = Codebook(codes[:, None], counts, (codes * counts)[:, None])
    state = VQVAEState(np.int32(0), jax.random.key(0), params, optax.sgd(0.1).init(params), book)

    @jax.jit
    def run(state):
        return *learner.update(state, rows), learner.evaluate(state, rows), learner.init(jax.random.key(0), rows)

    after, metrics, measured, started = jax.device_get(run(state))
    # The codebook starts at outputs of the encoder, w = 1.
    assert started.params == {"w": 1, "v": 1}
    assert_codes_are_encodings(started.codebook.vectors, x)
    assert int(started.step) == 0
    z = 1.2 * x.ravel()
    nearest = np.abs(z[:, None] - codes).argmin(1)
    assert set(nearest) == {0, 1, 2}
    q, x = codes[nearest], x.ravel()
    error = 0.7 * q - x
    assert metrics["loss"].compute() == pytest.approx((error**2 + 0.5 * (z - q) ** 2).mean(), rel=1e-5)
    for name in ("loss", "commitment", "mse", "psnr"):
        assert measured[name].compute() == pytest.approx(metrics[name].compute(), rel=1e-6)
    assert measured["usage"].compute() == 1
    share = np.bincount(nearest) / 6
    assert measured["perplexity"].compute() == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-5)
    assert metrics["commitment"].compute() == pytest.approx(((z - q) ** 2).mean(), rel=1e-5)
    shown = np.square(np.clip(0.7 * q, -1, 1) - x).reshape(3, 2).mean(1) / 4  # of pixels in [0, 1]
    assert metrics["mse"].compute() == pytest.approx(shown.mean(), rel=1e-5)
    assert metrics["psnr"].compute() == pytest.approx((-10 * np.log10(shown)).mean(), rel=1e-5)
    by_w = ((2 * error * 0.7 + 0.5 * 2 * (z - q)) * x).mean()
    want = {"w": 1.2 - 0.1 * by_w, "v": 0.7 - 0.1 * (2 * error * q).mean()}
    assert after.params == pytest.approx(want, rel=1e-5)
    assert int(after.step) == 1
    one_hot = np.eye(3)[nearest]
    sums, new = 0.75 * codes * counts + 0.25 * z @ one_hot, 0.75 * counts + 0.25 * one_hot.sum(0)
    assert_codes_average_and_restart(after.codebook, z, sums, new, 0.6)


@pytest.mark.covers("GE-12")
def test_a_trained_autoencoder_reconstructs_and_interpolates_images():
    """Codes -1, 0 and 1 of z = 1.2 x, decoded to .7 q; the path goes to the other image, by its own nearest codes."""
    x = np.array([[-0.9, 0.1], [0.8, 0.5], [-0.3, 0.7]], np.float32).reshape(3, 1, 2, 1)
    rows, params = {"image": (x + 1) / 2, "other": (x[::-1] + 1) / 2}, {"w": 1.2, "v": 0.7}
    out = jax.jit(partial(vq_vae.reconstruct, Scaled(), params, jnp.array([[-1.0], [0], [1]])))(rows)
    np.testing.assert_array_equal(out["codes"], [[[0, 1]], [[2, 2]], [[1, 2]]])
    np.testing.assert_allclose(out["features"], 1.2 * x.reshape(3, 2), rtol=1e-5)
    y = (0.7 * (np.asarray(out["codes"]) - 1.0)[..., None] + 1) / 2
    np.testing.assert_allclose(out["reconstruction"], y, rtol=1e-5)
    np.testing.assert_allclose(out["psnr"], -10 * np.log10(((y - rows["image"]) ** 2).mean((1, 2, 3))), rtol=1e-4)
    chex.assert_shape(out["path"], (3, 8, 1, 2, 1))
    np.testing.assert_allclose(out["path"][:, 0], y, rtol=1e-5)
    np.testing.assert_allclose(out["path"][:, -1], y[::-1], rtol=1e-5)


@pytest.fixture(scope="module")
def learned():
    """A small autoencoder after 200 steps."""
    learner = vq_vae.learner(
        model=VQVAE((8, 8, 1), width=16, embedding_dim=8, downsamplings=1, num_res_blocks=0),
        optimizer=optax.adam(5e-3),
        num_codes=K,
    )
    update = jax.jit(learner.update, donate_argnums=0)
    batches = Pipeline(Source({"image": digits("train").arrays["image"]}), 32)
    state = jax.jit(learner.init)(jax.random.key(0), batches.batch_at(0))
    for step in range(200):
        state, _ = update(state, batches.batch_at(step))
    return learner, state


@pytest.mark.weekly
@pytest.mark.covers("GE-12")
def test_codes_are_used_and_reconstruct(learned):
    learner, state = learned
    test = {"image": digits("test").arrays["image"], "index": np.arange(500, dtype=np.int32)}
    measure = jax.jit(learner.evaluate)
    after = {k: v.compute() for k, v in measure(state, test).items()}
    assert after["mse"] < 0.25 * np.square(test["image"] - digits("train").arrays["image"].mean(0)).mean()
    assert after["perplexity"] > K / 4, after
    # The perplexity does not depend on the batch.
    halves = [measure(state, {k: v[i::2] for k, v in test.items()})["perplexity"] for i in (0, 1)]
    assert halves[0].merge(halves[1]).compute() == pytest.approx(after["perplexity"], rel=1e-6)


@pytest.mark.slow
def test_the_path_has_its_ends(learned):
    learner, state = learned
    image = digits("test").arrays["image"][:2]
    out = jax.jit(learner.predict)(state, {"image": image, "other": image[::-1], "index": np.arange(2, dtype=np.int32)})
    chex.assert_shape(out["codes"], (2, 4, 4))
    np.testing.assert_allclose(out["path"][:, 0], out["reconstruction"], atol=1e-5)
    np.testing.assert_allclose(out["path"][:, -1], out["reconstruction"][::-1], atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("GE-12")
def test_the_codebook_is_averaged_over_replicas():
    """Eight replicas of four outputs are one batch of 32; a restart takes the same output, of any of them, on all."""
    rng = np.random.default_rng(0)
    z, vectors = rng.normal(size=(32, 2)).astype(np.float32), rng.normal(size=(5, 2)).astype(np.float32)
    book = Codebook(jnp.asarray(vectors), jnp.array([9.0, 9, 9, 9, 0.01]), jnp.asarray(9 * vectors))
    codes, mask, key = np.arange(32) % 4, np.arange(32) % 3 > 0, jax.random.key(0)

    def update(z, codes, mask, restart_below):
        return update_codebook(book, z, codes, mask, key, restart_below=restart_below)

    rows = [v.reshape(8, 4, *v.shape[1:]) for v in (z, codes, mask)]
    eight = {r: jax.pmap(partial(update, restart_below=r), REPLICA)(*rows) for r in (0.0, 0.03)}
    for book_of_one in (jax.tree.map(lambda a, i=i: a[i], eight[0.0]) for i in (0, 7)):
        chex.assert_trees_all_close(book_of_one, update(z, codes, mask, 0.0), rtol=1e-5)
    fresh = np.asarray(eight[0.03].vectors[:, 4])
    assert (fresh == fresh[0]).all()
    assert any(np.array_equal(fresh[0], row) for row in z[mask])


@pytest.mark.slow
def test_a_size_that_cannot_be_halved_is_named():
    with pytest.raises(ValueError, match=r"shape=\(10, 8, 1\): sides cannot be halved 2 times; allowed: mult"):
        VQVAE((10, 8, 1)).init(jax.random.key(0), jnp.zeros((1, 10, 8, 1)))


@pytest.mark.slow
def test_the_wiring_of_vqvae_is_as_it_was():
    """A regression: the number holds the code as it was."""
    network = VQVAE((8, 12, 2), width=4, embedding_dim=3, downsamplings=1, num_res_blocks=1)
    assert_wiring(network, (2, 8, 12, 2), [20.5132, -7.012])
