"""The transformer of 2017: its size to the digit, its positions and masks, and strings that it learns to copy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlcore.data.strings import strings
from dlcore.models.transformer import Transformer
from dlcore.nn import sinusoidal_encoding
from dlcore.sequence import seq2seq

SOURCE = np.array([[4, 5, 6, 2], [7, 2, 0, 0]])
TOKENS = np.array([[1, 6, 5], [1, 7, 7]])
SMALL = Transformer(9, 8, 8, 2, 16, 1, 2, dropout_rate=0.0)


@pytest.fixture(scope="module")
def variables():
    return SMALL.init(jax.random.key(0), SOURCE, TOKENS)


@pytest.mark.covers("AT-15")
def test_the_core_of_the_published_size_has_44140544_parameters():
    """6 x 3,152,384 + 6 x 4,204,032 + 2 x 1,024, as torch.nn.Transformer counts; the embedding is one table for all."""
    model = Transformer(100, None)
    shapes = jax.eval_shape(model.init, jax.random.key(0), SOURCE, TOKENS)["params"]
    sizes = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in shapes.items()}
    assert sizes.pop("embed") == 100 * 512
    assert sum(sizes.values()) == 44_140_544
    assert {sizes[f"encoder_{i}"] for i in range(6)} == {3_152_384}
    assert {sizes[f"decoder_{i}"] for i in range(6)} == {4_204_032}
    assert sizes["encoder_norm"] == sizes["decoder_norm"] == 1_024


@pytest.mark.weekly
@pytest.mark.covers("AT-15")
def test_the_input_is_the_scaled_embedding_with_positions_and_the_head_is_the_same_table(variables):
    """With the blocks' branches at 0 only norms are left: logits = LN(... LN(x)) E^T of x = sqrt(8) E[token] + PE."""
    params = {
        name: jax.tree_util.tree_map_with_path(
            lambda path, x: x if "norm" in name + jax.tree_util.keystr(path) or "embed" in name else 0 * x, part
        )
        for name, part in variables["params"].items()
    }
    table = np.asarray(params["embed"]["embedding"])
    x = table[TOKENS] * 8**0.5 + np.asarray(sinusoidal_encoding(3, 8))
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(SMALL.apply({"params": params}, SOURCE, TOKENS), x @ table.T, atol=1e-4)


@pytest.mark.weekly
@pytest.mark.covers("AT-15")
def test_logits_see_the_whole_source_and_no_later_token(variables):
    """By gradient, through the embedded inputs: exactly 0 to later tokens and to the padding of the source."""

    def reach(inputs, of):
        grown = variables["params"] | {
            name: {"embedding": jnp.concatenate([variables["params"][name]["embedding"], extra])}
            for name, extra in inputs.items()
        }
        source, tokens = np.arange(8, 12)[None], np.arange(9, 12)[None]  # each position has a row of its own
        logits = Transformer(12, 12, 8, 2, 16, 1, 2, dropout_rate=0.0).apply({"params": grown}, source, tokens)
        return logits[0, of, :9].sum()

    rng = np.random.default_rng(0)
    extra = {n: jnp.asarray(rng.normal(size=(k, 8)), jnp.float32) for n, k in (("embed", 3), ("source_embed", 4))}
    for t in range(3):
        gradient = jax.grad(reach)(extra, t)
        hit = np.abs(gradient["embed"]).max(-1) > 0
        np.testing.assert_array_equal(hit, np.arange(3) <= t)
        assert (np.abs(gradient["source_embed"]).max(-1) > 0).all()


@pytest.mark.slow
def test_two_vocabularies_have_two_tables(variables):
    shapes = {n: variables["params"][n]["embedding"].shape for n in ("embed", "source_embed")}
    assert shapes == {"embed": (9, 8), "source_embed": (8, 8)}
    chex.assert_shape(SMALL.apply(variables, SOURCE, TOKENS), (2, 3, 9))


@pytest.mark.slow
def test_the_first_loss_is_about_log_v():
    source = np.random.default_rng(0).integers(4, 500, (8, 6))
    logits, _ = Transformer(500, None, 64, 4, 64, 1, 1).init_with_output(jax.random.key(0), source, source)
    assert float(-jax.nn.log_softmax(logits)[..., 7].mean()) == pytest.approx(np.log(500), rel=0.01)


@pytest.mark.weekly
@pytest.mark.covers("AT-15")
def test_strings_are_copied_without_a_mistake():
    train, test = (strings("copy", n, seed, length=(3, 6), vocabulary=8) for seed, n in enumerate((4000, 200)))
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(5e-3, 300)))
    model = Transformer(12, None, 32, 2, 64, 1, 1, dropout_rate=0.0, pre_norm=True)
    learner = seq2seq.learner(model=model, optimizer=tx, max_length=7)
    init, update, predict = (jax.jit(f) for f in (learner.init, learner.update, learner.predict))
    state, draw = init(jax.random.key(0), train[np.arange(64)]), np.random.default_rng(0)
    for _ in range(300):
        state, _ = update(state, train[draw.integers(0, 4000, 64)])
    held_out = test[np.arange(200)]
    assert seq2seq.matches(predict(state, held_out)["tokens"], held_out["target"]).mean() == 1


def test_the_alignment_is_the_mean_over_the_heads_of_the_last_block():
    heads = np.array([[[[0.2, 0.8]], [[0.6, 0.4]]]])
    blocks = {f"decoder_{i}": {"cross_attn": {"weights": (weights,)}} for i, weights in ((2, 0 * heads), (10, heads))}
    np.testing.assert_allclose(Transformer.alignment(blocks | {"encoder_11": {}}), [[[0.4, 0.6]]])


def test_a_source_of_another_vocabulary_has_its_own_embedding():
    shapes = jax.eval_shape(SMALL.clone(source_vocab_size=7).init, jax.random.key(0), SOURCE, TOKENS)["params"]
    assert [shapes[name]["embedding"].shape for name in ("embed", "source_embed")] == [(9, 8), (7, 8)]
