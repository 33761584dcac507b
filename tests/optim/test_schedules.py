"""Schedules: the values of the notes, torch's schedulers to the last digit, and what stands at the borders."""

import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore.optim import Plateau, batch_ramp, by_hand, create_optimizer, linear_scaling, schedules
from dlcore.optim.plateau import has_plateau_scale, set_plateau_scale

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "torch_schedulers.npz")
CASES = json.loads(str(GOLDEN["meta"]))["cases"]


def rates(schedule, steps):
    return [float(schedule(t)) for t in steps]


def one_cycle(
    max_lr,
    total_steps,
    pct_start=0.3,
    anneal_strategy="cosine",
    three_phase=False,
    div_factor=25.0,
    final_div_factor=1e4,
):
    """torch's names for the arguments of `one_cycle`."""
    return schedules.one_cycle(
        max_lr, total_steps, pct_start, anneal_strategy, three_phase, div_factor, final_div_factor
    )


TORCH = {
    "StepLR": lambda base_lr, step_size, gamma: schedules.step_decay(base_lr, step_size, gamma),
    "MultiStepLR": lambda base_lr, milestones, gamma: schedules.multi_step(base_lr, milestones, gamma),
    "ExponentialLR": lambda base_lr, gamma: schedules.exponential(base_lr, -math.log(gamma)),
    "CosineAnnealingLR": lambda base_lr, T_max, eta_min: schedules.cosine(base_lr, T_max, eta_min, hold=False),
    "CosineAnnealingWarmRestarts": lambda base_lr, T_0, T_mult, eta_min: schedules.cosine_restarts(
        base_lr, T_0, T_mult, eta_min
    ),
    "OneCycleLR": lambda base_lr, **arguments: one_cycle(**arguments),
    "CyclicLR": lambda base_lr, max_lr, step_size_up, step_size_down, mode, gamma: schedules.cyclic(
        base_lr, max_lr, step_size_up, step_size_down, mode, gamma
    ),
    "LinearLR": lambda base_lr, start_factor, end_factor, total_iters: schedules.linear(
        base_lr * start_factor, base_lr * end_factor, total_iters
    ),
    "PolynomialLR": lambda base_lr, total_iters, power: schedules.polynomial(base_lr, total_iters, power),
    "ConstantLR": lambda base_lr, factor, total_iters: schedules.multi_step(
        base_lr * factor, [total_iters], 1 / factor
    ),
    "SequentialLR": lambda base_lr, parts, milestones: optax.join_schedules(
        [schedules.linear(base_lr * 0.01, base_lr, 10), schedules.cosine(base_lr, 90)], milestones
    ),
}
ROWS = {
    "StepLR": "SC-03",
    "MultiStepLR": "SC-04",
    "ExponentialLR": "SC-06",
    "CosineAnnealingLR": "SC-07",
    "CosineAnnealingWarmRestarts": "SC-08",
    "OneCycleLR": "SC-16",
    "OneCycleLR.linear3": "SC-16",
    "CyclicLR.triangular": "SC-16",
    "CyclicLR.triangular2": "SC-16",
    "CyclicLR.exp_range": "SC-16",
    "SequentialLR.warmup_cosine": "SC-12",
}


@pytest.mark.slow(only=["CosineAnnealingWarmRestarts"])
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(c, marks=[pytest.mark.covers(ROWS[c])] if c in ROWS else [])
        for c in CASES
        if c != "ReduceLROnPlateau"
    ],
)
def test_rates_are_torchs(case):
    steps = np.arange(100)
    with jax.enable_x64(True):
        schedule = TORCH[CASES[case]["fn"].rpartition(".")[2]](**CASES[case]["args"])
        np.testing.assert_allclose(
            jax.vmap(schedule)(jnp.asarray(steps)), GOLDEN[f"{case}/out"], rtol=1e-10, atol=1e-14
        )
        assert float(schedule(7)) == pytest.approx(GOLDEN[f"{case}/out"][7], rel=1e-10), "a Python int is a step too"
    got = jax.jit(jax.vmap(schedule))(jnp.asarray(steps, jnp.int32))
    assert got.dtype == jnp.float32
    np.testing.assert_allclose(got, GOLDEN[f"{case}/out"], rtol=1e-5, atol=1e-7)


