"""A sigmoid with its own backward rule: one node, and finite where the four gates are not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.backprop import sigmoid


@pytest.mark.covers("BP-10")
def test_value_and_gradient_are_the_sigmoids():
    x = np.linspace(-8, 8, 33, dtype=np.float32)
    value, gradient = jax.jit(jax.vmap(jax.value_and_grad(sigmoid)))(x)
    expected = 1 / (1 + np.exp(-x.astype(float)))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_allclose(gradient, expected * (1 - expected), rtol=1e-5, atol=1e-6)
    # By hand, at 0: σ = 1/2, σ' = 1/4; at 1: .7310586 and .1966119.
    assert jax.value_and_grad(sigmoid)(0.0) == (0.5, 0.25)
    assert float(jax.grad(sigmoid)(1.0)) == pytest.approx(0.1966119, rel=1e-5)


@pytest.mark.covers("BP-10")
def test_it_is_one_node_of_the_graph():
    equations = jax.make_jaxpr(sigmoid)(1.0).eqns
    assert len(equations) == 1
    assert "custom_vjp" in equations[0].primitive.name
    assert len(jax.make_jaxpr(lambda x: 1 / (1 + jnp.exp(-x)))(1.0).eqns) == 4


@pytest.mark.covers("BP-10")
def test_it_is_finite_far_out_where_its_parts_are_not():
    for x, want in ((-1000.0, 0.0), (1000.0, 1.0)):
        value, gradient = jax.value_and_grad(sigmoid)(x)
        assert (float(value), float(gradient)) == (want, 0.0)
    assert np.isnan(jax.grad(lambda x: 1 / (1 + jnp.exp(-x)))(-1000.0))
    assert sigmoid(jnp.bfloat16(1)).dtype == jnp.bfloat16
