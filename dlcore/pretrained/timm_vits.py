"""What the names of timm's vision transformers say: sizes, and arguments of VisionTransformer and Eva."""

from typing import Any

__all__ = ["EVA", "PARTS", "SIZES"]

SIZES = {
    "tiny": (192, 12, 3),
    "xsmall": (256, 10, 4),
    "wee": (256, 14, 4),
    "little": (320, 14, 5),
    "small": (384, 12, 6),
    "medium": (512, 12, 8),
    "mediumd": (512, 20, 8),
    "betwixt": (640, 12, 10),
    "base": (768, 12, 12),
    "so150m2": (832, 21, 13),
    "so150m": (896, 18, 14),
    "large": (1024, 24, 16),
    "intern300m": (1024, 24, 16),
    "so400m": (1152, 27, 16),
    "huge": (1280, 32, 16),
    "giant": (1408, 40, 16),
    "giantopt": (1536, 40, 16),
    "gigantic": (1664, 48, 16),
    "enormous": (1792, 64, 16),
    "7b": (4096, 40, 32),
}
"""Width, blocks and heads in timm's names."""

GAP = {"class_token": False, "global_pool": "avg"}
REGISTERS = {"init_values": 1e-5, "no_embed_class": True}
GIANT = {"embed_dim": 1536, "num_heads": 24}
DINO_V3 = {"rope_type": "dinov3", "rope_temperature": 100, "rope_rotate_half": True, "use_abs_pos_emb": False}

EVA = r"^eva(02|_giant)|_rope_|_pe_|_dinov3|_lingbot"
"""Architectures of timm's class Eva, which names some arguments in another way."""

