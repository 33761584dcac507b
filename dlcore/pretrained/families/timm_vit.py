"""Vision transformers of timm (VisionTransformer and Eva): a name's parts give arguments, which give fields."""

import re
from collections.abc import Mapping
from typing import Any

from dlcore.pretrained.family import Family, check_config, classifier, num_classes_of, timm_arguments
from dlcore.pretrained.timm_vits import EVA, PARTS, SIZES

__all__ = ["FAMILIES", "vit_arguments"]

NAMES = {
    "scale_mlp": "scale_mlp_norm",
    "scale_attn_inner": "scale_attn_norm",
    "num_reg_tokens": "reg_tokens",
    "use_pre_transformer_norm": "pre_norm",
    "use_post_transformer_norm": "final_norm",
    "use_fc_norm": "fc_norm",
}
"""Eva's words for VisionTransformer's arguments."""

DEFAULTS = {
    **{"embed_dim": 768, "depth": 12, "num_heads": 12, "mlp_ratio": 4, "patch_size": 16, "img_size": None},
    **{"global_pool": "token", "class_token": True, "reg_tokens": 0, "no_embed_class": False, "pre_norm": False},
    **{"qkv_bias": True, "init_values": None, "final_norm": None, "fc_norm": None, "pool_include_prefix": False},
    **{"scale_attn_norm": False, "scale_mlp_norm": False, "act_layer": "gelu", "epsilon": 1e-6},
    **{"mlp_layer": "Mlp", "block_fn": "Block"},
}
"""Of VisionTransformer."""

EVA_DEFAULTS = {
    **{"global_pool": "avg", "use_abs_pos_emb": True, "use_rot_pos_emb": False, "swiglu_mlp": False},
    **{"swiglu_align_to": 0, "qkv_fused": True, "attn_type": "eva", "use_post_norm": False, "ref_feat_shape": None},
    **{"rope_type": "cat", "rope_grid_offset": 0.0, "rope_grid_indexing": "ij", "rope_temperature": 10_000},
    **{"rope_rotate_half": False, "attn_pool_num_heads": 0, "attn_pool_mlp_ratio": None},
}
"""Of Eva, beside those."""

INTERNAL = {"epsilon", "mlp_layer", "block_fn"}
"""Arguments that are classes in timm, which a configuration cannot hold."""


