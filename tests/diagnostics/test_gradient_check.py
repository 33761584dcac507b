"""Slopes, verdicts, kinks, and planted bugs that must be found."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from dlcore.diagnostics.gradient_check import (
    check_gradient,
    has_kinks,
    kinks_crossed,
    numerical_gradient,
    relative_error,
    verdict,
)
from dlcore.losses import softmax_cross_entropy_loss


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


PARAMS = {"a": {"w": np.linspace(-1, 1, 6).reshape(2, 3)}, "b": np.array(0.7)}


def check(loss, params=PARAMS, **options):
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)
    return {line.path: line for line in check_gradient(loss, params, **options)}


def smooth(params):
    return jnp.sin(params["a"]["w"]).sum() * jnp.exp(params["b"]) + (params["a"]["w"] ** 3).sum()


def slope(h, method):
    """Of exp at 0, where it is 1."""
    f = lambda w: jnp.exp(w).sum()  # noqa: E731
    return float(numerical_gradient(f, jnp.zeros(1), jnp.array([0]), h, method)[0])


@pytest.mark.covers("TR-01")
def test_one_sided_slopes_are_wrong_by_a_term_of_h():
    # (e^h - 1) / h = 1 + h / 2 + h² / 6 + ...
    assert slope(0.1, "one_sided") == pytest.approx(1.0517092, abs=1e-7)
    errors = [abs(slope(h, "one_sided") - 1) for h in (1e-2, 1e-3, 1e-4)]
    np.testing.assert_allclose(-np.diff(np.log10(errors)), 1, atol=0.02)
    w = jnp.arange(3.0)
    numerical_gradient(lambda w: (w**2).sum(), w, jnp.arange(3), 1e-5, "one_sided")
    np.testing.assert_array_equal(w, [0, 1, 2])


@pytest.mark.covers("TR-02")
def test_centered_slopes_are_wrong_by_a_term_of_h_squared():
    # (e^h - e^-h) / 2h = 1 + h² / 6 + ...
    assert slope(0.1, "centered") == pytest.approx(1.0016675, abs=1e-7)
    errors = [abs(slope(h, "centered") - 1) for h in (1e-1, 1e-2, 1e-3)]
    np.testing.assert_allclose(-np.diff(np.log10(errors)), 2, atol=0.02)


def test_a_complex_step_has_no_rounding_and_says_where_it_does_not_apply():
    assert slope(1e-20, "complex_step") == 1.0
    lines = check(lambda p: jnp.tanh(p["a"]["w"]).sum() * p["b"] ** 2, method="complex_step")
    assert max(line.error for line in lines.values()) < 1e-14
    found = [(line.path, line.checked, line.kinks) for line in lines.values()]
    assert found == [("a/w", 3, 0), ("b", 0, 0)], "the sum of an odd function is 0, whatever b"
    assert check(lambda p: jax.nn.relu(p["b"]) ** 2, {"b": np.array(0.3)}, method="complex_step")["b"].error < 1e-14
    with pytest.raises(
        TypeError, match="method='complex_step': abs returns a real number; allowed: centered, one_sided"
    ):
        check(lambda p: jnp.abs(p["a"]["w"]).sum() + p["b"], method="complex_step")


@pytest.mark.covers("TR-03")
def test_relative_error_over_the_larger_or_over_the_sum():
    # |1 - 3| / 3 = 2/3, |1 - 3| / 4 = 1/2; opposite signs: 2 / 1 = 2 and 2 / 2 = 1.
    assert relative_error(np.array([1.0, 5.0]), np.array([3.0, 5.0])) == pytest.approx(2 / 3)
    assert relative_error(np.array(1.0), np.array(3.0), over="sum") == pytest.approx(0.5)
    assert relative_error(np.array(1.0), np.array(-1.0)) == 2
    assert relative_error(np.array(1.0), np.array(-1.0), over="sum") == 1
    assert relative_error(np.array([3e-11, 0.0]), np.array([-2e-11, 0.0])) == 0
    assert relative_error(np.zeros(0), np.zeros(0)) == 0
    with pytest.raises(ValueError, match=r"b=\(3,\): wrong shape; allowed: \(2,\)"):
        relative_error(np.ones(2), np.ones(3))


def planted(factor):
    """x² with its gradient multiplied by `factor`."""

    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (factor * 2 * x * g,))
    return square


@pytest.mark.covers("TR-03")
@pytest.mark.parametrize("factor", [-1.0, 0.5, 2.0, 1.01])
def test_a_wrong_gradient_is_found_at_its_leaf_with_its_relative_error(factor):
    square = planted(factor)
    lines = check(lambda p: square(p["a"]["w"]).sum() + p["b"] ** 2)
    assert lines["b"].verdict == "happy"
    # |a - n| / max(|a|, |n|) with a = factor n.
    assert lines["a/w"].error == pytest.approx(abs(factor - 1) / max(abs(factor), 1), rel=1e-5)
    assert lines["a/w"].verdict == ("uncomfortable" if factor == 1.01 else "wrong")


@pytest.mark.covers("TR-04")
def test_the_bands_of_the_verdict():
    table = {
        0.5: ("wrong", "wrong"),
        1.1e-2: ("wrong", "wrong"),
        1e-2: ("uncomfortable",) * 2,
        1e-3: ("uncomfortable",) * 2,
        1.1e-4: ("uncomfortable",) * 2,
        9e-5: ("too high without kinks", "fine with kinks"),
        2e-7: ("too high without kinks", "fine with kinks"),
        1e-7: ("happy", "happy"),
        0.0: ("happy", "happy"),
        float("nan"): ("wrong", "wrong"),
    }
    for error, (without, with_kinks) in table.items():
        assert (verdict(error), verdict(error, True)) == (without, with_kinks), error


@pytest.mark.covers("TR-05")
def test_kinks_that_a_step_crosses_are_counted():
    # Units at -1, -.001, .001, 2: a step of .01 on the common bias carries the second over, one of -.01 the third.
    f = lambda b: jax.nn.relu(jnp.array([-1, -0.001, 0.001, 2]) + b).sum()  # noqa: E731
    assert int(kinks_crossed(f, jnp.float64(0), jnp.float64(0.01))) == 1
    assert int(kinks_crossed(f, jnp.float64(-0.01), jnp.float64(0.01))) == 2
    assert int(kinks_crossed(f, jnp.float64(0), jnp.float64(1e-5))) == 0
    assert int(kinks_crossed(jax.jit(lambda x: jnp.abs(x).max()), jnp.array([1.0, 2.0]), jnp.array([3.0, 2.0]))) == 2
    assert has_kinks(f, jnp.float64(0))
    assert has_kinks(lambda x: jnp.sort(x)[0], jnp.ones(3))
    assert not has_kinks(lambda x: softmax_cross_entropy_loss(jnp.tanh(x), 1), jnp.ones(3)), "its max is for range only"
    assert not has_kinks(lambda x: jax.nn.log_softmax(x)[0] + jax.nn.gelu(x).sum(), jnp.ones(3))


def test_sorting_has_a_kink_where_the_order_changes_and_clipping_at_its_ends():
    """Rows (1, 2, 3) and (3, 1, 2): by .5 the order stays, by 1.5 two of three places change."""
    sorts = [lambda x, axis=axis: (jnp.sort(x, axis) * jnp.arange(6.0).reshape(2, 3)).sum() for axis in (1, 0)]
    functions = *sorts, lambda x: jax.lax.clamp(-1.0, x[0], 4.0).sum(), lambda x: jnp.max(x, 0)[1]
    count = jax.jit(lambda a, b: [kinks_crossed(f, a, b) for f in functions])
    x = np.array([[1.0, 2, 3], [3, 1, 2]])
    for row, column, move, expected in (
        (0, 0, 0.5, [0, 0, 0, 0]),
        (0, 0, 1.5, [2, 0, 0, 0]),
        (1, 2, 1.5, [2, 2, 0, 2]),
        (0, 2, 1.5, [0, 0, 1, 0]),
        (0, 0, -2.5, [0, 0, 1, 0]),
        (0, 1, -1.5, [2, 2, 0, 2]),
    ):
        moved = x.copy()
        moved[row, column] += move
        assert [int(kinks) for kinks in count(x, moved)] == expected, (row, column, move)


@jax.custom_vjp
def tripled(x):
    return x


tripled.defvjp(lambda x: (x, None), lambda _, g: (jax.tree.map(lambda g: 3 * g, g),))


@pytest.mark.slow(only=["*--1e-07", "one_sided-0.0"])
@pytest.mark.parametrize("x", [1e-7, -1e-7, 0.0])
@pytest.mark.parametrize("method", ["centered", "one_sided"])
def test_a_coordinate_at_a_kink_is_judged_on_the_side_without_it(x, method):
    """The centered slope across a kink at 0 is the mean of both sides': at 1e-7 .5 (1 + 1e-2) + .5 for 1 + 1."""

    def loss(p):
        return jnp.where(p["x"] > 0, 2 * p["x"], jnp.sin(p["x"])).sum()

    line = check(loss, {"x": np.array([x])}, method=method)["x"]
    assert line.kinks == (0 if method == "one_sided" and x == 1e-7 else 1)
    assert line.error < 1e-7
    assert (line.checked, line.numerical) == (1, pytest.approx(2 if x > 0 else 1, rel=1e-7))
    wrong = check(lambda p: loss(tripled(p)), {"x": np.array([x])}, method=method)["x"]
    assert (wrong.verdict, wrong.error) == ("wrong", pytest.approx(2 / 3, rel=1e-6))