@pytest.mark.covers("SC-16")
def test_the_momentum_that_goes_against_the_rate_is_a_schedule_too():
    with jax.enable_x64(True):
        steps = jnp.arange(100)
        for case, schedule in {
            "OneCycleLR": schedules.one_cycle(0.85, 100, div=0.85 / 0.95, final_div=1.0),
            "OneCycleLR.linear3": schedules.one_cycle(0.85, 100, 0.25, "linear", True, 0.85 / 0.95, 1.0),
        }.items():
            np.testing.assert_allclose(jax.vmap(schedule)(steps), GOLDEN[f"{case}/out.momentum"], rtol=1e-10)


@pytest.mark.covers("SC-05")
def test_plateau_is_torchs_on_a_scripted_measure():
    plateau = Plateau(0.1, factor=0.5, patience=8, threshold=1e-3, cooldown=2, min_rate=1e-3)
    state, got = plateau.init(), []
    for value in GOLDEN["ReduceLROnPlateau/in.metrics"]:
        got.append(float(state.rate))
        state = plateau.update(state, value)
    np.testing.assert_allclose(got, GOLDEN["ReduceLROnPlateau/out"], rtol=1e-6)
    assert len(set(got)) > 2


@pytest.mark.slow
@pytest.mark.covers("SC-05")
def test_plateau_by_hand_and_optaxs():
    # Patience 1, factor .5: the second measurement in a row without progress halves the rate.
    plateau = Plateau(1.0, factor=0.5, patience=1)
    state, got = plateau.init(), []
    values = [3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0]
    for value in values:
        state = jax.jit(plateau.update)(state, value)
        got.append(float(state.rate))
    assert got == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    tx = optax.contrib.reduce_on_plateau(factor=0.5, patience=2, rtol=1e-4)
    state, theirs = tx.init(jnp.float32(0)), []
    for value in values:
        update, state = tx.update(jnp.float32(1), state, value=value)
        theirs.append(float(update))
    assert theirs == got
    # From 10 to 9.5 is 5 % but less than 1, so no progress by an absolute threshold of 1.
    for absolute, want in ((True, 0.5), (False, 1.0)):
        plateau = Plateau(1.0, factor=0.5, patience=0, threshold=1.0 if absolute else 0.01, absolute=absolute)
        assert float(plateau.update(plateau.update(plateau.init(), 10.0), 9.5).rate) == want
    up = Plateau(1.0, factor=0.1, patience=0, maximize=True)
    after = up.update(up.update(up.init(), 0.5), 0.4)  # an accuracy that falls
    assert float(after.rate) == pytest.approx(0.1)


# Values of the notes, a = .1 and T = 100 throughout.


@pytest.mark.covers("SC-01")
def test_constant():
    assert rates(schedules.constant(0.1), [0, 1, 10**6]) == pytest.approx([0.1] * 3)


@pytest.mark.covers("SC-02")
def test_resnets_steps():
    got = rates(schedules.multi_step(0.1, [30, 60, 90]), [29, 30, 59, 60, 89, 90])
    assert got == pytest.approx([0.1, 0.01, 0.01, 0.001, 0.001, 0.0001], rel=1e-5)
    halving = rates(schedules.step_decay(0.1, 5, 0.5), [4, 5, 9, 10])
    assert halving == pytest.approx([0.1, 0.05, 0.05, 0.025])