PARTS: tuple[tuple[str, dict[str, Any]], ...] = (
    (r"_(wee|enormous)_", {"mlp_ratio": 5}),
    (r"_little_", {"mlp_ratio": 5.6}),
    (r"_so150m_", {"mlp_ratio": 2.572}),
    (r"_so150m2_", {"mlp_ratio": 34 / 13}),
    (r"_so400m_", {"mlp_ratio": 3.7362}),
    (r"_giant_", {"mlp_ratio": 48 / 11}),
    (r"_gigantic_", {"mlp_ratio": 64 / 13}),
    (r"_miil$", {"qkv_bias": False}),
    (r"_clip_", {"pre_norm": True, "epsilon": 1e-5}),
    (r"_plus_clip_", {"embed_dim": 896, "num_heads": 14}),
    (r"quickgelu", {"act_layer": "quick_gelu"}),
    (r"_siglip_", {"class_token": False, "global_pool": "map"}),
    (r"_(giantopt|large_.*siglip.*_512|so400m_patch16_siglip|base_patch32_siglip)", {"act_layer": "gelu_tanh"}),
    (r"_gap_", GAP | {"fc_norm": False}),
    (r"_medium_patch16_gap_", {"qkv_bias": False, "init_values": 1e-6}),
    (r"_reg\d_gap_", REGISTERS | {"fc_norm": None}),
    (r"_so150m2_", {"no_embed_class": False, "qkv_bias": False}),
    (r"_so150m_", {"no_embed_class": False, "init_values": None, "fc_norm": False}),
    (r"_rpn_", GAP | {"qkv_bias": False, "init_values": 1e-5, "block_fn": "ResPostBlock"}),
    (r"_dinov2$", {"init_values": 1e-5}),
    (r"_reg4_dinov2$", {"no_embed_class": True}),
    (r"_tipsv2$", {"no_embed_class": True, "init_values": 1.0}),
    (r"_giant_.*(dinov2|tipsv2)$", GIANT | {"mlp_ratio": 5.33334, "mlp_layer": "GluMlp"}),
    (r"_radio_", {"img_size": 512, "no_embed_class": True, "final_norm": False}),
    (r"_radio_v3", {"reg_tokens": 7}),
    (r"_radio_v4", {"reg_tokens": 9}),
    (r"_giant_.*_radio_", GIANT | {"mlp_ratio": 4}),
    (r"_(base|large)_.*_radio_", {"init_values": 1e-5}),
    (r"_intern300m_", {"init_values": 0.1, "final_norm": False}),
    (r"^beit3_", {"scale_attn_norm": True, "scale_mlp_norm": True, "global_pool": "avg", "epsilon": 1e-5}),
    (r"^eva_large_", {"global_pool": "avg"}),
    (r"^flexivit_", {"patch_size": 16, "no_embed_class": True}),
    (r"^deit3_", {"no_embed_class": True, "init_values": 1e-6}),
    (r"^test_vit", {"patch_size": 16, "embed_dim": 64, "depth": 6, "num_heads": 2, "mlp_ratio": 3}),
    (r"^test_vit[23]", {"class_token": False, "reg_tokens": 1, "init_values": 1e-5, "depth": 8, "global_pool": "avg"}),
    (r"^test_vit3", {"embed_dim": 96, "depth": 9, "num_heads": 3, "mlp_ratio": 2, "global_pool": "map"}),
    (r"^test_vit3", {"pool_include_prefix": True}),
    # Eva
    (r"^eva_giant_", {"pre_norm": False, "epsilon": 1e-6}),
    (r"^eva02_", {"swiglu_mlp": True, "mlp_ratio": 8 / 3, "use_rot_pos_emb": True, "ref_feat_shape": 16}),
    (r"^eva02_(base|large)_", {"scale_mlp_norm": True, "qkv_fused": False}),
    (r"^eva.*_clip_", {"global_pool": "token", "scale_attn_norm": True, "pre_norm": False, "epsilon": 1e-6}),
    (r"^eva_giant_.*_clip_", {"scale_attn_norm": False}),
    (r"^eva02_enormous_", {"use_post_norm": True, "swiglu_mlp": False, "mlp_ratio": 60 / 7, "scale_attn_norm": False}),
    (r"^eva02_enormous_", {"use_rot_pos_emb": False, "ref_feat_shape": None}),
    (r"_rope_", {"use_rot_pos_emb": True, "use_abs_pos_emb": False, "attn_type": "rope", "init_values": 1e-5}),
    (r"_rope_(mixed_|ape_|\d)", {"rope_grid_indexing": "xy", "rope_temperature": 100, "global_pool": "token"}),
    (r"_rope_mixed_", {"rope_type": "mixed", "rope_temperature": 10}),
    (r"_ape_", {"use_abs_pos_emb": True, "no_embed_class": True}),
    (r"_rope_reg", {"attn_type": "eva", "ref_feat_shape": 16}),
    (r"_mediumd_.*_rope_", {"qkv_bias": False}),
    (r"_pe_", {"pre_norm": True, "attn_type": "rope", "use_rot_pos_emb": True, "epsilon": 1e-5, "ref_feat_shape": 32}),
    (r"_pe_", {"rope_grid_indexing": "xy", "rope_grid_offset": 1.0, "final_norm": False, "fc_norm": False}),
    (r"_pe_core_", {"global_pool": "map", "final_norm": None, "attn_pool_num_heads": 8, "attn_pool_mlp_ratio": 4}),
    (r"_pe_core_", {"fc_norm": None}),
    (r"_pe_core_base_", {"ref_feat_shape": 14}),
    (r"_pe_core_(large|small|tiny)_", {"ref_feat_shape": 24}),
    (r"_pe_.*gigantic_", {"embed_dim": 1536, "depth": 50, "mlp_ratio": 35 / 6, "class_token": False}),
    (r"_pe_.*gigantic_", {"rope_grid_offset": 0.0}),
    (r"_pe_(lang|spatial_gigantic)_", {"init_values": 0.1}),
    (r"_pe_lang_gigantic_", {"depth": 47}),
    (r"_pe_lang_large_", {"depth": 23}),
    (r"_(dinov3|lingbot)", DINO_V3 | {"use_rot_pos_emb": True, "init_values": 1e-5, "reg_tokens": 4, "epsilon": 1e-5}),
    (r"_(dinov3|lingbot)", {"fc_norm": False}),
    (r"_dinov3$|_giant_.*lingbot", {"qkv_bias": False}),
    (r"_lingbot", {"global_pool": "token"}),
    (r"_plus_patch\d+_dinov3", {"swiglu_mlp": True, "swiglu_align_to": 8}),
    (r"_huge_plus_", {"num_heads": 20}),
    (r"_7b_", {"swiglu_mlp": True, "mlp_ratio": 2, "swiglu_align_to": 64}),
    (r"_giant_.*_lingbot", GIANT | {"swiglu_mlp": True, "mlp_ratio": 8 / 3, "swiglu_align_to": 8}),
)
"""Arguments of parts of a name, a later one's in place of an earlier one's; `epsilon` is that of all norms."""
