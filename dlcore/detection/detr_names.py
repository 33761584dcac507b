"""Names of DETR's parameters in published files, as pairs of `re.sub` (`dlcore.detection.torch_weights`)."""

from dlcore.models.resnet import transformers_names

__all__ = ["DETR_NAMES", "DETR_OLD_NAMES", "QUERY_NAMES", "QUERY_OLD_NAMES"]

DETR_NAMES = (
    (r"^backbone\.", "model.backbone.model."),
    *transformers_names("model.backbone.model."),
    (r"^(input_projection|encoder\.\d+|decoder\.\d+)\.", r"model.\1."),
    (r"^model\.(en|de)coder\.(\d+)\.", r"model.\1coder.layers.\2."),
    (r"\.attn\.(query|key|value|proj)\.", r".self_attn.\1."),
    (r"\.cross_attn\.(query|key|value|proj)\.", r".encoder_attn.\1."),
    (r"attn\.(q|k|v)(?:uery|ey|alue)\.", r"attn.\1_proj."),
    (r"attn\.proj\.", "attn.o_proj."),
    (r"\.norm1\.", ".self_attn_layer_norm."),
    (r"(encoder\.layers\.\d+)\.norm2\.", r"\1.final_layer_norm."),
    (r"(decoder\.layers\.\d+)\.norm2\.", r"\1.encoder_attn_layer_norm."),
    (r"\.norm3\.", ".final_layer_norm."),
    (r"^(en|de)coder_norm\.", r"model.\1coder.layernorm."),
    (r"^query_positions$", "model.query_position_embeddings.weight"),
    (r"^bbox_predictor_layers\.", "bbox_predictor.layers."),
)
"""From the paths of the parameters to transformers' names."""
QUERY_NAMES = (
    (r"^model\.(en|de)coder\.(\d+)\.", r"model.\1coder.layers.\2."),
    (r"\.self_attn\.(q|k|v)(?:uery|ey|alue)\.", r".self_attn.\1_proj."),
    (r"\.self_attn\.proj\.", ".self_attn.o_proj."),
)
"""Of layers of `dlcore.detection.query_blocks`, behind the rules of a detector."""
DETR_OLD_NAMES = (
    (r"^(backbone\.0\.body|model\.backbone\.conv_encoder\.model)\.", "model.backbone.model."),
    (r"^model\.backbone\.model\._backbone\.", "model.backbone.model."),
    *transformers_names("model.backbone.model."),
    (r"^input_proj\.", "model.input_projection."),
    (r"^query_embed\.", "model.query_position_embeddings."),
    (r"^class_embed\.", "class_labels_classifier."),
    (r"^bbox_embed\.", "bbox_predictor."),
    (r"^transformer\.(en|de)coder\.norm\.", r"model.\1coder.layernorm."),
    (r"^transformer\.(encoder\.layers\.\d+)\.norm2\.", r"model.\1.final_layer_norm."),
    (r"^transformer\.(decoder\.layers\.\d+)\.norm2\.", r"model.\1.encoder_attn_layer_norm."),
    (r"^transformer\.(decoder\.layers\.\d+)\.norm3\.", r"model.\1.final_layer_norm."),
    (r"^transformer\.((?:en|de)coder\.layers\.\d+)\.norm1\.", r"model.\1.self_attn_layer_norm."),
    (r"^transformer\.((?:en|de)coder\.layers\.\d+)\.", r"model.\1."),
    (r"\.multihead_attn\.", ".encoder_attn."),
    (r"(\.layers\.\d+)\.linear(\d)\.", r"\1.mlp.fc\2."),
    (r"(\.layers\.\d+)\.fc(\d)\.", r"\1.mlp.fc\2."),
    (r"\.(self|encoder)_attn\.out_proj\.", r".\1_attn.o_proj."),
)
"""From older names of transformers, with timm's ResNet or its own, and from the authors', to today's."""
QUERY_OLD_NAMES = (
    (r"^model\.backbone\.conv_encoder\.model\.", "model.backbone.model."),
    *transformers_names("model.backbone.model."),
    (r"(\.layers\.\d+)\.fc(\d)\.", r"\1.mlp.fc\2."),
    (r"\.self_attn\.out_proj\.", ".self_attn.o_proj."),
)
"""From older names of transformers, of a detector whose layers are those of `dlcore.detection.query_blocks`."""
