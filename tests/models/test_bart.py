"""BART and Marian against transformers, decoding with the cache, and padding of the source."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.sequence.decoding import generate
from tests.models.parity import parameter_count, read_golden
from tests.models.tokens import check_cached, check_encoder_decoder, greedy_without_cache, reader
from tests.models.training import draw

FIELDS = {
    "vocab_size": 40,
    "window": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_heads": 4,
    "width": 32,
    "mlp_features": 64,
}
TINY = {
    **FIELDS,
    "vocab_size": 11,
    "decoder_layers": 1,
    "num_heads": 2,
    "width": 16,
    "mlp_features": 24,
    "pad_token": 0,
}


@pytest.mark.slow
@pytest.mark.weekly(unless=["hf_marian-marian-39"])
@pytest.mark.covers("AT-15")
@pytest.mark.parametrize(("file", "name", "start"), [("hf_bart", "bart_base", 2), ("hf_marian", "marian", 39)])
def test_bart_and_marian_equal_transformers(file, name, start):
    check_encoder_decoder(file, name, start, **FIELDS, pad_token=1 if start == 2 else 39)


@pytest.mark.slow
@pytest.mark.covers("AT-15")
def test_the_parameters_of_marian():
    # 58,101 (512 + 1) + 6 3,152,384 + 6 4,204,032
    assert parameter_count("marian") == 73_886_208 + 58_101


@pytest.fixture(scope="module", params=["bart_base", "marian"])
def tiny(request):
    """(model, variables, source [2, 6] with padding in the second row, tokens [2, 6])."""
    model, numbers = create_model(request.param, **TINY), np.random.default_rng(0)
    source, tokens = (jnp.asarray(numbers.integers(1, 11, (2, 6))) for _ in range(2))
    source = source.at[1, 4:].set(0)
    return model, draw(model, source, tokens), source, tokens


@pytest.mark.slow
@pytest.mark.weekly(unless=["marian"])
@pytest.mark.covers("AT-15")
def test_decoding_with_the_cache_equals_decoding_without(tiny):
    model, variables, source, tokens = tiny
    whole = jax.jit(model.apply)(variables, source, tokens)
    check_cached(*reader(model, variables, source, 7), tokens, whole)


@pytest.mark.slow
@pytest.mark.covers("AT-15")
def test_greedy_tokens_are_those_without_a_cache(tiny):
    model, variables, source, tokens = tiny

    @jax.jit
    def run(source, first):
        step = lambda carry, tokens: model.apply(variables, carry, tokens, method="step")  # noqa: E731
        carry = model.apply(variables, model.apply(variables, source, method="encode"), 6, method="start")
        carry, logits = step(carry, first)
        return generate(step, carry, logits, jax.random.split(jax.random.key(0), 2), 5, temperature=0)[0]

    call = jax.jit(model.apply)
    want = greedy_without_cache(lambda t: call(variables, source, t), tokens[:, :1], 5)
    np.testing.assert_array_equal(run(source, tokens[:, 0]), want)


@pytest.mark.slow
def test_padding_of_the_source_is_not_seen(tiny):
    model, variables, source, tokens = tiny
    run = jax.jit(model.apply)
    logits = run(variables, source, tokens)
    np.testing.assert_allclose(logits[1:], run(variables, source[1:, :4], tokens[1:]), atol=1e-5)
    everything = run(variables, source, tokens, mask=jnp.ones_like(source))
    assert float(jnp.abs(everything - logits)[1].max()) > 1e-4


@pytest.mark.slow
def test_the_bias_of_the_logits_is_loaded_and_added():
    """It is zeros in the golden; published Marian models have learned it."""
    _, _, weights = read_golden("hf_marian")
    fields = {**FIELDS, "pad_token": 39}
    model, source = create_model("marian", **fields), jnp.asarray([[3, 4, 5]])
    bias = np.arange(40, dtype=np.float32)[None]
    one, other = (load_torch("marian", {**weights, "final_logits_bias": b}, **fields) for b in (0 * bias, bias))
    run = jax.jit(model.apply)
    more = run(other, source, source) - run(one, source, source)
    np.testing.assert_allclose(more, np.broadcast_to(bias, (1, 3, 40)), atol=1e-4)
