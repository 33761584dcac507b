"""I-JEPA's encoder against transformers."""

import numpy as np
import pytest

from tests.models.parity import check_hidden_states, check_output, parameter_count

TINY = {"image_size": 32, "patch_size": 8, "width": 32, "depth": 2, "num_heads": 4, "mlp_features": 64}


@pytest.mark.slow
@pytest.mark.covers("AT-46")
def test_it_equals_transformers_block_by_block():
    mean, golden, meta, inside = check_hidden_states("hf_ijepa", "ijepa_vith14_1k", epsilon=1e-12, **TINY)
    check_output(golden, meta, "last_hidden_state", inside["norm"])
    np.testing.assert_allclose(mean, inside["norm"].mean(1), atol=1e-6)


@pytest.mark.covers("AT-46")
def test_parameter_count():
    """Of a ViT-H/14 without a class token: 256 positions, 32 blocks of 12 width^2 + 13 width, a norm."""
    count = 3 * 14**2 * 1280 + 1280 + 256 * 1280 + 32 * (12 * 1280**2 + 13 * 1280) + 2 * 1280
    assert parameter_count("ijepa_vith14_1k") == count == 630_762_240
