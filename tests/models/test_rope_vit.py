"""ViTs with rotary positions against timm, and the angles of rows and columns by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.registry import example_inputs
from dlcore.models.rope_vit import mixed_frequencies
from dlcore.nn import MultiHeadAttention
from dlcore.nn.rotary import axial_angles, rotate_pairs
from tests.models.parity import parameter_count

TINY = {"image_size": 32, "patch_size": 8, "width": 16, "depth": 1, "num_heads": 2, "mlp_features": 8}
TINY |= {"num_classes": 3}


@pytest.mark.slow(only=["vit_small_patch16_rope_mixed_224*"])
@pytest.mark.covers("AT-47")
@pytest.mark.parametrize(
    ("name", "count"), [("vit_small_patch16_rope_224", 21_984_232), ("vit_small_patch16_rope_mixed_224", 21_988_840)]
)
def test_parameter_counts(name, count):
    """timm's. Mixed ones have 2 x 12 x 6 x 32 frequencies more."""
    block = 12 * 384**2 + 13 * 384 + 2 * 384
    assert 3 * 16**2 * 384 + 384 + 384 + 12 * block + 2 * 384 + 385 * 1000 == 21_984_232
    assert 21_984_232 + 2 * 12 * 6 * 32 == 21_988_840
    assert parameter_count(name) == count


@pytest.mark.covers("AT-47")
def test_angles_of_a_grid_by_hand():
    """Rows 0 and 1, columns 0 and 3, frequencies 1 and 1/10 of 8 channels with period 100."""
    angles = axial_angles(jnp.arange(2.0), jnp.array([0.0, 3.0]), 8, 100.0)
    expected = np.array([[0, 0, 0, 0], [0, 0, 3, 0.3], [1, 0.1, 0, 0], [1, 0.1, 3, 0.3]])
    chex.assert_shape(angles, (4, 1, 4))
    np.testing.assert_allclose(angles[:, 0], expected, rtol=1e-6)
    columns_first = axial_angles(jnp.arange(2.0), jnp.array([0.0, 3.0]), 8, 100.0, columns_first=True)
    np.testing.assert_allclose(columns_first[:, 0], expected[:, [2, 3, 0, 1]], rtol=1e-6)
    with pytest.raises(ValueError, match="features=6: not pairs for two axes; allowed: multiples of 4"):
        axial_angles(jnp.arange(2.0), jnp.arange(2.0), 6)


@pytest.mark.covers("AT-47")
def test_neighbors_and_halves_turn_by_hand():
    """A quarter turn takes (a, b) to (-b, a)."""
    x, angles = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([np.pi / 2, 0.0])
    np.testing.assert_allclose(rotate_pairs(x, angles, "neighbors"), [-2, 1, 3, 4], atol=1e-6)
    np.testing.assert_allclose(rotate_pairs(x, angles), [-3, 2, 1, 4], atol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("AT-47")
def test_moving_the_patches_moves_the_outputs_and_the_class_token_does_not_turn():
    """Scores see offsets alone: coordinates 10 further give the same numbers without a class token, others with one."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 8)), jnp.float32)
    layer = MultiHeadAttention(1, fused_qkv=True, rotary_pairs="neighbors")
    variables = layer.init(jax.random.key(0), x)
    angles, moved = (axial_angles(start + jnp.arange(2.0), start + jnp.arange(2.0), 8) for start in (0.0, 10.0))
    run = jax.jit(layer.apply)
    np.testing.assert_allclose(
        run(variables, x[:, 1:], angles=angles), run(variables, x[:, 1:], angles=moved), atol=1e-5
    )
    assert np.abs(run(variables, x, angles=angles) - run(variables, x, angles=moved)).max() > 1e-3
    assert np.abs(run(variables, x, angles=angles) - run(variables, x)).max() > 1e-3


@pytest.mark.slow
@pytest.mark.covers("AT-47")
def test_mixed_frequencies_are_orthogonal_and_load_from_timm():
    frequencies = mixed_frequencies(jax.random.key(0), (2, 3, 2, 4))
    lengths = np.linalg.norm(frequencies, axis=0)  # 1 and 10^(-1/2), for both halves of the pairs
    np.testing.assert_allclose(lengths, np.broadcast_to([1, 10**-0.5] * 2, (3, 2, 4)), rtol=1e-5)
    np.testing.assert_allclose((frequencies[..., :2] * frequencies[..., 2:]).sum(0), 0, atol=1e-6)
    name = "vit_small_patch16_rope_mixed_224"
    model = create_model(name, head_init=jax.nn.initializers.lecun_normal(), **TINY)
    variables = jax.jit(model.init)(jax.random.key(0), *example_inputs(name, TINY))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 32, 32, 3)), jnp.float32)
    freqs = jnp.asarray(mixed_frequencies(jax.random.key(1), (2, 1, 2, 4)))
    params = variables["params"] | {"rope_freqs": freqs}
    params["blocks_0"] = params["blocks_0"] | {"layer_scale1": jnp.ones(16)}
    mixed = jax.jit(model.apply)({"params": params}, x)
    # fixed frequencies of columns then rows are a special case: (f, 0) for the first half, (0, f) for the other
    fixed = np.zeros((2, 1, 2, 4), np.float32)
    fixed[0, ..., :2] = fixed[1, ..., 2:] = [1, 100**-0.5]
    axial = create_model("vit_small_patch16_rope_224", head_init=jax.nn.initializers.lecun_normal(), **TINY)
    rest = {key: value for key, value in params.items() if key != "rope_freqs"}
    expected = jax.jit(axial.apply)({"params": rest}, x)
    np.testing.assert_allclose(
        jax.jit(model.apply)({"params": rest | {"rope_freqs": jnp.asarray(fixed)}}, x), expected, atol=1e-5
    )
    assert np.abs(mixed - expected).max() > 1e-4
    with pytest.raises(ValueError, match="21 missing: "):
        load_torch(name, {"cls_token": np.zeros((1, 1, 16))}, **TINY)
