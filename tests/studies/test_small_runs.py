"""A run of the studies against a loop by hand, and its traced settings."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from dlcore.losses import softmax_cross_entropy_loss
from experiments.studies.small_runs import SmallNet, ZooNet, log_loss_and_accuracy, minimize, shuffled_digits, train

X = jnp.asarray(np.random.default_rng(0).random((12, 2, 2, 1)), jnp.float32)
Y = jnp.asarray(np.random.default_rng(1).integers(0, 10, 12), jnp.int32)


@pytest.mark.weekly
def test_equals_a_loop_and_keeps_snapshots():
    net, tx, key = SmallNet((8,)), optax.adam(0.05), jax.random.key(3)
    variables, opt_state = jax.jit(lambda key: train(key, net, tx, X, Y, 4, batch_size=6, count=9, snapshots=2))(key)
    params = jax.jit(net.init, static_argnums=2)(jax.random.fold_in(key, 0), X[:2], False)["params"]
    state = tx.init(params)

    @jax.jit
    def update(params, state, step):
        keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 1), step), 4)
        rows = jax.random.randint(keys[0], (6,), 0, 9)

        def loss(params):
            logits = net.apply({"params": params}, X[rows], False)
            return softmax_cross_entropy_loss(logits, Y[rows]).mean()

        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    for step in range(4):
        params, state = update(params, state, step)
        if step % 2:
            got = jax.tree.map(lambda v, part=step // 2: v[part], variables["params"])
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, params)
    assert np.asarray(opt_state[0].count).tolist() == [2, 4]


def test_measures_by_hand_and_bad_steps():
    log_p = jnp.log(jnp.array([[0.8, 0.2], [0.4, 0.6], [0.5, 0.5]]))
    measures = log_loss_and_accuracy(log_p, jnp.array([0, 0, 1]), jnp.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(measures, [-(np.log(0.8) + np.log(0.4)) / 2, 0.5], rtol=1e-5)
    with pytest.raises(ValueError, match="steps=5: not divisible"):
        train(jax.random.key(0), SmallNet(), optax.sgd(0.1), X, Y, 5, snapshots=2)


def test_the_digits_are_all_there():
    data = shuffled_digits(1)
    assert (data.images.shape, data.test_images.shape) == ((1297, 8, 8, 1), (500, 8, 8, 1))
    assert not np.array_equal(data.labels, shuffled_digits(2).labels)
    np.testing.assert_array_equal(np.bincount(data.labels), np.bincount(shuffled_digits(2).labels))


@pytest.mark.slow
def test_dropout_drops_units_in_training_alone():
    net, key = SmallNet((16,)), jax.random.key(0)
    variables = net.init(key, X, False)
    plain = net.apply(variables, X, False, 0.5)

    @jax.jit
    @jax.vmap
    def dropped(key):
        return net.apply(variables, X, True, 0.5, rngs={"dropout": key})

    logits = dropped(jax.random.split(key, 2000))
    np.testing.assert_allclose(logits.mean(0), plain, atol=0.15)
    assert float(logits.std(0).mean()) > 0.3
    np.testing.assert_array_equal(net.apply(variables, X, True, 0.0, rngs={"dropout": key}), plain)


@pytest.mark.slow
def test_training_drops_units():
    """Where all hidden units of a step are dropped, the weights before them get no gradient."""

    @jax.jit
    def moved(rate):
        variables, _ = train(
            jax.random.key(0), SmallNet((4,)), optax.sgd(0.1), X, Y, 1, batch_size=4, dropout_rate=rate
        )
        start = SmallNet((4,)).init(jax.random.fold_in(jax.random.key(0), 0), X[:2], False)
        return jnp.abs(variables["params"]["dense0"]["kernel"][0] - start["params"]["dense0"]["kernel"]).max()

    assert float(moved(0.9999)) < 1e-6 < 1e-3 < float(moved(0.0))


@pytest.mark.slow
def test_batch_norm_makes_the_scale_of_the_inputs_irrelevant():
    rngs = {"dropout": jax.random.key(0)}
    for batch_norm in (False, True):
        net = SmallNet((16,), batch_norm)

        @jax.jit
        def run(net=net):
            variables = net.init(jax.random.key(0), X, False)
            return [net.apply(variables, x, True, rngs=rngs, mutable=["batch_stats"])[0] for x in (X, 10 * X)]

        one, ten = run()
        assert np.allclose(one, ten, atol=1e-2) == batch_norm


class Constant:
    """Logits that are the parameters, ten zeros at first, whatever the image."""

    def init(self, key, x, train):
        return {"params": jnp.zeros(10)}

    def apply(self, variables, x, train, dropout_rate, *, rngs, mutable):
        assert train
        return jnp.broadcast_to(variables["params"], (len(x), 10)), {}


@pytest.mark.parametrize(
    ("settings", "gradient"),
    [
        # The first three examples have label 1: p - y.
        ({"count": 3}, np.full(10, 0.1) - np.eye(10)[1]),
        ({"objective": lambda logits, x, y: 2 * logits[:, 4].mean()}, 2 * np.eye(10)[4]),
        (
            {"count": 3, "extra": lambda apply, key: 5 * apply(X, key)[0, 7]},
            np.full(10, 0.1) - np.eye(10)[1] + 5 * np.eye(10)[7],
        ),
    ],
)
def test_a_step_of_training_by_hand(settings, gradient):
    labels = jnp.array([1] * 3 + [2] * 9)
    variables, _ = train(jax.random.key(0), Constant(), optax.sgd(1.0), X, labels, 1, batch_size=64, **settings)
    np.testing.assert_allclose(variables["params"], -gradient[None], atol=1e-5)


def test_all_examples_are_drawn_where_no_count_is_asked_for():
    """Three of twelve have label 1: of 64 draws both labels come, and their gradients are below zero."""
    labels = jnp.array([1] * 3 + [2] * 9)
    variables, _ = train(jax.random.key(0), Constant(), optax.sgd(1.0), X, labels, 1, batch_size=64)
    assert (np.asarray(variables["params"][0, 1:3]) > 0).all()
    assert (np.asarray(variables["params"][0, 3:]) < 0).all()


@pytest.mark.parametrize("is_training", [False, True])
def test_a_zoo_net_calls_its_method_in_training_alone(is_training):
    class Model(nn.Module):
        def __call__(self, x, train):
            return "logits", train

        def auxiliary(self, x, train):
            return "logits and more", train

    net = ZooNet(Model(), training="auxiliary")
    assert net.apply({}, X, is_training) == (("logits", "logits and more")[is_training], is_training)


def test_minimize_takes_a_step_for_each_input():
    """(w - x)^2 / 2 with rate 0.5 halves the distance: w = 4, 4 - (4 - 0) / 2 = 2, 2 - (2 - 1) / 2 = 1.5."""
    params, losses = minimize(lambda w, x: jnp.square(w - x) / 2, jnp.array(4.0), optax.sgd(0.5), jnp.array([0.0, 1.0]))
    assert float(params) == 1.5
    assert losses.tolist() == [8.0, 0.5]  # 4^2 / 2 and 1^2 / 2, before the steps
