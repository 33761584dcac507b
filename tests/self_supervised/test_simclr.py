"""One update by hand, features that part what views do not, and equality over devices."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.evaluators.uniformity import uniformity_of
from dlcore.losses.contrastive import nt_xent_loss
from dlcore.nn import BatchNorm
from dlcore.ops.replica import REPLICA
from dlcore.run import Placement, fit, make_mesh
from dlcore.self_supervised import simclr
from dlcore.self_supervised.networks import unit
from tests import siamese_toys as toys


class Tiny(nn.Module):
    """A dense encoder, with batch norm where asked for."""

    norm: bool = False
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x, train=False):
        h = nn.Dense(6, name="encoder")(x.reshape(len(x), -1))
        if self.norm:
            h = BatchNorm(not train, axis_name=self.axis_name, name="bn")(h)
        return {"features": h, "embeddings": unit(nn.Dense(4, name="head")(jnp.tanh(h)))}


def augment(key, image):
    return image + 0.3 * jax.random.normal(key, image.shape)


def source(n=16):
    """Two kinds of image: left and right half bright."""
    rng = np.random.default_rng(0)
    label = (np.arange(n) % 2).astype(np.int32)
    image = 0.1 * rng.random((n, 2, 2, 1), np.float32)
    image[np.arange(n), :, label] += 0.8
    return Source({"image": image.astype(np.float32), "label": label})


def toy(rate=0.5, norm=False):
    return simclr.learner(model=Tiny(norm), optimizer=optax.sgd(rate), augment=augment)


def plain(state):
    return jax.tree.map(np.asarray, state.replace(rng=jax.random.key_data(state.rng)))


@pytest.mark.covers("SS-13")
def test_a_step_and_an_evaluation_by_hand_leave_padding_out():
    """Eight views of the four examples that count, each against the seven others, its partner the one to find."""
    learner, params = simclr.learner(**toys.settings(), temperature=0.3), toys.weights(1)
    state = toys.state_of(learner, params=params)

    def cosines(params, views):
        z = np.concatenate([toys.unit_rows(v @ params["w"]) for v in views])
        scores = z @ z.T / 0.3
        np.fill_diagonal(scores, -np.inf)
        return z, scores

    partner = np.r_[4:8, 0:4]

    def loss(params, evaluates=False):
        _, scores = cosines(params, toys.views(state, evaluates=evaluates))
        return -toys.log_softmax(scores)[np.arange(8), partner].mean()

    hits = cosines(params, toys.views(state))[1].argmax(1) == partner
    toys.check_update(learner, state, params, loss, still=["q"], accuracy=hits.mean())
    evaluated, (value, _), predicted = jax.jit(
        lambda s: (learner.evaluate(s, toys.ROWS), learner.loss(s.params, s, toys.ROWS), learner.predict(s, toys.ROWS))
    )(state)
    z, scores = cosines(params, toys.views(state, evaluates=True))
    expected = {
        "loss": loss(params, evaluates=True),
        "accuracy": (scores.argmax(1) == partner).mean(),
        "alignment": np.square(z[:4] - z[4:]).sum(1).mean(),
    }
    assert {name: metric.compute() for name, metric in evaluated.items()} == pytest.approx(expected, rel=1e-5)
    assert value == pytest.approx(expected["loss"], rel=1e-5)
    images = toys.prepare(toys.ROWS["image"].reshape(5, 4))
    np.testing.assert_allclose(predicted["features"], images, rtol=1e-6)
    np.testing.assert_allclose(predicted["embeddings"], toys.unit_rows(images @ params["w"]), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(predicted["untrained"], images, rtol=1e-6)


def test_one_pass_of_both_views_moves_the_running_statistics_that_an_evaluation_uses():
    """From 1, a batch of mean M makes 2 + M. In evaluation, embeddings are the pixels plus that 1, of length 1."""
    learner = simclr.learner(model=toys.Remembering(), optimizer=optax.sgd(0.1), augment=lambda key, image: image)
    seen = {"batch_stats": {"seen": 1.0}}
    state = toys.state_of(learner, params={"w": np.ones(4)}, model_state=seen)
    after, evaluated = jax.jit(lambda s: (learner.update(s, toys.ROWS)[0], learner.evaluate(s, toys.ROWS)))(state)
    assert after.model_state["batch_stats"]["seen"] == pytest.approx(2 + toys.ROWS["image"].mean(), rel=1e-5)
    z = toys.unit_rows(toys.ROWS["image"].reshape(5, 4) + 1)
    # Of the four images, each view meets its equal once, and each other image twice.
    powers = np.exp(z[:4] @ z[:4].T / 0.5)
    losses = np.log(2 * powers.sum(1) - np.exp(2)) - 2
    assert evaluated["loss"].compute() == pytest.approx(losses.mean(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SS-13")
def test_an_update_by_hand():
    learner, rows = toy(), source()[np.arange(6)]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(state.rng, 0), 0), i))(
        rows["index"]
    )
    first, second = (
        jnp.stack([augment(jax.random.fold_in(k, v), image) for k, image in zip(keys, rows["image"], strict=True)])
        for v in (0, 1)
    )

    def by_hand(params):
        a, b = (Tiny().apply({"params": params}, x)["embeddings"] for x in (first, second))
        return nt_xent_loss(a, b, 0.5)

    value, gradient = jax.jit(jax.value_and_grad(by_hand))(state.params)
    after, metrics = jax.jit(learner.update)(state, rows)
    assert metrics["loss"].compute() == pytest.approx(float(value), rel=1e-5)
    want = jax.tree.map(lambda p, g: p - 0.5 * g, state.params, gradient)
    chex.assert_trees_all_close(after.params, want, atol=1e-6)


@pytest.mark.weekly
@pytest.mark.parametrize(("spmd", "norm"), [("jit", True), ("pmap", True)])
def test_eight_devices_equal_one(spmd, norm):
    def run(placement):
        learner = toy(0.1, norm)
        return fit(learner, Pipeline(source(), 16), steps=3, placement=placement, progress=False).state

    one = run(Placement(make_mesh("data:1", jax.devices()[:1])))
    eight = run(Placement(make_mesh("data:8"), spmd=spmd))
    chex.assert_trees_all_close(plain(one), plain(eight), atol=3e-6)


@pytest.mark.slow
def test_predict_gives_the_net_before_its_first_step_too():
    learner, rows = toy(), source()[np.arange(6)]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    before = learner.predict(state, rows)
    np.testing.assert_allclose(before["features"], before["untrained"], rtol=1e-6)
    state, _ = jax.jit(learner.update)(state, rows)
    after = learner.predict(state, rows)
    np.testing.assert_allclose(after["untrained"], before["features"], rtol=1e-6)
    assert np.abs(after["features"] - before["features"]).max() > 1e-3


@pytest.mark.slow
def test_evaluation_leaves_padding_out_and_labels_are_not_used():
    learner, rows = toy(), source()[np.arange(6)]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    evaluate = jax.jit(learner.evaluate)
    padded = {k: np.concatenate([v, v[:2]]) for k, v in rows.items()} | {"mask": np.r_[np.ones(6), 0, 0]}
    unlabelled = {k: v for k, v in rows.items() if k != "label"}
    for other in (padded, unlabelled):
        for name, metric in evaluate(state, other).items():
            assert metric.compute() == pytest.approx(evaluate(state, rows)[name].compute(), rel=1e-5), name


@pytest.mark.weekly
def test_padded_rows_take_no_part_in_training():
    """Loss, gradient and step are those of the rows without padding, whatever the padding holds."""
    learner, rows = toy(), source()[np.arange(6)]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    padded = {k: np.concatenate([v, v[:2]]) for k, v in rows.items()} | {"mask": np.r_[np.ones(6), 0, 0]}
    padded["image"][6:] = 7.0
    mean = jax.jit(jax.value_and_grad(lambda params, batch: learner.loss(params, state, batch)[0]))
    (value, gradient), (other, same) = mean(state.params, rows), mean(state.params, padded)
    assert float(other) == pytest.approx(float(value), rel=1e-5)
    chex.assert_trees_all_close(same, gradient, atol=1e-6)
    update = jax.jit(learner.update)
    (plainly, metrics), (masked, others) = update(state, rows), update(state, padded)
    chex.assert_trees_all_close(masked.params, plainly.params, atol=1e-6)
    assert others["loss"].compute() == pytest.approx(metrics["loss"].compute(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SS-12")
def test_training_brings_views_together_and_spreads_images():
    learner, rows = toy(0.3), source()[np.arange(16)]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    update, evaluate = jax.jit(learner.update), jax.jit(learner.evaluate)
    before, spread = evaluate(state, rows), uniformity_of(learner.predict(state, rows)["embeddings"])
    for _ in range(100):
        state, _ = update(state, rows)
    after = evaluate(state, rows)
    assert after["loss"].compute() < before["loss"].compute() - 0.2
    assert uniformity_of(learner.predict(state, rows)["embeddings"]) < spread
    # Images of one kind lie nearer to each other than to the other kind.
    z = learner.predict(state, rows)["embeddings"]
    same = rows["label"][:, None] == rows["label"]
    cosine = np.asarray(z @ z.T)
    assert cosine[same].mean() > cosine[~same].mean() + 0.5
