"""Names that transformers' files give the arrays of vision-language models, see `dlcore.models.torch_weights`."""

import re
from collections.abc import Callable, Iterable

from dlcore.models import general_vit, llama
from dlcore.models.got_tower import GotTower
from dlcore.models.vision_tower import PixtralTower

__all__ = ["OLDER", "UNUSED", "names_of"]

OLDER = (
    (r"^model\.(?=(vision|multi_modal|language|text|connector|aligner|image_newline))", ""),
    (r"^language_model\.(model\.|(?=lm_head))", ""),
    (r"^(language_model|text_model)\.", "decoder."),
    (r"^(?=(embed_tokens|layers|norm)\.)", "decoder."),
    (r"^vision_(tower|model|encoder)\.(vision_model\.)?", "tower."),
    (r"^tower\.timm_model\.", "tower."),
    (r"^tower\.encoder\.layer\.", "tower.layers."),
    (r"^vision_projection\.|^aligner\.", "multi_modal_projector."),
    (r"^multi_modal_projector\.conv_upsampler(\d)\.", r"tower.down\1."),
    (r"^multi_modal_projector\.multimodal_projector\.", "projector.fc2."),
    (r"^multi_modal_projector\.linear(\d)\.", r"multi_modal_projector.linear_\1."),
    (r"^multi_modal_projector\.patch_merger\.merging_layer\.", "projector.merge."),
    (r"^multi_modal_projector\.(norm|mm_soft_emb_norm|layer_norm|layernorm|projector_layernorm)\.", "projector.norm."),
    (r"^multi_modal_projector\.linear_1\.", "projector.fc1."),
    (r"^(multi_modal_projector\.linear(_2)?|connector\.modality_projection\.proj)\.", "projector.fc2."),
)
"""What turns the names of transformers' files, of today and before, into those of the parts here."""

TOWER_NAMES = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^patch_embed\.", "embeddings.patch_embedding."),
    (r"^pos_embed\.", "embeddings.position_embedding."),
    (r"^norm_pre\.", "pre_layrnorm."),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.", "encoder.layers."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.attn\.", ".self_attn."),
    (r"\.self_attn\.proj\.", ".self_attn.out_proj."),
)
"""Of CLIP and SigLIP."""

INTERNVL_NAMES = (
    (r"^cls_token$", "embeddings.cls_token"),
    (r"^patch_embed\.", "embeddings.patch_embeddings.projection."),
    (r"^pos_embed\.weight$", "embeddings.position_embeddings"),
    (r"^norm\.", "layernorm."),
    (r"^blocks\.", "layers."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.layer_scale", ".lambda_"),
    (r"\.attn\.", ".attention."),
    (r"\.attention\.proj\.", ".attention.projection_layer."),
)

PIXTRAL_NAMES = (
    (r"^patch_embed\.", "patch_conv."),
    (r"^norm_pre\.", "ln_pre."),
    (r"^blocks\.", "transformer.layers."),
    (r"\.norm1\.", ".attention_norm."),
    (r"\.norm2\.", ".ffn_norm."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attn\.", ".attention."),
    (r"\.mlp\.gate\.", ".feed_forward.gate_proj."),
    (r"\.mlp\.fc1\.", ".feed_forward.up_proj."),
    (r"\.mlp\.fc2\.", ".feed_forward.down_proj."),
)

GOT_NAMES = (
    (r"^(conv|layer_norm)(\d)\.", r"neck.\1\2."),
    (r"^encoder\.", ""),
    (r"^patch_embed\.", "patch_embed.projection."),
    (r"^pos_embed\.weight$", "pos_embed"),
    (r"^blocks\.", "layers."),
    (r"^(layers\.\d+)\.norm", r"\1.layer_norm"),
    (r"\.rel_pos\.rows$", ".rel_pos_h"),
    (r"\.rel_pos\.columns$", ".rel_pos_w"),
    (r"\.mlp\.fc(\d)\.", r".mlp.lin\1."),
)

PERCEPTION_NAMES = (*general_vit.TORCH_NAMES, (r"\.ls(\d)\.gamma$", r".gamma_\1"))
"""Of a perception encoder of timm."""

UNUSED = r"^tower\.(((encoder|transformer)\.)?layers\.|post_layernorm\.|head\.)|\.(mask_token|position_ids|inv_freq)$"
"""Entries that may be left over: blocks behind the last one that is read, and tables that are computed."""


def _part(names: tuple) -> Callable[[re.Match], str]:
    """Return a replacement of `re.sub` that renames what follows the name of a part."""

    def replace(match: re.Match) -> str:
        name = match[2]
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        return match[1] + name

    return replace


def names_of(tower: object, keys: Iterable[str]) -> tuple:
    """Return the rules of a network whose file has these keys.

    Args:
      tower: its tower.
      keys: names of the file's arrays.

    Returns:
      Pairs of `re.sub` on the name that a leaf's path gives.
    """
    parts: tuple = ((r"^(tower\..*)\.qkv\.(.*)$", r"\1.q_proj.\2 + \1.k_proj.\2 + \1.v_proj.\2"),)
    if isinstance(tower, PixtralTower):
        names = PIXTRAL_NAMES
    elif isinstance(tower, GotTower):
        names, parts = GOT_NAMES, ()
    elif any(".timm_model." in key for key in keys):
        names, parts = PERCEPTION_NAMES, ()
    else:
        names = INTERNVL_NAMES if any(".cls_token" in key for key in keys) else TOWER_NAMES
    return (
        (r"^(tower\.)(.*)$", _part(names)),
        *parts,
        (r"^decoder\.(?=head\.)", ""),
        (r"^(decoder\.)(.*)$", _part(llama.TORCH_NAMES)),
        (r"^head\.", "lm_head."),
    )