def test_a_side_is_measured_by_a_parabola():
    """(f(h) - f(0)) / h of exp is wrong by h / 2; -3, 4, -1 over h at 0, h / 2, h by less than h² / 6."""
    h = 1e-2
    line = check(lambda p: jnp.exp(p["x"]) + 1e3 * jax.nn.relu(-p["x"]), {"x": np.array(1e-9)}, h=h)["x"]
    assert line.kinks == 1
    assert 1e-7 < line.error < h**2 / 6


def test_kinks_on_both_sides_call_for_a_smaller_step_or_another_coordinate():
    def corner(x, width):  # of slope 1 between its kinks and 5 outside
        return jnp.sum(x + 4 * jax.nn.relu(x - width) - 4 * jax.nn.relu(-x - width))

    smaller = check(lambda p: corner(p["x"], 4e-6), {"x": np.zeros(1)})["x"]
    assert (smaller.kinks, smaller.numerical) == (2, pytest.approx(1, rel=1e-7))
    # All coordinates but one are in corners that no step fits in: ten others are tried in the place of the first.
    order = np.random.default_rng(0).permutation(12)
    params = {"x": np.where(np.arange(12) == order[10], 3.0, 0.0)}
    replaced = check(lambda p: corner(p["x"], 1e-8), params, samples=1)["x"]
    assert replaced.numerical == pytest.approx(5, rel=1e-7)
    assert check(lambda p: corner(tripled(p["x"]), 1e-8), params, samples=1)["x"].verdict == "wrong"
    eleventh = check(lambda p: corner(p["x"], 1e-8), {"x": np.where(np.arange(12) == order[11], 3.0, 0.0)}, samples=1)
    assert eleventh["x"].verdict == "wrong"
    alone = check(lambda p: corner(p["x"], 1e-8), {"x": np.zeros(1)})["x"]
    assert (alone.verdict, alone.kinks) == ("wrong", 2), "without a side to judge from it is not called right"


