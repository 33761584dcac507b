"""A linear network of few numbers, its views, and one update of a learner beside a loss in NumPy float64."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.nn import BatchNorm
from dlcore.run import Placement, fit, make_mesh
from dlcore.self_supervised.networks import unit

RATE = 0.1
ROWS = {
    "image": np.random.default_rng(0).normal(size=(5, 2, 2, 1)).astype(np.float32),
    "index": np.arange(5, dtype=np.int32),
    "mask": np.array([1, 1, 1, 1, 0], np.float32),
}
"""Four examples and padding."""


class Linear(nn.Module):
    """Projections x W of the four pixels x, and predictions x W Q."""

    norm: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        h = x.reshape(len(x), -1)
        if self.norm:
            h = BatchNorm(not train, name="norm")(h)
        z = h @ self.param("w", nn.initializers.normal(1.0), (4, 3))
        p = z @ self.param("q", nn.initializers.normal(1.0), (3, 3))
        return {"features": h, "projections": z, "embeddings": unit(z), "predictions": p}


class Remembering(nn.Module):
    """Projections x w + m: in training m becomes 2 m + the mean of the batch x, and elsewhere it stays."""

    @nn.compact
    def __call__(self, x, train=False):
        h = x.reshape(len(x), -1)
        seen = self.variable("batch_stats", "seen", jnp.zeros, ())
        if train and not self.is_initializing():
            seen.value = 2 * seen.value + h.mean()
        z = h * self.param("w", nn.initializers.ones, (4,)) + seen.value
        return {"features": h, "projections": z, "embeddings": unit(z), "predictions": z}


def settings(norm=False, rate=RATE):
    return {"model": Linear(norm), "optimizer": optax.sgd(rate), "augment": augment, "preprocess": prepare}


def prepare(images):
    """Neither a shift nor a factor, which some losses would not show."""
    return images + 0.3 * images**2


def augment(key, image):
    return image + 0.3 * jax.random.normal(key, image.shape)


def weights(seed):
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(4, 3)), "q": rng.normal(size=(3, 3))}


def state_of(learner, **fields):
    """A state at step 3 with these fields and zeros elsewhere; nothing compiles."""
    shapes = jax.eval_shape(learner.init, jax.random.key(0), ROWS).replace(rng=None)
    state = jax.tree.map(lambda s: np.zeros(s.shape, s.dtype), shapes)
    return state.replace(step=np.int32(3), rng=jax.random.key(0), **jax.tree.map(np.float32, fields))


@jax.jit
def _views(root, images):
    keys = jax.vmap(lambda i: jax.random.fold_in(root, i))(jnp.arange(len(images)))
    return [jax.vmap(lambda k, x, v=v: augment(jax.random.fold_in(k, v), x))(keys, images) for v in (0, 1)]


def views(state, count=4, evaluates=False):
    """The two prepared views [count, 4] of the first examples, in float64: of an update at step 3, or an evaluation."""
    root = state.rng if evaluates else jax.random.fold_in(jax.random.fold_in(state.rng, 3), 0)
    return [prepare(np.asarray(v, np.float64).reshape(len(v), -1)[:count]) for v in _views(root, ROWS["image"])]


def slopes(loss, params):
    """The slope of loss(params) by central differences."""
    result = {}
    for name, value in params.items():
        result[name] = np.zeros(value.shape)
        for at in np.ndindex(value.shape):
            move = np.zeros(value.shape)
            move[at] = 1e-6
            sides = [loss({**params, name: value + sign * move}) for sign in (1, -1)]
            result[name][at] = (sides[0] - sides[1]) / 2e-6
    return result


def check_update(learner, state, params, loss, still=(), **measures):
    """One update of SGD equals the loss in NumPy and its slopes; returns the state after it.

    `still` names weights that the loss does not depend on; `measures` are the metrics beside the loss.
    """
    after, metrics = jax.jit(learner.update)(state, ROWS)
    expected = {"loss": loss(params), **measures}
    assert {name: metric.compute() for name, metric in metrics.items()} == pytest.approx(expected, rel=1e-5)
    for name, slope in slopes(loss, params).items():
        assert (np.abs(slope).max() > 1e-3) == (name not in still)
        np.testing.assert_allclose(after.params[name], params[name] - RATE * slope, atol=2e-5)
    return after


def unit_rows(z):
    return z / np.linalg.norm(z, axis=-1, keepdims=True)


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def check_eight_devices(build, spmd, norm, **entries):
    """Three steps on eight devices give what they give on one; `build(norm)` makes the learner."""
    images = np.random.default_rng(0).random((32, 2, 2, 1), np.float32)
    source = Source({"image": images, **entries})

    def run(placement):
        state = fit(build(norm), Pipeline(source, 16), steps=3, placement=placement, progress=False).state
        return jax.tree.map(np.asarray, state.replace(rng=jax.random.key_data(state.rng)))

    one = run(Placement(make_mesh("data:1", jax.devices()[:1])))
    chex.assert_trees_all_close(one, run(Placement(make_mesh("data:8"), spmd=spmd)), atol=1e-6, rtol=1e-6)
