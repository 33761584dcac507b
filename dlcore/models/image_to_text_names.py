"""Names of image-to-text models in transformers' files, see `dlcore.models.image_to_text`."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dlcore.models import swin, vit
from dlcore.models.torch_weights import fill_from_torch
from dlcore.models.weight_files import unwrap_state_dict

__all__ = ["BERT_NAMES", "BLIP_TOWER", "OLDER", "OPTIONAL", "fill_parts"]

TOWER_NAMES = (
    *vit.TRANSFORMERS.names,
    (r"^register_tokens$", "embeddings.distillation_token"),
)
BLIP_TOWER = (
    (r"^cls_token$", "embeddings.class_embedding"),
    (r"^patch_embed\.", "embeddings.patch_embedding."),
    (r"^pos_embed\.weight$", "embeddings.position_embedding"),
    (r"^norm\.", "post_layernorm."),
    (r"^blocks\.", "encoder.layers."),
    (r"\.norm(\d)\.", r".layer_norm\1."),
    (r"\.attn\.", ".self_attn."),
    (r"\.self_attn\.proj\.", ".self_attn.projection."),
)
BART_NAMES = (
    (r"^(embed_|norm\.|decoder\.|embeddings_norm)", r"decoder.model.decoder.\1"),
    (r"\.embeddings_norm\.", ".layernorm_embedding."),
    (r"decoder\.norm\.", "decoder.layer_norm."),
    (r"\.decoder\.(\d+)\.", r".layers.\1."),
    (r"\.mlp\.", "."),
    (r"\.attn\.", ".self_attn."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"_attn\.(q|k|v)(uery|ey|alue)\.", r"_attn.\1_proj."),
    (r"_attn\.proj\.", "_attn.out_proj."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"\.norm2\.", ".encoder_attn_layer_norm."),
    (r"\.norm3\.", ".final_layer_norm."),
    (r"^lm_head\.", "decoder.lm_head."),
)
BERT_NAMES = (
    (r"^embed_tokens\.", "embeddings.word_embeddings."),
    (r"^embed_positions\.", "embeddings.position_embeddings."),
    (r"^embeddings_norm\.", "embeddings.LayerNorm."),
    (r"^decoder\.", "encoder.layer."),
    (r"\.attn\.", ".attention."),
    (r"\.cross_attn\.", ".crossattention."),
    (r"attention\.proj\.", "attention.output.dense."),
    (r"attention\.(query|key|value)\.", r"attention.self.\1."),
    (r"\.norm1\.", ".attention.output.LayerNorm."),
    (r"\.norm2\.", ".crossattention.output.LayerNorm."),
    (r"\.norm3\.", ".output.LayerNorm."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"^transform\.", "cls.predictions.transform.dense."),
    (r"^transform_norm\.", "cls.predictions.transform.LayerNorm."),
    (r"^head_bias$", "cls.predictions.bias"),
)
TOWER_PREFIX = ((r"^(encoder|vision_model)\.(?=(embeddings|layernorm|encoder|layers|pooler|post_layernorm)\.)", ""),)
OLDER = ((r"^decoder\.output_projection\.", "decoder.lm_head."), (r"^text_decoder\.(bert\.)?", ""))
OPTIONAL = r"^decoder\.model\.decoder\.(version|embed_positions\.)|\.position_ids$|^cls\.predictions\.decoder\."


def fill_parts(shapes: Any, state_dict: Mapping[str, Any], is_swin: bool, head: str) -> Any:
    """Convert a state dict of VisionEncoderDecoderModel or BlipForConditionalGeneration.

    Args:
      shapes: tree of the variables of `ImageToText`.
      state_dict: {name: array}.
      is_swin: its tower is a Swin transformer.
      head: of `ImageToText`.

    Returns:
      The tree, of arrays.
    """
    entries = {key: np.asarray(value) for key, value in unwrap_state_dict(state_dict).items()}
    images = {key: value for key, value in entries.items() if key.startswith(("encoder.", "vision_model."))}
    layout = swin.TORCH_LAYOUTS[0] if is_swin else vit.TRANSFORMERS
    names = layout.names if is_swin else TOWER_NAMES
    params = dict(shapes["params"])
    tower = fill_from_torch(
        {"params": params.pop("tower")},
        {key: value for key, value in images.items() if not key.endswith((".relative_position_index", ".mask_token"))},
        BLIP_TOWER if "vision_model.post_layernorm.bias" in images else names,
        what="ImageToText's tower",
        older=(*TOWER_PREFIX, *layout.older),
        optional=r"^pooler\.",
    )
    rest = {key: value for key, value in entries.items() if key not in images}
    rules = BERT_NAMES if head == "bert" else BART_NAMES
    unused = OPTIONAL + ("" if head == "own" else r"|^decoder\.lm_head\.")
    text = fill_from_torch({"params": params}, rest, rules, what="ImageToText", older=OLDER, optional=unused)
    return {"params": {**text["params"], "tower": tower["params"]}}
