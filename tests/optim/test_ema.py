import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.learner import Learner, State, Sum
from dlcore.optim import parameter_ema, track_parameter_ema, use_ema
from dlcore.optim.ema import ema_update, init_average, momentum_update


def moved(tx, params, targets):
    """The optimizer state after updates that lead the parameters to each of `targets` in turn."""
    state = tx.init(params)
    for target in targets:
        updates = jax.tree.map(lambda t, p: t - p, target, params)
        updates, state = tx.update(updates, state, params)
        params = optax.apply_updates(params, updates)
    return state, params


@pytest.mark.covers("RG-23")
def test_equals_optax_ema_of_the_parameters_once_the_decay_is_reached():
    path = [jnp.float32(w) for w in np.random.default_rng(0).normal(size=30)]
    # A decay of .25 is below (1 + t) / (10 + t) from t = 2 on, and 2/11 at t = 1.
    ours, theirs = track_parameter_ema(0.25), optax.ema(0.25, debias=False)
    state, params = ours.init(jnp.float32(0)), jnp.float32(0)
    reference = theirs.init(params)
    for t, target in enumerate(path, 1):
        _, state = ours.update(target - params, state, params)
        params = target
        if t == 1:
            reference = reference._replace(ema=state.ema)
            continue
        want, reference = theirs.update(target, reference)
        assert float(state.ema) == pytest.approx(float(want), abs=1e-6)


@pytest.mark.covers("RG-23")
def test_the_average_is_less_noisy_than_the_parameters_on_a_noisy_bowl():
    tx = optax.chain(optax.sgd(0.5), track_parameter_ema(0.95))

    def step(carry, key):
        w, state = carry
        updates, state = tx.update(w + jax.random.normal(key, w.shape), state, w)  # the gradient of w^2 / 2, and noise
        w = optax.apply_updates(w, updates)
        return (w, state), (w, state[1].ema)

    start = jnp.full(50, 5.0)
    _, (raw, averaged) = jax.lax.scan(step, (start, tx.init(start)), jax.random.split(jax.random.key(0), 400))
    # Stationary variance of w <- w - .5 (w + n): .25 / (1 - .25) = 1/3.
    assert float(raw[200:].var()) == pytest.approx(1 / 3, rel=0.1)
    assert float(averaged[200:].var()) < 0.2 * float(raw[200:].var())
    assert abs(float(averaged[200:].mean())) < 0.05


def test_hand_worked_average():
    tx = track_parameter_ema(0.9)
    state, params = moved(tx, {"w": jnp.float32(0.0)}, [{"w": jnp.float32(w)} for w in (1.0, 2.0)])
    # t = 1: d = min(.9, 2/11) = .1818; e = .8182 * 1 = .8182
    # t = 2: d = min(.9, 3/12) = .25;   e = .25 * .8182 + .75 * 2 = 1.7045
    assert float(parameter_ema((state,), params)["w"]) == pytest.approx(0.25 * 9 / 11 + 1.5, rel=1e-6)
    assert int(state.count) == 2
    assert float(params["w"]) == 2.0, "the updates pass unchanged"


def test_the_decay_is_reached_after_the_warm_up():
    # (1 + t) / (10 + t) passes .5 at t = 8: from there a constant .5.
    state, params = moved(track_parameter_ema(0.5), jnp.float32(0.0), [jnp.float32(w) for w in [1.0] * 10 + [3.0]])
    before, _ = moved(track_parameter_ema(0.5), jnp.float32(0.0), [jnp.float32(1.0)] * 10)
    want = 0.5 * float(before.ema) + 0.5 * 3.0
    assert float(parameter_ema(state, params)) == pytest.approx(want, rel=1e-6)


def test_without_decay_the_average_is_the_parameters():
    state, params = moved(track_parameter_ema(0.0), jnp.float32(0.0), [jnp.float32(w) for w in (1.0, 5.0)])
    assert float(parameter_ema(state, params)) == 5.0


def test_the_first_average_is_the_parameters_in_a_buffer_of_its_own():
    params = {"w": jnp.arange(4.0)}
    state = track_parameter_ema(0.9).init(params)
    np.testing.assert_array_equal(state.ema["w"], params["w"])
    assert state.ema["w"].unsafe_buffer_pointer() != params["w"].unsafe_buffer_pointer()


