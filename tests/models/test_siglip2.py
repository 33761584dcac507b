"""SigLIP 2 of native aspect ratio against transformers; positions of grids; what padding does."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.inputs import PackedImages
from dlcore.models.siglip2 import positions_of_grids
from dlcore.ops import resize
from tests.models.parity import check_output, parameter_count, read_golden, weight_rule
from tests.models.test_clip import FIELDS

NAME = "siglip2_base_patch16_naflex"
TINY = FIELDS | {"image_size": 16, "patch_size": 4}


@pytest.fixture(scope="module")
def tiny():
    """(golden, meta, model, variables, images, tokens) of images of 4 x 4 and 3 x 4 patches."""
    golden, meta, weights = read_golden("hf_siglip2")
    inputs = {key: jnp.asarray(weight_rule().det_input(about)) for key, about in meta["inputs"].items()}
    images = PackedImages(*(inputs[key] for key in PackedImages._fields))
    model, variables = create_model(NAME, **TINY), load_torch(NAME, weights, **TINY)
    return golden, meta, model, variables, images, inputs["input_ids"]


@pytest.mark.slow
@pytest.mark.covers("AT-45")
def test_siglip2_equals_transformers(tiny):
    golden, meta, model, variables, images, tokens = tiny

    @jax.jit
    def run(variables, images, tokens):
        return *model.apply(variables, images, tokens)[:2], model.apply(variables, images, tokens, method="logits")

    outputs = run(variables, images, tokens)
    for name, output in zip(("image_embeds", "text_embeds", "logits_per_image"), outputs, strict=True):
        check_output(golden, meta, name, output, least=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-45")
def test_positions_are_the_resized_table():
    """Of grids smaller and larger than the table's 4 x 4, traced, beside `resize` of static sizes."""
    table = np.random.default_rng(0).normal(size=(4, 4, 3)).astype(np.float32)
    grids = [(4, 4), (3, 5), (1, 20), (7, 2), (6, 6), (0, 4)]

    @jax.jit
    def run(table, traced):
        sizes = [resize(table, size, "bilinear", antialias=True).reshape(-1, 3) for size in grids[:4]]
        return positions_of_grids(table, traced, 20), sizes

    positions, resized = jax.device_get(run(table, np.array(grids)))
    chex.assert_shape(positions, (6, 20, 3))
    for (rows, columns), found, expected in zip(grids[:4], positions, resized, strict=False):
        np.testing.assert_allclose(found[: rows * columns], expected, atol=1e-5)
        np.testing.assert_allclose(found[rows * columns :], np.tile(expected[0], (20 - rows * columns, 1)), atol=1e-5)
    assert np.isnan(positions[4:]).all()  # 36 patches, and none


@pytest.mark.covers("AT-45")
def test_positions_by_hand():
    """One row of 0, 4, 8, 12. To two: s = 2, centers 0.5 and 2.5, (3/4 0 + 3/4 4 + 1/4 8) / (7/4) = 20/7 and 64/7."""
    table = np.tile(np.float32([0, 4, 8, 12])[None, :, None], (4, 1, 1))
    positions = jax.jit(positions_of_grids, static_argnums=2)(table, np.array([[1, 2], [1, 4]]), 4)
    np.testing.assert_allclose(positions[0, :, 0], [20 / 7, 64 / 7, 20 / 7, 20 / 7], rtol=1e-6)
    np.testing.assert_allclose(positions[1, :, 0], [0, 4, 8, 12], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("AT-45")
def test_padding_is_not_read_and_more_of_it_changes_nothing(tiny):
    *_, model, variables, images, _ = tiny
    run = jax.jit(lambda images: model.apply(variables, images, method="encode_image"))
    before = run(images)
    noise = images._replace(pixel_values=images.pixel_values.at[1, 12:].set(100.0))
    np.testing.assert_allclose(run(noise), before, atol=1e-6)
    longer = PackedImages(
        jnp.pad(images.pixel_values, ((0, 0), (0, 5), (0, 0))),
        jnp.pad(images.pixel_attention_mask, ((0, 0), (0, 5))),
        images.spatial_shapes,
    )
    np.testing.assert_allclose(run(longer), before, atol=1e-5)
    turned = images._replace(spatial_shapes=images.spatial_shapes.at[1].set(jnp.array([4, 3])))
    difference = np.abs(run(turned) - before).max(-1)
    assert difference[0] < 1e-6 < 1e-3 < difference[1]


@pytest.mark.slow(only=["siglip2_so400m*"])
@pytest.mark.covers("AT-45")
@pytest.mark.parametrize(
    ("name", "depth", "width", "hidden"), [(NAME, 12, 768, 3072), ("siglip2_so400m_patch16_naflex", 27, 1152, 4304)]
)
def test_parameter_counts(name, depth, width, hidden):
    """Two transformers, tables of 256 patches, 64 places and 256,000 tokens, the query's attention, and two numbers."""
    mlp = 2 * width * hidden + hidden + width
    attention = 4 * width * (width + 1)
    towers = 2 * (depth * (attention + mlp + 4 * width) + 2 * width)
    tables = (16 * 16 * 3 + 1 + 256 + 256_000 + 64) * width
    assert parameter_count(name) == towers + tables + (width + attention + 2 * width + mlp) + width * (width + 1) + 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pixel_values": jnp.zeros((2, 16, 47))}, r"pixel_values.shape=\(2, 16, 47\): no patches; allowed: .*48"),
        ({"pixel_attention_mask": jnp.ones((2, 15))}, r"mask.shape=\(2, 15\): does not fit; allowed: \(2"),
        ({"spatial_shapes": jnp.ones((2, 2))}, r"spatial_shapes=float32\[2, 2\]: no grids; allowed: int \[B, 2\]"),
        ({"spatial_shapes": jnp.array([[4, 4], [3, 6]])}, r"spatial_shapes\[1\]=\(3, 6\): does not fit 16 patches"),
        ({"spatial_shapes": jnp.array([[4, 4], [0, 6]])}, r"spatial_shapes\[1\]=\(0, 6\): does not fit"),
        ({"spatial_shapes": jnp.array([[4, 4], [2, 4]])}, r"attention_mask\[1\]: does not fit its grid; allowed: 8"),
        ({"pixel_attention_mask": jnp.tile(jnp.arange(2)[:, None], 16)}, r"attention_mask\[0\]: does not fit"),
    ],
)
def test_errors(tiny, change, message):
    *_, model, variables, images, _ = tiny
    with pytest.raises(ValueError, match=message):
        model.apply(variables, images._replace(**change), method="image_tokens")
