"""The prior's loss and step by hand, a small run, samples, and runs that cannot serve."""

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
from dlcore.experiment.resolve import resolve
from dlcore.generative import vq_vae, vq_vae_prior
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.vq_vae import VQVAE, CodebookPerplexity
from dlcore.generative.vq_vae_prior import HistogramBits, VQVAEPriorState
from dlcore.main import run
from dlcore.weights import earlier_run, frozen_codes
from dlcore.weights.open import Weights
from experiments import find_experiment
from experiments.generative import vq_vae_prior as page
from tests.generative.codebooks import assert_codes_are_encodings

VECTORS = np.array([[-1.0], [0.0], [1.0]], np.float32)
X = np.array(
    [[-0.9, 0.1], [0.8, 0.5], [-0.3, 0.7]], np.float32
)  # nearest: 0 1, 2 1 (0.5 is as near to 0: the first), 1 2
ROWS = {"image": (X.reshape(3, 1, 2, 1) + 1) / 2, "index": np.arange(3, dtype=np.int32)}


class Same(nn.Module):
    """Encodings are w x, and images are their vectors; codes are a grid of 1 x 2."""

    grid = (1, 2)

    def setup(self):
        self.w = self.param("w", nn.initializers.ones, ())

    def encode(self, x):
        return self.w * x

    def decode(self, q):
        return self.w * q

    def __call__(self, x):
        return self.decode(self.encode(x))


class Frequencies(nn.Module):
    """A prior of independent codes."""

    levels: int = 3

    @nn.compact
    def __call__(self, x, label=None):
        return jnp.broadcast_to(self.param("logits", nn.initializers.zeros, (self.levels,)), (*x.shape, self.levels))


def small(logits=(0.0, 0.0, 0.0), **settings):
    settings = {"model": Same(), "prior": Frequencies(), "optimizer": optax.sgd(0.5), "num_codes": 3, **settings}
    learner = vq_vae_prior.learner(**settings)
    params, frozen = {"logits": jnp.array(logits)}, {"autoencoder": {"w": jnp.ones(())}, "codebook": jnp.array(VECTORS)}
    state = VQVAEPriorState(jnp.int32(0), jax.random.key(0), params, optax.sgd(0.5).init(params), frozen)
    return learner, state


@pytest.mark.covers("GE-12")
def test_one_update_of_the_prior_by_hand():
    """Codes 0 1, 2 1, 1 2 have frequencies 1/6, 1/2, 1/3; the gradient of -log softmax is 1/3 minus these."""
    learner, state = small()
    after, metrics = jax.jit(learner.update)(state, ROWS)
    np.testing.assert_allclose(after.params["logits"], -0.5 * (1 / 3 - np.array([1 / 6, 1 / 2, 1 / 3])), atol=1e-6)
    assert metrics["loss"].compute() == pytest.approx(np.log(3), rel=1e-6)
    assert metrics["prior_bits"].compute() == pytest.approx(np.log2(3), rel=1e-6)
    chex.assert_trees_all_equal(after.frozen, state.frozen)
    assert int(after.step) == 1


def test_the_bits_of_a_histogram_are_its_entropy():
    # Shares 1/2, 1/4, 1/4: 1.5 bits.
    assert HistogramBits(jnp.array([4, 2, 2])).compute() == pytest.approx(1.5)
    assert HistogramBits(jnp.array([0, 3, 0])).compute() == 0
    assert HistogramBits(jnp.zeros(3, int)).compute() is None
    assert not isinstance(CodebookPerplexity(jnp.array([4, 2, 2])), HistogramBits)