@pytest.mark.covers("SC-04")
def test_milestones_are_optaxs_piecewise_constant():
    ours, theirs = (schedules.multi_step(0.1, [2, 5], 0.3), optax.piecewise_constant_schedule(0.1, {2: 0.3, 5: 0.3}))
    assert rates(ours, range(8)) == pytest.approx(rates(theirs, range(8)), rel=1e-5)


@pytest.mark.covers("SC-06")
def test_exponential():
    assert float(schedules.exponential(0.1, 0.1)(10)) == pytest.approx(0.0367879, rel=1e-5)  # .1 / e


@pytest.mark.covers("SC-07")
def test_cosine_only_falls():
    schedule = schedules.cosine(0.1, 100)
    assert rates(schedule, [0, 25, 50, 75, 100]) == pytest.approx([0.1, 0.0853553, 0.05, 0.0146447, 0], abs=1e-7)
    values = rates(schedule, range(0, 160, 3))
    assert (np.diff(values) <= 0).all()
    assert values[-1] == 0


@pytest.mark.covers("SC-08")
def test_restarts_rise_at_once_and_last_longer():
    # T = 2, 4, 8, ...: restarts at 2, 6, 14, 30, ..., 2 (2^n - 1).
    schedule = schedules.cosine_restarts(1.0, 2, 2)
    assert rates(schedule, [0, 1, 2, 4, 6, 10, 14]) == pytest.approx([1, 0.5, 1, 0.5, 1, 0.5, 1])
    assert rates(schedules.cosine_restarts(1.0, 4), [0, 2, 4, 6]) == pytest.approx([1, 0.5, 1, 0.5])


@pytest.mark.slow
@given(first=st.integers(1, 1000), factor=st.integers(2, 5), n=st.integers(0, 7))
def test_restarts_stand_where_they_should(first, factor, n):
    start = first * (factor**n - 1) // (factor - 1)
    schedule = schedules.cosine_restarts(1.0, first, factor)
    assert float(schedule(start)) == pytest.approx(1.0)
    if start > 1 and first > 1:
        assert float(schedule(start - 1)) < 0.6


@pytest.mark.covers("SC-09")
def test_linear():
    assert rates(schedules.linear(0.1, 0.0, 100), [0, 25, 100, 130]) == pytest.approx([0.1, 0.075, 0, 0])


@pytest.mark.covers("SC-10")
def test_inverse_sqrt():
    assert rates(schedules.inverse_sqrt(0.1), [0, 1, 4, 100]) == pytest.approx([0.1, 0.1, 0.05, 0.01])


@pytest.mark.covers("SC-11")
def test_inverse_time():
    assert rates(schedules.inverse_time(0.1, 0.1), [0, 10, 90]) == pytest.approx([0.1, 0.05, 0.01])


@pytest.mark.covers("SC-12")
def test_warm_up_over_5000_iterations():
    schedule = schedules.warm_up(schedules.cosine(0.1, 10000), 5000)
    # Half at 2500; the peak at 5000, from where the decay's own clock starts: half again after 5000 more.
    assert rates(schedule, [0, 2500, 5000, 10000, 15000]) == pytest.approx([0, 0.05, 0.1, 0.05, 0], abs=1e-8)
    same = optax.join_schedules([optax.linear_schedule(0, 0.1, 5000), optax.cosine_decay_schedule(0.1, 10000)], [5000])
    assert rates(schedule, [1, 4999, 7000]) == pytest.approx(rates(same, [1, 4999, 7000]), rel=1e-3)


def test_linear_scaling_and_ramps():
    assert linear_scaling(0.1, 1024) == pytest.approx(0.4)  # four times the batch, four times the rate
    assert batch_ramp(0.1, [64, 128, 256], [10, 20, 30]) == [(10, 64, 0.1), (20, 128, 0.2), (30, 256, 0.4)]


