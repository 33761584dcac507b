"""BERT against transformers: its tokens block by block, its two heads, and what padding may not change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from tests.models.parity import check_output, parameter_count, read_golden
from tests.models.tokens import from_golden, mean_loss
from tests.models.training import draw

FIELDS = {"window": 16, "num_layers": 2, "num_heads": 4, "width": 32, "mlp_features": 64}
TINY = {"vocab_size": 11, "window": 8, "num_layers": 2, "num_heads": 2, "width": 16, "mlp_features": 24}


@pytest.mark.slow
@pytest.mark.covers("AT-17")
def test_bert_equals_transformers_block_by_block():
    """With padding in the second text, and two segments."""
    golden, meta, model, variables, inputs = from_golden("hf_bert", "bert_base", vocab_size=50, head="pooled", **FIELDS)

    @jax.jit
    def run(variables, tokens, mask, segments):
        call = lambda **more: model.apply(variables, tokens, mask=mask, segments=segments, **more)  # noqa: E731
        pooled, state = call(capture_intermediates=True, mutable=["intermediates"])
        return pooled, call(method="features"), state["intermediates"]

    pooled, last, state = run(variables, inputs["input_ids"], inputs["attention_mask"], inputs["token_type_ids"])
    check_output(golden, meta, "pooler_output", pooled)
    check_output(golden, meta, "last_hidden_state", last)
    for i, module in enumerate(("embeddings_norm", "blocks_0", "blocks_1")):
        check_output(golden, meta, f"hidden_states.{i}", state[module]["__call__"][0])


@pytest.mark.slow
@pytest.mark.covers("AT-17")
def test_the_head_of_masked_tokens_equals_transformers():
    golden, meta, model, variables, inputs = from_golden("hf_bert_mlm", "bert_base", vocab_size=40, **FIELDS)
    logits = jax.jit(model.apply)(variables, inputs["input_ids"])
    check_output(golden, meta, "logits", logits)
    np.testing.assert_allclose(mean_loss(logits, inputs["labels"]), golden["loss"][0], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.covers("AT-17")
def test_parameter_counts():
    # embeddings (30,522 + 512 + 2) 768 + 1,536; 12 blocks of 7,087,872; pooler 590,592
    assert parameter_count("bert_base", head="pooled") == 109_482_240
    assert parameter_count("bert_large", head="pooled") == 335_141_888
    # in place of the pooler as many and a norm and a bias
    assert parameter_count("bert_base") == 109_482_240 + 1_536 + 30_522 == 109_514_298


@pytest.mark.slow
@pytest.mark.covers("AT-17")
def test_every_token_sees_every_other_but_no_padding():
    model, tokens = create_model("bert_base", **TINY), jnp.asarray([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
    variables = draw(model, tokens)
    run = jax.jit(model.apply)
    logits = run(variables, tokens)
    for seen, read in ((0, 4), (4, 0)):
        other = run(variables, tokens.at[0, seen].set(0))
        assert float(jnp.abs(other - logits)[0, read].max()) > 1e-4
        np.testing.assert_allclose(other[1], logits[1], atol=1e-6)
    mask = jnp.arange(5) < jnp.asarray([[5], [3]])
    padded = run(variables, tokens, mask=mask)
    np.testing.assert_allclose(padded[1, :3], run(variables, tokens[1:, :3])[0], atol=1e-5)


@pytest.mark.slow
def test_dropout_is_for_training():
    model, tokens = create_model("bert_base", **TINY), jnp.arange(8)[None]
    variables = draw(model, tokens)
    run = jax.jit(lambda key: model.apply(variables, tokens, True, rngs={"dropout": key}))
    assert not np.allclose(run(jax.random.key(0)), run(jax.random.key(1)))


def test_published_files_have_both_heads_older_names_and_no_weights():
    """The head that the model lacks is left, as is that of the next sentence; a strange entry is still an error."""
    _, _, weights = read_golden("hf_bert_mlm")
    old = lambda key: key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")  # noqa: E731
    published = {old(key): value for key, value in weights.items()}
    published |= {"bert.pooler.dense.weight": np.eye(32), "bert.pooler.dense.bias": np.zeros(32)}
    published |= {"cls.seq_relationship.weight": np.zeros((2, 32)), "bert.embeddings.position_ids": np.arange(16)[None]}
    fields = FIELDS | {"vocab_size": 40}
    one, other = load_torch("bert_base", weights, **fields), load_torch("bert_base", published, **fields)
    jax.tree.map(np.testing.assert_array_equal, one, other)
    pooled = load_torch("bert_base", published, head="pooled", **fields)
    np.testing.assert_array_equal(pooled["params"]["pooler"]["kernel"], np.eye(32))
    with pytest.raises(ValueError, match=r"it does not fit bert_base; 1 left over: strange"):
        load_torch("bert_base", {**published, "strange": np.zeros(3)}, **fields)
    with pytest.raises(ValueError, match=r"2 missing: pooler.dense.bias, pooler.dense.weight"):
        load_torch("bert_base", weights, head="pooled", **fields)
