"""The optimizers written out: torch's ten-step trajectories, optax step by step, and values by hand."""

import inspect
import json
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.optim import by_hand, create_optimizer, schedules

GOLDEN = np.load(Path(__file__).parents[1] / "goldens" / "torch_optim.npz")
CASES = json.loads(str(GOLDEN["meta"]))["cases"]

TORCH = {
    "SGD": lambda lr, momentum=0.0, nesterov=False: (
        by_hand.nesterov(lr, momentum)
        if nesterov
        else by_hand.momentum(lr, momentum)
        if momentum
        else by_hand.gradient_descent(lr)
    ),
    "Adagrad": lambda lr: by_hand.adagrad(lr, eps=1e-10),
    "RMSprop": lambda lr, centered=False, momentum=0.0: by_hand.rmsprop(
        lr, 0.99, eps=1e-8, centered=centered, rho=momentum
    ),
    "Adadelta": lambda lr, rho: by_hand.adadelta(lr, rho),
    "Adam": lambda lr, betas=(0.9, 0.999), amsgrad=False: by_hand.adam(lr, *betas, amsgrad=amsgrad),
    "NAdam": lambda lr: by_hand.nadam(lr),
    "RAdam": lambda lr, betas: by_hand.radam(lr, *betas),
    "Adamax": lambda lr: by_hand.adamax(lr),
    "Rprop": lambda lr: by_hand.rprop(lr),
    "ASGD": lambda lr: by_hand.asgd(lr),
}
ELSEWHERE = {
    "LBFGS": "tests/optim/test_second_order.py",
    "LBFGS.wolfe": "the interpolation of torch's line search is its own; the conditions are tested in test_line_search",
    "clip_grad_norm.2.0": "tests/optim/test_clipping.py",
    "clip_grad_norm.inf": "tests/optim/test_clipping.py",
}


def problem(name):
    return jnp.asarray(GOLDEN[f"problem/{name}"])


def quadratic(x):
    return 0.5 * x @ problem("A") @ x - problem("b") @ x


def mlp_loss(params):
    w1, b1, w2, b2 = params
    return jnp.square((jnp.tanh(problem("X") @ w1.T + b1) @ w2.T + b2) - problem("Y")).mean()


def path(tx, function, params, steps=10):
    """Every iterate, the start included."""
    state, seen = tx.init(params), [params]

    @jax.jit
    def step(state, params):
        updates, state = tx.update(jax.grad(function)(params), state, params)
        return state, optax.apply_updates(params, updates)

    for _ in range(steps):
        state, params = step(state, params)
        seen.append(params)
    return seen


def from_torch(case):
    arguments = dict(CASES[case]["args"])
    decay = arguments.pop("weight_decay", 0.0)
    name = CASES[case]["fn"].rpartition(".")[2]
    if name == "AdamW":
        return by_hand.adamw(arguments["lr"], weight_decay=decay)
    return optax.chain(optax.add_decayed_weights(decay), TORCH[name](**arguments))


@pytest.mark.slow(unless=["SGD.momentum"])
@pytest.mark.covers("OP-03", "OP-04", "OP-05", "OP-06", "OP-07", "OP-08", "OP-10")
@pytest.mark.parametrize("case", [case for case in CASES if case not in ELSEWHERE])
def test_ten_steps_are_torchs(case):
    with jax.enable_x64(True):
        tx = from_torch(case)
        # torch keeps a scalar of these two in float32 (the product of the momenta, the rate): 6e-8 a step.
        tolerance = 3e-8 if case.startswith(("NAdam", "ASGD")) else 1e-9
        iterates = np.array(path(tx, quadratic, problem("x0")))
        np.testing.assert_allclose(iterates, GOLDEN[f"{case}/quad"], rtol=0, atol=tolerance)
        seen = path(tx, mlp_loss, [problem(n) for n in ("w1", "b1", "w2", "b2")])
        losses = [float(mlp_loss(params)) for params in (seen[0], seen[1], seen[-1])]
        np.testing.assert_allclose(losses, GOLDEN[f"{case}/mlp.loss"][[0, 1, 10]], rtol=10 * tolerance)
        flat = np.concatenate([np.ravel(leaf) for leaf in seen[-1]])
        np.testing.assert_allclose(flat, GOLDEN[f"{case}/mlp.params"], rtol=0, atol=tolerance)


A = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.3], [0.0, 0.3, 0.5]])
START = {"kernel": np.array([[1.0, -2.0, 0.5], [0.3, 3.0, -1.0]]), "bias": np.array([1.0, -1.0, 0.2])}


def bowl(params):
    return (
        0.5 * jnp.einsum("ni,ij,nj->", params["kernel"], jnp.asarray(A), params["kernel"])
        + jnp.square(jnp.square(params["bias"]) - 0.3).sum()
    )


PAIRS = {
    "gradient_descent": (by_hand.gradient_descent(0.1), optax.sgd(0.1)),
    "momentum": (by_hand.momentum(0.05, 0.9), optax.sgd(0.05, momentum=0.9)),
    "momentum_99": (by_hand.momentum(0.01, 0.99, rate_inside=True), optax.sgd(0.01, momentum=0.99)),
    "nesterov": (by_hand.nesterov(0.05, 0.9), optax.sgd(0.05, momentum=0.9, nesterov=True)),
    "adagrad": (by_hand.adagrad(0.1, eps_inside=True), optax.adagrad(0.1, initial_accumulator_value=0.0, eps=1e-7)),
    "adagrad_start": (by_hand.adagrad(0.1, eps_inside=True, start=0.1), optax.adagrad(0.1)),
    "adadelta": (by_hand.adadelta(1.0, 0.95), optax.adadelta(1.0, rho=0.95)),
    "rmsprop": (by_hand.rmsprop(0.01), optax.rmsprop(0.01, 0.9, eps=1e-7, eps_in_sqrt=False)),
    "rmsprop_inside": (by_hand.rmsprop(0.01, eps=1e-3, eps_inside=True), optax.rmsprop(0.01, 0.9, eps=1e-3)),
    "rmsprop_centered": (
        by_hand.rmsprop(0.01, eps=1e-3, centered=True, rho=0.5),
        optax.rmsprop(0.01, 0.9, eps=1e-3, eps_in_sqrt=False, centered=True, momentum=0.5),
    ),
    "adam": (by_hand.adam(0.05), optax.adam(0.05)),
    "adam_inside": (by_hand.adam(0.05, eps=1e-3, eps_inside=True), optax.adam(0.05, eps=0.0, eps_root=1e-3)),
    "adamw": (by_hand.adamw(0.05, weight_decay=0.1), optax.adamw(0.05, weight_decay=0.1)),
    "adamax": (by_hand.adamax(0.05), optax.adamax(0.05)),
    "lars": (by_hand.lars(0.5, weight_decay=0.1, trust=0.1), optax.lars(0.5, 0.1, trust_coefficient=0.1)),
}
MARKS = {
    "gradient_descent": ["OP-01"],
    "momentum": ["OP-03"],
    "momentum_99": ["OP-03"],
    "nesterov": ["OP-04"],
    "adagrad": ["OP-05", "OP-09"],
    "adadelta": ["OP-06"],
    "rmsprop": ["OP-07", "OP-09"],
    "rmsprop_inside": ["OP-09"],
    "adam": ["OP-08", "OP-09"],
    "adam_inside": ["OP-09"],
    "adamw": ["OP-10"],
    "lars": ["OP-11"],
}


@pytest.mark.slow(unless=["gradient_descent", "momentum", "momentum_99"])
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.covers(*MARKS[n])] if n in MARKS else []) for n in PAIRS]
)
def test_a_hundred_steps_are_optaxs(name):
    with jax.enable_x64(True):
        start = jax.tree.map(jnp.asarray, START)
        ours, theirs = (path(tx, bowl, start, 100) for tx in PAIRS[name])
        for got, want in zip(ours, theirs, strict=True):
            chex.assert_trees_all_close(got, want, rtol=1e-9, atol=1e-9)
        assert bowl(ours[-1]) < bowl(start)


