"""Fused attention in lowered programs, its fallbacks, and its equality with the plain form by interpretation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import pallas
from jax.sharding import AxisType

from dlcore.generative.dit import DiT
from dlcore.models import create_model
from dlcore.nn import MultiHeadAttention, dot_product_attention
from dlcore.ops import attention_kernels as module
from dlcore.ops.attention_kernels import attention_kernels
from dlcore.run.sharding import make_mesh
from dlcore.run.step import Placement

CALLS = {"cuda": "__cudnn$fmha", "tpu": "@tpu_custom_call"}
BF16 = jnp.bfloat16


@pytest.fixture
def cudnn(monkeypatch):
    """JAX's binding reads the version of cuDNN from a plugin that a machine without a GPU lacks."""
    monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91000)


@pytest.fixture
def messages(monkeypatch):
    """What the module logs, from the first message on."""
    texts = []
    monkeypatch.setattr(module.logging, "info", texts.append)
    module._log_once.cache_clear()
    yield texts
    module._log_once.cache_clear()


def shapes(*dims, dtype=BF16):
    return [jax.ShapeDtypeStruct(d, dtype) for d in dims]


def lowered(function, *arguments, platforms=("cuda", "tpu")):
    """{platform: the gradient's program} of the sum of a function's result."""

    def total(*arguments):
        return jnp.sum(function(*arguments).astype(jnp.float32))

    with attention_kernels(*platforms):
        traced = jax.jit(jax.grad(total, allow_int=True)).trace(*arguments)
        return {name: traced.lower(lowering_platforms=(name,)).as_text() for name in (*platforms, "cpu")}


@pytest.mark.covers("AT-48")
def test_the_program_of_each_platform_calls_its_kernel(cudnn):
    q, k, v = shapes((2, 130, 2, 64), (2, 140, 2, 64), (2, 140, 2, 64))
    texts = lowered(dot_product_attention, q, k, v)
    for platform, call in CALLS.items():
        assert {name for name, text in texts.items() if call in text} == {platform}
        # The two products of the scores are inside the kernel, forward and backward.
        assert "stablehlo.dot_general" not in texts[platform]
        assert "stablehlo.exponential" not in texts[platform]
    # On a TPU lengths are padded to a multiple of 128; 64 features are enough.
    assert "2x2x256x64xbf16" in texts["tpu"]
    assert "x65xbf16" not in texts["tpu"]
    assert "2x2x384x" not in texts["tpu"]


@pytest.mark.covers("AT-48")
def test_a_cpus_program_is_the_plain_form():
    q, k, v = shapes(*[(1, 16, 2, 8)] * 3)
    assert jax.default_backend() == "cpu"
    text = str(jax.make_jaxpr(dot_product_attention)(q, k, v))
    assert "platform_index" not in text
    with attention_kernels():
        assert str(jax.make_jaxpr(dot_product_attention)(q, k, v)) == text