@pytest.mark.covers("TR-05")
def test_every_leaf_is_sampled_and_a_wrong_coordinate_is_found():
    @jax.custom_vjp
    def spoiled(x):
        return (x**2).sum()

    spoiled.defvjp(lambda x: ((x**2).sum(), x), lambda x, g: ((2 * x).at[3].multiply(-1.0) * g,))
    params = {"a": np.arange(1.0, 6.0), "b": np.ones((2, 2)), "c": np.array(2.0)}
    lines = check(lambda p: spoiled(p["a"]) + (p["b"] ** 2).sum() + p["c"] ** 2, params, samples=50)
    assert {name: line.checked for name, line in lines.items()} == {"a": 5, "b": 4, "c": 1}
    assert lines["a"].error == pytest.approx(2.0, rel=1e-5)
    assert (lines["a"].analytic, lines["a"].verdict) == (-8.0, "wrong")


@pytest.mark.covers("TR-05")
def test_active_dropout_is_refused():
    net, x = nn.Dropout(0.5), jnp.ones(4)

    def loss(params, train):
        return net.apply({}, x * params["w"], deterministic=not train, rngs={"dropout": jax.random.key(0)}).sum()

    params = {"w": np.ones(4)}
    with pytest.raises(ValueError, match="draws random numbers; allowed: one without dropout and augmentation"):
        check(lambda p: loss(p, True), params)
    assert check(lambda p: loss(p, False), params)["w"].verdict == "happy"
    assert check(lambda p: loss(p, True), params, allow_random=True)["w"].verdict == "happy"


