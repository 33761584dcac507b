"""GPT-2 against transformers, its cache against no cache, and what its weights may look like."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, list_models, load_torch, torch_names
from dlcore.sequence.decoding import generate
from tests.models.parity import check_output, read_golden
from tests.models.tokens import check_cached, from_golden, greedy_without_cache, mean_loss
from tests.models.training import draw

FIELDS = {"vocab_size": 50, "window": 16, "num_layers": 2, "num_heads": 4, "width": 32}
TINY = {"vocab_size": 11, "window": 12, "num_layers": 2, "num_heads": 2, "width": 16}


@pytest.fixture(scope="module")
def tiny():
    """(model, variables, tokens [2, 7])."""
    model, tokens = create_model("gpt2", **TINY), jnp.asarray(np.random.default_rng(0).integers(0, 11, (2, 7)))
    return model, draw(model, tokens), tokens


@pytest.mark.slow
@pytest.mark.covers("AT-16")
def test_gpt2_equals_transformers_block_by_block():
    golden, meta, model, variables, inputs = from_golden("hf_gpt2", "gpt2", **FIELDS)
    run = jax.jit(lambda v, x: model.apply(v, x, capture_intermediates=True, mutable=["intermediates"]))
    logits, state = run(variables, inputs["input_ids"])
    check_output(golden, meta, "logits", logits)
    state = state["intermediates"]
    embedded = state["drop"]["__call__"][0]
    outputs = (embedded, state["blocks_0"]["__call__"][0], state["norm"]["__call__"][0])
    for i, got in enumerate(outputs):
        check_output(golden, meta, f"hidden_states.{i}", got)
    loss = mean_loss(logits[:, :-1], inputs["labels"][:, 1:])
    np.testing.assert_allclose(loss, golden["loss"][0], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("AT-16")
def test_decoding_with_the_cache_equals_decoding_without(tiny):
    model, variables, tokens = tiny
    whole = jax.jit(model.apply)(variables, tokens)
    step = lambda cache, x: model.apply(variables, x, cache=cache)[::-1]  # noqa: E731
    check_cached(step, model.init_cache(2), tokens, whole, prompt=3)


@pytest.mark.weekly
@pytest.mark.covers("AT-16")
def test_greedy_tokens_of_prompts_of_several_lengths_are_those_without_a_cache(tiny):
    model, variables, tokens = tiny
    lengths = jnp.asarray([7, 4])

    @jax.jit
    def run(tokens):
        carry, logits = model.apply(variables, tokens, lengths, model.init_cache(2), method="prefill")

        def step(cache, tokens):
            logits, cache = model.apply(variables, tokens[:, None], cache=cache)
            return cache, logits[:, 0]

        return generate(step, carry, logits, jax.random.split(jax.random.key(0), 2), 5, temperature=0)[0]

    got, alone = run(tokens), jax.jit(model.apply)
    for row, length in zip(range(2), (7, 4), strict=True):
        want = greedy_without_cache(lambda t: alone(variables, t), tokens[row : row + 1, :length], 5)
        np.testing.assert_array_equal(got[row : row + 1], want)


@pytest.mark.weekly
def test_a_prompt_of_no_token_has_no_next_one(tiny):
    """A length of 0 would read the last position, which is padding."""
    model, variables, *_ = tiny
    for length in (0, 5):
        lengths = jnp.array([4, length])
        with pytest.raises(ValueError, match=rf"lengths\[1\]={length}: out of range; allowed: 1 to 4"):
            model.apply(variables, jnp.zeros((2, 4), jnp.int32), lengths, model.init_cache(2), method="prefill")


@pytest.mark.slow
def test_the_first_loss_is_about_log_v():
    model, tokens = create_model("gpt2", **TINY | {"vocab_size": 64}), np.arange(24, dtype=np.int32).reshape(2, 12) % 64
    logits, _ = jax.jit(model.init_with_output)(jax.random.key(0), tokens)
    loss = jax.jit(mean_loss)(logits, tokens[:, ::-1])
    np.testing.assert_allclose(loss, np.log(64), atol=0.05)


def test_weights_load_without_the_prefix_and_the_copy_of_the_head_and_with_masks():
    """Published files have neither `transformer.` nor `lm_head`, and hold each block's causal mask."""
    _, _, weights = read_golden("hf_gpt2")
    published = {key.removeprefix("transformer."): value for key, value in weights.items()}
    del published["lm_head.weight"]
    published |= {"h.0.attn.bias": np.tril(np.ones((1, 1, 16, 16))), "h.1.attn.masked_bias": np.float32(-1e4)}
    one, other = load_torch("gpt2", weights, **FIELDS), load_torch("gpt2", published, **FIELDS)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    assert torch_names("gpt2", **FIELDS)["params/blocks_1/attn/qkv/kernel"] == "h.1.attn.c_attn.weight"


def test_weights_that_do_not_fit_are_one_clear_error():
    _, _, weights = read_golden("hf_gpt2")
    untied = {**weights, "lm_head.weight": weights["lm_head.weight"] + 1}
    with pytest.raises(ValueError, match=r"state_dict: lm_head.weight is not wte.weight; allowed: one parameter under"):
        load_torch("gpt2", untied, **FIELDS)
    with pytest.raises(ValueError, match=r"of a wrong shape: wte.weight \(50, 32\), as \(50, 32\) not \(51, 32\); $"):
        load_torch("gpt2", weights, **FIELDS | {"vocab_size": 51})
    with pytest.raises(ValueError, match=r"of a wrong shape: wte.weight"):
        load_torch("gpt2", weights, replace_head=True, **FIELDS | {"vocab_size": 51})


def test_a_text_longer_than_the_window_is_refused(tiny):
    model, variables, _ = tiny
    with pytest.raises(ValueError, match=r"tokens.shape=\(1, 13\): 13 tokens; allowed: at most window=12"):
        model.apply(variables, jnp.zeros((1, 13), jnp.int32))
    with pytest.raises(ValueError, match=r"length=13: too long; allowed: at most window=12"):
        model.init_cache(1, 13)


def test_every_variant_is_listed():
    assert list_models("gpt2*", kind="tokens") == ["gpt2", "gpt2_large", "gpt2_medium", "gpt2_xl"]
    assert list_models("gpt2*") == []
