"""Flux against the library's outputs, its rotary axes, the guidance that it embeds, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.flux import Flux, image_positions
from dlcore.generative.two_stream import PooledConditioning
from tests.generative.test_torch_diffusers import run
from tests.models.parity import check_output
from tests.wiring import assert_wiring

TINY = {"width": 32, "depth": 1, "single_depth": 2, "num_heads": 2, "axes": (4, 6, 6)}
INPUTS = jnp.zeros((1, 4, 4)), jnp.zeros(1), jnp.zeros((1, 2, 12)), jnp.zeros((1, 10)), image_positions(2, 2)


def shapes_of(*inputs, **fields):
    return jax.eval_shape(Flux(**TINY | fields).init, jax.random.key(0), *inputs)


def test_a_flux_equals_the_librarys():
    golden, meta, output = run("df_flux", Flux(**TINY), ("x", "timestep", "ctx", "text", "img_ids", "txt_ids"))
    check_output(golden, meta, "sample", output)


def test_each_axis_turns_its_own_channels():
    """Row 1, column 2: no turn for 4 channels; 1, 10000^(-1/3), 10000^(-2/3) for 6; twice those for the last 6."""
    angles = Flux(**TINY).angles(jnp.array([[0, 1, 2]]))
    np.testing.assert_allclose(angles[0, 0], [0, 0, 1, 0.0464159, 0.0021544, 2, 0.0928318, 0.0043089], atol=1e-6)
    np.testing.assert_array_equal(image_positions(2, 2), [[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]])


@pytest.mark.slow
def test_the_guidance_is_embedded_like_the_timestep():
    """With the timestep's weights in the guidance's embedding, time and guidance may change places."""
    model = Flux(**TINY, has_guidance=True)
    noise = jax.random.normal(jax.random.key(0), (997,))
    shapes = shapes_of(*INPUTS, None, jnp.zeros(1), has_guidance=True)
    params = jax.tree.map(lambda leaf: 0.2 * jnp.resize(noise, leaf.shape), shapes["params"])
    embeddings = params["time_text_embed"]
    embeddings["guidance_embedder"] = embeddings["timestep_embedder"]
    x, _, *texts = INPUTS
    apply = jax.jit(lambda t, guidance: model.apply({"params": params}, x, t, *texts, None, guidance))
    a, b = jnp.array([0.3]), jnp.array([0.7])
    np.testing.assert_allclose(apply(a, b), apply(b, a), atol=1e-5)
    assert np.abs(apply(a, b) - apply(a, a)).max() > 1e-3


def test_inputs_that_cannot_be_are_named():
    with pytest.raises(ValueError, match=r"guidance: missing; allowed: a scale for each example where has_guidance"):
        shapes_of(*INPUTS, has_guidance=True)


def test_the_wiring_of_the_pooled_condition_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(PooledConditioning(4), np.float32([3, 700]), (2, 5), np.float32([3500, 1000]), [4.9373, 4.19032])
