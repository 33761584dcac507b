"""Published networks of diffusers by name: U-Nets, transformers and autoencoders of latent diffusion."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from dlcore.choices import check_choice
from dlcore.generative.torch_diffusers import from_torch_names
from dlcore.pretrained.family import Family, check_config

__all__ = ["FAMILIES"]

NUM_SIZES = 6
"""Sizes that SDXL embeds: original height and width, top and left of the crop, target height and width."""


UNET = {
    "act_fn": "silu",
    "attention_type": "default",
    "center_input_sample": False,
    "mid_block_scale_factor": 1,
    "resnet_out_scale_factor": 1,
    "resnet_skip_time_act": False,
    "reverse_transformer_layers_per_block": None,
    "time_embedding_act_fn": None,
    "timestep_post_act": None,
}
"""What the U-Net has in dlcore."""


UNET_BLOCKS = ("CrossAttnDownBlock2D", "DownBlock2D")


def _ends_at_period(config: Mapping[str, Any]) -> bool:
    shift = config.get("freq_shift", 0)
    check_choice("freq_shift", shift, (0, 1))
    return shift == 1


def _unet(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    channels = tuple(config["block_out_channels"])
    is_xl = config.get("addition_embed_type") == "text_time"
    plain = {
        "class_embed_type": None,
        "addition_embed_type": "text_time" if is_xl else None,
        "encoder_hid_dim": None,
        "only_cross_attention": False,
        "dual_cross_attention": False,
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "time_embedding_type": "positional",
    }
    unsupported = [
        key for key, value in plain.items() if config.get(key, value) not in (value, [value] * len(channels))
    ]
    if unsupported:
        raise ValueError(
            f"{unsupported[0]}={config[unsupported[0]]!r}: not in dlcore's U-Net; allowed: {plain[unsupported[0]]!r}"
        )
    kinds = config["down_block_types"]
    if unknown := [kind for kind in kinds if kind not in UNET_BLOCKS]:
        raise ValueError(f"down_block_types: {unknown[0]!r} not in dlcore's U-Net; allowed: {', '.join(UNET_BLOCKS)}")
    mirrored = [kind.replace("Down", "Up") for kind in reversed(kinds)]
    check_config(config, UNET | {"up_block_types": mirrored}, "dlcore's U-Net")
    # Before num_attention_heads had a key of its own, attention_head_dim was the number of heads.
    heads = config.get("num_attention_heads") or config["attention_head_dim"]
    heads = [heads] * len(channels) if isinstance(heads, int) else heads
    one_number = len({*heads}) == 1
    sizes = {width / number for width, number in zip(channels, heads, strict=True)}
    if not one_number and (len(sizes) > 1 or sizes.pop() % 1):
        raise ValueError(f"attention_head_dim={heads}: not in dlcore's U-Net; allowed: heads of one number or one size")
    depths = config.get("transformer_layers_per_block", 1)
    return "stable_diffusion_xl_unet" if is_xl else "stable_diffusion_v1_unet", {
        "channels": channels,
        "num_res_blocks": config["layers_per_block"],
        "attention_levels": tuple(k for k, kind in enumerate(kinds) if kind.startswith("Cross")),
        "num_heads": heads[0] if one_number else None,
        "head_features": channels[0] // heads[0],
        "groups": config["norm_num_groups"],
        "cosine_first": config.get("flip_sin_to_cos", True),
        "ends_at_period": _ends_at_period(config),
        "downsample_padding": config.get("downsample_padding", 1),
        "resnet_time_scale_shift": config.get("resnet_time_scale_shift", "default"),
        "epsilon": config.get("norm_eps", 1e-5),
        "transformer_depths": (depths,) * len(channels) if isinstance(depths, int) else tuple(depths),
        "size_features": config["addition_time_embed_dim"] if is_xl else None,
        "out_channels": config["out_channels"],
        **({"guidance_features": config["time_cond_proj_dim"]} if config.get("time_cond_proj_dim") else {}),
    }


def _load_unet(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    side, context = 2 ** len(model.channels), jnp.zeros((1, 1, config["cross_attention_dim"]))
    added = None
    if model.size_features is not None:
        pooled = config["projection_class_embeddings_input_dim"] - NUM_SIZES * model.size_features
        added = jnp.zeros((1, pooled)), jnp.zeros((1, NUM_SIZES))
    x = jnp.zeros((1, side, side, config["in_channels"]))
    guidance = [jnp.zeros((1, config["time_cond_proj_dim"]))] if config.get("time_cond_proj_dim") else []
    return from_torch_names(model, weights, x, jnp.zeros(1), None, context, None, added, *guidance)


def _noise(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    sample, context = inputs["sample"], inputs["encoder_hidden_states"]
    timestep = jnp.broadcast_to(inputs["timestep"], sample.shape[:1])
    added = (inputs["text_embeds"], inputs["time_ids"]) if model.size_features is not None else None
    guidance = [inputs["timestep_cond"]] if "timestep_cond" in inputs else []
    return {"sample": model.apply(variables, sample, timestep, None, context, None, added, *guidance)}


def _class_unet(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    plain = {"center_input_sample": False, "time_embedding_type": "positional", "mid_block_scale_factor": 1}
    more = {"attn_norm_num_groups": None, "class_embed_type": None, "dropout": 0.0, "act_fn": "silu"}
    check_config(config, plain | more, "dlcore's U-Net")
    kinds, ups = config["down_block_types"], config["up_block_types"]
    down, up = config.get("downsample_type", "conv"), config.get("upsample_type", "conv")
    by_kind = {"DownBlock2D": "conv", "ResnetDownsampleBlock2D": "resnet", "AttnDownBlock2D": down}
    by_kind |= {"UpBlock2D": "conv", "ResnetUpsampleBlock2D": "resnet", "AttnUpBlock2D": up}
    resample = {by_kind.get(kind) for kind in (*kinds[:-1], *ups[:-1])} or {"conv"}
    if len(resample) > 1 or not {*kinds, *ups} <= {*by_kind}:
        blocks = f"down_block_types={kinds}, up_block_types={ups}, downsample_type={down}, upsample_type={up}"
        raise ValueError(f"{blocks}: not in dlcore's U-Net; allowed: {', '.join(by_kind)}, resampled in one way")
    shift, head = config.get("resnet_time_scale_shift", "default"), config.get("attention_head_dim", 8)
    return "consistency_imagenet64_unet", {
        "channels": tuple(config["block_out_channels"]),
        "num_res_blocks": config["layers_per_block"],
        "attention_levels": tuple(k for k, kind in enumerate(kinds) if kind.startswith("Attn")),
        "num_heads": 1 if head is None else None,
        "head_features": head or 8,
        "groups": config.get("norm_num_groups", 32),
        "num_classes": config.get("num_class_embeds"),
        "cosine_first": config.get("flip_sin_to_cos", True),
        "ends_at_period": _ends_at_period(config),
        "downsample_padding": config.get("downsample_padding", 1),
        "resnet_time_scale_shift": shift,
        "add_attention": config.get("add_attention", True),
        "epsilon": config.get("norm_eps", 1e-5),
        "resample": resample.pop(),
        "norm_in_middle": shift == "default",
        "out_channels": config["out_channels"],
    }


def _load_class_unet(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    side, label = 2 ** len(model.channels), None if model.num_classes is None else jnp.zeros(1, jnp.int32)
    return from_torch_names(model, weights, jnp.zeros((1, side, side, config["in_channels"])), jnp.zeros(1), label)


def _noise_of_class(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    timestep = jnp.broadcast_to(inputs["timestep"], inputs["sample"].shape[:1])
    return {"sample": model.apply(variables, inputs["sample"], timestep, inputs.get("class_labels"))}


def _autoencoder(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    uses_quant_conv = config.get("use_quant_conv", True)
    levels = len(config["block_out_channels"])
    fixed = {"act_fn": "silu", "mid_block_add_attention": True, "out_channels": config["in_channels"]}
    fixed |= {"down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels}
    check_config(config, fixed | {"use_post_quant_conv": uses_quant_conv}, "dlcore's AutoencoderKL")
    return "stable_diffusion_v1_vae" if uses_quant_conv else "stable_diffusion_3_vae", {
        "channels": tuple(config["block_out_channels"]),
        "num_res_blocks": config["layers_per_block"],
        "latent_channels": config["latent_channels"],
        "image_channels": config["in_channels"],
        "groups": config["norm_num_groups"],
        "use_quant_conv": uses_quant_conv,
        "shift_factor": config.get("shift_factor") or 0.0,
        "scaling_factor": config.get("scaling_factor", 0.18215),
        "latents_mean": tuple(config.get("latents_mean") or ()),
        "latents_std": tuple(config.get("latents_std") or ()),
    }


def _load_autoencoder(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    side = 2 ** len(model.channels)
    return from_torch_names(model, weights, jnp.zeros((1, side, side, config["in_channels"])))


def _mmdit(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    width = config["num_attention_heads"] * config["attention_head_dim"]
    if config["caption_projection_dim"] != width:
        raise ValueError(f"caption_projection_dim={config['caption_projection_dim']}: no width; allowed: {width}")
    if config.get("qk_norm") not in (None, "rms_norm"):
        raise ValueError(f"qk_norm={config['qk_norm']!r}: not in dlcore's MMDiT; allowed: null, rms_norm")
    return "stable_diffusion_3_medium", {
        "width": width,
        "depth": config["num_layers"],
        "num_heads": config["num_attention_heads"],
        "patch_size": config["patch_size"],
        "out_channels": config["out_channels"],
        "max_grid": config["pos_embed_max_size"],
        "base_grid": config["sample_size"] // config["patch_size"],
        "norm_keys": config.get("qk_norm") == "rms_norm",
        "dual_attention_layers": tuple(config.get("dual_attention_layers", ())),
    }


def _load_mmdit(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    side, texts = model.patch_size, (config["joint_attention_dim"], config["pooled_projection_dim"])
    x, context, pooled = (1, side, side, config["in_channels"]), (1, 1, texts[0]), (1, texts[1])
    return from_torch_names(model, weights, jnp.zeros(x), jnp.zeros(1), jnp.zeros(context), jnp.zeros(pooled))


def _velocity(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    x = inputs["hidden_states"]
    t = jnp.broadcast_to(inputs["timestep"], x.shape[:1])
    return {"sample": model.apply(variables, x, t, inputs["encoder_hidden_states"], inputs["pooled_projections"])}


def _flux(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    check_config(config, {"patch_size": 1}, "dlcore's Flux")
    if config.get("out_channels") not in (None, config["in_channels"]):
        raise ValueError(f"out_channels={config['out_channels']}: not in dlcore's Flux; allowed: null, in_channels")
    guided = config.get("guidance_embeds", False)
    return "flux_1_dev" if guided else "flux_1_schnell", {
        "width": config["num_attention_heads"] * config["attention_head_dim"],
        "depth": config["num_layers"],
        "single_depth": config["num_single_layers"],
        "num_heads": config["num_attention_heads"],
        "axes": tuple(config.get("axes_dims_rope", (16, 56, 56))),
        "has_guidance": guided,
    }


def _load_flux(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    x, context = (1, 1, config["in_channels"]), (1, 1, config["joint_attention_dim"])
    pooled, positions = (1, config["pooled_projection_dim"]), (1, len(model.axes))
    shapes = x, (1,), context, pooled, positions
    guidance = jnp.zeros(1) if model.has_guidance else None
    return from_torch_names(model, weights, *(jnp.zeros(shape) for shape in shapes), None, guidance)


def _token_velocity(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    x = inputs["hidden_states"]
    t = jnp.broadcast_to(inputs["timestep"], x.shape[:1])
    texts = inputs["encoder_hidden_states"], inputs["pooled_projections"]
    more = inputs["img_ids"], inputs.get("txt_ids"), inputs.get("guidance")
    return {"sample": model.apply(variables, x, t, *texts, *more)}


def _pixart(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    large = config["sample_size"] == 128
    # Left out or null, the embeddings of resolution and aspect are those of the network of 1024 pixels.
    if config.get("use_additional_conditions") or (large and config.get("use_additional_conditions") is None):
        raise ValueError("use_additional_conditions=True: not in dlcore's PixArt; allowed: False")
    plain = {"norm_type": "ada_norm_single", "activation_fn": "gelu-approximate", "attention_bias": True}
    check_config(config, {**plain, "norm_elementwise_affine": False}, "dlcore's PixArt")
    width = config["num_attention_heads"] * config["attention_head_dim"]
    scale = config.get("interpolation_scale")
    return "pixart_alpha_512", {
        "width": width,
        "depth": config["num_layers"],
        "num_heads": config["num_attention_heads"],
        "patch_size": config["patch_size"],
        "out_channels": config["out_channels"],
        "base_grid": config["sample_size"] // config["patch_size"],
        "position_scale": float(max(config["sample_size"] // 64, 1) if scale is None else scale),
    }


def _load_pixart(model: Any, config: Mapping[str, Any], weights: Mapping[str, Any]) -> Any:
    side, words = model.patch_size, jnp.zeros((1, 1, config["caption_channels"]))
    return from_torch_names(model, weights, jnp.zeros((1, side, side, config["in_channels"])), jnp.zeros(1), words)


def _noise_of_words(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    x = inputs["hidden_states"]
    t = jnp.broadcast_to(inputs["timestep"], x.shape[:1])
    return {"sample": model.apply(variables, x, t, inputs["encoder_hidden_states"])}


def _halves(model: Any, variables: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = {}
    if "x" in inputs:
        outputs["mean"], outputs["logvar"] = model.apply(variables, inputs["x"], method="encode")
    if "z" in inputs:
        outputs["dec"] = model.apply(variables, inputs["z"], method="decode")
    return outputs


_UNET_INPUTS = ("sample", "timestep", "encoder_hidden_states|ctx", "text_embeds|text", "time_ids", "timestep_cond")


_CLASS_INPUTS = ("sample", "timestep", "class_labels")


_TEXT_INPUTS = ("encoder_hidden_states|ctx", "pooled_projections|text")


_MMDIT_INPUTS = ("hidden_states|x", "timestep", *_TEXT_INPUTS)


_PIXART_INPUTS = _MMDIT_INPUTS[:3]


_FLUX_INPUTS = (*_MMDIT_INPUTS, "img_ids", "txt_ids", "guidance")


FAMILIES = (
    Family("diffusers", ("UNet2DConditionModel",), _unet, _noise, _UNET_INPUTS, "generative", _load_unet),
    Family("diffusers", ("UNet2DModel",), _class_unet, _noise_of_class, _CLASS_INPUTS, "generative", _load_class_unet),
    Family("diffusers", ("AutoencoderKL",), _autoencoder, _halves, ("x", "z"), "generative", _load_autoencoder),
    Family(
        "diffusers",
        ("SD3Transformer2DModel",),
        _mmdit,
        _velocity,
        _MMDIT_INPUTS,
        "generative",
        _load_mmdit,
        constants=("pos_embed.pos_embed",),
    ),
    Family("diffusers", ("FluxTransformer2DModel",), _flux, _token_velocity, _FLUX_INPUTS, "generative", _load_flux),
    Family(
        "diffusers", ("PixArtTransformer2DModel",), _pixart, _noise_of_words, _PIXART_INPUTS, "generative", _load_pixart
    ),
)