def test_bfloat16_parameters_are_averaged_in_float32():
    tx = track_parameter_ema(0.999)
    params = jnp.array(1.0, jnp.bfloat16)
    state = tx.init(params)
    for _ in range(50):
        _, state = tx.update(jnp.zeros((), jnp.bfloat16), state, params)
    tiny = state._replace(ema=jnp.float32(1.0), count=jnp.int32(100_000))
    _, tiny = tx.update(jnp.array(1.0, jnp.bfloat16), tiny, params)  # leads to 2
    assert state.ema.dtype == jnp.float32
    # 1 + .001 * (2 - 1) would round back to 1 in bfloat16.
    assert float(tiny.ema) == pytest.approx(1.001, rel=1e-6)
    assert parameter_ema(tiny, params).dtype == jnp.bfloat16


@pytest.mark.covers("RG-23")
def test_an_average_of_bfloat16_values_moves_in_float32():
    """300 steps of 1 % from 0 to 1: 1 - .99^300 = .95096. In bfloat16 it would stop where 1 % is half a digit."""
    params = {"w": jnp.ones(1, jnp.bfloat16), "count": jnp.ones(1, jnp.int32)}
    average = jax.tree.map(jnp.zeros_like, init_average(params))
    assert (average["w"].dtype, average["count"].dtype) == (jnp.float32, jnp.int32)
    average = jax.lax.fori_loop(0, 300, lambda _, e: momentum_update(e, params["w"], 0.99), average["w"])
    np.testing.assert_allclose(average, 1 - 0.99**300, rtol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_average_in_half_precision_is_refused(dtype):
    half, new = jnp.zeros(1, dtype), jnp.ones(1)
    for move in (lambda: momentum_update(half, new, 0.99), lambda: ema_update(half, new, 0.99, 1)):
        with pytest.raises(ValueError, match=f"average={dtype}: small steps round to no step; allowed: float32"):
            move()


def test_update_without_parameters():
    tx = track_parameter_ema(0.5)
    state = tx.init(jnp.zeros(2))
    with pytest.raises(ValueError, match="params=None: missing; allowed"):
        tx.update(jnp.zeros(2), state)


def test_the_average_is_found_in_any_chain():
    params = {"w": jnp.ones(3)}
    chain = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1), track_parameter_ema(0.9))
    for tx in (chain, optax.MultiSteps(chain, 2).gradient_transformation()):
        np.testing.assert_array_equal(parameter_ema(tx.init(params), params)["w"], params["w"])


def test_use_ema_measures_and_predicts_with_the_average_and_trains_without():
    tx = optax.chain(optax.sgd(1.0), track_parameter_ema(0.5))

    def update(state, batch):
        updates, opt_state = tx.update(-batch["x"].mean(), state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), {"w": Sum(params)}

    plain = Learner(
        init=lambda rng, batch: State(jnp.int32(0), rng, jnp.float32(0.0), tx.init(jnp.float32(0.0))),
        update=update,
        evaluate=lambda state, batch: {"w": Sum(state.params)},
        predict=lambda state, batch: state.params * batch["x"],
        loss=lambda params, state, batch: (params, {}),
    )
    averaged = use_ema(plain)
    batch = {"x": jnp.ones(2)}
    state, metrics = averaged.update(averaged.init(jax.random.key(0), batch), batch)
    # One step of 1: the parameters are 1, the average (1 - 2/11) * 1.
    assert metrics["w"].compute() == 1.0
    assert float(state.params) == 1.0
    assert averaged.evaluate(state, batch)["w"].compute() == pytest.approx(9 / 11)
    np.testing.assert_allclose(averaged.predict(state, batch), [9 / 11, 9 / 11], rtol=1e-6)
    assert plain.evaluate(state, batch)["w"].compute() == 1.0
    assert float(averaged.loss(state.params, state, batch)[0]) == 1.0
    assert averaged.batched == plain.batched
    with pytest.raises(ValueError, match="track_parameter_ema"):
        averaged.evaluate(state.replace(opt_state=optax.sgd(1.0).init(state.params)), batch)
