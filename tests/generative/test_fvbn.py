"""The chain, NADE and MADE by hand; what all autoregressive networks share is in test_autoregressive.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.fvbn import FVBN, MADE, NADE, made_masks
from tests.wiring import assert_wiring


@pytest.mark.covers("GE-03")
def test_the_chain_is_a_logistic_regression_on_the_pixels_before():
    """Inputs are -1 and 1. x = (1, 0, 1): logits b_1, b_2 + w_21, b_3 + w_31 - w_32; weights above are not used."""
    w = jnp.array([[9.0, 9, 9], [2, 9, 9], [3, 5, 9]])[..., None]
    params = {"kernel": w, "bias": jnp.array([0.1, 0.2, 0.3])[None, :, None]}
    logits = jax.jit(FVBN(2).apply)({"params": params}, jnp.array([1, 0, 1]).reshape(1, 1, 3, 1))
    np.testing.assert_allclose(logits[0, 0, :, 0, 1], [0.1, 2.2, 0.3 + 3 - 5], rtol=1e-6)
    np.testing.assert_array_equal(logits[..., 0], 0)


@pytest.mark.covers("GE-03")
def test_nade_is_what_its_loop_says():
    rng = np.random.default_rng(0)
    w, v, c, b = rng.normal(size=(6, 4)), rng.normal(size=(6, 4)), rng.normal(size=4), rng.normal(size=6)
    x = rng.integers(0, 2, 6)
    expected = []
    for d in range(6):
        a = c + sum(((2 * x[j] - 1) * w[j] for j in range(d)), np.zeros(4))
        expected.append(b[d] + v[d] @ (1 / (1 + np.exp(-a))))
    params = {"encoder": w, "hidden_bias": c[None], "decoder": v[..., None], "bias": b[:, None]}
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
    logits = jax.jit(NADE(2, hidden_size=4).apply)({"params": params}, jnp.asarray(x).reshape(1, 2, 3, 1))
    np.testing.assert_allclose(logits[..., 1].reshape(-1), expected, rtol=1e-5)


@pytest.mark.covers("GE-03")
def test_no_path_through_the_masks_leads_from_a_pixel_to_itself_or_before_and_each_other_pair_has_one():
    *hidden, last, direct = made_masks(5, (8, 12))
    paths = np.linalg.multi_dot([*hidden, last])
    before = np.triu(np.ones((5, 5)), 1)
    np.testing.assert_array_equal(paths > 0, before)
    np.testing.assert_array_equal(direct, before)


@pytest.mark.slow
def test_one_pixel_alone_is_its_bias():
    for model in (FVBN(2), NADE(2, hidden_size=3), MADE(2, hidden_sizes=(3,))):
        x = jnp.array([0, 1]).reshape(2, 1, 1, 1)
        params = jax.tree.map(lambda p: p + 0.5, jax.jit(model.init)(jax.random.key(0), x)["params"])
        logits = jax.jit(model.apply)({"params": params}, x)
        np.testing.assert_array_equal(logits[0], logits[1])
        assert logits[0, 0, 0, 0, 1] != 0


def test_masks_of_one_and_two_dimensions_by_hand():
    """Of two dimensions all hidden units read the first alone, and the second is told of it."""
    hidden, last, direct = made_masks(2, (3,))
    np.testing.assert_array_equal(hidden, [[1, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(last, [[0, 1]] * 3)
    np.testing.assert_array_equal(direct, [[0, 1], [0, 0]])
    hidden, last, direct = made_masks(1, (2,))
    assert (hidden.tolist(), last.tolist(), direct.tolist()) == ([[1, 1]], [[0], [0]], [[0]])


@pytest.mark.slow
def test_the_wiring_of_made_is_as_it_was():
    """A regression: the number holds the code as it was."""
    pixels = np.arange(12).reshape(2, 2, 3, 1) % 3
    assert_wiring(MADE(3, 2, (5, 4)), pixels, np.array([1, 0]), [5.76706, -4.99942])
