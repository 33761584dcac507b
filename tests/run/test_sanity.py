"""The gradient check finds planted bugs and passes correct gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.run.sanity import gradient_errors


def check(loss, params, samples=3, seed=0):
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), params)
        return gradient_errors(loss, params, np.random.default_rng(seed), samples)


PARAMS = {"a": {"w": np.linspace(-1, 1, 6).reshape(2, 3)}, "b": np.array(0.7)}


def smooth(params):
    return jnp.sin(params["a"]["w"]).sum() * jnp.exp(params["b"]) + (params["a"]["w"] ** 3).sum()


def test_correct_gradients_pass():
    errors = check(smooth, PARAMS, samples=6)
    assert set(errors) == {"a/w", "b"}
    assert max(errors.values()) < 1e-7


def planted(factor):
    """x^2 with its gradient multiplied by `factor`."""

    @jax.custom_vjp
    def square(x):
        return x**2

    square.defvjp(lambda x: (x**2, x), lambda x, g: (factor * 2 * x * g,))
    return square


@pytest.mark.parametrize("factor", [-1.0, 0.5, 2.0, 1.01])
def test_a_wrong_gradient_is_found_at_its_leaf_with_its_relative_error(factor):
    square = planted(factor)
    errors = check(lambda p: square(p["a"]["w"]).sum() + p["b"] ** 2, PARAMS)
    assert errors["b"] < 1e-7
    # |a - n| / max(|a|, |n|) with a = factor n.
    assert errors["a/w"] == pytest.approx(abs(factor - 1) / max(abs(factor), 1), rel=1e-5)


def test_one_wrong_coordinate_is_found_where_it_is_sampled():
    @jax.custom_vjp
    def spoiled(x):
        return (x**2).sum()

    spoiled.defvjp(lambda x: ((x**2).sum(), x), lambda x, g: ((2 * x).at[3].multiply(-1.0) * g,))
    w = np.arange(1.0, 6.0)
    assert check(lambda p: spoiled(p), w, samples=5)[""] == pytest.approx(2.0, rel=1e-5)
    assert check(lambda p: spoiled(p), w, samples=50)[""] == pytest.approx(2.0, rel=1e-5), "more samples than numbers"


def test_a_gradient_that_is_missing_is_found():
    errors = check(lambda p: jax.lax.stop_gradient(p["b"]) ** 2 + (p["a"]["w"] ** 2).sum(), PARAMS)
    assert errors["b"] == pytest.approx(1.0)


def test_leaves_that_the_loss_does_not_see_count_as_equal():
    assert check(lambda p: p["b"] ** 2, PARAMS)["a/w"] == 0.0


def test_a_gradient_that_is_not_a_number_is_found():
    errors = check(lambda p: jnp.sqrt(p["b"] - jax.lax.stop_gradient(p["b"])), PARAMS)
    assert not errors["b"] < 1e-4, "a NaN must not slip through a comparison"


def test_rounding_of_the_differences_is_not_blamed_on_a_tiny_gradient():
    """f near 2 is known to 4e-16, so a difference over 2h = 2e-6 to 2e-10: beside a gradient of 2e-7 that is 1e-3."""
    errors = check(lambda p: 2.3 + 1e-7 * (p["a"]["w"] ** 2).sum() + p["b"] ** 2, PARAMS, samples=6)
    assert max(errors.values()) < 1e-4


def test_float32_is_refused():
    with jax.enable_x64(True), pytest.raises(TypeError, match="w is float32; a gradient check needs float64"):
        gradient_errors(lambda p: p["w"].sum(), {"w": jnp.ones(2, jnp.float32)}, np.random.default_rng(0))
