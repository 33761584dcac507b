"""The diagonals of the PixelRNN against a loop over pixels; test_autoregressive.py has what all networks share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.pixel_rnn import PixelRNN, _Direction
from tests.wiring import assert_wiring


@pytest.mark.slow
@pytest.mark.covers("GE-04")
def test_diagonals_give_what_a_loop_over_pixels_gives():
    """h, c at (y, x) from h and c at (y, x - 1) and h at (y - 1, x), zero outside the image."""
    layer, x = _Direction(2, 1, None), jax.random.normal(jax.random.key(0), (1, 3, 4, 2))
    params = jax.jit(layer.init)(jax.random.key(1), x)["params"]
    w = {name: np.asarray(params[name]["kernel"], np.float64) for name in ("left", "above")}
    k, b = (np.asarray(params["inputs"]["conv"][name], np.float64).reshape(-1, 8) for name in ("kernel", "bias"))

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    h, c = np.zeros((2, 4, 5, 2))
    for row in range(1, 4):
        for column in range(1, 5):
            pixel = np.asarray(x, np.float64)[0, row - 1, column - 1]
            z = pixel @ k + b[0] + h[row, column - 1] @ w["left"] + h[row - 1, column] @ w["above"]
            i, f, g, o = np.split(z, 4)
            c[row, column] = sigmoid(f) * c[row, column - 1] + sigmoid(i) * np.tanh(g)
            h[row, column] = sigmoid(o) * np.tanh(c[row, column])
    np.testing.assert_allclose(jax.jit(layer.apply)({"params": params}, x)[0], h[1:, 1:], rtol=1e-4, atol=1e-6)


@pytest.mark.weekly
def test_the_class_is_heard_and_bad_kernels_are_refused():
    model = PixelRNN(2, 1, num_classes=2, features=4, head_features=4, num_layers=1, first_kernel=3)
    x = jnp.zeros((2, 2, 2, 1), jnp.int32)
    params = jax.jit(model.init)(jax.random.key(0), x, jnp.array([0, 1]))["params"]
    params = jax.tree.map(lambda p: p + 0.3, params)
    logits = jax.jit(model.apply)({"params": params}, x, jnp.array([0, 1]))
    assert (logits[0, ..., 1] != logits[1, ..., 1]).all()
    with pytest.raises(ValueError, match="first_kernel=4: has no center"):
        PixelRNN(2, 1, first_kernel=4).init(jax.random.key(0), x)


@pytest.mark.slow
def test_the_wiring_of_pixel_rnn_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        PixelRNN(4, 1, 3, features=4, num_layers=1, first_kernel=5, head_features=6),
        np.arange(30).reshape(2, 3, 5, 1) % 4,
        np.array([0, 2]),
        [11.9184, -0.353814],
    )