@pytest.mark.covers("AT-48")
@pytest.mark.parametrize(
    ("platform", "dims", "options", "reason"),
    [
        ("tpu", ((1, 128, 2, 8), (1, 128, 2, 8)), {"dtype": jnp.float32}, "float32; allowed: bfloat16"),
        ("cuda", ((1, 128, 2, 8), (1, 128, 2, 8)), {"dtype": jnp.float32}, "float32; allowed: bfloat16 or float16"),
        ("tpu", ((1, 128, 2, 8), (1, 128, 2, 8)), {"mask": (128, 128)}, "a mask"),
        ("tpu", ((2, 128, 2, 8), (2, 128, 2, 8)), {"bias": (2, 128, 128)}, "a bias that examples or heads share"),
        ("tpu", ((1, 49, 2, 8), (1, 49, 2, 8)), {}, "49 queries or keys; allowed: 128 or more"),
        ("cuda", ((1, 128, 2, 12), (1, 128, 2, 12)), {}, "The head dim must be <= 128 and a multiple of 8"),
        ("cuda", ((1, 7, 2, 8), (1, 7, 2, 8)), {"bias": (2, 7, 7)}, "Unsupported sequence length Q 7, KV 7"),
        ("cuda", ((1, 4, 2, 8), (1, 8, 2, 8)), {"is_causal": True}, "causal, with more keys than queries"),
    ],
)
def test_unsupported_options_use_plain_attention_and_are_logged_once(cudnn, messages, platform, dims, options, reason):
    options = dict(options)
    q, k = shapes(*dims, dtype=options.pop("dtype", BF16))
    if "mask" in options:
        options["mask"] = jnp.ones(options["mask"], bool)
    if "bias" in options:
        options["bias"] = jnp.zeros(options["bias"], BF16)
    with attention_kernels(platform):
        for _ in range(2):
            text = str(jax.make_jaxpr(functools.partial(dot_product_attention, **options))(q, k, k))
    assert "platform_index" not in text
    assert len(messages) == 1
    assert messages[0].startswith(f"{platform}: attention is plain, without the fused kernel: {reason}")


def test_dropped_weights_are_logged(messages):
    layer, (x,) = MultiHeadAttention(2, dropout_rate=0.1, dtype=BF16), shapes((1, 128, 8))
    with attention_kernels("tpu"):
        rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
        jax.eval_shape(functools.partial(layer.init, train=True), rngs, x)
    assert messages[-1] == "tpu: attention is plain, without the fused kernel: weights are dropped in training"


def test_a_placement_chooses_the_kernels_of_its_devices(monkeypatch):
    """A program for the CPUs of a machine with a GPU has none."""
    placement = Placement(make_mesh("data:1", jax.devices()[:1]))
    with placement.context():
        assert module._allowed() == ()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert module._allowed() == ("cuda",)
    with placement.context():
        assert module._allowed() == ()


@pytest.mark.slow
@pytest.mark.covers("AT-48")
def test_devices_compute_their_own_examples_and_heads(messages):
    """XLA does not split a Pallas kernel: each device calls it with 8 / 4 examples and 4 / 2 heads."""
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    with jax.set_mesh(mesh):
        text = lowered(dot_product_attention, *shapes(*[(8, 128, 4, 64)] * 3), platforms=("tpu",))["tpu"]
        calls = [line for line in text.splitlines() if CALLS["tpu"] in line]
        assert calls
        assert all("tensor<2x2x128x64xbf16>" in line for line in calls)
        lowered(dot_product_attention, *shapes(*[(8, 128, 3, 64)] * 3), platforms=("tpu",))
    assert "3 examples or heads on 2 devices; allowed: a multiple" in messages[-1]


@pytest.mark.slow
@pytest.mark.weekly(only=["*gradient*"])
@pytest.mark.covers("AT-48")
@pytest.mark.parametrize(
    ("length", "size", "options"),
    [(128, 128, {}), (130, 200, {}), (130, 130, {"is_causal": True}), (128, 130, {"bias": True})],
)
@pytest.mark.parametrize("derivative", ["output", "gradient"])
def test_the_tpus_kernel_equals_the_plain_form(monkeypatch, length, size, options, derivative):
    monkeypatch.setattr(pallas, "pallas_call", functools.partial(pallas.pallas_call, interpret=True))
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(0.5 * rng.normal(size=(1, n, 2, 24)), BF16) for n in (length, size, size))
    bias = jnp.asarray(rng.normal(size=(1, 2, length, size)), BF16) if options.get("bias") else None
    is_causal = options.get("is_causal", False)

    def kernel(q, k, v):
        return module._flash(q, k, v, None, bias, scale=None, is_causal=is_causal)

    def plain(q, k, v):
        """In float32, of the same numbers."""
        q, k, v, b = (None if x is None else x.astype(jnp.float32) for x in (q, k, v, bias))
        return dot_product_attention(q, k, v, bias=b, is_causal=is_causal)

    jax.clear_caches()
    if derivative == "output":
        got, want = ([jax.jit(f)(q, k, v)] for f in (kernel, plain))
    else:
        got, want = (
            jax.jit(jax.grad(lambda *a, f=f: jnp.square(f(*a).astype(jnp.float32)).sum(), (0, 1, 2)))(q, k, v)
            for f in (kernel, plain)
        )
    for a, b in zip(got, want, strict=True):
        # A result of bfloat16 is rounded by up to 2^-8 of its value; both gradients are.
        rtol = 2**-8 if derivative == "output" else 2**-7
        np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), atol=2e-3, rtol=rtol)


