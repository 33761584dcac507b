"""PixArt against the library's outputs, the first prediction, its configurations, and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.pixart import PixArt
from dlcore.pretrained.family import find_family
from tests.generative.test_torch_diffusers import check
from tests.models.parity import check_output, nchw, nhwc, read_golden, weight_rule
from tests.wiring import assert_wiring

TINY = {"width": 16, "depth": 2, "num_heads": 2, "out_channels": 8, "base_grid": 4}


@pytest.mark.slow
def test_a_pixart_equals_the_librarys():
    check("df_pixart", PixArt(**TINY), ("x", "timestep", "ctx"))


@pytest.mark.slow
def test_a_configuration_computes_what_the_library_computes():
    golden, meta, weights = read_golden("df_pixart")
    config = {"_class_name": "PixArtTransformer2DModel", **meta["kwargs"]}
    family = find_family(config)
    name, fields = family.model(config)
    assert name == "pixart_alpha_512"
    assert {key: fields[key] for key in TINY} == TINY
    model = PixArt(**fields)
    x, t, context = (nhwc(np.asarray(weight_rule().det_input(about))) for about in meta["inputs"].values())
    inputs = {"hidden_states": x, "timestep": t, "encoder_hidden_states": context}
    outputs = family.outputs(model, family.load(model, config, weights), inputs)
    check_output(golden, meta, "sample", nchw(outputs["sample"]))


def test_embeddings_of_resolution_are_refused():
    _, meta, _ = read_golden("df_pixart")
    config = {"_class_name": "PixArtTransformer2DModel", **meta["kwargs"]}
    for changes in ({"use_additional_conditions": True}, {"use_additional_conditions": None, "sample_size": 128}):
        with pytest.raises(ValueError, match="use_additional_conditions=True: not in dlcore's PixArt; allowed: False"):
            find_family(config).model({**config, **changes})


@pytest.mark.slow
def test_the_first_prediction_is_zero():
    x, t, context = jax.random.normal(jax.random.key(0), (1, 4, 4, 4)), jnp.array([3]), jnp.ones((1, 2, 12))
    output, _ = jax.jit(PixArt(**TINY | {"depth": 1}).init_with_output)(jax.random.key(1), x, t, context)
    assert not output.any()


def test_sides_that_cannot_be_are_named():
    def init(height, width, **fields):
        x, context = jnp.zeros((1, height, width, 4)), jnp.zeros((1, 1, 12))
        return jax.eval_shape(PixArt(**TINY | fields).init, jax.random.key(0), x, jnp.zeros(1), context)

    with pytest.raises(ValueError, match="x=5x4: sides do not divide; allowed: multiples of patch_size=2"):
        init(5, 4)


@pytest.mark.slow
def test_the_wiring_of_pix_art_is_as_it_was():
    """A regression: the number holds the code as it was."""
    assert_wiring(
        PixArt(width=16, depth=1, num_heads=2), (2, 4, 8, 4), np.array([3.0, 700.0]), (2, 3, 6), [68.0355, -9.9938]
    )