@pytest.mark.covers("OP-01")
def test_gradient_descent_on_a_quadratic_has_a_closed_form():
    # f = (4 x² + y²) / 2, a = .1: x_t = (1 - .4)^t, y_t = (1 - .1)^t.
    iterates = path(by_hand.gradient_descent(0.1), lambda w: 0.5 * (4 * w[0] ** 2 + w[1] ** 2), jnp.ones(2))
    want = [[0.6**t, 0.9**t] for t in range(11)]
    np.testing.assert_allclose(np.array(iterates), want, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("OP-01")
def test_no_other_direction_falls_faster_than_against_the_gradient():
    def f(w):
        return w[0] ** 2 + 3 * w[0] * w[1] + 5 * w[1] ** 2

    w, tiny = jnp.array([1.0, -0.7]), 1e-3
    g = jax.grad(f)(w)
    angles = jnp.linspace(0, 2 * jnp.pi, 720, endpoint=False)
    directions = jnp.stack([jnp.cos(angles), jnp.sin(angles)], 1)
    best = directions[jnp.argmin(jax.vmap(lambda d: f(w + tiny * d))(directions))]
    np.testing.assert_allclose(best, -g / jnp.linalg.norm(g), atol=1.5e-2)


@pytest.mark.slow(unless=["2"])
@pytest.mark.covers("OP-02")
@pytest.mark.parametrize("size", [1, 2, 4])
def test_the_mean_of_the_minibatch_gradients_is_the_full_gradient(size):
    rng = np.random.default_rng(0)
    x, y = jnp.asarray(rng.normal(size=(8, 3))), jnp.asarray(rng.normal(size=8))

    def loss(w, x, y):
        return jnp.square(x @ w - y).mean()

    w = jnp.array([0.3, -0.2, 0.5])
    order = rng.permutation(8).reshape(-1, size)
    gradient = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))
    parts, whole = gradient(w, x[order], y[order]), gradient(w, x[None], y[None])[0]
    np.testing.assert_allclose(parts.mean(0), whole, rtol=1e-5)
    assert np.ptp(np.asarray(parts), axis=0).min() > 0.1, "one minibatch alone is noisy"


@pytest.mark.covers("OP-03")
def test_momentum_by_hand_and_where_the_rate_stands():
    # f = w, g = 1, ρ = .9, a = 1 and then .1. v = 1, 1.9: w = -1, -1 - .19 = -1.19 with the rate outside;
    # inside v = -1, -.9 - .1 = -1: w = -1, -2: the speed that it had stays.
    rate = optax.piecewise_constant_schedule(1.0, {1: 0.1})
    for inside, want in ((False, [0, -1, -1.19]), (True, [0, -1, -2])):
        got = path(by_hand.momentum(rate, 0.9, rate_inside=inside), lambda w: w, jnp.float32(0), 2)
        np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.slow(unless=["0.9"])
@pytest.mark.covers("OP-03")
@pytest.mark.parametrize("rho", [0.5, 0.9, 0.95, 0.99])
def test_a_constant_gradient_is_multiplied_by_one_over_one_less_rho(rho):
    tx = by_hand.momentum(1.0, rho)
    w, state = jnp.float32(0), tx.init(jnp.float32(0))
    for _ in range(1500):
        step, state = tx.update(jnp.float32(1), state, w)
    assert float(-step) == pytest.approx(1 / (1 - rho), rel=1e-3)


@pytest.mark.covers("OP-04")
def test_the_two_forms_of_nesterov_are_one_in_shifted_variables():
    with jax.enable_x64(True):
        x, v = problem("x0"), jnp.zeros(4)
        shifted = path(by_hand.nesterov(0.03, 0.9), quadratic, x, 30)
        for t in range(31):
            np.testing.assert_allclose(shifted[t], x + 0.9 * v, rtol=0, atol=1e-9)
            x, v = by_hand.nesterov_look_ahead(jax.grad(quadratic), x, v, 0.03, 0.9)
        assert np.abs(shifted[5] - path(by_hand.momentum(0.03, 0.9), quadratic, problem("x0"), 5)[5]).max() > 1e-3


@pytest.mark.covers("OP-05", "OP-09")
def test_where_epsilon_stands_in_adagrad():
    # g = 1e-4, a = .1, ε = 1e-7. Outside: .1 * 1e-4 / (1e-4 + 1e-7) = .0999; inside: / sqrt(1e-8 + 1e-7) = .0302.
    for inside, want in ((False, -0.0999001), (True, -0.0301511)):
        tx = by_hand.adagrad(0.1, eps=1e-7, eps_inside=inside)
        step, _ = tx.update(jnp.float32(1e-4), tx.init(jnp.float32(0)), jnp.float32(0))
        assert float(step) == pytest.approx(want, rel=1e-5)