def vit_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Read the arguments of one of timm's ViTs: its name says them, `model_args` replaces what it names.

    Args:
      config: content of config.json.

    Returns:
      Every argument of `DEFAULTS`, by VisionTransformer's names, and of Eva those of `EVA_DEFAULTS`.
    """
    name, values = config["architecture"], dict(DEFAULTS)
    is_eva = re.search(EVA, name) is not None
    values |= EVA_DEFAULTS if is_eva else {}
    size = re.search(r"_(" + "|".join(sorted(SIZES, key=len, reverse=True)) + r")(_|$)", name)
    if size is not None:
        values |= dict(zip(("embed_dim", "depth", "num_heads"), SIZES[size[1]], strict=True))
    if patch := re.search(r"_patch(\d+)", name):
        values["patch_size"] = int(patch[1])
    if registers := re.search(r"_reg(\d+)_", name):
        values |= {"reg_tokens": int(registers[1])} | ({"class_token": False} if "_gap_" in name else {})
    for pattern, part in PARTS:
        if re.search(pattern, name):
            values |= part
    if is_eva and "_gap_" in name:
        values |= {"fc_norm": None, "no_embed_class": False}
    allowed = (*(values.keys() - INTERNAL), *(NAMES if is_eva else ()))
    dynamic = {"in_chans": 3, "dynamic_img_pad": False, "qk_norm": False, "proj_bias": True, "pos_embed": "learn"}
    model_args = timm_arguments(config, (*sorted(allowed), "dynamic_img_size", "drop_path_rate"), dynamic)
    values |= {NAMES.get(key, key): value for key, value in model_args.items() if NAMES.get(key, key) in values}
    check_config(config, {"global_pool": values["global_pool"]}, "dlcore's ViT")
    side = values["img_size"] or config.get("pretrained_cfg", {}).get("input_size", [224])
    return values | {"img_size": side if isinstance(side, int) else side[-1]}


def _rotary(values: Mapping[str, Any]) -> dict[str, Any]:
    """Read the rotary positions of an Eva."""
    if not values["use_rot_pos_emb"]:
        return {}
    kinds = {"cat": "rows" if values["rope_grid_indexing"] == "ij" else "columns", "dinov3": "centers"}
    grid = values["ref_feat_shape"] if values["rope_type"] == "cat" else None
    return {
        "rotary": (kinds | {"mixed": "mixed"})[values["rope_type"]],
        "rotary_period": float(values["rope_temperature"]),
        "rotary_grid": grid if isinstance(grid, int) else grid[0] if grid else 0,
        "rotary_offset": float(values["rope_grid_offset"]),
        "rotary_pairs": "halves" if values["rope_rotate_half"] else "neighbors",
    }


def _fields(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    values = vit_arguments(config)
    is_eva, width, pool = "use_abs_pos_emb" in values, values["embed_dim"], values["global_pool"]
    units = int(width * values["mlp_ratio"])
    is_pooled = pool == "avg" if values["fc_norm"] is None else values["fc_norm"]
    has_norm = values["final_norm"] is not False or (is_eva and is_pooled)
    fields = {
        "num_classes": num_classes_of(config),
        "image_size": values["img_size"] // values["patch_size"] * values["patch_size"],
        "crop_rest": values["img_size"] % values["patch_size"] != 0,
        "patch_size": values["patch_size"],
        "width": width,
        "depth": values["depth"],
        "num_heads": values["num_heads"],
        "mlp_features": units // 2 if values["mlp_layer"] == "GluMlp" else units,
        "pool": {"token": "token", "avg": "mean", "map": "attention"}[pool],
        "class_token": values["class_token"],
        "num_registers": values["reg_tokens"],
        "positions": "patches" if values["no_embed_class"] else "all",
        "pools_all": values["pool_include_prefix"] or (is_eva and pool == "map"),
        "pre_norm": values["pre_norm"],
        "last_norm": ("pooled" if is_pooled else "tokens") if has_norm else "none",
        "activation": {"gelu_tanh": "gelu_pytorch_tanh"}.get(values["act_layer"], values["act_layer"]),
        "swiglu": values["mlp_layer"] == "GluMlp",
        "qkv_bias": "qkv" if values["qkv_bias"] else "none",
        "layer_scale": values["init_values"] or None,
        "mlp_norm": values["scale_mlp_norm"],
        "attention_norm": values["scale_attn_norm"],
        "branch_norm": values["block_fn"] == "ResPostBlock",
        "epsilon": values["epsilon"],
    }
    if is_eva:
        align = values["swiglu_align_to"]
        fields |= {
            "mlp_features": units + (-units % align if align else 0),
            "swiglu": values["swiglu_mlp"],
            "qkv_bias": ("qkv" if values["attn_type"] == "rope" else "qv") if values["qkv_bias"] else "none",
            "branch_norm": values["use_post_norm"],
            "pool_heads": values["attn_pool_num_heads"] or 0,
            "pool_features": int(width * (values["attn_pool_mlp_ratio"] or values["mlp_ratio"])),
            **_rotary(values),
        }
        fields |= {} if values["use_abs_pos_emb"] else {"positions": "none"}
    return "vit_base_patch16_clip_224", fields


def _aimv2(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    names = {"embed_dim": "width", "img_size": "image_size"} | {k: k for k in ("depth", "num_heads", "patch_size")}
    arguments = timm_arguments(config, tuple(names), {"in_chans": 3, "global_pool": "avg"})
    fields = {field: arguments[key] for key, field in names.items() if key in arguments}
    if isinstance(side := fields.get("image_size"), (list, tuple)):
        fields["image_size"] = side[-1]
    if "width" in fields:
        ratio = 2.75 if re.match(r"aimv2_(large|1b)", config["architecture"]) else 2.6667
        fields["mlp_features"] = int(fields["width"] * ratio)
    return config["architecture"], fields | {"num_classes": config.get("num_classes", 0)}


KINDS = (
    *("clip_[0-9]*", "clip_quickgelu_*", "plus_clip_*", "siglip_*", "gap_[0-9]*", "reg[14]_gap_*", "dinov2"),
    *("reg4_dinov2", "reg1_tipsv2", "radio_v[34]", "224_miil", "rpn_224", "rope_ape_224", "rope_mixed_ape_224"),
    *("rope_reg[14]_gap_256", "dinov3", "dinov3_qkvb", "lingbot"),
)
"""What follows the patch's size in names of VisionTransformer and Eva, beside the side alone."""

ARCHITECTURES = (
    *(f"vit_{size}_patch[0-9]*_{kind}" for size in SIZES for kind in KINDS),
    *(f"vit_{size}_plus_patch16_dinov3{bias}" for size in ("small", "huge") for bias in ("", "_qkvb")),
    *("vit_huge_patch14_224", "vit_intern300m_patch14_448", "test_vit", "test_vit[23]", "flexivit_*", "deit3_*"),
    *("beit3_*", "eva_large_patch14_*", "eva_giant_patch14_*", "eva02_*_clip_*", "vit_pe_core_*", "vit_pe_lang_*"),
    *("vit_pe_spatial_*",),
)

FAMILIES = (
    Family("timm", ARCHITECTURES, _fields, classifier, ("x",)),
    Family("timm", ("aimv2_*_patch14_*",), _aimv2, classifier, ("x",)),
)
