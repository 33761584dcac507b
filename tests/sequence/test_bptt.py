"""Back-propagation through time: a step by hand, the unrolled loop, the scan and the engine of gates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.sequence import bptt
from experiments.studies import recurrent_gradients as study


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.covers("SQ-09")
def test_two_steps_of_one_unit_by_hand():
    # Linear, w_x = 2, w_h = 3, b = 0, h_0 = 1, x = (1, -1): h_1 = 2 + 3 = 5, h_2 = -2 + 15 = 13. With L = h_2:
    # d_2 = 1, d_1 = 3; dL/dw_h = d_2 h_1 + d_1 h_0 = 5 + 3 = 8; dL/dw_x = -1 + 3 = 2; dL/db = 4; dL/dh_0 = 9.
    weights = bptt.RNNWeights(jnp.array([[2.0]]), jnp.array([[3.0]]), jnp.zeros(1))
    x = jnp.array([[[1.0], [-1.0]]])
    states = bptt.forward(weights, jnp.ones((1, 1)), x, linear=True)
    np.testing.assert_array_equal(states[0, :, 0], [1, 5, 13])
    gradient = jnp.array([[[0.0], [1.0]]])
    (d_input, d_hidden, d_bias), d_h0, d_x = bptt.backward(weights, states, x, gradient, linear=True)
    assert [float(v.squeeze()) for v in (d_input, d_hidden, d_bias, d_h0)] == [2, 8, 4, 9]
    np.testing.assert_array_equal(d_x[0, :, 0], [6, 2])


@pytest.mark.covers("SQ-09")
def test_two_steps_of_one_unit_with_tanh_by_hand():
    """h_1 = tanh(0.2 + 0.3) and h_2 = tanh(-0.2 + 0.3 h_1), with L = 2 h_1 + h_2."""
    weights = bptt.RNNWeights(jnp.array([[0.2]]), jnp.array([[0.3]]), jnp.zeros(1))
    x = jnp.array([[[1.0], [-1.0]]])
    states = bptt.forward(weights, jnp.ones((1, 1)), x)
    first = np.tanh(0.5)
    second = np.tanh(-0.2 + 0.3 * first)
    np.testing.assert_allclose(states[0, :, 0], [1, first, second])
    (d_input, d_hidden, d_bias), d_h0, d_x = bptt.backward(weights, states, x, jnp.array([[[2.0], [1.0]]]))
    d_second = 1 - second**2
    d_first = (2 + 0.3 * d_second) * (1 - first**2)
    want = [d_first - d_second, d_first + d_second * first, d_first + d_second, 0.3 * d_first]
    np.testing.assert_allclose([v.squeeze() for v in (d_input, d_hidden, d_bias, d_h0)], want)
    np.testing.assert_allclose(d_x[0, :, 0], [0.2 * d_first, 0.2 * d_second])


@pytest.mark.slow(unless=["True"])
@pytest.mark.covers("SQ-09")
@pytest.mark.parametrize("linear", [False, True])
def test_by_hand_equals_jax_grad_of_the_unrolled_loop(linear):
    weights, h0, x, gradient = study.problem(0, 12)

    def loss(weights, h0, x):
        return (bptt.forward(weights, h0, x, linear)[:, 1:] * gradient).sum()

    want = jax.jit(jax.grad(loss, (0, 1, 2)))(weights, h0, x)
    got = bptt.backward(weights, bptt.forward(weights, h0, x, linear), x, gradient, linear)
    assert study.difference(jax.tree.leaves(got), jax.tree.leaves(want)) < 1e-10


@pytest.mark.slow
@pytest.mark.covers("SQ-09")
def test_by_hand_by_scan_and_by_engine_are_one():
    drawn = study.problem(1, 4)
    hand, scan, engine = (method(*drawn) for method in (study.by_hand, study.by_scan, study.by_engine))
    assert study.difference(hand, scan) < 1e-10
    assert study.difference(hand, engine) < 1e-10
    assert len(hand) == len(scan) == len(engine) == 5
    assert all(np.abs(v).min() > 0 for v in hand)


def test_a_wrong_gradient_is_seen():
    right = study.by_hand(*study.problem(1, 4))
    wrong = (right[0], right[1] * (1 + 1e-6), *right[2:])
    assert study.difference(wrong, right) == pytest.approx(1e-6, rel=1e-3)
