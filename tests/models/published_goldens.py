"""Write the small goldens of networks under the names that their projects publish.

python tests/models/published_goldens.py [NAME ...]

It needs torch, transformers, timm, open_clip and diffusers; all weights are those of the goldens' rule, none is loaded.
"""

import importlib
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np

GOLDENS = Path(__file__).parents[1] / "goldens"
sys.path.insert(0, str(GOLDENS))
from det_weights import det_input, det_tensor  # noqa: E402

NOT_WEIGHTS = ("attn_mask", "position_ids", "relative_position_index", "pos_embed.pos_embed", "points_scale")
IDS = {"values": [[3, 9, 4, 29, 29], [8, 2, 29, 1, 1]], "dtype": "int64", "shape": [2, 5]}
TIMES = {"values": [20, 800], "dtype": "int64", "shape": [2]}


def array(*shape, seed=2, **more):
    return {"shape": list(shape), "seed": seed, **more}


def fill(model, gain2):
    """Give a network the weights of the rule; (entries, {copy: original}, entries that are no weights)."""
    import torch

    entries, tied, const, originals, values = [], {}, [], {}, {}
    for name, value in model.state_dict().items():
        entries.append([name, list(value.shape)])
        if any(part in name for part in NOT_WEIGHTS):
            const.append(name)
            continue
        storage = (value.data_ptr(), tuple(value.shape))
        if storage in originals and value.numel() > 1:
            tied[name] = originals[storage]
            continue
        originals[storage] = name
        values[name] = torch.from_numpy(np.array(det_tensor(name, value.shape, gain2)))
    model.load_state_dict(values, strict=False)
    return entries, tied, const


def write(file, library, model, inputs, run, gain2=1.0):
    """Run a network in float32 and float64, and store the former's outputs."""
    import torch

    model.eval()
    entries, tied, const = fill(model, gain2)
    arrays = {key: torch.from_numpy(np.asarray(det_input(spec))) for key, spec in inputs.items()}
    with torch.no_grad():
        outputs = {key: value.numpy() for key, value in run(model, arrays).items()}
        doubles = {key: value.double() if value.is_floating_point() else value for key, value in arrays.items()}
        exact = {key: value.numpy() for key, value in run(model.double(), doubles).items()}
    about = {
        key: {
            "shape": list(value.shape),
            "stride": 1,
            "mean": float(value.mean()),
            "std": float(value.std()),
            "absmax": float(abs(value).max()),
            "f64_err": float(abs(value - exact[key]).max() / value.std()),
        }
        for key, value in outputs.items()
    }
    meta = {
        "format": 2,
        "library": library,
        "version": importlib.import_module(library).__version__,
        "torch": torch.__version__,
        "name": type(model).__name__,
        "mode": "eval",
        "inputs": inputs,
        "gain2": gain2,
        "state_dict": entries,
        "tied": tied,
        "const": const,
        "outputs": about,
    }
    np.savez_compressed(GOLDENS / f"{file}.npz", meta=json.dumps(meta), **outputs)


def transformers(file, name, config, inputs, outputs, gain2=1.0, **fields):
    import transformers as library

    model = getattr(library, name)(getattr(library, config)(**fields))
    run = lambda model, arrays: {key: getattr(model(**arrays), key) for key in outputs}  # noqa: E731
    write(file, "transformers", model, inputs, run, gain2)


def timm_vit(file, size=24, **fields):
    from timm.models.vision_transformer import VisionTransformer

    fields = {"img_size": size, "patch_size": 6, "embed_dim": 32, "depth": 2, "num_heads": 4, "mlp_ratio": 2} | fields
    model = VisionTransformer(**fields)
    write(file, "timm", model, {"x": array(2, 3, size, size)}, lambda model, arrays: {"logits": model(arrays["x"])})


def timm_giant():
    from timm.layers import SwiGLUPacked
    from torch import nn

    timm_vit(
        "timm_dinov2_swiglu", num_classes=0, init_values=1.0, mlp_layer=SwiGLUPacked, act_layer=nn.SiLU, mlp_ratio=3
    )


def timm_convnext():
    from timm.models.convnext import ConvNeXt

    model = ConvNeXt(depths=(1, 2, 1, 1), dims=(8, 16, 24, 32), num_classes=3)
    inputs = {"x": array(2, 3, 64, 64, coarse=8)}
    write("timm_convnext", "timm", model, inputs, lambda model, arrays: {"logits": model(arrays["x"])})


