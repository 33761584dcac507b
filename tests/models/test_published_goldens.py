"""Networks under the names that their projects publish compute what the projects compute.

`published_goldens.py` wrote the goldens, with the real libraries and the goldens' weight rule.
"""

import re

import jax
import numpy as np
import pytest

from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.schedules import alphas_cumprod, linear_betas, rescale_zero_terminal_snr, scaled_linear_betas
from dlcore.generative.torch_diffusers import from_torch_names as load_diffusers
from dlcore.models import create_model, load_torch, torch_weights
from dlcore.models.clip import from_torch_names as load_clip
from dlcore.models.resnet import BasicBlock, ResNet
from dlcore.models.vgg import from_torch
from tests.models.parity import GOLDENS, check_output, nchw, read_golden, weight_rule

CLIP = {"vocab_size": 30, "end_token": 29, "window": 8, "image_size": 16, "patch_size": 8, "embedding_size": 12}
CLIP |= {"vision_depth": 2, "vision_width": 32, "vision_heads": 4, "text_depth": 2, "text_width": 16, "text_heads": 2}
SIGLIP = {"vocab_size": 30, "window": 5, "patch_size": 6, "vision_depth": 2, "vision_width": 16, "vision_heads": 2}
SIGLIP |= {"text_depth": 2, "text_width": 16, "text_heads": 2, "mlp_features": 36}
CLIP_RESNET = {"vocab_size": 30, "end_token": 29, "window": 5, "image_size": 64, "embedding_size": 12}
CLIP_RESNET |= {"vision_stages": (1, 2, 1, 1), "vision_width": 8, "vision_heads": 4}
CLIP_RESNET |= {"text_depth": 2, "text_width": 16, "text_heads": 2}
DINO = {"image_size": 28, "patch_size": 7, "width": 24, "depth": 2, "num_heads": 2}
VIT = {"image_size": 24, "patch_size": 6, "width": 32, "depth": 2, "num_heads": 4, "mlp_features": 64}
SWIN = {"stages": (2, 2), "width": 16, "num_heads": (2, 4), "patch_size": 2, "window_size": 4, "mlp_ratio": 2}
CONVNEXT = {"stages": (1, 2, 1, 1), "widths": (8, 16, 24, 32), "num_classes": 3}
DETR = {"backbone": ResNet(stages=(2, 2, 2, 2), block=BasicBlock), "num_classes": 5, "num_queries": 6, "features": 32}
DETR |= {"num_heads": 4, "hidden_features": 48, "encoder_layers": 1, "decoder_layers": 2}
BERT = {"vocab_size": 30, "window": 8, "num_layers": 2, "num_heads": 2, "width": 16, "mlp_features": 24}


def call(key, output="logits", method=None):
    """One input, one output."""
    return lambda model, variables, inputs: {output: model.apply(variables, inputs[key], method=method)}


def pair(image, text, *outputs):
    def run(model, variables, inputs):
        encoded = (
            model.apply(variables, inputs[image], method="encode_image"),
            model.apply(variables, inputs[text], method="encode_text"),
        )
        return dict(zip(outputs, encoded, strict=True))

    return run


def detect(model, variables, inputs):
    """Of the last decoder layer."""
    outputs, _ = model.apply(variables, inputs["pixel_values"])
    return {"logits": outputs.logits[:, -1], "pred_boxes": outputs.boxes[:, -1]}