@pytest.mark.covers("TR-05")
def test_float32_and_steps_that_rounding_swallows_are_refused():
    with pytest.raises(TypeError, match="w=float32: not precise enough; allowed: float64"):
        check_gradient(lambda p: p["w"].sum(), {"w": jnp.ones(2, jnp.float32)})


def test_a_gradient_that_is_missing_or_not_a_number_is_found():
    lines = check(lambda p: jax.lax.stop_gradient(p["b"]) ** 2 + (p["a"]["w"] ** 2).sum())
    assert lines["b"].error == pytest.approx(1.0)
    lines = check(lambda p: jnp.sqrt(p["b"] - jax.lax.stop_gradient(p["b"])) + p["a"]["w"].sum())
    assert lines["b"].verdict == "wrong", "a NaN must not slip through a comparison"


def test_slopes_below_rounding_error_are_skipped():
    """f near 2 is known to 4e-16, so a slope over 2h = 2e-5 to 2e-11: beside one of 1e-8 that is 1e-3 of it."""
    sizes = np.full((2, 3), 1e-8)
    sizes[1, 2] = 1.0
    lines = check(lambda p: 2.3 + (sizes * p["a"]["w"] ** 2).sum() + p["b"] ** 2, samples=6)
    assert (lines["a/w"].checked, lines["a/w"].skipped, lines["a/w"].verdict) == (1, 5, "happy")
    assert lines["b"].verdict == "happy"
    assert check(lambda p: p["b"] ** 2)["a/w"].verdict is None, "an array that the loss does not see"
    # Beside 1, at h = 1e-5, slopes above 1e4 eps / h = 2.2e-7 are compared.
    line = check(lambda p: 1 + (np.array([2.1e-7, 2.4e-7]) * p["x"]).sum(), {"x": np.zeros(2)})["x"]
    assert (line.checked, line.skipped) == (1, 1)


@pytest.mark.slow
def test_a_given_gradient_is_what_is_checked():
    assert check(smooth, gradient=jax.grad(smooth))["a/w"].verdict == "happy"
    half = lambda p: jax.tree.map(lambda g: g / 2, jax.grad(smooth)(p))  # noqa: E731
    assert check(smooth, gradient=half)["a/w"].error == pytest.approx(0.5, rel=1e-4)