def timm_regnet():
    from timm.models.regnet import RegNet, RegNetCfg

    config = RegNetCfg(depth=6, w0=16, wa=12.0, wm=1.8, group_size=8, se_ratio=0.25)
    inputs = {"x": array(2, 3, 64, 64, coarse=8)}
    model = RegNet(config, num_classes=3)
    write("timm_regnet", "timm", model, inputs, lambda model, arrays: {"logits": model(arrays["x"])}, 2.0)


TEXT = {"context_length": 5, "vocab_size": 30, "width": 16, "heads": 2, "layers": 2}


def open_clip(file, model, size):
    inputs = {"image": array(2, 3, size, size, coarse=8), "text": IDS}

    def run(model, arrays):
        image = model.encode_image(arrays["image"], normalize=True)
        return {"image": image, "text": model.encode_text(arrays["text"], normalize=True)}

    write(file, "open_clip", model, inputs, run)


def open_clip_resnet():
    from open_clip.model import CLIP

    vision = {"image_size": 64, "layers": (1, 2, 1, 1), "width": 8, "patch_size": None}
    open_clip("oc_clip_resnet", CLIP(12, vision, TEXT, quick_gelu=True), 64)


def open_clip_vit():
    from open_clip.model import CLIP

    vision = {"image_size": 16, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8, "mlp_ratio": 2.25}
    open_clip("oc_clip_vit", CLIP(12, vision, TEXT), 16)


def open_clip_siglip():
    """With a small ViT of timm in place of the named one."""
    from open_clip.model import CustomTextCLIP
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    vision = {"image_size": 224, "timm_model_name": "vit_base_patch32_224", "timm_model_pretrained": False}
    text = TEXT | {"mlp_ratio": 2.25, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"}
    text |= {"norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"}}
    model = CustomTextCLIP(16, vision | {"timm_pool": "", "timm_proj": ""}, text, init_logit_bias=-10.0)
    model.visual.trunk = VisionTransformer(
        num_classes=0, img_size=18, patch_size=6, embed_dim=16, depth=2, num_heads=2, mlp_ratio=2.25,
        global_pool="map", class_token=False, norm_layer=partial(nn.LayerNorm, eps=1e-6),
        act_layer=partial(nn.GELU, approximate="tanh"),
    )  # fmt: skip
    open_clip("oc_siglip", model, 18)


def unet(file, name, inputs, **fields):
    import diffusers

    model = getattr(diffusers, name)(layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4, **fields)

    def run(model, arrays):
        context = (arrays["ctx"],) if "ctx" in arrays else ()
        return {"sample": model(arrays["sample"], arrays["timestep"], *context).sample}

    write(file, "diffusers", model, inputs, run)


def zero_snr():
    """alphas_cumprod of diffusers' DDIMScheduler with rescale_betas_zero_snr: every 20th of 1000, and the last."""
    import diffusers

    found, ends = {}, {"scaled_linear": {"beta_start": 0.00085, "beta_end": 0.012}}
    for name in ("linear", "scaled_linear"):
        scheduler = diffusers.DDIMScheduler(beta_schedule=name, rescale_betas_zero_snr=True, **ends.get(name, {}))
        abar = scheduler.alphas_cumprod.numpy()
        found[name] = np.append(abar[::20], abar[-1])
    meta = {"library": "diffusers", "version": diffusers.__version__, "name": "DDIMScheduler"}
    np.savez_compressed(GOLDENS / "df_zero_snr.npz", meta=json.dumps(meta), **found)


