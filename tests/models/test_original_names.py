"""Weights under the names of the projects that published them first: OpenAI's, OpenCLIP's, facebook's and timm's."""

import jax
import numpy as np
import pytest

from dlcore.models import create_model, load_torch
from dlcore.models.clip import CLIP
from dlcore.models.clip import from_torch_names as load_clip
from dlcore.models.dinov2 import DINOv2
from dlcore.models.dinov2 import from_torch_names as load_dinov2
from dlcore.models.mae import MAE
from dlcore.models.mae import from_torch_names as load_mae
from dlcore.models.registry import example_inputs


def random_params(model, *inputs, **kwargs):
    """Parameters of a model's form, no two numbers alike."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs, **kwargs))["params"]
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


def linear(name, layer):
    """torch's (out, in), or (out, in, h, w) of a convolution; norms have a weight in place of a scale."""
    found = {}
    if "kernel" in layer:
        kernel = layer["kernel"]
        found[f"{name}.weight"] = kernel.T if kernel.ndim == 2 else kernel.transpose(3, 2, 0, 1)
    if "scale" in layer:
        found[f"{name}.weight"] = layer["scale"]
    return found | ({f"{name}.bias": layer["bias"]} if "bias" in layer else {})


def check_equal(got, params):
    jax.tree.map(np.testing.assert_array_equal, got["params"], params)


def openai(params):
    """The keys of clip.load(...).state_dict()."""
    found = {
        "visual.class_embedding": params["class_token"][0, 0],
        "visual.positional_embedding": params["vision_positions"]["embedding"].reshape(-1, 8),
        "positional_embedding": params["text_positions"]["embedding"],
        "token_embedding.weight": params["token_embed"]["embedding"],
        "visual.proj": params["vision_head"]["kernel"],  # (in, out): x @ proj
        "text_projection": params["text_head"]["kernel"],
        "logit_scale": params["logit_scale"],
    }
    for name, layer in (("visual.conv1", "patch_embed"), ("visual.ln_pre", "vision_pre_norm"),
                        ("visual.ln_post", "vision_norm"), ("ln_final", "text_norm")):  # fmt: skip
        found |= linear(name, params[layer])
    for tower, front in (("vision", "visual."), ("text", "")):
        block, name = params[f"{tower}_blocks_0"], f"{front}transformer.resblocks.0"
        found |= {
            f"{name}.attn.in_proj_weight": block["attn"]["qkv"]["kernel"].T,
            f"{name}.attn.in_proj_bias": block["attn"]["qkv"]["bias"],
        }
        for part, layer in (("attn.out_proj", block["attn"]["proj"]), ("ln_1", block["norm1"]),
                            ("ln_2", block["norm2"]), ("mlp.c_fc", block["mlp"]["fc1"]),
                            ("mlp.c_proj", block["mlp"]["fc2"])):  # fmt: skip
            found |= linear(f"{name}.{part}", layer)
    return found


@pytest.mark.slow(unless=["open_clip"])
@pytest.mark.parametrize("project", ["openai", "open_clip"])
def test_clip_by_its_original_names(project):
    model = CLIP(
        7, 6, window=5, image_size=8, patch_size=4, embedding_size=6, vision_depth=1, vision_width=8, vision_heads=2,
        text_depth=1, text_width=4, text_heads=2,
    )  # fmt: skip
    params = random_params(model, np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 1), int))
    published = openai(params)
    if project == "openai":  # of its TorchScript files
        published |= {"input_resolution": np.int64(8), "context_length": np.int64(5), "vocab_size": np.int64(7)}
    else:  # CustomTextCLIP keeps the text's tower apart
        own = ("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection")
        published = {f"text.{k}" if k.startswith(own) else k: v for k, v in published.items()}
        published["text.attn_mask"] = np.zeros((5, 5))
    check_equal(load_clip(model, published), params)
    del published["visual.ln_pre.bias"]
    with pytest.raises(ValueError, match=r"does not fit CLIP; 1 missing: vision_model.pre_layrnorm.bias"):
        load_clip(model, published)


def vit_blocks(params, name, key="blocks"):
    block, found = params[f"{key}_0"], {}
    for part, layer in (("attn.qkv", block["attn"]["qkv"]), ("attn.proj", block["attn"]["proj"]),
                        ("norm1", block["norm1"]), ("norm2", block["norm2"])):  # fmt: skip
        found |= linear(f"{name}.{part}", layer)
    return found


@pytest.mark.parametrize("giant", [False, True])
def test_dinov2_by_facebooks_names(giant):
    """The giant has gated MLPs, whose w12 holds the gate's rows first, and registers; training nests its blocks."""
    model = DINOv2(image_size=4, patch_size=2, depth=1, width=8, num_heads=2, mlp_features=6, swiglu=giant,
                   num_registers=2 * giant)  # fmt: skip
    params = random_params(model, np.zeros((1, 4, 4, 3), np.float32))
    block, name = params["blocks_0"], "blocks.0.0" if giant else "blocks.0"
    published = {"cls_token": params["cls_token"], "pos_embed": params["pos_embed"]["embedding"].reshape(1, 5, 8)}
    published |= {"mask_token": np.zeros((1, 8)), **linear("patch_embed.proj", params["patch_embed"])}
    published |= linear("norm", params["norm"]) | vit_blocks(params, name)
    published |= {f"{name}.ls{i}.gamma": block[f"layer_scale{i}"] for i in (1, 2)}
    mlp = block["mlp"]
    if giant:
        published["register_tokens"] = params["register_tokens"]
        for leaf, axis in (("weight", 0), ("bias", 0)):
            parts = [linear("x", mlp[layer])[f"x.{leaf}"] for layer in ("gate", "fc1")]
            published[f"{name}.mlp.w12.{leaf}"] = np.concatenate(parts, axis)
        published |= linear(f"{name}.mlp.w3", mlp["fc2"])
    else:
        published |= linear(f"{name}.mlp.fc1", mlp["fc1"]) | linear(f"{name}.mlp.fc2", mlp["fc2"])
    check_equal(load_dinov2(model, published), params)
    if not giant:  # timm's table of the patches alone: the class token's row is 0
        table = np.array(params["pos_embed"]["embedding"])
        table[:, 0] = 0
        without = published | {"pos_embed": table[:, 1:]}
        check_equal(load_dinov2(model, without), params | {"pos_embed": {"embedding": table}})
    with pytest.raises(ValueError, match=r"1 left over: encoder.layer.0.ls3"):
        load_dinov2(model, published | {f"{name}.ls3": np.zeros(8)})