@pytest.mark.covers("GE-12")
def test_samples_are_decoded_codes_and_the_prior_is_measured_beside_their_frequencies():
    """Logits (0, 0, .5), which are (0, 0, 50) at a temperature of .01. The third image is padding."""
    learner, state = small([0.0, 0.0, 0.5], temperature=0.01)
    rows = {**ROWS, "mask": np.float32([1, 1, 0])}

    @jax.jit
    def run(state):
        alone = learner.predict(state, {"index": np.arange(2)})
        measured = learner.evaluate(state, rows), learner.loss(state.params, state, rows)[0]
        return alone, learner.predict(state, ROWS), *measured, learner.init(jax.random.key(0), ROWS)

    alone, outputs, metrics, loss, started = jax.device_get(run(state))
    assert set(alone) == {"sample"}
    np.testing.assert_array_equal(alone["sample"], np.ones((2, 1, 2, 1)))  # code 2 has the vector 1
    np.testing.assert_array_equal(outputs["codes"][:, 0], [[0, 1], [2, 1], [1, 2]])
    y = np.array([[0, 0.5], [1, 0.5], [0.5, 1]])
    np.testing.assert_allclose(outputs["reconstruction"][:, 0, :, 0], y)
    np.testing.assert_allclose(outputs["psnr"], -10 * np.log10(((y - (X + 1) / 2) ** 2).mean(1)), rtol=1e-4)
    # Codes 0 1 2 1: log(1 + 1 + e^.5) nats, less .5 for one of four; their shares 1/4, 1/2, 1/4 have 1.5 bits.
    nats = np.log(2 + np.exp(0.5)) - 0.125
    measured = {name: metric.compute() for name, metric in metrics.items()}
    expected = {"loss": nats, "prior_bits": nats / np.log(2), "histogram_bits": 1.5, "usage": 1, "perplexity": 8**0.5}
    assert measured == pytest.approx(expected, rel=1e-5)
    assert float(loss) == pytest.approx(nats, rel=1e-5)
    # The codebook starts at three outputs of the autoencoder, w = 1, and the prior as a uniform guess.
    assert_codes_are_encodings(started.frozen["codebook"], X)
    assert started.frozen["autoencoder"] == {"w": 1}
    np.testing.assert_array_equal(started.params["logits"], np.zeros(3))
    assert int(started.step) == 0


class Bigrams(nn.Module):
    """The next code's logits: a row for the code on the left, that of code 0 at the left edge."""

    @nn.compact
    def __call__(self, x, label=None):
        left = jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
        return self.param("rows", nn.initializers.zeros, (3, 3))[left]


@pytest.mark.covers("GE-12")
def test_one_update_by_hand_of_a_prior_that_reads_the_code_on_the_left():
    """It descends the nats a code; the third image is masked."""
    rate, rng = 0.5, np.random.default_rng(0)
    learner = vq_vae_prior.learner(model=Same(), prior=Bigrams(), optimizer=optax.sgd(rate), num_codes=3)
    x = np.array([[-0.9, 0.1, 0.8], [0.8, 0.6, -0.7], [-0.3, 0.7, 0]], np.float32)
    rows = {"image": (x.reshape(3, 1, 3, 1) + 1) / 2, "index": np.arange(3), "mask": np.float32([1, 1, 0])}
    table = rng.normal(size=(3, 3)).astype(np.float32)
    params, frozen = {"rows": table}, {"autoencoder": {"w": np.float32(1.2)}, "codebook": VECTORS}
    state = VQVAEPriorState(np.int32(2), jax.random.key(0), params, optax.sgd(rate).init(params), frozen)
    after, metrics = jax.device_get(jax.jit(learner.update)(state, rows))
    # Codes nearest to 1.2 x: (0, 1, 2) and (2, 2, 0); pairs from the left edge, code 0.
    pairs = [(0, 0), (0, 1), (1, 2), (0, 2), (2, 2), (2, 0)]
    p = np.exp(table) / np.exp(table).sum(-1, keepdims=True)
    slope = np.zeros((3, 3))
    for left, code in pairs:
        slope[left] += (p[left] - np.eye(3)[code]) / 6
    np.testing.assert_allclose(after.params["rows"], table - rate * slope, rtol=1e-5)
    nats = np.mean([-np.log(p[pair]) for pair in pairs])
    assert metrics["prior_bits"].compute() == pytest.approx(nats / np.log(2), rel=1e-5)
    chex.assert_trees_all_equal(after.frozen, frozen)
    assert int(after.step) == 3