@pytest.mark.covers("SC-15")
def test_a_last_reduction_lowers_the_noise_floor():
    """f = w² / 2 with noise of variance 1 on its gradient: w' = (1 - a) w - a n, so E w² settles at a / (2 - a)."""
    rate = schedules.multi_step(0.2, [400], 0.1)
    tx = by_hand.gradient_descent(rate)

    def step(carry, key):
        w, state = carry
        update, state = tx.update(w + jax.random.normal(key, w.shape), state, w)
        return (w + update, state), jnp.square(w + update).mean()

    w = jnp.zeros(2000)
    _, squares = jax.lax.scan(step, (w, tx.init(w)), jax.random.split(jax.random.key(0), 800))
    assert float(squares[200:400].mean()) == pytest.approx(0.2 / 1.8, rel=0.05)  # .111
    assert float(squares[-100:].mean()) == pytest.approx(0.02 / 1.98, rel=0.1)  # .0101


def test_a_cycle_of_two_steps_begins_low_and_ends_near_0():
    """Three quarters of two steps rise until step 1/2; a 25th at first, and a ten thousandth of it at last."""
    assert rates(schedules.one_cycle(1.0, 2, 0.75), [0, 1]) == pytest.approx([0.04, 4e-6], rel=0.01)


@pytest.mark.parametrize("power", [0.5, 0.9, 1.5])
def test_polynomial_is_zero_from_its_end_on_under_jit(power):
    t = jnp.array([1000, 1001, 5000])
    for steps in (3, 7, 49, 100, 1000):
        np.testing.assert_array_equal(jax.jit(schedules.polynomial(0.1, steps, power))(t), 0)


def test_plateau_of_a_negative_measure():
    """A measure of -1 that stays is no progress: best (1 - .0001) = -.9999 would always be beaten. From -1 to -2 is."""
    plateau = Plateau(1.0, factor=0.5, patience=0)
    after = plateau.update(plateau.update(plateau.init(), -1.0), -1.0)
    assert float(after.rate) == 0.5
    assert float(plateau.update(plateau.update(plateau.init(), -1.0), -2.0).rate) == 1.0
    up = Plateau(1.0, factor=0.5, patience=0, maximize=True)  # a log-likelihood
    assert float(up.update(up.update(up.init(), -1.0), -1.00005).rate) == 0.5
    assert float(up.update(up.update(up.init(), -1.0), -0.5).rate) == 1.0


def test_a_threshold_is_a_share_or_a_difference():
    """From 10 to 9.5, or back: 5 % better, by less than 1."""
    for settings, want in (
        ({"threshold": 1.0, "absolute": True}, 0.5),
        ({"threshold": 0.4, "absolute": True}, 1.0),
        ({"threshold": 0.04}, 1.0),
        ({"threshold": 0.06}, 0.5),
    ):
        for maximize, values in ((False, (10.0, 9.5)), (True, (9.5, 10.0))):
            plateau = Plateau(1.0, factor=0.5, patience=0, maximize=maximize, **settings)
            state = plateau.init()
            for value in values:
                state = plateau.update(state, value)
            assert float(state.rate) == want


def test_the_scale_of_a_plateau_is_found_in_the_chain_and_multiplies_later_updates():
    params, gradients = {"w": jnp.ones(2)}, {"w": jnp.ones(2)}
    tx = create_optimizer("sgd", 0.5, momentum=0.0, plateau=True)
    state = tx.init(params)
    assert has_plateau_scale(state)
    assert not has_plateau_scale(create_optimizer("sgd", 0.5).init(params))
    for scale, change in ((None, -0.5), (0.25, -0.125)):
        state = state if scale is None else set_plateau_scale(state, scale)
        updates, state = tx.update(gradients, state, params)
        np.testing.assert_array_equal(updates["w"], [change] * 2)


def test_a_momentum_may_fall_where_the_rate_rises():
    momentum = schedules.cyclic(0.95, 0.85, 5)
    np.testing.assert_allclose([momentum(t) for t in (0, 5, 10)], [0.95, 0.85, 0.95], rtol=1e-6)
