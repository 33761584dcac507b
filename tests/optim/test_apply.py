"""apply_gradients takes the same step as the four lines it stands for, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct

from dlcore.learner import State
from dlcore.ops.replica import REPLICA
from dlcore.optim import apply_gradients
from dlcore.optim.apply import optimizer_step


@struct.dataclass
class Carrying(State):
    extra: jax.Array


PARAMS = {"w": jnp.array([1.0, -2.0, 0.5]), "b": jnp.array([[0.25]])}


def loss(params):
    return sum(jnp.square(leaf - 3).sum() for leaf in jax.tree.leaves(params)) + jnp.square(params["w"][0]) ** 2


def state_of(optimizer):
    return Carrying(jnp.int32(4), jax.random.key(0), PARAMS, optimizer.init(PARAMS), jnp.zeros(2))


def equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("optimizer", [optax.sgd(0.1, 0.9), optax.adam(0.1)], ids=["sgd", "adam"])
def test_equals_the_lines_it_stands_for(optimizer):
    state = state_of(optimizer)

    @jax.jit
    def both(state):
        gradients = jax.grad(loss)(state.params)
        updates, opt_state = optimizer.update(gradients, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return apply_gradients(state, optimizer, gradients, extra=jnp.ones(2)), params, opt_state

    new, params, opt_state = both(state)
    assert isinstance(new, Carrying)
    assert int(new.step) == 5
    equal((new.params, new.opt_state, new.extra), (params, opt_state, jnp.ones(2)))
    assert new.rng is state.rng or (jax.random.key_data(new.rng) == jax.random.key_data(state.rng)).all()


@pytest.mark.slow
def test_a_line_search_gets_value_gradient_and_function():
    optimizer = optax.lbfgs()

    @jax.jit
    def both(state):
        value, gradients = jax.value_and_grad(loss)(state.params)
        updates, opt_state = optimizer.update(
            gradients, state.opt_state, state.params, value=value, grad=gradients, value_fn=loss
        )
        params = optax.apply_updates(state.params, updates)
        return apply_gradients(state, optimizer, gradients, value=value, value_fn=loss), params, opt_state

    new, params, opt_state = both(state_of(optimizer))
    equal((new.params, new.opt_state), (params, opt_state))
    assert float(loss(new.params)) < float(loss(PARAMS))
    # the same arguments pass by an optimizer that has no use for them
    plain = optax.sgd(0.1)
    gradients = jax.grad(loss)(PARAMS)
    equal(
        apply_gradients(state_of(plain), plain, gradients, value=loss(PARAMS), value_fn=loss).params,
        apply_gradients(state_of(plain), plain, gradients).params,
    )


@pytest.mark.slow
def test_replicas_take_the_same_step():
    optimizer = optax.lbfgs()
    state = state_of(optimizer)

    def replica(shift):
        def own(params):
            return loss(jax.tree.map(lambda p: p + shift, params))

        value, gradients = jax.value_and_grad(own)(state.params)
        return apply_gradients(state, optimizer, gradients, value=value, value_fn=own).params

    params = jax.pmap(replica, axis_name=REPLICA, devices=jax.devices()[:2])(jnp.array([0.0, 1.0]))
    equal(jax.tree.map(lambda p: p[0], params), jax.tree.map(lambda p: p[1], params))


@pytest.mark.parametrize(
    ("optimizer", "problem"),
    [(optax.lookahead(optax.sgd(0.1), 5, 0.5), "optimizer=optax.lookahead: its parameters are a pair")],
)
def test_optimizers_that_need_more_than_gradients_are_named(optimizer, problem):
    params = {"w": jnp.ones(2)}
    with pytest.raises(ValueError, match=f"^{problem}.*; allowed: transformations"):
        optimizer_step(optimizer, params, optimizer.init(params), params)