@pytest.mark.covers("SS-19")
@pytest.mark.parametrize("alone", [False, True])
def test_mae_by_facebooks_names(alone):
    """mae_visualize_vit_* have the decoder, mae_pretrain_vit_* the encoder alone; tables of positions are compared."""
    model = MAE(3, patch_size=2, depth=1, width=8, num_heads=2, mlp_features=6, decoder_depth=0 if alone else 1,
                decoder_width=4, decoder_heads=1, decoder_features=5)  # fmt: skip
    x, method = np.zeros((1, 4, 4, 3), np.float32), {"method": "encode"} if alone else {}
    params = random_params(model, x, *([] if alone else [np.zeros((1, 4))]), **method)
    published = {"cls_token": params["cls_token"], **linear("norm", params["norm"]), **vit_blocks(params, "blocks.0")}
    for fc in ("fc1", "fc2"):
        published |= linear(f"blocks.0.mlp.{fc}", params["blocks_0"]["mlp"][fc])
    patch = linear("patch_embed.proj", params["patch_embed"])
    # (width, P P C) -> (width, C, P, P)
    patch["patch_embed.proj.weight"] = patch["patch_embed.proj.weight"].reshape(8, 2, 2, 3).transpose(0, 3, 1, 2)
    published |= patch
    published["pos_embed"] = np.concatenate([np.zeros((1, 8)), model.positions((2, 2), 8)])[None]
    if not alone:
        published |= vit_blocks(params, "decoder_blocks.0", "decoder")
        for fc in ("fc1", "fc2"):
            published |= linear(f"decoder_blocks.0.mlp.{fc}", params["decoder_0"]["mlp"][fc])
        for part in ("embed", "norm", "pred"):
            published |= linear(f"decoder_{part}", params[f"decoder_{part}"])
        published["mask_token"] = params["mask_token"]
        published["decoder_pos_embed"] = np.concatenate([np.zeros((1, 4)), model.positions((2, 2), 4)])[None]
    check_equal(load_mae(model, {f"model.{k}": v for k, v in published.items()}, (4, 4, 3)), params)
    if alone:  # whatever stands behind the encoder is left out
        check_equal(load_mae(model, published | {"decoder_pred.bias": np.zeros(3)}, (4, 4, 3)), params)
    with pytest.raises(ValueError, match=r"vit.embeddings.position_embeddings is not the sines of this grid"):
        load_mae(model, published | {"pos_embed": published["pos_embed"] + 1}, (4, 4, 3))


SWIN = {"num_classes": 3, "stages": (2, 1, 1), "width": 4, "num_heads": (1, 2, 4), "patch_size": 2, "window_size": 2}


@pytest.mark.slow(unless=["True"])
@pytest.mark.covers("AT-24")
@pytest.mark.parametrize("today", [True, False])
def test_swin_by_timms_names(today):
    """Before timm 0.9, as in Microsoft's files, a stage ends in the merging with which today's next one begins."""
    params = random_params(create_model("swin_t", **SWIN), *example_inputs("swin_t", SWIN))
    published = linear("patch_embed.proj", params["features_0_0"]) | linear("patch_embed.norm", params["features_0_2"])
    published |= linear("norm", params["norm"]) | linear("head.fc" if today else "head", params["head"])
    for stage, depth in enumerate(SWIN["stages"]):
        for i in range(depth):
            block, name = params[f"features_{2 * stage + 1}_{i}"], f"layers.{stage}.blocks.{i}"
            for part in ("norm1", "norm2"):
                published |= linear(f"{name}.{part}", block[part])
            for part in ("qkv", "proj"):
                published |= linear(f"{name}.attn.{part}", block["attn"][part])
            for part in ("fc1", "fc2"):
                published |= linear(f"{name}.mlp.{part}", block["mlp"][part])
            published[f"{name}.attn.relative_position_bias_table"] = block["bias_table"]["embedding"]
            published[f"{name}.attn.relative_position_index"] = np.zeros((4, 4), int)
            published[f"{name}.attn_mask"] = np.zeros((4, 4, 4))
        if stage:
            merging = params[f"features_{2 * stage}"]
            for part in ("norm", "reduction"):
                published |= linear(f"layers.{stage if today else stage - 1}.downsample.{part}", merging[part])
    check_equal(load_torch("swin_t", published, **SWIN), params)
    with pytest.raises(ValueError, match=r"1 missing: layers.1.downsample.norm.bias"):
        load_torch("swin_t", {k: v for k, v in published.items() if k != "layers.1.downsample.norm.bias"}, **SWIN)
