"""Eager and compiled: equal values, one compilation a shape, control flow inside the program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.studies import eager_and_compiled as study


@pytest.fixture(scope="module")
def result():
    return study.study(num_layers=3, num_repeats=2, lengths=(1, 7, 30))


@pytest.mark.slow
@pytest.mark.covers("SY-07")
def test_the_claim_holds_in_each_of_its_parts(result):
    assert result.numbers["checks"] == dict.fromkeys(
        ["the same numbers", "a compilation a shape", "if is refused", "cond decides", "scan stays small"], True
    )
    assert result.holds is True
    assert result.numbers["traces"] == {"first": 1, "same shape again": 1, "another shape": 2, "the first again": 2}
    assert result.numbers["program sizes"]["unrolled"] == [1, 7, 30]
    assert set(result.numbers["program sizes"]["scanned"]) == {1}
    assert result.verdict.startswith("It holds.")


@pytest.mark.covers("SY-07")
def test_compiled_is_eager_for_loops_and_branches_too():
    with jax.disable_jit():
        eager = study.power_unrolled(jnp.float32(0.7), 5)
    np.testing.assert_allclose(jax.jit(study.power_scanned, static_argnums=1)(jnp.float32(0.7), 5), eager, rtol=1e-6)
    for value in (-2.0, 3.0):
        np.testing.assert_allclose(jax.jit(study.leaky_lax)(jnp.float32(value)), study.leaky_python(value))
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(study.leaky_python)(jnp.float32(1.0))


def test_a_gradient_step_by_hand():
    """w = 0, b = 0, x = 1: tanh(0) = 0, so the gradient is 0; with b = 1, tanh'(1) 2 tanh(1) / 1 comes back."""
    x = jnp.ones((1, 1))
    ((w, b),) = study.gradient_step([(jnp.zeros((1, 1)), jnp.ones(1))], x)
    slope = 2 * np.tanh(1.0) * (1 - np.tanh(1.0) ** 2)
    np.testing.assert_allclose([w[0, 0], b[0]], [-0.1 * slope, 1 - 0.1 * slope], rtol=1e-5)
