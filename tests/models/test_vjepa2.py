"""V-JEPA 2 against transformers, and the angles of its channels by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.vjepa2 import ClipEncoder, clip_angles
from dlcore.nn.rotary import rotate_pairs
from tests.models.parity import check_output, read_golden, weight_rule
from tests.models.tracing import layers_traced_once

FIELDS = {
    "image_size": 32,
    "frames": 4,
    "patch_size": 8,
    "depth": 2,
    "width": 24,
    "num_heads": 2,
    "mlp_features": 48,
    "predictor_depth": 1,
    "predictor_width": 24,
    "predictor_heads": 2,
    "predictor_features": 48,
    "mask_tokens": 2,
}


@pytest.mark.slow
@pytest.mark.covers("VD-21")
def test_encoder_and_predictor_equal_transformers():
    golden, meta, weights = read_golden("hf_vjepa2")
    with layers_traced_once():
        variables = load_torch("vjepa2_vitl_fpc64_256", weights, **FIELDS)
    clips = weight_rule().det_input(meta["inputs"]["pixel_values_videos"]).transpose(0, 1, 3, 4, 2)
    out = jax.jit(create_model("vjepa2_vitl_fpc64_256", **FIELDS).apply)(variables, jnp.asarray(clips))
    check_output(golden, meta, "last_hidden_state", out["tokens"], least=1e-5)
    check_output(golden, meta, "predictor", out["prediction"], least=1e-5)
    np.testing.assert_allclose(out["features"], golden["last_hidden_state"].mean(1), atol=1e-4)


@pytest.mark.covers("VD-21")
def test_angles_by_hand():
    """A head of 14 channels: 3 parts of 4 and 2 that do not turn. Frequencies 1 and 1 / 100, and both once more."""
    angles = clip_angles((2, 2, 3), 14)
    row = np.array([1, 0.01, 1, 0.01])
    # The last of 12 tubelets: time 1, row 1, column 2.
    np.testing.assert_allclose(angles[11, 0], np.concatenate([row, row, 2 * row, [0, 0]]), rtol=1e-12)
    np.testing.assert_allclose(angles[3, 0], np.concatenate([0 * row, row, 0 * row, [0, 0]]), rtol=1e-12)
    with pytest.raises(ValueError, match=r"features=5: out of range; allowed: at least 6"):
        clip_angles((1, 1, 1), 5)


@pytest.mark.covers("VD-21")
def test_neighbors_turn_by_angles_of_their_own():
    """(1, 2) by (0, pi / 2): 1 cos 0 - 2 sin 0 = 1, and 2 cos(pi / 2) + 1 sin(pi / 2) = 1. Halves pair 1 with 3."""
    angles = jnp.asarray([0, np.pi / 2])
    np.testing.assert_allclose(rotate_pairs(jnp.asarray([1.0, 2.0]), angles, "neighbors"), [1, 1], atol=1e-6)
    angles = jnp.asarray([0, 0, np.pi / 2, 0])
    np.testing.assert_allclose(rotate_pairs(jnp.asarray([1.0, 2, 3, 4]), angles), [1, 2, 1, 4], atol=1e-6)


def test_one_frame_is_repeated():
    assert ClipEncoder(patch_size=8).grid(jnp.zeros((1, 1, 16, 16, 3))) == (1, 2, 2)
