"""Attention against torch, jax and flax, its scale, its masks, and its counts."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from dlcore.nn import (
    MultiHeadAttention,
    SelfAttention,
    attention_weights,
    causal_mask,
    dot_product_attention,
    padding_mask,
)
from dlcore.ops.attention_kernels import attention_kernels
from tests.derivatives import output_and_gradients
from tests.models.parity import GOLDENS


@pytest.fixture(scope="module")
def golden():
    return np.load(GOLDENS / "torch_seq_attn.npz")


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def build(layer, *inputs, **more):
    """(output, variables), compiled as one."""
    return jax.jit(lambda key, *inputs: layer.init_with_output(key, *inputs, **more))(jax.random.key(0), *inputs)


def count(layer, *inputs):
    return sum(p.size for p in jax.tree.leaves(jax.eval_shape(layer.init, jax.random.key(0), *inputs)["params"]))


@pytest.mark.slow
@pytest.mark.covers("AT-02")
def test_scaled_dot_products_equal_torch_and_so_do_gradients(golden):
    q, k, v, cot = (jnp.asarray(golden[f"sdpa.causal/in.{n}"]).swapaxes(1, 2) for n in ("q", "k", "v", "cot"))
    causal = jnp.tril(jnp.ones((4, 4), bool))
    out, pull = jax.vjp(lambda q, k, v: dot_product_attention(q, k, v, mask=causal), q, k, v)
    for got, name in zip((out, *pull(cot)), ("out", "grad.q", "grad.k", "grad.v"), strict=True):
        np.testing.assert_allclose(got.swapaxes(1, 2), golden[f"sdpa.causal/{name}"], atol=1e-5, err_msg=name)


@pytest.mark.slow(unless=["bfloat16"])
@pytest.mark.covers("AT-02")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_equals_jax_with_mask_bias_and_scale(dtype):
    q, k, v = normal(0, 2, 5, 3, 8), normal(1, 2, 7, 3, 8), normal(2, 2, 7, 3, 8)
    bias, mask = normal(3, 1, 3, 5, 7), jnp.asarray(np.random.default_rng(4).random((2, 1, 5, 7)) < 0.7)
    q, k, v = (x.astype(dtype) for x in (q, k, v))
    tolerance = 1e-6 if dtype == jnp.float32 else 0.02
    for fields in ({}, {"bias": bias}, {"mask": mask}, {"bias": bias, "mask": mask, "scale": 0.2}):
        functions = (dot_product_attention, jax.nn.dot_product_attention)
        got, want = jax.jit(lambda *a, fields=fields: [f(*a, **fields) for f in functions])(q, k, v)
        assert got.dtype == dtype
        np.testing.assert_allclose(got.astype(jnp.float32), want.astype(jnp.float32), atol=tolerance)


@pytest.mark.covers("AT-02")
def test_by_hand():
    # scores 3 / sqrt(4) = 1.5 and -1 / 2 = -.5; weights sigmoid(2) = .880797 and .119203; .880797 10 + .119203 20
    query, key = np.ones((1, 1, 4), np.float32), np.float32([[[3, 0, 0, 0]], [[0, 0, 0, -1]]])
    value = np.float32([[[10]], [[20]]])
    assert float(jax.jit(dot_product_attention)(query, key, value)[0, 0, 0]) == pytest.approx(11.192029, abs=1e-5)


@pytest.mark.covers("AT-02")
def test_scores_have_variance_one_whatever_the_dimension_of_queries():
    """Read off the weights: log w is the score less a constant a row. Unscaled scores saturate the softmax."""
    for features in (16, 256):
        q, k = normal(0, 64, 1, features), normal(1, 400, 1, features)
        scores = jnp.log(attention_weights(q, k)[0])
        assert float(scores.var(-1).mean()) == pytest.approx(1, abs=0.1)
    assert float(attention_weights(q, k)[0].max(-1).mean()) < 0.1
    assert float(attention_weights(q, k, scale=1.0)[0].max(-1).mean()) > 0.8


@pytest.mark.covers("AT-02", "AT-05")
def test_self_attention_is_its_formula_and_scales_by_the_query_dimension():
    """D_X = 9, D_Q = 4, D_V = 5: the root is that of 4. The third key is masked, the first has a bias."""
    layer, x = SelfAttention(4, 5), np.asarray(normal(0, 2, 6, 9))
    bias, mask = np.float32([0.5, 0, 0, 0, 0, 0]), np.arange(6) != 2
    out, variables = build(layer, x, bias=bias, mask=mask)
    params = jax.device_get(variables["params"])
    shapes = jax.tree.map(jnp.shape, params)
    assert shapes == {"query": {"kernel": (9, 4)}, "key": {"kernel": (9, 4)}, "value": {"kernel": (9, 5)}}
    q, k, v = (np.asarray(x @ params[n]["kernel"], np.float64) for n in ("query", "key", "value"))
    e = np.where(mask, q @ k.swapaxes(1, 2) / 2 + bias, -np.inf)
    chex.assert_shape(e, (2, 6, 6))
    a = np.exp(e) / np.exp(e).sum(-1, keepdims=True)
    np.testing.assert_allclose(out, a @ v, atol=1e-5)
    shapes = jax.eval_shape(SelfAttention(4, use_bias=True).init_with_output, jax.random.key(0), x)
    chex.assert_shape(shapes[0], (2, 6, 9))
    assert set(shapes[1]["params"]["query"]) == {"kernel", "bias"}


@pytest.mark.covers("AT-05")
def test_keys_of_a_row_are_there_up_to_its_length():
    mask = jax.jit(padding_mask, static_argnums=1)(np.array([2, 0, 3]), 3)
    assert mask.shape == (3, 1, 1, 3)
    np.testing.assert_array_equal(mask[:, 0, 0], [[1, 1, 0], [0, 0, 0], [1, 1, 1]])


def test_a_window_of_causal_attention_is_the_query_and_the_keys_just_before_it():
    """Two queries are the last of four positions; each sees itself and one more, or all before it."""
    windowed, whole, none = jax.jit(lambda: (causal_mask(2, 4, window=2), causal_mask(2, 4), causal_mask(0, 3)))()
    np.testing.assert_array_equal(windowed, [[0, 1, 1, 0], [0, 0, 1, 1]])
    np.testing.assert_array_equal(whole, [[1, 1, 1, 0], [1, 1, 1, 1]])
    assert none.shape == (0, 3)
    np.testing.assert_array_equal(causal_mask(2, window=1), np.eye(2))
    for arguments, problem in (
        ({"length": 3, "key_length": 2}, "length=3: more queries than keys; allowed: at most 2"),
    ):
        with pytest.raises(ValueError, match=problem):
            causal_mask(**arguments)


@pytest.mark.slow
@pytest.mark.covers("AT-08")
def test_one_head_is_single_self_attention():
    x, layer = normal(0, 2, 6, 8), MultiHeadAttention(1, use_bias=False)
    params = build(layer, x)[1]["params"]
    single = SelfAttention(8).apply({"params": {n: params[n] for n in ("query", "key", "value")}}, x)
    np.testing.assert_allclose(layer.apply({"params": params}, x), single @ params["proj"]["kernel"], atol=1e-6)


def fused_params(golden, case, prefix=""):
    w = {n: golden[f"{case}/in.w.{prefix}{n}"] for n in ("in_proj_weight", "in_proj_bias")}
    out = {n: golden[f"{case}/in.w.{prefix}out_proj.{n}"] for n in ("weight", "bias")}
    return {
        "qkv": {"kernel": w["in_proj_weight"].T, "bias": w["in_proj_bias"]},
        "proj": {"kernel": out["weight"].T, "bias": out["bias"]},
    }


def split_params(params):
    """The fused layer as three."""
    kernels, biases = np.split(params["qkv"]["kernel"], 3, 1), np.split(params["qkv"]["bias"], 3)
    names = ("query", "key", "value")
    parts = {n: {"kernel": k, "bias": b} for n, k, b in zip(names, kernels, biases, strict=True)}
    return {**parts, "proj": params["proj"]}


@pytest.mark.slow(only=["plain-*", "causal-True", "key_padding-True"])
@pytest.mark.covers("AT-05", "AT-08")
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("case", ["plain", "causal", "key_padding"])
def test_multi_head_attention_equals_torch(golden, case, fused):
    name = f"MHA.{case}"
    x = jnp.asarray(golden[f"{name}/in.x"])
    mask = None
    if case != "plain":
        mask = ~golden[f"{name}/in.mask"]  # torch's is True where it may not look
        mask = mask[:, None, None, :] if case == "key_padding" else mask
    params = fused_params(golden, name)
    layer = MultiHeadAttention(2, fused_qkv=fused)
    variables = {"params": params if fused else split_params(params)}

    def run(x):
        out, state = layer.apply(variables, x, mask=mask, mutable=["intermediates"])
        return out, state["intermediates"]["weights"][0]

    @jax.jit
    def both(x, cotangent):
        out, pull, weights = jax.vjp(run, x, has_aux=True)
        return out, weights, pull(cotangent)[0]

    out, weights, gradient = both(x, golden[f"{name}/in.cot"])
    np.testing.assert_allclose(out, golden[f"{name}/out"], atol=1e-5)
    np.testing.assert_allclose(weights, golden[f"{name}/out.weights"], atol=1e-6)
    np.testing.assert_allclose(gradient, golden[f"{name}/grad.x"], atol=1e-5)


@pytest.mark.slow
@pytest.mark.covers("AT-08")
def test_gradients_of_the_fused_weights_equal_torch(golden):
    params, x = fused_params(golden, "MHA.plain"), golden["MHA.plain/in.x"]
    _, pull = jax.vjp(lambda params: MultiHeadAttention(2, fused_qkv=True).apply({"params": params}, x), params)
    gradient = pull(jnp.asarray(golden["MHA.plain/in.cot"]))[0]
    for layer, weight, bias in (
        ("qkv", "in_proj_weight", "in_proj_bias"),
        ("proj", "out_proj.weight", "out_proj.bias"),
    ):
        np.testing.assert_allclose(gradient[layer]["kernel"].T, golden[f"MHA.plain/grad.w.{weight}"], atol=2e-5)
        np.testing.assert_allclose(gradient[layer]["bias"], golden[f"MHA.plain/grad.w.{bias}"], atol=2e-5)


@pytest.mark.covers("AT-08")
def test_keys_and_values_of_another_sequence_equal_torch(golden):
    variables = {"params": split_params(fused_params(golden, "MHA.cross"))}
    inputs = (golden[f"MHA.cross/in.{n}"] for n in ("cot", "x", "k", "v"))
    out, gradient, _, _ = output_and_gradients(functools.partial(MultiHeadAttention(2).apply, variables), *inputs)
    np.testing.assert_allclose(out, golden["MHA.cross/out"], atol=1e-5)
    np.testing.assert_allclose(gradient, golden["MHA.cross/grad.x"], atol=1e-5)


@pytest.mark.covers("AT-03")
def test_many_queries_attend_to_one_set_of_vectors():
    """The layer without projections: N_Q = 3 queries of size D_Q over N_X = 5 vectors of the same size, [N_Q, D_X]."""
    query, x = np.asarray(normal(0, 3, 4)), np.asarray(normal(1, 5, 4))
    attend = jax.jit(lambda query: dot_product_attention(query[:, None], x[:, None], x[:, None])[:, 0])
    got = attend(query)
    chex.assert_shape(got, (3, 4))
    scores = np.asarray(query, np.float64) @ np.asarray(x, np.float64).T / 2  # sqrt(D_Q) = 2
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(got, weights @ np.asarray(x), atol=1e-6)
    for i in range(3):  # each query is answered for itself
        np.testing.assert_allclose(attend(query[i : i + 1])[0], got[i], atol=1e-6)
    hot = attend(1e3 * x[2:3])[0]
    np.testing.assert_allclose(hot, x[int((x @ x[2]).argmax())], atol=1e-5)


@pytest.mark.covers("AT-04")
def test_keys_say_where_to_look_and_values_what_is_seen():
    """K = X W_K and V = X W_V: [N_Q, D_V], not [N_Q, D_X]; the scores are those of Q and K, whatever V is."""
    query, x, w_k, w_v = map(np.asarray, (normal(0, 3, 4), normal(1, 5, 9), normal(2, 9, 4), normal(3, 9, 6)))

    @jax.jit
    def attend(query, w_k, w_v):
        return dot_product_attention(query[:, None], (x @ w_k)[:, None], (x @ w_v)[:, None])[:, 0]

    got = attend(query, w_k, w_v)
    chex.assert_shape(got, (3, 6))
    scores = np.asarray(query, np.float64) @ np.asarray(x @ w_k, np.float64).T / 2
    weights = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(got, weights @ np.asarray(x @ w_v), atol=1e-5)
    np.testing.assert_allclose(attend(query, w_k, 3 * w_v), 3 * got, atol=1e-5)
    assert not np.allclose(attend(query, 3 * w_k, w_v), 3 * got, atol=0.1)
    layer, target = MultiHeadAttention(2, features=6, qkv_features=8), normal(4, 1, 3, 4)
    out, variables = build(layer, target, x[None])
    shapes = {name: leaf["kernel"].shape for name, leaf in variables["params"].items()}
    assert shapes == {"query": (4, 8), "key": (9, 8), "value": (9, 8), "proj": (8, 6)}
    chex.assert_shape(out, (1, 3, 6))


@pytest.mark.slow(unless=["layer1"])
@pytest.mark.covers("AT-06")
@pytest.mark.parametrize("layer", [SelfAttention(8), MultiHeadAttention(2, fused_qkv=True)])
def test_permuted_inputs_give_permuted_outputs(layer):
    x = np.asarray(normal(0, 1, 32, 8))
    out, variables = jax.device_get(build(layer, x))
    order = np.random.default_rng(1).permutation(32)
    run = jax.jit(lambda x, mask: layer.apply(variables, x, mask=mask))
    everywhere = np.ones((1, 1, 32), bool)
    np.testing.assert_allclose(run(x[:, order], everywhere), out[:, order], atol=1e-5)
    some = np.random.default_rng(2).random(32) < 0.6  # a set of keys, permuted with them
    masked = np.asarray(run(x, some[None, None]))
    np.testing.assert_allclose(run(x[:, order], some[order][None, None]), masked[:, order], atol=1e-5)
    causal = np.asarray(causal_mask(32))[None]  # an order, not a set
    assert np.abs(np.asarray(run(x[:, order], causal)) - np.asarray(run(x, causal))[:, order]).max() > 0.1


@pytest.mark.weekly
@pytest.mark.covers("AT-07")
def test_an_output_depends_on_no_later_input():
    """d out_t / d x_s is exactly 0 for s > t, and not 0 for s <= t: the mask hides the keys behind the query alone."""
    x, layer = normal(0, 6, 4), MultiHeadAttention(2)
    variables = build(layer, x)[1]
    jacobian = jax.jacobian(lambda x: layer.apply(variables, x, mask=causal_mask(6)))(x)
    reach = np.abs(jacobian).max((1, 3))  # [T, S]
    later = np.triu(np.ones((6, 6), bool), 1)
    np.testing.assert_array_equal(reach[later], 0)
    assert (reach[~later] > 1e-4).all()


@pytest.mark.slow(only=["float16"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_long_causal_attention_in_blocks_equals_attention_with_the_mask(dtype):
    """From 128 tokens on a CPU takes blocks of queries; scores of up to about 1000 leave one weight."""
    keys = jax.random.split(jax.random.key(0), 4)
    query, key, value, weight = (jax.random.normal(key, (1, 1, 128, 2, 4)).astype(dtype) for key in keys)
    query = query.at[..., 100, :, :].multiply(300)

    def total(query, key, value, **options):
        return (dot_product_attention(query, key, value, **options).astype(np.float32) * weight).sum()

    def run(**options):
        return jax.jit(jax.value_and_grad(functools.partial(total, **options), (0, 1, 2)))(query, key, value)

    tolerance = 1e-4 if dtype is np.float32 else 0.05
    chex.assert_trees_all_close(run(is_causal=True), run(mask=causal_mask(128)), rtol=tolerance, atol=tolerance)


@pytest.mark.covers("AT-07")
def test_causal_attention_equals_torch(golden):
    """With our own mask, output and gradient are those of torch under its mask, which is True where it may not look."""
    np.testing.assert_array_equal(causal_mask(5), ~golden["MHA.causal/in.mask"])
    variables = {"params": fused_params(golden, "MHA.causal")}
    apply = functools.partial(MultiHeadAttention(2, fused_qkv=True).apply, variables, mask=causal_mask(5))
    out, gradient = output_and_gradients(apply, golden["MHA.causal/in.cot"], golden["MHA.causal/in.x"])
    np.testing.assert_allclose(out, golden["MHA.causal/out"], atol=1e-5)
    np.testing.assert_allclose(gradient, golden["MHA.causal/grad.x"], atol=1e-5)


@pytest.mark.covers("AT-09")
def test_cross_attention_reads_the_memory_and_equals_torch(golden):
    """Queries of the decoder, keys and values of the encoder: T outputs whatever S; a new memory, new outputs."""
    variables = {"params": split_params(fused_params(golden, "MHA.cross"))}
    x, key, value = (jnp.asarray(golden[f"MHA.cross/in.{n}"]) for n in ("x", "k", "v"))
    layer = MultiHeadAttention(2)
    apply = jax.jit(functools.partial(layer.apply, variables, mutable=["intermediates"]))
    out, state = apply(x, key, value)
    chex.assert_shape(out, (2, 5, 8))
    weights = state["intermediates"]["weights"][0]
    chex.assert_shape(weights, (2, 2, 5, 7))
    np.testing.assert_allclose(out, golden["MHA.cross/out"], atol=1e-5)
    np.testing.assert_allclose(weights, golden["MHA.cross/out.weights"], atol=1e-6)
    np.testing.assert_allclose(out, apply(x, key[:, ::-1], value[:, ::-1])[0], atol=1e-5)
    reach = jax.jit(jax.grad(lambda m: layer.apply(variables, x, m)[:, 0].sum()))(value)
    assert (np.abs(reach).max(-1) > 1e-4).all()  # the first output depends on every vector of the memory
    new = np.float32([[[1]], [[0]]])
    other, _ = apply(x, key + new, value + new)
    assert np.abs(other[0] - out[0]).max() > 0.1
    np.testing.assert_array_equal(other[1], out[1])


@pytest.mark.slow
@pytest.mark.covers("AT-08")
def test_equals_flax():
    x, theirs = normal(0, 2, 6, 12), linen.MultiHeadDotProductAttention(3)
    _, variables = build(theirs, x)
    variables = jax.tree.map(lambda v: v + normal(1, *v.shape) / 10, variables)
    params = {
        n: {k: v.reshape(12, -1) if k == "kernel" else v.reshape(-1) for k, v in layer.items()}
        for n, layer in variables["params"].items()
    }
    params["proj"] = params.pop("out")
    mask = jnp.asarray(np.random.default_rng(2).random((2, 1, 6, 6)) < 0.8)
    got = MultiHeadAttention(3).apply({"params": params}, x, mask=mask)
    np.testing.assert_allclose(got, theirs.apply(variables, x, mask=mask), atol=1e-5)


@pytest.mark.covers("AT-08")
@pytest.mark.parametrize("fused", [True, False])
def test_parameters_at_eight_heads_of_512(fused):
    x = jax.ShapeDtypeStruct((1, 4, 512), jnp.float32)
    assert count(MultiHeadAttention(8, fused_qkv=fused), x) == 1_050_624  # 4 (512 512 + 512)
    assert count(MultiHeadAttention(1, fused_qkv=fused), x) == 1_050_624


def test_a_query_that_may_look_nowhere_gets_the_mean():
    value = np.asarray(normal(0, 5, 1, 3))
    call = jax.jit(functools.partial(dot_product_attention, mask=np.zeros((1, 2, 5), bool)))
    got = call(normal(1, 2, 1, 4), normal(2, 5, 1, 4), value)
    np.testing.assert_allclose(got, np.broadcast_to(value.mean(0), (2, 1, 3)), atol=1e-6)


@pytest.mark.slow
def test_softmax_is_in_float32_and_weights_are_dropped_in_training_only():
    q = normal(0, 3, 2, 8).astype(jnp.bfloat16)
    assert attention_weights(q, q).dtype == jnp.float32
    x, layer = normal(1, 2, 6, 8), MultiHeadAttention(2, dropout_rate=0.5, dtype=jnp.bfloat16)
    still, variables = build(layer, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}
    assert still.dtype == jnp.bfloat16
    drop = jax.jit(lambda key: layer.apply(variables, x, train=True, rngs={"dropout": key}))
    noisy = [drop(jax.random.key(i)) for i in (1, 2)]
    assert not np.allclose(noisy[0], noisy[1])
    with jax.enable_x64(True):
        assert attention_weights(jnp.ones((3, 2, 8)), jnp.ones((3, 2, 8))).dtype == jnp.float64


@pytest.mark.slow
@pytest.mark.weekly(unless=["7-7-True", "8-8-True"])
@pytest.mark.parametrize(("length", "size", "is_causal"), [(7, 7, False), (7, 7, True), (6, 5, False), (8, 8, True)])
def test_the_fused_kernel_gets_even_lengths_and_hides_what_was_added(monkeypatch, length, size, is_causal):
    """The stand-in refuses in its backward pass what JAX's binding of cuDNN refuses (197 tokens of ViT-B/16)."""
    calls = []

    @jax.custom_vjp
    def picky(query, key):
        return query

    def forward(query, key):
        if query.shape[1] % 2 or key.shape[1] % 2:
            raise NotImplementedError("Unsupported sequence length")
        return query, None

    picky.defvjp(forward, lambda _, cotangent: (cotangent, None))

    def kernel(query, key, value, *args, **kwargs):
        calls.append(query.shape[1])
        return jax.nn.dot_product_attention(picky(query, key), key, value, *args, **kwargs, implementation="xla")

    q, k, v = (normal(seed, 2, n, 2, 8).astype(jnp.bfloat16) for seed, n in enumerate((length, size, size)))

    def loss(*arrays):
        return (dot_product_attention(*arrays, is_causal=is_causal).astype(jnp.float32) ** 2).sum()

    wanted = jax.grad(loss, (0, 1, 2))(q, k, v)
    assert not calls
    monkeypatch.setattr("dlcore.ops.attention_kernels._fused_attention", kernel)
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *arrays, cuda, default: cuda(*arrays))
    with attention_kernels("cuda"):
        got = jax.grad(loss, (0, 1, 2))(q, k, v)
    assert calls
    assert not any(n % 2 for n in calls)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a.astype(np.float32), b.astype(np.float32), atol=0.05, rtol=0.05)