@pytest.mark.covers("OP-05")
def test_adagrads_steps_only_shrink():
    # g = 2 always: s = 4 t, so a step is 2 / (2 sqrt(t)) = 1 / sqrt(t). Not the sum itself: 2 / 4 t would be 1 / 2 t.
    steps = -np.diff(path(by_hand.adagrad(1.0), lambda w: 2 * w, jnp.float32(0), 6))
    np.testing.assert_allclose(steps, 1 / np.sqrt(np.arange(1, 7)), rtol=1e-5)
    step = -np.diff(path(by_hand.rmsprop(1.0), lambda w: 2 * w, jnp.float32(0), 60))
    assert step[-1] == pytest.approx(1.0, rel=1e-2), "RMSProp forgets: its step comes to rest at the rate"


@pytest.mark.covers("OP-08")
def test_adams_first_step_is_the_rate_whatever_the_gradient():
    # m̂ = g and v̂ = g²: .001 * 5 / (5 + 1e-8) = .000999999998. The raw moments give .001 * .5 / sqrt(.025) = .00316.
    with jax.enable_x64(True):
        for g, want in ((5.0, -0.000999999998), (-1e3, 0.001), (0.0, 0.0)):
            tx = by_hand.adam()
            step, state = tx.update(jnp.float64(g), tx.init(jnp.float64(0)), jnp.float64(0))
            assert float(step) == pytest.approx(want, abs=1e-13)
            assert int(state.count) == 1


@pytest.mark.covers("OP-10")
def test_decoupled_decay_is_not_a_penalty_inside_adam():
    # g = 0 in the loss, λ = .1, a = .01, w = 2: AdamW takes .01 * .1 * 2 = .002; a penalty's gradient of any size
    # becomes a whole step of .01.
    w = jnp.float32(2)
    decoupled = path(by_hand.adamw(0.01, weight_decay=0.1), lambda w: 0 * w, w, 1)[1]
    penalty = path(optax.chain(optax.add_decayed_weights(0.1), by_hand.adam(0.01)), lambda w: 0 * w, w, 1)[1]
    assert float(decoupled) == pytest.approx(2 - 0.002, rel=1e-6)
    assert float(penalty) == pytest.approx(2 - 0.01, rel=1e-6)


