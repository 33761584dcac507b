"""Averages over replicas, on eight virtual devices."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

from dlcore.ops.replica import REPLICA
from dlcore.optim import create_optimizer, cross_replica, optimizer_step

DEVICES = 8
X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=16).astype(np.float32)
PARAMS = {"w": jnp.array([0.3, -0.2, 0.5]), "b": jnp.array(0.1)}


def loss(params, x, y):
    return jnp.square(x @ params["w"] + params["b"] - y).mean()


def update(tx, params, state, x, y):
    def value_fn(params):
        return loss(params, x, y)

    value, gradient = jax.value_and_grad(value_fn)(params)
    updates, state = tx.update(gradient, state, params, value=value, grad=gradient, value_fn=value_fn)
    return optax.apply_updates(params, updates), state


def step_of_a_learner(tx, params, state, x, y):
    value, gradient = jax.value_and_grad(loss)(params, x, y)
    return optimizer_step(tx, gradient, state, params, value=value, value_fn=lambda params: loss(params, x, y))


def single(tx, steps=1):
    tx = optax.with_extra_args_support(tx)
    params, state = PARAMS, tx.init(PARAMS)
    step = jax.jit(functools.partial(update, tx))
    for _ in range(steps):
        params, state = step(params, state, X, Y)
    return params


def mapped(tx, steps=1, update=update):
    stack = functools.partial(jax.tree.map, lambda x: jnp.broadcast_to(x, (DEVICES, *jnp.shape(x))))
    params, state = stack(PARAMS), stack(tx.init(PARAMS))
    step = jax.pmap(functools.partial(update, tx), axis_name=REPLICA)
    rows = X.reshape(DEVICES, -1, 3), Y.reshape(DEVICES, -1)
    for _ in range(steps):
        params, state = step(params, state, *rows)
    return params


@pytest.mark.slow
@pytest.mark.covers("SY-01")
def test_the_averaged_gradient_is_that_of_the_whole_batch():
    """SGD at rate 1 moves by minus the gradient: a factor of 8, or one replica's rows alone, would show."""
    want = jax.grad(loss)(PARAMS, X, Y)
    after = mapped(cross_replica(optax.sgd(1.0)))
    for replica in range(DEVICES):
        got = jax.tree.map(lambda p, a, r=replica: p - a[r], PARAMS, after)
        chex.assert_trees_all_close(got, want, rtol=1e-6, atol=1e-6)
    alone = mapped(optax.with_extra_args_support(optax.sgd(1.0)))
    assert np.ptp(np.asarray(alone["w"]), axis=0).max() > 1e-2, "without the average the replicas part"


def test_shard_map_without_its_check_gives_the_same():
    tx = cross_replica(optax.sgd(1.0))
    mesh = Mesh(np.array(jax.devices()), (REPLICA,))
    everywhere, rows = PartitionSpec(), PartitionSpec(REPLICA)
    step = jax.shard_map(
        lambda p, x, y: update(tx, p, tx.init(p), x, y)[0],
        mesh=mesh,
        in_specs=(everywhere, rows, rows),
        out_specs=everywhere,
        check_vma=False,
    )
    chex.assert_trees_all_close(jax.jit(step)(PARAMS, X, Y), single(optax.sgd(1.0)), rtol=1e-6, atol=1e-6)


@pytest.mark.slow(unless=["make0"])
@pytest.mark.parametrize(
    "make",
    [
        functools.partial(optax.sgd, 0.1),
        functools.partial(create_optimizer, "sgd", 0.1, accumulate=2, clip_norm=0.5, ema=0.9),
    ],
)
def test_a_learner_s_step_averages_over_replicas(make):
    steps = 4
    got, want = mapped(make(), steps, step_of_a_learner), single(make(), steps)
    for replica in range(DEVICES):
        chex.assert_trees_all_close(jax.tree.map(lambda x, r=replica: x[r], got), want, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_line_searches_see_global_values():
    tx = optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(max_backtracking_steps=15))
    steps = 3
    got, want = mapped(cross_replica(tx), steps), single(tx, steps)
    assert np.ptp(np.asarray(got["w"]), axis=0).max() == 0, "every replica takes the same step"
    chex.assert_trees_all_close(jax.tree.map(lambda x: x[0], got), want, rtol=1e-4, atol=1e-5)


def test_the_loss_as_a_function_has_a_global_value_and_gradient():
    def update(updates, state, params=None, *, value, grad, value_fn):
        again, gradient = jax.value_and_grad(value_fn)(params)
        elsewhere = value_fn(jax.tree.map(lambda p: p + 1, params))
        return {"given": (value, grad), "again": (again, gradient), "elsewhere": elsewhere}, state

    spy = optax.GradientTransformationExtraArgs(lambda params: (), update)
    tx = cross_replica(spy)

    def replica(x, y):
        value, gradient = jax.value_and_grad(loss)(PARAMS, x, y)
        value_fn = functools.partial(loss, x=x, y=y)
        return tx.update(gradient, (), PARAMS, value=value, grad=gradient, value_fn=value_fn)[0]

    seen = jax.pmap(replica, axis_name=REPLICA)(X.reshape(DEVICES, -1, 3), Y.reshape(DEVICES, -1))
    want = jax.value_and_grad(loss)(PARAMS, X, Y)
    for r in range(DEVICES):
        here = jax.tree.map(lambda x, r=r: x[r], seen)
        chex.assert_trees_all_close(here["given"], want, rtol=1e-5, atol=1e-6)
        chex.assert_trees_all_close(here["again"], want, rtol=1e-5, atol=1e-6)
        moved = loss(jax.tree.map(lambda p: p + 1, PARAMS), X, Y)
        chex.assert_trees_all_close(here["elsewhere"], moved, rtol=1e-5)


def test_one_replica_has_the_optimizer_itself_which_takes_extra_arguments():
    tx = cross_replica(optax.sgd(0.1))
    updates, _ = tx.update(PARAMS, tx.init(PARAMS), PARAMS, value=1.0, grad=PARAMS, value_fn=lambda p: 0.0)
    chex.assert_trees_all_close(updates, jax.tree.map(lambda p: -0.1 * p, PARAMS))
    chex.assert_trees_all_equal(tx.init(PARAMS), optax.sgd(0.1).init(PARAMS))