CASES = {
    "hf_clip_gelu": (
        "openclip_vit_h_14",
        CLIP | {"mlp_features": 72, "text_mlp_features": 40},
        pair("pixel_values", "input_ids", "image_embeds", "text_embeds"),
    ),
    "hf_siglip_mlp": (
        "siglip_so400m_patch14_384",
        SIGLIP | {"image_size": 20},
        pair("pixel_values", "input_ids", "image_embeds", "text_embeds"),
    ),
    "oc_clip_resnet": ("clip_resnet50", CLIP_RESNET, pair("image", "text", "image", "text")),
    "oc_clip_vit": (
        "openclip_vit_h_14",
        CLIP | {"window": 5, "mlp_features": 72, "text_mlp_features": 64},
        pair("image", "text", "image", "text"),
    ),
    "oc_siglip": ("siglip_base_patch16_224", SIGLIP | {"image_size": 18}, pair("image", "text", "image", "text")),
    "hf_dinov2_swiglu": (
        "dinov2_with_registers_giant",
        DINO | {"mlp_features": 64, "num_registers": 3},
        call("pixel_values", "last_hidden_state", "tokens"),
    ),
    "timm_dinov2_registers": ("dinov2_with_registers_base", VIT | {"num_registers": 2}, call("x")),
    "timm_dinov2_swiglu": ("dinov2_giant", VIT | {"mlp_features": 48}, call("x")),
    "timm_vit_layer_scale": ("vit_b_16", VIT | {"num_classes": 5, "layer_scale": 1.0}, call("x")),
    "hf_swin_cls": ("swin_t", SWIN | {"num_classes": 3}, call("pixel_values")),
    "hf_resnet_cls": ("resnet50", {"width": 8, "stages": (1, 2), "num_classes": 3}, call("pixel_values")),
    "hf_convnext": ("convnext_tiny", CONVNEXT, call("pixel_values")),
    "timm_convnext": ("convnext_tiny", CONVNEXT, call("x")),
    "timm_regnet": (
        "regnet_y_400mf",
        {"depth": 6, "width": 16, "slope": 12.0, "step": 1.8, "num_classes": 3},
        call("x"),
    ),
    "hf_bert_relu": ("bert_base", BERT | {"hidden_act": "relu"}, call("input_ids")),
    "hf_detr_timm": ("detr_resnet50", DETR, detect),
}


def read(file):
    """(golden, meta, weights with what is not under the rule as zeros, inputs in our layout)."""
    golden, meta, weights = read_golden(file)
    shapes = dict(map(tuple, meta["state_dict"]))
    weights |= {name: np.zeros(shapes[name], np.float32) for name in meta["const"]}
    inputs = {key: np.asarray(weight_rule().det_input(spec)) for key, spec in meta["inputs"].items()}
    channels_last = {4: (0, 2, 3, 1), 5: (0, 1, 3, 4, 2)}
    return golden, meta, weights, {k: v.transpose(channels_last.get(v.ndim, range(v.ndim))) for k, v in inputs.items()}


@pytest.mark.slow
@pytest.mark.weekly(only=["hf_detr_timm"])
@pytest.mark.parametrize("file", CASES)
def test_outputs_equal_those_of_the_project(file):
    name, fields, run = CASES[file]
    golden, meta, weights, inputs = read(file)
    model, variables = create_model(name, **fields), load_torch(name, weights, **fields)
    outputs = jax.jit(lambda variables, inputs: run(model, variables, inputs))(variables, inputs)
    for key, value in outputs.items():
        check_output(golden, meta, key, value)


@pytest.mark.slow
@pytest.mark.covers("SS-19")
def test_an_encoder_of_clips_alone_equals_transformers_classifier():
    """logits = W LN(mean of tokens) + b, with transformers' epsilon; the head is left out of the encoder's weights."""
    golden, meta, weights, inputs = read("hf_videomae_cls")
    fields = {"width": 24, "depth": 2, "num_heads": 2, "mlp_features": 40, "decoder_depth": 0, "final_norm": False}
    model = create_model("videomae_vit_b_16", **fields)
    published = {key.replace("query.bias", "q_bias").replace("value.bias", "v_bias"): v for key, v in weights.items()}
    variables = load_torch("videomae_vit_b_16", published, **fields)
    tokens = jax.jit(lambda v, x: model.apply(v, x, method="encode"))(variables, inputs["pixel_values"])
    mean = np.asarray(tokens).mean(1)
    normed = (mean - mean.mean(-1, keepdims=True)) / np.sqrt(mean.var(-1, keepdims=True) + 1e-12)
    normed = normed * weights["fc_norm.weight"] + weights["fc_norm.bias"]
    check_output(golden, meta, "logits", normed @ weights["classifier.weight"].T + weights["classifier.bias"])