@pytest.mark.covers("OP-11")
def test_lars_moves_each_array_in_proportion_to_its_size():
    # ‖w‖ = 5, ‖g‖ = 10, trust .1: ratio .1 * 5 / 10 = .05; a = 1: the step is -.05 g, of length .5 = a * trust * ‖w‖.
    params = {"a": jnp.array([3.0, 4.0]), "b": jnp.zeros(2)}
    gradients = {"a": jnp.array([6.0, -8.0]), "b": jnp.array([1.0, 2.0])}
    tx = by_hand.lars(1.0, trust=0.1)
    step, _ = tx.update(gradients, tx.init(params), params)
    np.testing.assert_allclose(step["a"], [-0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(step["b"], [-1.0, -2.0], rtol=1e-6)  # no size to go by: as SGD


@pytest.mark.covers("OP-15")
def test_the_subgradient_method_needs_a_step_that_shrinks():
    # f = |w| from .55: with a = .1 it ends between .05 and -.05 for ever; with a / sqrt(t) it closes in.
    fixed = np.array(path(by_hand.gradient_descent(0.1), jnp.abs, jnp.float32(0.55), 400))
    np.testing.assert_allclose(np.abs(fixed[-20:]), 0.05, atol=1e-3)
    assert set(np.sign(fixed[-2:])) == {-1.0, 1.0}
    shrinking = path(by_hand.gradient_descent(schedules.inverse_sqrt(0.1)), jnp.abs, jnp.float32(0.55), 400)
    assert np.abs(shrinking[-20:]).max() < 0.1 / np.sqrt(380) + 1e-3
    assert abs(jax.grad(jnp.abs)(0.0)) <= 1, "any slope in [-1, 1] is a subgradient at the corner"


@pytest.mark.covers("OP-19")
def test_adam_on_a_step_schedule():
    """The rate of every step is the schedule's: under Adam with one gradient all steps are as long as the rate."""
    rate = schedules.step_decay(0.1, 3, 0.1)
    want = [0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001]
    for tx in (by_hand.adam(rate), optax.adam(rate), create_optimizer("adam", rate)):
        iterates = path(tx, lambda w: w, jnp.float32(0), 7)
        np.testing.assert_allclose(-np.diff(iterates), want, rtol=1e-3)
    tx = optax.inject_hyperparams(optax.adam)(learning_rate=rate)
    state, seen = tx.init(jnp.float32(0)), []
    for _ in range(7):
        _, state = tx.update(jnp.float32(1), state)
        seen.append(float(state.hyperparams["learning_rate"]))
    np.testing.assert_allclose(seen, want, rtol=1e-5)


def test_limits_of_rprop_may_be_traced():
    """The first step is the rate, 0.25, cut to the largest."""
    tx = optax.inject_hyperparams(by_hand.rprop)(0.25, smallest=0.1, largest=0.125)
    w = jnp.float32(0)
    step, _ = jax.jit(tx.update)(jnp.float32(3), tx.init(w), w)
    assert float(step) == -0.125


@pytest.mark.slow(only=["adadelta", "rprop"])
@pytest.mark.parametrize("name", [n for n in by_hand.__all__ if n not in ("ByHandState", "nesterov_look_ahead")])
def test_zero_and_huge_gradients_stay_finite_and_dtypes_stay(name):
    tx = getattr(by_hand, name)(0.1)
    for dtype in (jnp.float32, jnp.bfloat16):
        params = {"a": jnp.zeros(3, dtype), "b": jnp.ones((2, 2), dtype)}
        state, update = tx.init(params), jax.jit(tx.update)
        for scale in (0.0, 0.0, 1e8, 0.0):
            gradients = jax.tree.map(lambda p, s=scale: jnp.full_like(p, s), params)
            updates, after = update(gradients, state, params)
            chex.assert_trees_all_equal_shapes_and_dtypes(state, after)
            chex.assert_trees_all_equal_dtypes(updates, params)
            chex.assert_tree_all_finite((updates, after))
            state = after


def test_the_constants_of_the_notes_are_the_defaults():
    def defaults(function):
        return {name: p.default for name, p in inspect.signature(function).parameters.items()}

    adam = {"learning_rate": 1e-3, "b1": 0.9, "b2": 0.999, "eps": 1e-8}
    assert adam.items() <= defaults(by_hand.adam).items()
    assert {"learning_rate": 0.01, "eps": 1e-7}.items() <= defaults(by_hand.adagrad).items()
    assert {"gamma": 0.9, "eps": 1e-7}.items() <= defaults(by_hand.rmsprop).items()
    assert defaults(by_hand.momentum)["rho"] == defaults(by_hand.nesterov)["rho"] == 0.9


@pytest.mark.parametrize(("penalty", "decay"), [(lambda w: 0.05 * w**2, 0.1), (lambda w: 0.1 * w**2, 0.2)])
def test_a_penalty_with_a_half_is_decay_by_lambda_and_without_by_twice(penalty, decay):
    # λ = .1: the gradient of λ/2 w² is λ w, that of λ w² is 2 λ w.
    in_loss = path(by_hand.gradient_descent(0.5), lambda w: jnp.sin(w) + penalty(w), jnp.float32(1.5), 5)
    in_chain = path(
        optax.chain(optax.add_decayed_weights(decay), by_hand.gradient_descent(0.5)), jnp.sin, jnp.float32(1.5), 5
    )
    np.testing.assert_allclose(in_loss, in_chain, rtol=1e-5)


OUT_OF_RANGE = {
    "momentum": {"rho": 1.0, "dampening": -1.0},
    "nesterov": {"rho": 1.0},
    "adagrad": {"eps": -1.0, "start": -1.0},
    "rmsprop": {"gamma": 1.0, "rho": 1.0, "eps": -1.0},
    "adadelta": {"rho": 1.0, "eps": -1.0},
    "adam": {"b1": 1.0, "b2": 1.0, "eps": -1.0},
    "adamw": {"b1": 1.0, "b2": 1.0, "eps": -1.0, "weight_decay": -1.0},
    "adamax": {"b1": 1.0, "b2": 1.0, "eps": -1.0},
    "nadam": {"b1": 1.0, "b2": 1.0, "eps": -1.0, "momentum_decay": -1.0},
    "radam": {"b1": 1.0, "b2": 1.0, "eps": -1.0},
    "rprop": {"shrink": 1.0, "grow": 1.0, "smallest": -1.0},
    "asgd": {"decay": -1.0, "power": -1.0, "average_from": -1.0},
    "lars": {"rho": 1.0, "weight_decay": -1.0, "trust": -1.0},
}


def test_every_number_out_of_range_is_named():
    for name, numbers in OUT_OF_RANGE.items():
        for number, value in numbers.items():
            with pytest.raises(ValueError, match=f"^{number}=.*: out of range; allowed: "):
                getattr(by_hand, name)(0.1, **{number: value})


@pytest.mark.slow(unless=["False"])
@pytest.mark.parametrize("rate_inside", [False, True])
def test_dampening_by_hand(rate_inside):
    # v: 2; .9 2 + .25 4 = 2.8; .9 2.8 + .25 (-1) = 2.27. torch: the first velocity is the gradient itself.
    tx, w = by_hand.momentum(0.1, 0.9, rate_inside, dampening=0.75), jnp.array(1.0)
    state = tx.init(w)
    for g, want in ((2.0, 0.8), (4.0, 0.52), (-1.0, 0.293)):
        updates, state = tx.update(jnp.array(g), state, w)
        w = w + updates
        assert float(w) == pytest.approx(want, abs=1e-6)


@pytest.mark.covers("OP-06")
def test_adadelta_by_hand():
    """s and u begin at 0; each step is the root of u's mean over that of s's, from the mean of squares before it."""
    tx, w = by_hand.adadelta(0.5, rho=0.75, eps=0.01), np.float32(2)
    state, s, u = tx.init(w), 0.0, 0.0
    for g in (3.0, -1.0):
        s = 0.75 * s + 0.25 * g * g
        d = np.sqrt(u + 0.01) / np.sqrt(s + 0.01) * g
        u = 0.75 * u + 0.25 * d * d
        step, state = tx.update(np.float32(g), state, w)
        np.testing.assert_allclose(step, -0.5 * d, rtol=1e-6)


def test_rprop_by_hand():
    """Sizes: 0.25, grown to 0.5, cut to the largest 0.75; the flip shrinks to 0.25 * 0.75 and skips; then nothing is
    known of the sign, which leaves the size; the flip after that shrinks below the smallest, 0.1.
    """
    tx, w = by_hand.rprop(0.25, shrink=0.25, grow=2.0, smallest=0.1, largest=0.75), np.float32(0)
    state, steps = tx.init(w), []
    for g in (3.0, 1.0, 2.0, -5.0, -5.0, 1.0, 1.0):
        step, state = tx.update(np.float32(g), state, w)
        steps.append(float(step))
    np.testing.assert_allclose(steps, [-0.25, -0.5, -0.75, 0, 0.1875, 0, -0.1])


def numpy_rules():
    """{name: (optimizer, rule)}: a rule yields what is added to w after each gradient and w, t from 1, a = .1."""

    def nesterov():
        v = np.zeros(2)
        g, _ = yield
        while True:
            before, v = v, 0.8 * v - 0.1 * g
            g, _ = yield -0.8 * before + 1.8 * v

    def damped():
        v, first = np.zeros(2), True
        g, _ = yield
        while True:
            v, first = 0.8 * v - 0.1 * g * (1 if first else 0.7), False
            g, _ = yield v

    def adagrad():
        s = 0.1
        g, _ = yield
        while True:
            s = s + g**2
            g, _ = yield -0.1 * g / np.sqrt(s + 0.01)

    def rmsprop(centered):
        m = s = v = 0.0
        g, _ = yield
        while True:
            m, s = 0.8 * m + 0.2 * g, 0.8 * s + 0.2 * g**2
            v = 0.5 * v + g / (np.sqrt(s - centered * m**2) + 0.01)
            g, _ = yield -0.1 * v

    def moments(rule):
        m = v = 0.0
        t, memory = 0, {}
        g, w = yield
        while True:
            t, m, v = t + 1, 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g**2
            g, w = yield -0.1 * rule(g, w, t, m, v, memory)

    def adam(g, w, t, m, v, memory):
        memory["largest"] = np.maximum(memory.get("largest", 0), v)
        return m / (1 - 0.8**t) / np.sqrt(memory["largest"] / (1 - 0.9**t) + 0.01)

    def adamw(g, w, t, m, v, memory):
        return m / (1 - 0.8**t) / (np.sqrt(v / (1 - 0.9**t)) + 0.01) + 0.3 * w

    def adamax(g, w, t, m, v, memory):
        memory["u"] = np.maximum(0.9 * memory.get("u", 0), np.abs(g) + 0.01)
        return m / (1 - 0.8**t) / memory["u"]

    def nadam(g, w, t, m, v, memory):
        now, after = (0.8 * (1 - 0.5 * 0.96 ** (0.3 * k)) for k in (t, t + 1))
        memory["product"] = memory.get("product", 1) * now
        ahead = after * m / (1 - memory["product"] * after) + (1 - now) * g / (1 - memory["product"])
        return ahead / (np.sqrt(v / (1 - 0.9**t)) + 0.01)

    def radam(g, w, t, m, v, memory):
        rho = 19 - 2 * t * 0.9**t / (1 - 0.9**t)
        if rho <= 5:
            return m / (1 - 0.8**t)
        r = np.sqrt((rho - 4) * (rho - 2) * 19 / (15 * 17 * rho))
        return m / (1 - 0.8**t) * r * np.sqrt(1 - 0.9**t) / (np.sqrt(v) + 0.01)

    def asgd():
        t = 0
        g, w = yield
        while True:
            t += 1
            a = 0.1 / (1 + 0.3 * 0.1 * (t - 1)) ** 0.6
            g, w = yield -a * (0.3 * w + g)

    def lars():
        v = np.zeros(2)
        g, w = yield
        while True:
            u = g + 0.3 * w
            v = 0.8 * v - 0.1 * 0.2 * np.linalg.norm(w) / np.linalg.norm(u) * u
            g, w = yield v

    return {
        "nesterov": (by_hand.nesterov(0.1, 0.8), nesterov()),
        "damped": (by_hand.momentum(0.1, 0.8, rate_inside=True, dampening=0.3), damped()),
        "adagrad": (by_hand.adagrad(0.1, 0.01, eps_inside=True, start=0.1), adagrad()),
        "rmsprop": (by_hand.rmsprop(0.1, 0.8, 0.01, rho=0.5), rmsprop(False)),
        "centered": (by_hand.rmsprop(0.1, 0.8, 0.01, centered=True, rho=0.5), rmsprop(True)),
        "adam": (by_hand.adam(0.1, 0.8, 0.9, 0.01, eps_inside=True, amsgrad=True), moments(adam)),
        "adamw": (by_hand.adamw(0.1, 0.8, 0.9, 0.01, 0.3), moments(adamw)),
        "adamax": (by_hand.adamax(0.1, 0.8, 0.9, 0.01), moments(adamax)),
        "nadam": (by_hand.nadam(0.1, 0.8, 0.9, 0.01, 0.3), moments(nadam)),
        "radam": (by_hand.radam(0.1, 0.8, 0.9, 0.01), moments(radam)),
        "asgd": (by_hand.asgd(0.1, 0.3, 0.6, 3), asgd()),
        "lars": (by_hand.lars(0.1, 0.8, 0.3, 0.2), lars()),
    }


@pytest.mark.covers("OP-04", "OP-05", "OP-07", "OP-08", "OP-10", "OP-11")
def test_the_rules_are_those_of_numpy():
    """Nine gradients of two weights, whose sizes and signs change; RAdam has seen enough of them after the sixth."""
    gradients = np.random.default_rng(0).normal(size=(9, 2)) * np.array([3, 1, 0.2] * 3)[:, None]
    rules, start = numpy_rules(), np.array([1.0, -2.0])

    @jax.jit
    def run(gradients):
        found = {}
        for name, (tx, _) in rules.items():

            def step(carry, g, tx=tx):
                w, state = carry
                updates, state = tx.update(g, state, w)
                return (w + updates, state), updates

            (_, state), found[name] = jax.lax.scan(step, (start, tx.init(jnp.asarray(start))), gradients)
            if name == "asgd":
                found["average"] = state.slots["average"]
        return found

    with jax.enable_x64(True):
        found = jax.device_get(run(gradients))
    for name, (_, rule) in rules.items():
        w, path = start, []
        rule.send(None)
        for g, got in zip(gradients, found[name], strict=True):
            want = rule.send((g, w))
            np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-12, err_msg=name)
            w = w + want
            path.append(w)
        if name == "asgd":  # from the fourth on the mean: at first of one
            np.testing.assert_allclose(found["average"], np.mean(path[4:], 0), rtol=1e-7)
