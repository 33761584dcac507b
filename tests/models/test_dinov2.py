"""DINOv2's ViT with layer scale against transformers, and names of older files."""

import jax
import numpy as np
import pytest

from dlcore.models.dinov2 import DINOv2, from_torch_names
from tests.models.parity import check_output, nhwc, read_golden, weight_rule


@pytest.mark.slow
@pytest.mark.covers("SS-18")
def test_it_equals_transformers_block_by_block():
    golden, meta, weights = read_golden("hf_dinov2")
    model = DINOv2(image_size=28, patch_size=7, depth=2, width=32, num_heads=4, mlp_features=64)
    variables = from_torch_names(model, weights)
    images = nhwc(weight_rule().det_input(meta["inputs"]["pixel_values"]))

    @jax.jit
    def run(variables, images):
        tokens, state = model.apply(
            variables, images, method="tokens", capture_intermediates=True, mutable=["intermediates"]
        )
        return tokens, model.apply(variables, images), state["intermediates"]

    tokens, token, inside = run(variables, images)
    check_output(golden, meta, "last_hidden_state", tokens)
    check_output(golden, meta, "pooler_output", token)
    check_output(golden, meta, "hidden_states.0", inside["pos_embed"]["__call__"][0])
    for i in (0, 1):
        check_output(golden, meta, f"hidden_states.{i + 1}", inside[f"blocks_{i}"]["__call__"][0])
    older = {
        key.replace("attention.q_proj", "attention.attention.query")
        .replace("attention.k_proj", "attention.attention.key")
        .replace("attention.v_proj", "attention.attention.value")
        .replace("attention.o_proj", "attention.output.dense"): value
        for key, value in weights.items()
    }
    jax.tree.map(np.testing.assert_array_equal, from_torch_names(model, older), variables)
    with pytest.raises(ValueError, match=r"does not fit DINOv2; 1 left over: strange"):
        from_torch_names(model, {**weights, "strange": np.zeros(1)})