PATCHES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
LATENT = {"sample": array(2, 4, 8, 8, seed=3), "timestep": TIMES, "ctx": array(2, 5, 12, seed=4)}
CONTEXT = {"cross_attention_dim": 12, "attention_head_dim": 2, "in_channels": 4, "out_channels": 4, "sample_size": 8}
CASES = {
    "hf_clip_gelu": lambda: transformers(
        "hf_clip_gelu", "CLIPModel", "CLIPConfig", {"input_ids": IDS, "pixel_values": array(2, 3, 16, 16)},
        ("image_embeds", "text_embeds"), projection_dim=12,
        text_config={"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40,
                     "vocab_size": 30, "max_position_embeddings": 8, "eos_token_id": 29, "hidden_act": "gelu"},
        vision_config={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 72,
                       "image_size": 16, "patch_size": 8, "hidden_act": "gelu"},
    ),
    "hf_siglip_mlp": lambda: transformers(
        "hf_siglip_mlp", "SiglipModel", "SiglipConfig", {"input_ids": IDS, "pixel_values": array(2, 3, 20, 20)},
        ("image_embeds", "text_embeds"),
        text_config={"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 36,
                     "vocab_size": 30, "max_position_embeddings": 5},
        vision_config={"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 36,
                       "image_size": 20, "patch_size": 6},
    ),
    "hf_dinov2_swiglu": lambda: transformers(
        "hf_dinov2_swiglu", "Dinov2WithRegistersModel", "Dinov2WithRegistersConfig",
        {"pixel_values": array(2, 3, 28, 28)}, ("last_hidden_state",), image_size=28, patch_size=7,
        use_swiglu_ffn=True, num_register_tokens=3, **PATCHES,
    ),
    "hf_videomae_cls": lambda: transformers(
        "hf_videomae_cls", "VideoMAEForVideoClassification", "VideoMAEConfig",
        {"pixel_values": array(2, 4, 3, 32, 32)}, ("logits",), intermediate_size=40, image_size=32, num_frames=4,
        num_labels=3, **PATCHES,
    ),
    "hf_detr_timm": lambda: transformers(
        "hf_detr_timm", "DetrForObjectDetection", "DetrConfig", {"pixel_values": array(1, 3, 64, 96, coarse=8)},
        ("logits", "pred_boxes"), use_timm_backbone=True, backbone="resnet18", use_pretrained_backbone=False,
        num_queries=6, d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, num_labels=5,
    ),
    "hf_swin_cls": lambda: transformers(
        "hf_swin_cls", "SwinForImageClassification", "SwinConfig", {"pixel_values": array(2, 3, 32, 32, coarse=4)},
        ("logits",), image_size=64, patch_size=2, depths=[2, 2], num_heads=[2, 4], embed_dim=16, window_size=4,
        mlp_ratio=2.0, num_labels=3,
    ),
    "hf_resnet_cls": lambda: transformers(
        "hf_resnet_cls", "ResNetForImageClassification", "ResNetConfig",
        {"pixel_values": array(2, 3, 64, 64, coarse=8)}, ("logits",), 2.0, embedding_size=8, hidden_sizes=[32, 64],
        depths=[1, 2], num_labels=3,
    ),
    "hf_convnext": lambda: transformers(
        "hf_convnext", "ConvNextForImageClassification", "ConvNextConfig",
        {"pixel_values": array(2, 3, 64, 64, coarse=8)}, ("logits",), depths=[1, 2, 1, 1],
        hidden_sizes=[8, 16, 24, 32], num_labels=3,
    ),
    "hf_regnet": lambda: transformers(
        "hf_regnet", "RegNetForImageClassification", "RegNetConfig", {"pixel_values": array(2, 3, 64, 64, coarse=8)},
        ("logits",), 2.0, embedding_size=32, hidden_sizes=[16, 32, 64], depths=[1, 1, 3], groups_width=8,
        layer_type="y", num_labels=3,
    ),
    "hf_bert_relu": lambda: transformers(
        "hf_bert_relu", "BertForMaskedLM", "BertConfig", {"input_ids": IDS}, ("logits",), vocab_size=30, hidden_size=16,
        num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, max_position_embeddings=8, hidden_act="relu",
    ),
    "timm_vit_layer_scale": lambda: timm_vit(
        "timm_vit_layer_scale", num_classes=5, init_values=1e-6, no_embed_class=True
    ),
    "timm_dinov2_registers": lambda: timm_vit(
        "timm_dinov2_registers", num_classes=0, init_values=1.0, reg_tokens=2, no_embed_class=True
    ),
    "timm_dinov2_swiglu": timm_giant,
    "timm_convnext": timm_convnext,
    "timm_regnet": timm_regnet,
    "oc_clip_resnet": open_clip_resnet,
    "oc_clip_vit": open_clip_vit,
    "oc_siglip": open_clip_siglip,
    "df_unet2d_cond_scale_shift": lambda: unet(
        "df_unet2d_cond_scale_shift", "UNet2DConditionModel", LATENT, resnet_time_scale_shift="scale_shift", **CONTEXT,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ),
    "df_unet2d_scale_shift": lambda: unet(
        "df_unet2d_scale_shift", "UNet2DModel", {"sample": array(2, 3, 16, 16), "timestep": TIMES}, sample_size=16,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4, resnet_time_scale_shift="scale_shift", add_attention=False,
    ),
    "df_unet2d_ddpm": lambda: unet(
        "df_unet2d_ddpm", "UNet2DModel", {"sample": array(2, 3, 16, 16), "timestep": TIMES}, sample_size=16,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None, downsample_padding=0, norm_eps=1e-6, freq_shift=1, flip_sin_to_cos=False,
    ),
    "df_zero_snr": zero_snr,
}  # fmt: skip

if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        CASES[case]()
