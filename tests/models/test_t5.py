"""T5 against transformers, and its relative positions with the cache."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from tests.models.parity import read_golden
from tests.models.tokens import check_cached, check_encoder_decoder, reader
from tests.models.training import draw

FIELDS = {
    "vocab_size": 40,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_heads": 4,
    "width": 32,
    "head_features": 8,
    "mlp_features": 64,
    "num_buckets": 8,
    "max_distance": 20,
}
TINY = {**FIELDS, "vocab_size": 11, "num_heads": 2, "width": 12, "mlp_features": 24, "decoder_layers": 1}


@pytest.mark.slow
@pytest.mark.covers("AT-15")
def test_t5_equals_transformers():
    check_encoder_decoder("hf_t5", "t5_small", 0, **FIELDS)


@pytest.mark.slow
@pytest.mark.weekly(unless=["t5_v1_1_small"])
@pytest.mark.covers("AT-15")
@pytest.mark.parametrize("name", ["t5_small", "t5_v1_1_small"])
def test_decoding_with_the_cache_equals_decoding_without(name):
    """Heads of 8 features on 12 channels; distances of up to 9 in buckets of the decoder, which widen from 4 on."""
    numbers = np.random.default_rng(0)
    model, source, tokens = (
        create_model(name, **TINY),
        jnp.asarray(numbers.integers(1, 11, (2, 6))),
        jnp.asarray(numbers.integers(1, 11, (2, 10))),
    )
    variables = draw(model, source, tokens)
    whole = jax.jit(model.apply)(variables, source, tokens)
    check_cached(*reader(model, variables, source, 12), tokens, whole, prompt=6)


@pytest.mark.slow
def test_version_1_1_loads_its_gate_and_its_head():
    """In its state dict `wi_0` is the gate, and a head that is not the embedding is no error."""
    _, _, weights = read_golden("hf_t5")
    newer = {}
    for key, value in weights.items():
        if ".wi." in key:
            newer |= {key.replace(".wi.", ".wi_0."): 2 * value, key.replace(".wi.", ".wi_1."): value}
        else:
            newer[key] = 3 * value if key == "lm_head.weight" else value
    params = load_torch("t5_v1_1_small", newer, **FIELDS)["params"]
    mlp = params["decoder_1"]["mlp"]
    np.testing.assert_allclose(mlp["gate"]["kernel"], 2 * mlp["fc1"]["kernel"])
    np.testing.assert_allclose(params["head"]["kernel"], 3 * params["shared"]["embedding"].T)
    with pytest.raises(ValueError, match=r"state_dict: lm_head.weight is not shared.weight"):
        load_torch("t5_small", newer, **FIELDS)