UNET = {"channels": (8, 16), "groups": 4, "resnet_time_scale_shift": "scale_shift"}
UNETS = {
    "df_unet2d_cond_scale_shift": UNET | {"attention_levels": (0,), "num_heads": 2},
    "df_unet2d_scale_shift": UNET | {"num_heads": None, "head_features": 4, "add_attention": False},
    "df_unet2d_ddpm": {
        "channels": (8, 16), "groups": 4, "num_heads": 1, "downsample_padding": 0, "epsilon": 1e-6,
        "cosine_first": False, "ends_at_period": True,
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.weekly(only=["df_unet2d_cond_scale_shift"])
@pytest.mark.parametrize("file", UNETS)
def test_unets_equal_diffusers(file):
    golden, meta, weights, inputs = read(file)
    model = ConditionalUNet(**UNETS[file])
    given = (inputs["sample"], inputs["timestep"], *((None, inputs["ctx"]) if "ctx" in inputs else ()))
    variables = load_diffusers(model, weights, *given)
    check_output(golden, meta, "sample", nchw(jax.jit(model.apply)(variables, *given)))


@pytest.mark.parametrize(("name", "betas"), [("linear", linear_betas), ("scaled_linear", scaled_linear_betas)])
def test_zero_terminal_snr_equals_diffusers(name, betas):
    abar = alphas_cumprod(rescale_zero_terminal_snr(betas(1000)))
    want = np.load(GOLDENS / "df_zero_snr.npz")[name]
    np.testing.assert_allclose(np.append(abar[::20], abar[-1]), want, atol=2e-6)
    assert want[-1] == abar[-1] == 0


def as_facebooks(key):
    """timm's name of a layer of ConvNeXt under facebook's; timm's `checkpoint_filter_fn` does the opposite."""
    for pattern, replacement in (
        (r"^stem\.", "downsample_layers.0."), (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"\.blocks\.", "."), (r"\.conv_dw\.", ".dwconv."), (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
        (r"^head\.norm\.", "norm."), (r"^head\.fc\.", "head."),
    ):  # fmt: skip
        key = re.sub(pattern, replacement, key)
    return key


@pytest.mark.slow
def test_convnext_by_facebooks_names():
    weights = read("timm_convnext")[2]
    published = {as_facebooks(key): value for key, value in weights.items()}
    assert {"downsample_layers.1.0.weight", "stages.1.1.pwconv2.bias", "norm.bias", "head.weight"} <= set(published)
    want = load_torch("convnext_tiny", weights, **CONVNEXT)
    got = load_torch("convnext_tiny", {"model." + key: value for key, value in published.items()}, **CONVNEXT)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert torch_weights.count_classes("convnext_tiny", published) == 3


@pytest.mark.slow
def test_a_clip_with_a_resnet_is_named():
    weights = read("oc_clip_resnet")[2]
    with pytest.raises(ValueError, match=r"a CLIP with a ResNet; allowed: of the models clip_resnet\*"):
        load_clip(create_model("clip_vit_b_32", **CLIP), weights)
    model = create_model("clip_resnet50", **CLIP_RESNET)
    with pytest.raises(ValueError, match=r"does not fit CLIPResNet; 1 missing: visual.attnpool.c_proj.bias"):
        load_clip(model, {k: v for k, v in weights.items() if k != "visual.attnpool.c_proj.bias"})


@pytest.mark.slow
def test_a_map_of_another_size_has_no_positions():
    model = create_model("clip_resnet50", **CLIP_RESNET)
    with pytest.raises(ValueError, match="x=3x3: a map without positions; allowed: 2x2, as of image_size"):
        jax.eval_shape(lambda x: model.init(jax.random.key(0), x, method="encode_image"), np.zeros((1, 96, 96, 3)))


def test_hidden_layers_of_timms_vgg_are_convolutions():
    """(out, C, h, w) flattened as torchvision flattens the map: channels before rows before columns."""
    value = np.arange(24.0).reshape(2, 3, 2, 2)
    got = from_torch("params/classifier_0/kernel", value, (12, 2))
    np.testing.assert_array_equal(got[:, 1], np.arange(12, 24))
    assert from_torch("params/features_0/kernel", value, (2, 2, 3, 2)) is None
