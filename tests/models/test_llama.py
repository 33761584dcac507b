"""Llama against transformers, and its rotary positions and shared keys with the cache."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model
from tests.models.parity import check_output
from tests.models.tokens import check_cached, from_golden
from tests.models.training import draw

FIELDS = {
    "vocab_size": 40,
    "window": 32,
    "num_layers": 2,
    "num_heads": 4,
    "num_kv_heads": 2,
    "width": 32,
    "mlp_features": 64,
    "epsilon": 1e-6,
}


def test_llama_equals_transformers_block_by_block():
    golden, meta, model, variables, inputs = from_golden("hf_llama", "llama2_7b", **FIELDS)
    run = jax.jit(lambda v, x: model.apply(v, x, capture_intermediates=True, mutable=["intermediates"]))
    logits, state = run(variables, inputs["input_ids"])
    check_output(golden, meta, "logits", logits)
    for i, module in enumerate(("embed_tokens", "blocks_0", "norm")):
        check_output(golden, meta, f"hidden_states.{i}", state["intermediates"][module]["__call__"][0])


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
def test_decoding_with_the_cache_equals_decoding_without(tied):
    model = create_model("llama2_7b", **FIELDS | {"tied": tied, "num_layers": 1})
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 40, (2, 7)))
    variables = draw(model, tokens)
    assert ("head" in variables["params"]) != tied
    cache = model.init_cache(2, 8)
    chex.assert_shape(cache[0]["self"].key, (2, 2, 8, 8), custom_message="of two heads, not four")
    whole = jax.jit(model.apply)(variables, tokens)
    check_cached(lambda cache, x: model.apply(variables, x, cache=cache)[::-1], cache, tokens, whole, prompt=3)


@pytest.mark.slow
def test_prompts_of_several_lengths_are_read_together():
    model = create_model("llama2_7b", **FIELDS | {"num_layers": 1})
    tokens, lengths = jnp.asarray(np.random.default_rng(0).integers(0, 40, (2, 5))), jnp.asarray([5, 3])
    variables = draw(model, tokens)

    @jax.jit
    def run(tokens):
        cache, logits = model.apply(variables, tokens, lengths, model.init_cache(2, 8), method="prefill")
        return logits, model.apply(variables, tokens[:, :1], cache=cache)[0][:, 0]

    first, second = run(tokens)
    short = jnp.concatenate([tokens[1:, :3], tokens[1:, :1]], 1)
    want = jax.jit(model.apply)(variables, short)[0]
    np.testing.assert_allclose(first[1], want[2], atol=1e-5)
    np.testing.assert_allclose(second[1], want[3], atol=1e-5)
