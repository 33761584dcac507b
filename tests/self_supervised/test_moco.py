"""The queue around its end, the average exactly, no gradient to keys, shuffled batch norm, and runs that go on."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.data.pipeline import Pipeline
from dlcore.data.source import Source
from dlcore.losses.contrastive import info_nce_loss
from dlcore.nn import BatchNorm
from dlcore.ops.replica import REPLICA
from dlcore.run import Placement, Saving, fit, make_mesh
from dlcore.self_supervised import moco
from dlcore.self_supervised.networks import unit


class Tiny(nn.Module):
    """A dense encoder, with batch norm where asked for; its statistics stay on their replica."""

    norm: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        h = nn.Dense(6, name="encoder")(x.reshape(len(x), -1))
        if self.norm:
            h = BatchNorm(not train, name="bn")(h)
        return {"features": h, "embeddings": unit(nn.Dense(4, name="head")(jnp.tanh(h)))}


def augment(key, image):
    return image + 0.3 * jax.random.normal(key, image.shape)


def source(n=24):
    return Source({"image": np.random.default_rng(0).random((n, 2, 2, 1), np.float32)})


def toy(norm=False, **kwargs):
    settings = {"queue_size": 12, "key_momentum": 0.9, "temperature": 0.2, **kwargs}
    return moco.learner(model=Tiny(norm), optimizer=optax.sgd(0.1), augment=augment, **settings)


def test_padding_of_a_batch_is_no_later_negative():
    """Rows 1 and 3 are copies, mask 0: two keys stand in the queue and not four, and the pointer is at the third."""
    learner, rows = toy(), source()[np.arange(4)] | {"mask": np.float32([1, 0, 1, 0])}
    shapes = jax.eval_shape(learner.init, jax.random.key(0), rows).replace(rng=None)
    state = jax.tree.map(lambda s: np.full(s.shape, 0.5, s.dtype), shapes).replace(rng=jax.random.key(0))
    state = state.replace(step=np.int32(0), pointer=np.int32(11), queue=np.full((12, 4), 7, np.float32))
    after = jax.jit(learner.update)(state, rows)[0]
    assert (np.flatnonzero(after.queue[:, 0] != 7).tolist(), int(after.pointer)) == ([0, 11], 1)


def plain(state):
    return jax.tree.map(np.asarray, state.replace(rng=jax.random.key_data(state.rng)))


@jax.jit
def views(state, rows):
    root = jax.random.fold_in(jax.random.fold_in(state.rng, state.step), 0)
    keys = [jax.random.fold_in(root, i) for i in rows["index"]]
    return [
        jnp.stack([augment(jax.random.fold_in(k, v), x) for k, x in zip(keys, rows["image"], strict=True)])
        for v in (0, 1)
    ]


@pytest.mark.covers("SS-15")
def test_the_queue_is_first_in_first_out_around_its_end():
    queue, pointer = jnp.zeros((5, 1)), jnp.int32(0)
    for number in range(4):
        queue, pointer = moco.enqueue(queue, pointer, jnp.array([[10.0 * number + 1], [10.0 * number + 2]]))
    # 1 2 11 12 21 fill it; 22, 31 and 32 replace 1, 2 and 11.
    np.testing.assert_array_equal(queue[:, 0], [22, 31, 32, 12, 21])
    assert pointer == 3  # where 12, the oldest, stands
    with pytest.raises(ValueError, match="queue_size=5: smaller than a batch; allowed: at least 6"):
        moco.enqueue(queue, pointer, jnp.zeros((6, 1)))


@pytest.mark.parametrize(
    "mask", [[1, 0, 0, 1, 1], [0, 0, 0, 0, 0], [0.5, 1, 1, 1, 0], [False, True, False, False, False]]
)
def test_padding_does_not_enter_the_queue(mask):
    """Real keys 1 to 5 follow each other around the end of two queues, whose oldest is the sixth of seven."""
    queue, keys = -np.ones((2, 7, 1), np.float32), np.arange(1, 6, dtype=np.float32)[None, :, None] * [[[1]], [[10]]]
    expected, real = queue.copy(), np.flatnonzero(np.asarray(mask))
    for k, row in enumerate(real):
        expected[:, (5 + k) % 7] = keys[:, row]
    keys = np.where(np.asarray(mask)[:, None] > 0, keys, np.nan)
    enqueue = jax.jit(jax.vmap(moco.enqueue, (0, None, 0, None), (0, None)))
    found, pointer = enqueue(queue, jnp.int32(5), keys, np.asarray(mask))
    np.testing.assert_array_equal(found, expected)
    assert (pointer, pointer.dtype) == ((5 + len(real)) % 7, jnp.int32)


@pytest.mark.covers("SS-15")
def test_a_queue_of_2000_keeps_two_batches_of_1000():
    queue, pointer, oldest = jnp.zeros((2000, 1)), jnp.int32(0), []
    for number in range(1, 6):
        queue, pointer = moco.enqueue(queue, pointer, jnp.full((1000, 1), float(number)))
        oldest.append(int(pointer))
        kept = {number - 1, number}
        assert set(np.ravel(queue)) == kept
        assert (np.ravel(queue) == number).sum() == 1000
    assert oldest == [1000, 0, 1000, 0, 1000]


class OneHot(nn.Module):
    """The four pixels of an image of unit length are its embedding."""

    @nn.compact
    def __call__(self, x, train=False):
        h = nn.Dense(4, use_bias=False, kernel_init=lambda *_: jnp.eye(4))(x.reshape(len(x), -1))
        return {"features": h, "embeddings": unit(h)}


@pytest.mark.covers("SS-15")
def test_of_equal_similarities_the_positive_is_the_nearest():
    """Keys of the queue are e_0. To the query e_0 they are as near as its own key; those of e_1 and -e_0 are nearer."""
    images = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [-1, 0, 0, 0]], np.float32).reshape(3, 2, 2, 1)
    rows = Source({"image": images})[np.arange(3)]
    learner = moco.learner(
        model=OneHot(), optimizer=optax.sgd(0.1), augment=lambda key, image: image, queue_size=3, temperature=0.5
    )
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    state = state.replace(queue=jnp.tile(jnp.eye(4)[0], (3, 1)))
    metrics = jax.jit(learner.loss)(state.params, state, rows)[1]
    assert metrics["accuracy"].compute() == 1
    # L of e_0: log 4 of four logits alike; of e_1: log(1 + 3 e^-2); of -e_0: log(1 + 3 e^-4).
    expected = (np.log(4) + np.log1p(3 * np.exp(-2)) + np.log1p(3 * np.exp(-4))) / 3
    np.testing.assert_allclose(metrics["loss"].compute(), expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("SS-15")
def test_an_update_by_hand():
    learner, rows = toy(), source()[np.arange(6)]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    state = state.replace(params=jax.tree.map(lambda w: 1.1 * w, state.params))  # so that the two encoders differ
    first, second = views(state, rows)
    average = jax.tree.map(lambda k, q: 0.9 * k + 0.1 * q, state.key_params, state.params)
    keys = Tiny().apply({"params": average}, second)["embeddings"]

    def by_hand(params):
        queries = Tiny().apply({"params": params}, first)["embeddings"]
        return info_nce_loss(queries, keys, state.queue, 0.2).mean()

    value, gradient = jax.jit(jax.value_and_grad(by_hand))(state.params)
    after, metrics = jax.jit(learner.update)(state, rows)
    assert metrics["loss"].compute() == pytest.approx(float(value), rel=1e-5)
    chex.assert_trees_all_close(after.key_params, average, rtol=1e-6)
    chex.assert_trees_all_close(after.params, jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient), atol=1e-6)
    np.testing.assert_allclose(after.queue[:6], keys, atol=1e-6)
    np.testing.assert_array_equal(after.queue[6:], state.queue[6:])
    assert after.pointer == 6


@pytest.mark.slow
@pytest.mark.covers("SS-15")
def test_a_key_encoder_that_stands_still_gets_no_gradient():
    learner, rows = toy(key_momentum=1.0), source()[np.arange(6)]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    after, _ = jax.jit(learner.update)(state, rows)
    chex.assert_trees_all_equal(after.key_params, state.key_params)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (after.params, state.params)), strict=True))


def test_the_encoders_and_the_queue_start_as_they_should():
    learner, rows = toy(norm=True), source()[np.arange(6)]
    state = jax.jit(learner.init)(jax.random.key(0), rows)
    chex.assert_trees_all_equal(state.params, state.key_params)
    chex.assert_shape(state.queue, (12, 4))  # queue_size keys of the embedding's four numbers
    np.testing.assert_allclose(jnp.linalg.norm(state.queue, axis=-1), 1, rtol=1e-5)


@pytest.mark.covers("SS-15")
def test_shuffling_over_replicas_and_back():
    x = jnp.arange(16.0).reshape(8, 2, 1)

    def both(x):
        key = jax.random.key(3)
        mixed = moco.shuffle(key, x)
        return mixed, moco.unshuffle(key, mixed)

    mixed, back = jax.pmap(both, axis_name=REPLICA)(x)
    np.testing.assert_array_equal(back, x)
    assert sorted(np.ravel(mixed)) == list(range(16))
    # Rows that shared a replica no longer do, but for chance.
    assert sum(set(np.ravel(m)) == set(np.ravel(r)) for m, r in zip(mixed, x, strict=True)) <= 1


def runs(placement, norm, steps=4, folder=None):
    learner = toy(norm, queue_size=20)
    return fit(
        learner,
        Pipeline(source(), 8),
        steps=steps,
        placement=placement,
        progress=False,
        folder=folder,
        saving=Saving(steps=1),
    ).state


def one_device():
    return Placement(make_mesh("data:1", jax.devices()[:1]))


@pytest.mark.weekly
@pytest.mark.parametrize(("spmd", "norm"), [("jit", True), ("pmap", False)])
def test_eight_devices_equal_one(spmd, norm):
    eight = runs(Placement(make_mesh("data:8"), spmd=spmd), norm)
    chex.assert_trees_all_close(plain(runs(one_device(), norm)), plain(eight), atol=3e-6)


@pytest.mark.slow
def test_a_resumed_run_is_bit_identical(tmp_path):
    whole = runs(one_device(), True, 4, tmp_path / "whole")
    runs(one_device(), True, 2, tmp_path / "cut")
    chex.assert_trees_all_equal(plain(whole), plain(runs(one_device(), True, 4, tmp_path / "cut")))
    assert whole.pointer == 12  # four batches of 8 into a queue of 20
