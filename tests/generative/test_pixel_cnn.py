"""What is the PixelCNN's own: class, embedding, dropout, the cost of a step; test_autoregressive.py has the rest."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.pixel_cnn import PixelCNN
from tests.wiring import assert_wiring


def made(levels=3, colors=1, shape=(2, 4, 3, 1), **fields):
    model = PixelCNN(
        levels, colors, **{"features": 6, "head_features": 6, "num_layers": 1, "first_kernel": 3, **fields}
    )
    label = jnp.arange(shape[0]) if model.num_classes else None
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros(shape, jnp.int32), label)["params"]
    kernel = params["logits"]["conv"]["kernel"]
    params["logits"]["conv"]["kernel"] = jax.random.normal(jax.random.key(1), kernel.shape)
    return model, {"params": params}


@pytest.mark.weekly
def test_the_class_and_the_codes_are_heard():
    """Codes 0 and 2 of an embedding are as different as any two: nothing says that 1 lies between them."""
    model, variables = made(num_classes=2, embedding_dim=4, dropout=0.5)
    chex.assert_shape(variables["params"]["embedding"]["embedding"], (3, 4))
    x = jnp.zeros((2, 4, 3, 1), jnp.int32)
    apply = jax.jit(model.apply, static_argnames="train")
    logits = apply(variables, x, jnp.array([0, 1]))
    chex.assert_shape(logits, (2, 4, 3, 1, 3))
    assert (logits[0] != logits[1]).all()
    other = apply(variables, x.at[:, 0, 0].set(2), jnp.array([0, 1]))
    np.testing.assert_array_equal(other[:, 0, 0], logits[:, 0, 0])
    assert (other[:, 0, 1] != logits[:, 0, 1]).all()
    rngs = {"dropout": jax.random.key(2)}
    dropped = apply(variables, x, jnp.array([0, 1]), train=True, rngs=rngs)
    assert (dropped != logits).any()


def test_kernels_without_a_center_and_uneven_blocks_are_refused():
    with pytest.raises(ValueError, match="kernel_size=4: has no center; allowed: odd numbers"):
        made(colors=3, shape=(1, 2, 2, 3), kernel_size=4)


@pytest.mark.weekly
@pytest.mark.covers("GE-05")
def test_a_step_of_sampling_costs_a_pixel_and_not_an_image():
    """A step of 12 x 12 pixels has under a tenth of the multiplications of a pass, by XLA's count."""
    model, variables = made(shape=(1, 12, 12, 1), num_layers=2)
    x = jnp.zeros((1, 12, 12, 1), jnp.int32)

    def flops(function, *arguments):
        return jax.jit(function).lower(*arguments).cost_analysis()["flops"]

    cache = model.apply(variables, x.shape, None, method="start")
    place = (jnp.int32(3), jnp.int32(5), jnp.int32(0))
    step = flops(lambda c, x: model.apply(variables, c, x, place, None, method="step"), cache, x)
    assert step < 0.1 * flops(lambda x: model.apply(variables, x), x)


@pytest.mark.covers("GE-05")
def test_the_gate_is_tanh_of_one_half_by_sigmoid_of_the_other():
    """One layer of one pixel, whose convolutions see zeros: the biases a = 1, b = -2 of the gate alone remain.

    The horizontal stack adds a' = .5, b' = 3, and the biases of `out`, 0: h = tanh(.5) sigmoid(3) = .4402."""
    model = PixelCNN(3, 1, features=1, head_features=1, num_layers=0, first_kernel=3)
    x = jnp.zeros((1, 1, 1, 1), jnp.int32)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(model.init, jax.random.key(0), x))
    layer = params["params"]["layers_0"]
    layer["vertical"]["bias"], layer["horizontal"]["bias"] = jnp.array([1.0, -2.0]), jnp.array([0.5, 3.0])
    ones = jnp.ones((1, 1, 1, 1))
    layer["out"]["conv"]["kernel"] = params["params"]["head"]["conv"]["kernel"] = ones
    params["params"]["logits"]["conv"]["kernel"] = jnp.ones((1, 1, 1, 3)) * jnp.array([1.0, 2.0, 3.0])
    apply = jax.jit(model.apply)
    h = np.tanh(0.5) / (1 + np.exp(-3.0))
    np.testing.assert_allclose(apply(params, x)[0, 0, 0, 0], [h, 2 * h, 3 * h], rtol=1e-5)
    # The vertical stack is heard through `across`: tanh(1) sigmoid(-2) is not, its convolution's output (1, -2) is.
    layer["across"]["kernel"] = jnp.eye(2)[None, None]
    h = np.tanh(1.5) / (1 + np.exp(-1.0))
    np.testing.assert_allclose(apply(params, x)[0, 0, 0, 0], [h, 2 * h, 3 * h], rtol=1e-5)


@pytest.mark.slow
def test_the_wiring_of_the_pixel_cnn_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        PixelCNN(4, 1, 3, features=4, num_layers=2, first_kernel=5, head_features=6),
        np.arange(30).reshape(2, 3, 5, 1) % 4,
        np.array([0, 2]),
        [15.4748, 3.88385],
    )


def test_the_reach_is_the_sum_of_half_the_kernels():
    """Kernels of 7 and of six times 3: 3 + 6; of 5 and twice 7: 2 + 2 * 3."""
    assert PixelCNN(2, 1).reach() == 9
    assert PixelCNN(2, 1, first_kernel=5, num_layers=2, kernel_size=7).reach() == 8
