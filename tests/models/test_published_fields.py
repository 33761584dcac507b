"""Fields that published configurations set: MLP sizes, activations, registers, gated MLPs, scale and shift."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.schedules import alphas_cumprod, rescale_zero_terminal_snr, scaled_linear_betas
from dlcore.generative.unet_blocks import ResnetBlock
from dlcore.models.bert import BERT
from dlcore.models.clip import CLIP, SigLIP
from dlcore.models.dinov2 import DINOv2, from_torch_names
from dlcore.nn.activations import gelu, named_activation, quick_gelu, relu
from dlcore.segmentation.torch_segmenters import create_segmenter

CLIP_FIELDS = {"vision_depth": 1, "vision_width": 8, "vision_heads": 2, "text_depth": 1, "text_width": 4}
CLIP_FIELDS |= {"text_heads": 1, "image_size": 8, "patch_size": 4, "window": 4}


def shapes_of(model, *inputs):
    return jax.eval_shape(lambda *x: model.init(jax.random.key(0), *x), *inputs)["params"]


def inside(model, read):
    """What `read` finds in a module whose parts are built."""
    found = []
    jax.eval_shape(lambda: model.init(jax.random.key(0), method=lambda module: found.append(read(module))))
    return found[0]


def test_activations_by_transformers_names():
    """At 1: the normal distribution's .8413447; 1 / (1 + exp(-1.702)); tanh's approximation .841192."""
    one = jnp.float32(1)
    values = {name: float(named_activation(name)(one)) for name in ("gelu", "quick_gelu", "gelu_pytorch_tanh", "relu")}
    want = {"gelu": 0.8413447, "quick_gelu": 1 / (1 + math.exp(-1.702)), "gelu_pytorch_tanh": 0.841192, "relu": 1.0}
    assert values == pytest.approx(want, abs=1e-6)
    with pytest.raises(ValueError, match="hidden_act='swish2': unknown; allowed: gelu, gelu_new"):
        named_activation("swish2", "hidden_act")


@pytest.mark.slow
def test_mlps_of_clip_have_their_sizes_and_activation():
    model = CLIP(9, 8, mlp_features=24, text_mlp_features=12, activation="gelu", embedding_size=4, **CLIP_FIELDS)
    params = shapes_of(model, jnp.zeros((1, 8, 8, 3)), jnp.zeros((1, 2), jnp.int32))
    chex.assert_shape(params["vision_blocks_0"]["mlp"]["fc1"]["kernel"], (8, 24))
    chex.assert_shape(params["text_blocks_0"]["mlp"]["fc1"]["kernel"], (4, 12))
    assert inside(model, lambda m: m.vision_blocks[0].activation) is gelu
    plain = CLIP(9, 8, embedding_size=4, **CLIP_FIELDS)
    assert inside(plain, lambda m: m.text_blocks[0].activation) is quick_gelu
    with pytest.raises(ValueError, match="activation='gelu2': unknown; allowed: gelu,"):
        inside(CLIP(9, 8, activation="gelu2", **CLIP_FIELDS), lambda m: m.vision_blocks)


@pytest.mark.slow
def test_siglip_so400m_has_its_published_size():
    """Patches of 14 in 384 pixels: 27 x 27, the last 6 pixels are not read.

    A block: 4 (1152² + 1152) + 2 · 1152 · 4304 + 4304 + 1152 + 4 · 1152 = 15,239,504. Image: 27 blocks, 678,528 of the
    patches, 729 · 1152 positions, norm 2304, head 1152 + 5,313,024 + 2304 + 9,921,872. Text: 27 blocks, 32000 · 1152,
    64 · 1152, 2304, 1152² + 1152. And two scalars.
    """
    block = 15_239_504
    image = 27 * block + 678_528 + 729 * 1152 + 2304 + 1152 + 5_313_024 + 2304 + 9_921_872
    text = 27 * block + 32_000 * 1152 + 64 * 1152 + 2304 + 1152**2 + 1152
    sizes = {f"{part}_{what}": n for part in ("vision", "text") for what, n in (("width", 1152), ("heads", 16))}
    model = SigLIP(32_000, 1, 64, 384, 14, mlp_features=4304, crop_rest=True, vision_depth=27, text_depth=27, **sizes)
    params = shapes_of(model, jnp.zeros((1, 384, 384, 3)), jnp.zeros((1, 64), jnp.int32))
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params)) == image + text + 2 == 877_960_498


def test_bert_takes_its_activation():
    fields = {"vocab_size": 5, "window": 4, "num_layers": 1, "num_heads": 1, "width": 4, "mlp_features": 4}
    got = inside(BERT(hidden_act="relu", **fields), lambda m: (m.blocks[0].activation, m.activate))
    assert got == (relu, relu)
    with pytest.raises(ValueError, match="hidden_act='geglu': unknown; allowed: gelu,"):
        inside(BERT(hidden_act="geglu", **fields), lambda m: m.blocks)


@pytest.mark.slow
def test_registers_stand_behind_the_class_token_and_have_no_positions():
    """A block whose branches count nothing: a call of the encoder normalizes [token + P0; registers; patches + P]."""
    model = DINOv2(image_size=4, patch_size=2, depth=1, width=4, num_heads=1, num_registers=2, layer_scale=0.0)
    x = jnp.arange(48.0).reshape(1, 4, 4, 3) / 48
    variables = jax.jit(lambda x: model.init(jax.random.key(0), x))(x)
    tokens = np.asarray(jax.jit(lambda v, x: model.apply(v, x, method="tokens"))(variables, x))
    chex.assert_shape(tokens, (1, 1 + 2 + 4, 4))
    registers = np.asarray(variables["params"]["register_tokens"][0])
    want = (registers - registers.mean(1, keepdims=True)) / np.sqrt(registers.var(1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(tokens[0, 1:3], want, atol=1e-4)


@pytest.mark.slow
def test_dinov2_with_swiglu_and_registers_from_transformers_names():
    """`weights_in` holds the gate's rows before the values': silu(W_g x) W_1 x."""
    rng, width, hidden = np.random.default_rng(0), 8, 6
    model = DINOv2(
        image_size=4, patch_size=2, depth=1, width=width, num_heads=2, mlp_features=hidden, swiglu=True, num_registers=2
    )
    shapes = {"embeddings.cls_token": (1, 1, width), "embeddings.register_tokens": (1, 2, width)}
    shapes |= {"embeddings.mask_token": (1, width), "embeddings.position_embeddings": (1, 5, width)}
    shapes |= {"embeddings.patch_embeddings.projection.weight": (width, 3, 2, 2)}
    layer = "encoder.layer.0."
    shapes |= {f"{layer}mlp.weights_in.weight": (2 * hidden, width), f"{layer}mlp.weights_in.bias": (2 * hidden,)}
    shapes |= {f"{layer}mlp.weights_out.weight": (width, hidden)}
    shapes |= {f"{layer}attention.attention.{name}.weight": (width, width) for name in ("query", "key", "value")}
    shapes |= {f"{layer}attention.attention.{name}.bias": (width,) for name in ("query", "key", "value")}
    shapes |= {f"{layer}attention.output.dense.weight": (width, width), f"{layer}attention.output.dense.bias": (width,)}
    vectors = [f"{layer}{name}" for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias")]
    vectors += [f"{layer}{name}" for name in ("layer_scale1.lambda1", "layer_scale2.lambda1", "mlp.weights_out.bias")]
    vectors += ["layernorm.weight", "layernorm.bias", "embeddings.patch_embeddings.projection.bias"]
    shapes |= dict.fromkeys(vectors, (width,))
    weights = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    variables = from_torch_names(model, {f"model.{key}": value for key, value in weights.items()})
    mlp, fused = variables["params"]["blocks_0"]["mlp"], weights[f"{layer}mlp.weights_in.weight"]
    np.testing.assert_array_equal(mlp["gate"]["kernel"], fused[:hidden].T)
    np.testing.assert_array_equal(mlp["fc1"]["kernel"], fused[hidden:].T)
    # the block's second branch by hand
    x = jnp.asarray(rng.normal(size=(1, 4, 4, 3)), jnp.float32)
    _, state = jax.jit(lambda v, x: model.apply(v, x, capture_intermediates=True, mutable=["intermediates"]))(
        variables, x
    )
    inside = state["intermediates"]["blocks_0"]
    seen, got = (np.asarray(inside[name]["__call__"][0]) for name in ("norm2", "mlp"))
    gate, value = np.split(seen @ fused.T + weights[f"{layer}mlp.weights_in.bias"], 2, -1)
    want = (gate / (1 + np.exp(-gate)) * value) @ weights[f"{layer}mlp.weights_out.weight"].T
    np.testing.assert_allclose(got, want + weights[f"{layer}mlp.weights_out.bias"], atol=1e-4)


@pytest.mark.slow
def test_the_embedding_scales_and_shifts_the_second_norm():
    """One pixel, one channel: norms give their biases, so y = x + w silu(b (1 + s) + t), [s, t] = W silu(e) + c."""
    block = ResnetBlock(1, groups=1, scale_shift=True)
    x, e = jnp.full((1, 1, 1, 1), 2.0), jnp.array([[1.0]])
    kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(3.0)
    one = jnp.ones(1)
    params = {
        "norm1": {"scale": one, "bias": one},
        "conv1": {"kernel": kernel, "bias": one},
        "time_emb_proj": {"kernel": jnp.array([[1.0, 2.0]]), "bias": jnp.array([0.5, -1.0])},
        "norm2": {"scale": one, "bias": 0.7 * one},
        "conv2": {"kernel": kernel, "bias": 0 * one},
    }
    silu = lambda v: v / (1 + math.exp(-v))  # noqa: E731
    scale, shift = silu(1.0) + 0.5, 2 * silu(1.0) - 1
    got = jax.jit(block.apply)({"params": params}, x, e)
    assert float(got[0, 0, 0, 0]) == pytest.approx(2 + 3 * silu(0.7 * (1 + scale) + shift), rel=1e-5)


@pytest.mark.slow
def test_a_unet_scales_and_shifts_and_leaves_out_the_middles_attention():
    fields = {"channels": (8, 8), "attention_levels": (), "groups": 4}
    inputs = (jnp.zeros((1, 4, 4, 3)), jnp.zeros(1, jnp.int32))
    params = shapes_of(ConditionalUNet(resnet_time_scale_shift="scale_shift", add_attention=False, **fields), *inputs)
    assert "mid_block_attentions_0" not in params
    chex.assert_shape(params["mid_block_resnets_1"]["time_emb_proj"]["kernel"], (32, 16))
    before = shapes_of(ConditionalUNet(**fields), *inputs)
    chex.assert_shape(before["mid_block_resnets_1"]["time_emb_proj"]["kernel"], (32, 8))
    assert set(before) - set(params) == {"mid_block_attentions_0"}
    with pytest.raises(ValueError, match="resnet_time_scale_shift='ada': unknown; allowed: default, scale_shift"):
        shapes_of(ConditionalUNet(resnet_time_scale_shift="ada", **fields), *inputs)


def test_betas_with_a_last_timestep_of_noise_alone():
    """betas 1/2: sqrt(abar) = .7071, .5, .3536; minus the last, times 2: .7071, .2929, 0; abar .5, .0858, 0."""
    betas = rescale_zero_terminal_snr(np.full(3, 0.5))
    np.testing.assert_allclose(betas, [0.5, 1 - (2 - math.sqrt(2)) ** 2 / 4 / 0.5, 1.0], atol=1e-12)
    before = scaled_linear_betas(1000)
    abar = alphas_cumprod(rescale_zero_terminal_snr(before))
    assert abar[-1] == 0
    assert abar[0] == pytest.approx(1 - before[0])
    assert (np.diff(abar) < 0).all()
    with pytest.raises(ValueError, match="too few; allowed: at least 2"):
        rescale_zero_terminal_snr(np.array([0.5]))


@pytest.mark.slow
@pytest.mark.covers("SG-05")
def test_deeplab_on_mobilenet_has_torchvisions_number_of_parameters():
    """11,029,328 with the auxiliary head, which reads 40 channels and has 40 · 10 · 9 + 20 + 10 · 21 + 21 of them."""
    counts = {}
    for aux in (True, False):
        params = shapes_of(create_segmenter("deeplabv3_mobilenet_v3_large", aux=aux), jnp.zeros((1, 64, 64, 3)))
        backbone = {name: layer for name, layer in params["backbone"].items() if name.startswith("features_")}
        counts[aux] = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves({**params, "backbone": backbone}))
    assert counts == {True: 11_029_328, False: 11_029_328 - (40 * 10 * 9 + 20 + 10 * 21 + 21)}
