"""The ViT with a GPT-2 behind it, against transformers, with the cache, and what its weights may look like."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.vision_encoder_decoder import from_torch
from tests.models.parity import check_output, nhwc, parameter_count, read_golden
from tests.models.tokens import check_cached, from_golden, reader

FIELDS = {
    "vocab_size": 40,
    "window": 16,
    "image_size": 32,
    "patch_size": 8,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_heads": 4,
    "width": 32,
    "mlp_features": 64,
}


@pytest.mark.weekly
def test_it_equals_transformers_with_and_without_the_cache():
    golden, meta, model, variables, inputs = from_golden("hf_vit_encdec", "vit_gpt2", **FIELDS)
    images, tokens = nhwc(np.asarray(inputs["pixel_values"])), inputs["decoder_input_ids"]

    @jax.jit
    def run(variables, images, tokens):
        memory = model.apply(variables, images, method="encode")
        return memory["states"], model.apply(variables, memory, tokens, method="decode")

    states, logits = run(variables, images, tokens)
    check_output(golden, meta, "encoder_last", states)
    check_output(golden, meta, "logits", logits)
    check_cached(*reader(model, variables, images, 8), tokens, logits)


@pytest.mark.slow
def test_parameter_count():
    # GPT-2 124,439,808 and 12 cross-attentions with norms 2,363,904; ViT-B/16 86,567,656 less its head 769,000
    assert parameter_count("vit_gpt2") == 124_439_808 + 12 * 2_363_904 + 86_567_656 - 769_000 == 238_605_312


@pytest.mark.slow
def test_older_files_load_too():
    """They have other names in the ViT, and hold each block's causal masks."""
    _, _, weights = read_golden("hf_vit_encdec")
    names = (
        (r"^encoder\.layers\.", "encoder.encoder.layer."),
        (r"\.attention\.o_proj\.", ".attention.output.dense."),
        (r"\.attention\.q_proj\.", ".attention.attention.query."),
        (r"\.attention\.k_proj\.", ".attention.attention.key."),
        (r"\.attention\.v_proj\.", ".attention.attention.value."),
        (r"^(encoder.*)\.mlp\.fc1\.", r"\1.intermediate.dense."),
        (r"^(encoder.*)\.mlp\.fc2\.", r"\1.output.dense."),
    )
    older = {}
    for key, value in weights.items():
        for pattern, name in names:
            key = re.sub(pattern, name, key)
        older[key] = value
    older["decoder.transformer.h.0.crossattention.bias"] = np.ones((1, 1, 16, 16))
    one, other = load_torch("vit_gpt2", weights, **FIELDS), load_torch("vit_gpt2", older, **FIELDS)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    larger = load_torch("vit_gpt2", weights, **FIELDS | {"image_size": 48})["params"]
    chex.assert_shape(
        larger["encoder"]["pos_embed"]["embedding"], (1, 37, 32), custom_message="interpolated as a ViT's"
    )
    assert create_model("vit_gpt2", **FIELDS | {"image_size": 48}).image_size == 48
    assert jnp.isfinite(larger["encoder"]["pos_embed"]["embedding"]).all()


def test_kernels_of_gpt2_stay_and_keys_and_values_are_parted():
    value = np.arange(8.0).reshape(2, 4)
    for part, expected in (("key", value[:, :2]), ("value", value[:, 2:])):
        found = from_torch(f"params/decoder_0/cross_attn/{part}/kernel", value, (2, 2))
        np.testing.assert_array_equal(found, expected)
    assert from_torch("params/decoder_0/mlp/fc1/kernel", value, (2, 4)) is value
    assert from_torch("params/decoder_0/mlp/fc1/bias", value[0], (4,)) is None
    assert from_torch("params/encoder/blocks_0/mlp/fc1/kernel", value, (4, 2)) is None
    positions = from_torch("params/encoder/pos_embed/embedding", np.ones((1, 4, 2)), (1, 5, 2))
    np.testing.assert_array_equal(positions, [[[0, 0], *[[1, 1]] * 4]])
