"""The first prediction, what conditions it, the published size, and sizes that cannot be."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.control_net import ControlNet
from dlcore.generative.text_to_image import TextUNet, WordEncoder, prompt_condition
from dlcore.generative.unet_blocks import SpatialTransformer
from tests.wiring import assert_wiring

SMALL = {"channels": (8, 8), "num_heads": 2, "groups": 4, "patch_size": 2}


@pytest.fixture(scope="module")
def drawn():
    """(a text network's parameters, their apply, inputs): its parameters are moved away from the first zeros."""
    model = TextUNet(WordEncoder(7, 8, 1, 2), ConditionalUNet(**SMALL))
    x, t, tokens = jax.random.normal(jax.random.key(0), (2, 8, 8, 3)), jnp.array([1, 500]), jnp.array([[1, 3], [1, 3]])
    first = jax.jit(model.init)(jax.random.key(1), x, t, tokens)["params"]
    noise = jax.random.normal(jax.random.key(2), (997,))
    params = jax.tree.map(lambda leaf: leaf + 0.2 * jnp.resize(noise, leaf.shape), first)
    return first, params, jax.jit(lambda p, tokens: model.apply({"params": p}, x, t, tokens)), tokens


@pytest.mark.weekly
@pytest.mark.covers("GE-26")
def test_the_first_prediction_is_zero(drawn):
    first, _, run, tokens = drawn
    chex.assert_shape(run(first, tokens), (2, 8, 8, 3))
    assert not run(first, tokens).any()


@pytest.mark.weekly
@pytest.mark.covers("GE-26")
def test_every_word_and_its_place_change_the_prediction(drawn):
    _, params, run, tokens = drawn
    one = run(params, tokens)
    for other in ([[1, 4], [1, 3]], [[3, 1], [1, 3]], [[0, 0], [1, 3]]):
        two = run(params, jnp.array(other))
        assert np.abs(one[0] - two[0]).max() > 1e-3
        np.testing.assert_allclose(one[1], two[1], atol=1e-6)


def test_no_prompt_is_padding_alone():
    condition = prompt_condition()
    given = condition.read({"tokens": np.array([[1, 5, 2]])})
    assert condition.null(given).tolist() == [[0, 0, 0]]
    assert condition.classes is None


@pytest.mark.weekly
@pytest.mark.covers("GE-26")
def test_the_size_of_stable_diffusion():
    """The U-Net of version 1.5 has 859,520,964 parameters."""
    model = ConditionalUNet((320, 640, 1280, 1280), 2, (0, 1, 2), 8, groups=32)
    inputs = jnp.zeros((1, 64, 64, 4)), jnp.zeros(1), None, jnp.zeros((1, 77, 768))
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == 859_520_964


@pytest.mark.slow
def test_sizes_that_cannot_be_are_named():
    x, t = jnp.zeros((1, 6, 8, 3)), jnp.zeros(1)
    with pytest.raises(ValueError, match="x=6x8: sides do not divide; allowed: multiples of 4"):
        jax.eval_shape(ConditionalUNet(**SMALL).init, jax.random.key(0), x, t)
    hint = jnp.zeros((1, 8, 8, 1))
    with pytest.raises(ValueError, match="hint=8x8: another size; allowed: 4x4"):
        jax.eval_shape(ControlNet(**SMALL).init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)), t, hint)
    with pytest.raises(ValueError, match="num_heads=3: not a divisor"):
        jax.eval_shape(ConditionalUNet(**SMALL | {"num_heads": 3}).init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)), t)


def test_the_wiring_of_conditional_unet_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        ConditionalUNet(
            channels=(4,),
            num_res_blocks=1,
            attention_levels=(),
            add_attention=False,
            num_heads=2,
            groups=2,
            num_classes=3,
            resnet_time_scale_shift="scale_shift",
        ),
        (2, 4, 4, 3),
        np.array([3.0, 700.0]),
        np.array([0, 2]),
        [6.17476, 4.21643],
    )


def test_the_wiring_of_spatial_transformer_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(SpatialTransformer(2, 1, 4), (1, 2, 3, 8), (1, 4, 6), [42.8338, -0.411819])