def _gpt2_xl():
    model = create_model("gpt2_xl", scan_blocks=True, remat="full", dtype=BF16)
    return model, [jax.ShapeDtypeStruct((1, 1024), jnp.int32)], "1024x1024"


def _vit_l():
    model = create_model("vit_l_16", scan_blocks=True, dtype=BF16)
    return model, shapes((1, 224, 224, 3), dtype=jnp.float32), "197x197"


def _dit_xl():
    model = DiT(width=1152, depth=1, num_heads=16, num_classes=1000, dtype=BF16)
    label = jax.ShapeDtypeStruct((1,), jnp.int32)
    return model, [*shapes((1, 32, 32, 4), (1,), dtype=jnp.float32), label], "256x256"


def _sam():
    """The encoder of SAM's ViT-H with a block of windows and a global one."""
    fields = {"num_classes": 0, "pretrain_size": 1024, "drop_path": 0.0, "global_blocks": (1,)}
    model = create_model("vitdet_h", depth=2, dtype=BF16, **fields)
    return model, shapes((1, 1024, 1024, 3), dtype=jnp.float32), "4096x4096"


@pytest.mark.slow
@pytest.mark.weekly(only=["_sam"])
@pytest.mark.covers("AT-48")
@pytest.mark.parametrize("network", [_vit_l, _dit_xl, _gpt2_xl, _sam])
def test_large_networks_call_the_kernel(cudnn, network):
    model, inputs, scores = network()
    variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)

    def outputs(params, *inputs):
        y = model.apply({"params": params}, *inputs)
        return jax.tree.leaves(y)[0]

    texts = lowered(outputs, variables["params"], *inputs)
    for platform, call in CALLS.items():
        text = texts[platform]
        assert call in text
        assert "optimization_barrier" not in text
        products = [line for line in text.splitlines() if "dot_general" in line or "stablehlo.exponential" in line]
        assert not [line for line in products if f"x{scores}x" in line]
    assert not any(call in texts["cpu"] for call in CALLS.values())


@pytest.mark.covers("AT-48")
def test_heads_and_lengths_are_padded_to_what_kernels_take(cudnn):
    """The TPU's: 64 numbers a head or a multiple of 128, the wider of keys and values; cuDNN's: even lengths."""

    def arrays(platform, *dims, **options):
        with attention_kernels(platform):
            traced = jax.make_jaxpr(functools.partial(dot_product_attention, **options))(*shapes(*dims))
        return [x.shape for x in traced.out_avals], str(traced)

    for depth, features, padded in (
        (24, 64, 64),
        (64, 64, 64),
        (24, 65, 128),
        (65, 24, 128),
        (128, 128, 128),
        (129, 8, 256),
    ):
        dims = (1, 130, 2, depth), (1, 256, 2, depth), (1, 256, 2, features)
        out, text = arrays("tpu", *dims)
        assert out == [(1, 130, 2, features)]
        assert f"bf16[1,2,256,{padded}]" in text
    out, text = arrays("cuda", (2, 7, 3, 16), (2, 10, 3, 16), (2, 10, 3, 16))
    assert out == [(2, 7, 3, 16)]
    assert "bf16[2,8,3,16]" in text
    assert "bf16[2,11,3,16]" not in text
