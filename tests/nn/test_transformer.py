"""The encoder and decoder blocks against torch, with the norm behind and in front, and their parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.nn import FeedForward, TransformerDecoderBlock, TransformerEncoderBlock, causal_mask
from tests.derivatives import output_and_gradients
from tests.nn.test_attention import build, count, fused_params, golden, normal, split_params  # noqa: F401


@pytest.mark.covers("AT-13")
@pytest.mark.parametrize("kind", ["post", "pre"])
def test_the_block_equals_torch(golden, kind):  # noqa: F811
    name = f"EncoderLayer.{kind}"
    w = {key.split("/in.w.")[1]: golden[key] for key in golden.files if key.startswith(f"{name}/in.w.")}
    params = {
        "attn": fused_params(golden, name, "self_attn."),
        "mlp": {f"fc{i}": {"kernel": w[f"linear{i}.weight"].T, "bias": w[f"linear{i}.bias"]} for i in (1, 2)},
        **{f"norm{i}": {"scale": w[f"norm{i}.weight"], "bias": w[f"norm{i}.bias"]} for i in (1, 2)},
    }
    block, mask = TransformerEncoderBlock(2, 10, pre_norm=kind == "pre"), ~golden[f"{name}/in.mask"]
    out, gradient = output_and_gradients(
        lambda x: block.apply({"params": params}, x, mask=mask), golden[f"{name}/in.cot"], golden[f"{name}/in.x"]
    )
    np.testing.assert_allclose(out, golden[f"{name}/out"], atol=1e-5)
    np.testing.assert_allclose(gradient, golden[f"{name}/grad.x"], atol=5e-5)


@pytest.mark.covers("AT-13")
def test_parameters_at_512_and_2048():
    # attention 1,050,624; two norms 2 2 512; perceptron 2 512 2048 + 2048 + 512
    block = TransformerEncoderBlock(8, 2048)
    assert count(block, jax.ShapeDtypeStruct((1, 4, 512), jnp.float32)) == 3_152_384 == 1_050_624 + 2_048 + 2_099_712


@pytest.mark.slow
@pytest.mark.covers("AT-13")
def test_a_post_norm_block_ends_in_normalized_tokens_and_its_perceptron_is_per_token():
    x = 3 * normal(0, 2, 6, 8)
    out, variables = build(TransformerEncoderBlock(2, 16), x)
    np.testing.assert_allclose(out.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(out.var(-1), 1, atol=1e-3)
    mlp = FeedForward(16)
    params = {"params": variables["params"]["mlp"]}
    np.testing.assert_allclose(mlp.apply(params, x)[:, 2], mlp.apply(params, x[:, 2]), atol=1e-6)


@pytest.mark.slow
def test_drop_path_leaves_out_whole_branches_of_examples():
    """Both branches of a pre-norm block dropped: the example is as it was."""
    x, block = normal(0, 64, 3, 8), TransformerEncoderBlock(2, 16, pre_norm=True, drop_path_rate=0.5)
    still, variables = build(block, x)
    out = jax.jit(lambda key: block.apply(variables, x, True, rngs={"dropout": key}))(jax.random.key(1))
    same = np.isclose(out, x).all((1, 2))
    assert 6 < same.sum() < 30  # a quarter of 64 is 16
    assert not np.isclose(out, still).all((1, 2)).any()


@pytest.mark.slow
def test_dropout_is_off_in_use():
    x, block = normal(0, 2, 3, 8), TransformerEncoderBlock(2, 16, dropout_rate=0.5, attention_dropout_rate=0.5)
    still, variables = build(block, x)
    plain = jax.jit(TransformerEncoderBlock(2, 16).apply)(variables, x)
    np.testing.assert_allclose(still, plain, atol=1e-6)
    noisy = jax.jit(lambda key: block.apply(variables, x, True, rngs={"dropout": key}))(jax.random.key(1))
    assert not np.allclose(noisy, plain)


@pytest.mark.slow(unless=["pre"])
@pytest.mark.covers("AT-14")
@pytest.mark.parametrize("kind", ["post", "pre"])
def test_the_decoder_block_equals_torch(golden, kind):  # noqa: F811
    name = f"DecoderLayer.{kind}"
    w = {key.split("/in.w.")[1]: golden[key] for key in golden.files if key.startswith(f"{name}/in.w.")}
    params = {
        "attn": fused_params(golden, name, "self_attn."),
        "cross_attn": split_params(fused_params(golden, name, "multihead_attn.")),
        "mlp": {f"fc{i}": {"kernel": w[f"linear{i}.weight"].T, "bias": w[f"linear{i}.bias"]} for i in (1, 2)},
        **{f"norm{i}": {"scale": w[f"norm{i}.weight"], "bias": w[f"norm{i}.bias"]} for i in (1, 2, 3)},
    }
    block, mask = TransformerDecoderBlock(2, 10, pre_norm=kind == "pre"), ~golden[f"{name}/in.mask"]
    np.testing.assert_array_equal(mask, causal_mask(5))
    memory = jnp.asarray(golden[f"{name}/in.memory"])
    x, cotangent = golden[f"{name}/in.x"], golden[f"{name}/in.cot"]
    apply = lambda x: block.apply({"params": params}, x, memory, mask=mask)  # noqa: E731
    out, gradient = output_and_gradients(apply, cotangent, x)
    np.testing.assert_allclose(out, golden[f"{name}/out"], atol=1e-5)
    np.testing.assert_allclose(gradient, golden[f"{name}/grad.x"], atol=5e-5)


@pytest.mark.covers("AT-14")
def test_parameters_of_a_decoder_block_at_512_and_2048():
    # two attentions 1,050,624; three norms 2 512; perceptron 2 512 2048 + 2048 + 512
    x = jax.ShapeDtypeStruct((1, 4, 512), jnp.float32)
    assert count(TransformerDecoderBlock(8, 2048), x, x) == 4_204_032 == 2 * 1_050_624 + 3_072 + 2_099_712
    assert count(TransformerDecoderBlock(8, 2048, cross=False), x) == 3_152_384  # that of an encoder block


@pytest.mark.slow
@pytest.mark.covers("AT-14")
@pytest.mark.parametrize("pre_norm", [False, True])
def test_a_decoder_block_decodes_with_a_cache_as_without(pre_norm):
    """The memory, which has padding, is projected by the first call and not given again."""
    x, memory = normal(0, 2, 6, 8), normal(1, 2, 4, 8)
    memory_mask = jnp.asarray([[1, 1, 1, 1], [1, 1, 0, 0]], bool)[:, None, None]
    block = TransformerDecoderBlock(2, 16, pre_norm=pre_norm)
    whole, variables = build(block, x, memory, mask=causal_mask(6), memory_mask=memory_mask)
    hidden = memory.at[1, 2:].set(99)
    y, cache = jax.jit(block.apply)(
        variables, x[:, :2], hidden, memory_mask=memory_mask, cache=block.init_cache(2, 6, 8)
    )
    parts, step = [y], jax.jit(lambda cache, x: block.apply(variables, x, cache=cache))
    for t in range(2, 6):
        y, cache = step(cache, x[:, t : t + 1])
        parts.append(y)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole, atol=1e-5)
    np.testing.assert_array_equal(cache["self"].length, [6, 6])


@pytest.mark.slow
@pytest.mark.covers("AT-14")
def test_a_decoder_block_sees_no_later_token_but_all_of_the_memory():
    x, memory = normal(0, 1, 4, 8), normal(1, 1, 3, 8)
    block = TransformerDecoderBlock(2, 16)
    _, variables = build(block, x, memory, mask=causal_mask(4))
    second = jax.jit(
        jax.grad(lambda x, m: (block.apply(variables, x, m, mask=causal_mask(4))[0, 1] ** 3).sum(), (0, 1))
    )
    of_x, of_memory = (jnp.abs(g[0]).sum(-1) for g in second(x, memory))
    np.testing.assert_array_equal(of_x > 0, [True, True, False, False])
    assert bool((of_memory > 0).all())


@pytest.mark.slow
def test_the_gate_and_the_norm_are_their_formulas():
    x, mlp = normal(0, 2, 3, 4), FeedForward(6, jax.nn.silu, gated=True, use_bias=False)
    out, variables = build(mlp, x)
    w = {name: layer["kernel"] for name, layer in variables["params"].items()}
    np.testing.assert_allclose(out, (jax.nn.silu(x @ w["gate"]) * (x @ w["fc1"])) @ w["fc2"], atol=1e-5)
    assert count(mlp, x) == 3 * 4 * 6
    block = TransformerEncoderBlock(2, 6, norm="rms", use_bias=False, qkv_features=8)
    out, variables = build(block, x)
    np.testing.assert_allclose(jnp.square(out).mean(-1), 1, atol=1e-3)
    assert count(block, x) == 4 * 4 * 8 + 2 * 4 * 6 + 2 * 4
    with pytest.raises(ValueError, match="norm='batch': unknown; allowed: layer, rms"):
        build(TransformerEncoderBlock(2, 6, norm="batch"), x)


@pytest.mark.slow
def test_the_factor_of_the_scores_is_a_field():
    """Scores of factor 1 are those of 1 / sqrt(4) with queries twice as long."""
    x, block = normal(0, 2, 3, 8), TransformerEncoderBlock(2, 6, fused_qkv=False, scale=1.0)
    out, variables = build(block, x)
    params = variables["params"]
    longer = {**params["attn"], "query": jax.tree.map(lambda v: 2 * v, params["attn"]["query"])}
    want = TransformerEncoderBlock(2, 6, fused_qkv=False).apply({"params": {**params, "attn": longer}}, x)
    np.testing.assert_allclose(out, want, atol=1e-5)


@pytest.mark.slow
def test_an_accelerators_program_does_not_depend_on_the_length_and_has_no_barrier():
    """Blocks of queries and barriers are for a CPU: elsewhere 256 tokens are as many products as 64."""
    block = TransformerDecoderBlock(2, 16, cross=False)

    def operations(length):
        """{platform: number of products, exponentials and barriers} of the gradient."""
        x = jax.ShapeDtypeStruct((1, length, 8), jnp.float32)
        variables = jax.eval_shape(block.init, jax.random.key(0), x)
        traced = jax.jit(jax.grad(lambda v, x: block.apply(v, x, is_causal=True).sum())).trace(variables, x)
        texts = {name: traced.lower(lowering_platforms=(name,)).as_text() for name in ("tpu", "cuda", "cpu")}
        kinds = ("dot_general", "exponential", "optimization_barrier")
        return {name: [text.count(f"stablehlo.{kind}") for kind in kinds] for name, text in texts.items()}

    short, long = operations(64), operations(256)
    for platform in ("tpu", "cuda"):
        assert long[platform] == short[platform]
        assert long[platform][2] == 0
    assert long["cpu"][0] > long["tpu"][0]
    assert long["cpu"][2] > 0