@pytest.fixture(scope="module")
def learned():
    """(learner, state before, state after 200 steps) of the prior of an autoencoder that had 200 steps."""
    model, k = VQVAE((8, 8, 1), width=16, embedding_dim=8, downsamplings=1, num_res_blocks=0), 16
    prior = PixelCNN(k, 1, features=8, num_layers=1, first_kernel=3, head_features=8, embedding_dim=4)
    first = vq_vae.learner(model=model, optimizer=optax.adam(5e-3), num_codes=k)
    second = vq_vae_prior.learner(model=model, prior=prior, optimizer=optax.adam(5e-3), num_codes=k)
    batches = Pipeline(Source({"image": digits("train").arrays["image"]}), 32)

    def train(learner, state, steps):
        update = jax.jit(learner.update)
        for step in steps:
            state, _ = update(state, batches.batch_at(step))
        return state

    autoencoder = train(first, jax.jit(first.init)(jax.random.key(0), batches.batch_at(0)), range(200))
    before = jax.jit(second.init)(jax.random.key(0), batches.batch_at(0))
    before = before.replace(frozen={"autoencoder": autoencoder.params, "codebook": autoencoder.codebook.vectors})
    return second, before, train(second, before, range(200, 400))


@pytest.mark.weekly
@pytest.mark.covers("GE-12")
def test_a_prior_learns_the_codes(learned):
    learner, *states = learned
    test = {"image": digits("test").arrays["image"], "index": np.arange(500, dtype=np.int32)}
    measure = jax.jit(learner.evaluate)
    before, after = ({name: metric.compute() for name, metric in measure(state, test).items()} for state in states)
    assert before["prior_bits"] == pytest.approx(4, abs=0.01)  # untrained it is uniform: log2 16
    assert after["prior_bits"] < 3.5


@pytest.mark.weekly
@pytest.mark.covers("GE-12")
def test_samples_of_the_prior_decode_and_do_not_depend_on_their_batch(learned):
    learner, _, state = learned
    predict = jax.jit(learner.predict)
    drawn = np.asarray(predict(state, Source.indices(64)[:])["sample"])
    chex.assert_shape(drawn, (64, 8, 8, 1))
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert np.abs(drawn.mean(0) - digits("train").arrays["image"].mean(0)).mean() < 0.1
    assert drawn.var(0).mean() > 0.3 * digits("train").arrays["image"].var(0).mean()
    np.testing.assert_allclose(predict(state, Source.indices(64)[[5, 3]])["sample"], drawn[[5, 3]], atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_codes": 32}, r"^init_from='run': trained with num_codes=32; allowed: 64, as in this run$"),
        ({"architecture": "vqmodel"}, "trained with architecture=vqmodel; allowed: vqvae, as in this run"),
        ({"vqvae.width": 8}, r"trained with vqvae\.width=8; allowed: 32, as in this run"),
    ],
)
def test_an_autoencoder_of_another_form_is_refused(monkeypatch, tmp_path, settings, message):
    flags = resolve(page.experiment, [])
    monkeypatch.setattr(earlier_run, "origin", lambda *args: Weights("init_from", "run", settings=settings))
    with pytest.raises(ValueError, match=message):
        frozen_codes.origin(flags)
    same = Weights("init_from", "run", settings={"num_codes": 64, "vqmodel.width": 3})
    monkeypatch.setattr(earlier_run, "origin", lambda *args: same)
    assert frozen_codes.origin(flags) is same


@pytest.mark.weekly
def test_a_run_of_the_first_phase_gives_its_autoencoder_and_codebook(tmp_path, capsys):
    words = ["--smoke", f"--runs={tmp_path}"]
    assert run(find_experiment("generative.vq_vae"), words) == 0, capsys.readouterr().err
    (folder,) = (tmp_path / "generative.vq_vae").iterdir()
    assert run(page.experiment, [*words, f"--init_from={folder}"]) == 0, capsys.readouterr().err
    (trained,) = (tmp_path / "generative.vq_vae_prior").iterdir()
    first, second = earlier_run.load(folder, "codebook"), earlier_run.load(trained, "frozen")
    chex.assert_trees_all_equal(second.fields["frozen"]["autoencoder"], first.params)
    np.testing.assert_array_equal(second.fields["frozen"]["codebook"], first.fields["codebook"]["vectors"])
