"""Each value of a published configuration changes the network or is refused, but for those that no network reads."""

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcore.models import create_model
from dlcore.models.hgnet import HGNetV2
from dlcore.pretrained import from_pretrained
from dlcore.pretrained.defaults import fill_defaults
from dlcore.pretrained.family import find_family, read_network, timm_arguments
from dlcore.pretrained.network import Pretrained

HUB = Path(__file__).parents[1] / "goldens" / "hub"
FOLDERS = sorted(folder.name for folder in HUB.iterdir() if (folder / "config.json").exists())

BOOKKEEPING = """_class_name _diffusers_version _name_or_path architectures chunk_size_feed_forward custom_load
    disable_custom_kernels dtype is_encoder_decoder label2id license model_type origin_url output_attentions
    output_hidden_states paper_ids paper_name problem_type reorder_and_upcast_attn return_dict stage_names tag
    transformers_version upcast_attention force_upcast use_cache use_pretrained_backbone use_timm_backbone classifier
    first_conv"""
"""Names, versions, what is returned beside the outputs, and how an equal result is computed."""
TRAINING = """activation_dropout attention_dropout attention_probs_dropout_prob attn_pdrop auxiliary_loss
    auxiliary_loss_weight bbox_cost bbox_loss_coefficient box_noise_scale class_cost class_weight classifier_dropout
    decoder_layerdrop dice_loss_coefficient dice_weight drop_path_rate dropout embd_pdrop encoder_layerdrop
    eos_coefficient focal_loss_alpha focal_loss_gamma freeze_backbone_batch_norms giou_cost giou_loss_coefficient
    hidden_dropout_prob ignore_value importance_sample_ratio init_std init_xavier_std initializer_bias_prior_prob
    initializer_factor initializer_range label_noise_ratio layer_scale_init_value layerscale_value
    logit_scale_init_value mask_loss_coefficient mask_weight matcher_alpha matcher_bbox_cost matcher_class_cost
    matcher_gamma matcher_giou_cost no_object_weight norm_pix_loss output_auxiliary_logits oversample_ratio
    pos_embed_jitter pos_embed_rescale pos_embed_shift resid_pdrop semantic_loss_ignore_index summary_first_dropout
    train_num_points use_auxiliary_loss use_focal_loss weight_loss_bbox weight_loss_giou weight_loss_vfl"""
"""Losses, drop-out and initial values."""
OTHER_HEADS = """add_fpn apply_layernorm auxiliary_channels auxiliary_concat_input auxiliary_num_convs
    decoder_intermediate_size decoder_num_attention_heads decoder_num_hidden_layers encoder_stride
    out_features out_indices pool_scales pooler_act pooler_output_size reshape_hidden_states reshape_last_stage
    summary_activation summary_proj_to_labels summary_type summary_use_proj use_auxiliary_head"""
"""Of other classes of the library that read the same file."""
PREPROCESSING = """crop_mode crop_pct fixed_input_size input_size interpolation mean pool_size std test_crop_pct
    test_input_size bos_token_id eos_token_id pad_token_id"""
"""Of photographs and texts: `dlcore.pretrained.processor` reads it."""
ARRAYS = """add_cross_attention addition_embed_type_num_heads addition_time_embed_dim class_embeddings_concat
    conv_in_kernel conv_out_kernel cross_attention_dim cross_attention_norm decoder_in_channels encoder_hid_dim_type
    encoder_in_channels in_channels joint_attention_dim mid_block_only_cross_attention mlp_bias num_channels
    num_class_embeds pooled_projection_dim proj_bias projection_class_embeddings_input_dim projection_dim
    projection_size qkv_bias time_cond_proj_dim time_embedding_dim use_absolute_embeddings
    use_absolute_position_embeddings use_linear_projection use_mask_token use_shared_relative_position_bias value_bias
    output_channels tie_word_embeddings"""
"""They show in the names or shapes of the arrays, which loading compares."""
DERIVED = """anchor_image_size feat_strides image_embedding_size max_window_layers num_classes num_features
    num_pos_feats num_stages reassemble_hidden_size scale sliding_window stem_width"""
"""Repeated from another value of the file, or not read by the library's own network either."""
WITHOUT_EFFECT = {*" ".join((BOOKKEEPING, TRAINING, OTHER_HEADS, PREPROCESSING, ARRAYS, DERIVED)).split()}

SWINS = ("microsoft--swin-tiny", "microsoft--swinv2-tiny", "facebook--mask2former-tiny")
WITHOUT_EFFECT_IN = {
    "decoder_hidden_size": ("facebook--vit-mae-tiny",),
    "hidden_size": (*SWINS, "facebook--sam-tiny"),
    "id2label": ("PekingU--rtdetr-tiny", "depth-anything--depth-anything-tiny", "facebook--detr-tiny", SWINS[2]),
    "image_size": (*SWINS, "facebook--convnextv2-tiny", "facebook--dinov3-convnext-tiny", "facebook--sam-tiny"),
    "layer_norm_eps": ("nvidia--segformer-tiny",),
    "mlp_ratio": ("facebook--sam-tiny",),
    "num_layers": SWINS,
    "patch_size": ("depth-anything--depth-anything-tiny", "facebook--sam-tiny"),
    "sample_size": ("stabilityai--sd-unet-tiny", "stabilityai--sd-vae-tiny"),
    "vocab_size": ("microsoft--beit-tiny",),
}
"""{name: folders}, of values that are derived in some files and count in others."""


def paths(config: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in config.items():
        if isinstance(value, dict) and key not in ("id2label", "label2id"):
            yield from paths(value, (*before, key))
        else:
            yield (*before, key)


def changed(value: Any) -> Any:
    """Another value of the same type."""
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 4  # a bottleneck's widths are multiples of 4
        case str():
            return "relu" if value != "relu" else "gelu"
        case list():
            return [changed(item) for item in value] or [1]
        case _:
            return 5


@pytest.mark.parametrize("name", FOLDERS)
def test_each_value_of_a_configuration_counts(name):
    config = json.loads((HUB / name / "config.json").read_text())
    family = find_family(config)
    network, fields = read_network(family, config)
    silent = []
    for path in paths(config):
        if path[-1] in WITHOUT_EFFECT or name in WITHOUT_EFFECT_IN.get(path[-1], ()):
            continue
        other = copy.deepcopy(config)
        inner = other
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = changed(inner[path[-1]])
        try:
            if str(read_network(family, other)) == str((network, fields)):
                silent.append(".".join(path))
        except ValueError:
            continue
    assert not silent


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("facebook--detr-tiny", {"dilation": True}, r"dilation=True: not in dlcore's DETR; allowed: False"),
        ("google--vit-tiny", {"hidden_act": "relu"}, "hidden_act='relu': not in dlcore's ViT; allowed: 'gelu'"),
        ("google--vit-tiny", {"hidden_size": None}, r"config\.json: 'hidden_size' is missing; allowed: files as trans"),
        ("google--vit-tiny", {"architectures": [3]}, r"architectures=\[3\]: no names; allowed: names of classes"),
        ("microsoft--swin-tiny", {"depths": 3}, r"config\.json: no SwinForImageClassification has its values \('int'"),
        (
            "Qwen--qwen3-tiny",
            {"rope_parameters": None, "rope_scaling": {"type": "yarn", "factor": 2.0}},
            "rope_type='yarn': not in dlcore's Llama; allowed: default",
        ),
        ("stabilityai--sd-unet-tiny", {"act_fn": "gelu"}, "act_fn='gelu': not in dlcore's U-Net; allowed: 'silu'"),
    ],
)
def test_a_value_that_no_network_of_dlcore_has_is_named(name, changes, message):
    config = json.loads((HUB / name / "config.json").read_text()) | changes
    config = {key: value for key, value in config.items() if value is not None}
    with pytest.raises(ValueError, match=rf"^{message}"):
        read_network(find_family(config), config)


def test_arguments_of_timm_that_nothing_reads_are_refused():
    config = {"architecture": "resnet18", "global_pool": "avg", "model_args": {"layers": [1, 1]}}
    fixed = {"global_pool": "avg", "in_chans": 3}
    assert timm_arguments(config, ("layers",), fixed) == {"layers": [1, 1]}
    assert timm_arguments({"architecture": "resnet18"}, ()) == {}
    with pytest.raises(ValueError, match=r"^model_args: layers not in dlcore's resnet18; allowed: num_classes, depth$"):
        timm_arguments(config, ("depth",), fixed)
    with pytest.raises(ValueError, match=r"^global_pool='avg': not in dlcore's resnet18; allowed: 'max'$"):
        timm_arguments(config, ("layers",), {"global_pool": "max"})
    with pytest.raises(ValueError, match=r"^in_chans=1: not in dlcore's resnet18; allowed: 3$"):
        timm_arguments({"architecture": "resnet18", "model_args": {"in_chans": 1}}, (), fixed)


def test_numbers_that_make_no_arrays_are_named(tmp_path):
    shutil.copytree(HUB / "facebook--sam-tiny", tmp_path / "sam")
    path = tmp_path / "sam" / "config.json"
    config = json.loads(path.read_text())
    config["vision_config"]["num_attention_heads"] = 0
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"^num_heads=0: out of range; allowed: at least 1"):
        from_pretrained(tmp_path / "sam")


def test_an_index_that_lists_no_files_is_named(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["ViTForImageClassification"]}))
    index = tmp_path / "model.safetensors.index.json"
    for content in ({"metadata": {}}, {"weight_map": {"a": 3}}):
        index.write_text(json.dumps(content))
        with pytest.raises(ValueError, match=r"index\.json: weight_map is no table of files; allowed: the"):
            from_pretrained(tmp_path)


def test_a_photograph_beside_its_pixels_is_refused():
    net = Pretrained(
        "vit_b_16", {}, None, {}, find_family({"architectures": ["ViTForImageClassification"]}), {}, None, None
    )
    pixels = np.zeros((1, 4, 4, 3), np.float32)
    with pytest.raises(ValueError, match=r"^images: given beside pixel_values; allowed: one of them$"):
        net(np.zeros((4, 4, 3), np.uint8), pixel_values=pixels)


IDS = np.array([[4, 59, 0], [7, 8, 59]])
PIXELS = np.zeros((1, 8, 8, 3), np.float32)
CONTEXT = {"sample": np.zeros((1, 8, 8, 4), np.float32), "encoder_hidden_states": np.zeros((1, 3, 12), np.float32)}
READ, UNSEEN = {"input_ids": IDS % 9}, "attention_mask: 0 at a token that the network reads"
NETWORKS = {
    "CLIPModel": ("clip_vit_b_32", {"vocab_size": 60, "end_token": 59}),
    "SiglipModel": ("siglip_base_patch16_224", {"vocab_size": 60, "end_token": 59}),
    "BertModel": ("bert_base", {"vocab_size": 50, "num_segments": 2}),
    "DetrForObjectDetection": ("detr_resnet50", {"num_classes": 5}),
    "UNet2DConditionModel": ("stable_diffusion_v1_unet", {"channels": (8, 16), "groups": 4}),
}
UNREADABLE = {
    "CLIPModel": [
        ({"input_ids": IDS + 1}, r"input_ids\[0, 1\]=60: out of range; allowed: 0 to"),
        ({"input_ids": IDS[:, :1]}, r"input_ids\[0\]: no end token; allowed: .* 59"),
        ({"input_ids": IDS * 1.0}, "input_ids=float.*: wrong shape or dtype"),
        ({"input_ids": IDS[:, :0]}, r"input_ids=\[2, 0\]: no token; allowed: at least"),
        (
            {"input_ids": IDS, "attention_mask": np.array([[1, 1, 0], [1, 0, 1]])},
            f"{UNSEEN}; allowed: 1 there, or no mask",
        ),
    ],
    "SiglipModel": [({"input_ids": IDS, "attention_mask": np.array([[1, 1, 0], [1, 1, 1]])}, UNSEEN)],
    "BertModel": [
        ({"input_ids": IDS}, r"input_ids\[0, 1\]=59: out of range; allowed: 0 to 49"),
        (
            {**READ, "token_type_ids": IDS % 3},
            r"token_type_ids\[0, 1\]=2: out of range; allowed: 0 to 1, of 2 segments",
        ),
        (
            {**READ, "attention_mask": np.ones((2, 2), int)},
            r"attention_mask=\[2, 2\]: another shape; allowed: \[2, 3\]",
        ),
        ({**READ, "attention_mask": np.array([[1, 1, 1], [0, 0, 0]])}, "attention_mask: all 0 in a row"),
        ({"input_ids": "a text"}, "input_ids: a str; allowed: arrays of numbers"),
    ],
    "DetrForObjectDetection": [
        ({"pixel_values": PIXELS * np.nan}, "pixel_values.*: not finite"),
        (
            {"pixel_values": PIXELS.astype(np.uint8)},
            "pixel_values: uint8; allowed: floats of `preprocess`, or photographs",
        ),
        (
            {"pixel_values": PIXELS, "pixel_mask": np.full((1, 8, 8), 2)},
            r"pixel_mask\[0, 0, 0\]=2: unknown; allowed: 0, 1",
        ),
    ],
    "UNet2DConditionModel": [
        (CONTEXT | {"timestep": -1}, "timestep=-1: out of range"),
        (CONTEXT, "timestep: missing; allowed: sample, timestep"),
    ],
}


@pytest.mark.parametrize("architecture", NETWORKS)
def test_inputs_that_a_compiled_program_would_misread_are_named(architecture):
    name, fields = NETWORKS[architecture]
    config = {"_class_name": architecture} if name.startswith("stable") else {"architectures": [architecture]}
    config["in_channels"] = 4
    net = Pretrained(name, {}, create_model(name, **fields), {}, find_family(config), config, None, None)
    for inputs, message in UNREADABLE[architecture]:
        with pytest.raises(ValueError, match=f"^{message}"):
            net(**inputs)


SIGLIP_BASE = {  # google/siglip-base-patch16-224
    "architectures": ["SiglipModel"],
    "text_config": {"model_type": "siglip_text_model"},
    "vision_config": {"model_type": "siglip_vision_model"},
}
DEPTH_SMALL = {  # depth-anything/Depth-Anything-V2-Small-hf
    "architectures": ["DepthAnythingForDepthEstimation"],
    "backbone_config": {"hidden_size": 384, "image_size": 518, "model_type": "dinov2", "num_attention_heads": 6}
    | {"out_indices": [3, 6, 9, 12], "reshape_hidden_states": False},
    "neck_hidden_sizes": [48, 96, 192, 384],
    "fusion_hidden_size": 64,
}


def test_nested_configurations_leave_out_the_defaults_of_their_class():
    name, fields = read_network(find_family(SIGLIP_BASE), SIGLIP_BASE)
    fields = {key: value for key, value in fields.items() if key != "crop_rest"}
    published = create_model("siglip_base_patch16_224")
    units = dict.fromkeys(("mlp_features", "text_mlp_features"), 4 * 768)  # None stands for four times the width
    assert {key: getattr(published, key) for key in fields} | units == fields
    assert name == "siglip_base_patch16_224"
    _, fields = read_network(find_family(DEPTH_SMALL), DEPTH_SMALL)
    backbone = fields["backbone"]
    sizes = backbone.width, backbone.depth, backbone.num_heads, backbone.mlp_features, backbone.patch_size
    assert sizes == (384, 12, 6, 4 * 384, 14)
    assert (backbone.image_size, backbone.epsilon) == (518, 1e-6)


SWIN_T, CONVNEXT_T, DINOV2_B, DETR, HGNET = (
    create_model("swin_t"),
    create_model("convnext_tiny"),
    create_model("dinov2_base"),
    create_model("detr_resnet50"),
    HGNetV2(),
)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "swin",
            {"image_size": 224, "patch_size": SWIN_T.patch_size, "embed_dim": SWIN_T.width, "depths": SWIN_T.stages}
            | {"num_heads": SWIN_T.num_heads, "window_size": SWIN_T.window_size, "mlp_ratio": SWIN_T.mlp_ratio}
            | {"hidden_act": "gelu", "layer_norm_eps": 1e-5},
        ),
        (
            "convnext",
            {"patch_size": CONVNEXT_T.patch_size, "hidden_sizes": CONVNEXT_T.widths, "depths": CONVNEXT_T.stages}
            | {"hidden_act": "gelu", "layer_norm_eps": 1e-12},
        ),
        (
            "dinov2_with_registers",
            {"hidden_size": DINOV2_B.width, "num_hidden_layers": DINOV2_B.depth, "image_size": 224, "mlp_ratio": 4}
            | {"num_attention_heads": DINOV2_B.num_heads, "hidden_act": "gelu", "use_swiglu_ffn": False}
            | {"layer_norm_eps": 1e-6, "patch_size": 16, "num_register_tokens": 4},
        ),
        (
            "hgnet_v2",
            {"stem_channels": (3, *HGNET.stem_widths), "stage_in_channels": (HGNET.stem_widths[1], *HGNET.widths[:-1])}
            | {"stage_mid_channels": HGNET.mid_widths, "stage_out_channels": HGNET.widths}
            | {"stage_num_blocks": HGNET.stages, "stage_downsample": (False, True, True, True)}
            | {"stage_light_block": HGNET.light, "stage_kernel_size": HGNET.kernel_sizes, "hidden_act": "relu"}
            | {"stage_numb_of_layers": HGNET.num_layers, "use_learnable_affine_block": HGNET.affine},
        ),
        (
            "detr",
            {"num_queries": DETR.num_queries, "d_model": DETR.features, "decoder_layers": DETR.decoder_layers}
            | {"decoder_attention_heads": DETR.num_heads, "decoder_ffn_dim": DETR.hidden_features},
        ),
    ],
)
def test_the_defaults_of_a_class_are_those_of_the_network_that_its_paper_names_first(kind, expected):
    filled = fill_defaults({"inner": {"model_type": kind}})["inner"]
    filled = {key: tuple(value) if isinstance(value, list) else value for key, value in filled.items()}
    assert filled == expected | {"model_type": kind}


CLIP_BASE = {  # openai/clip-vit-base-patch32
    "architectures": ["CLIPModel"],
    "text_config": {"model_type": "clip_text_model"},
    "vision_config": {"model_type": "clip_vision_model"},
    "projection_dim": 512,
}


def test_a_clip_without_sizes_is_the_base_one_of_patches_of_32():
    name, fields = read_network(find_family(CLIP_BASE), CLIP_BASE)
    published = create_model("clip_vit_b_32")
    units = {"mlp_features": 4 * 768, "text_mlp_features": 4 * 512}  # None stands for four times the width
    assert {key: getattr(published, key) for key in fields} | units == fields
    assert (name, fields["end_token"], fields["epsilon"]) == ("clip_vit_b_32", 49407, 1e-5)


@pytest.mark.parametrize("kind", ["rt_detr_resnet", "resnet"])
def test_a_backbone_without_sizes_is_a_resnet_50(kind):
    inner = fill_defaults({"backbone_config": {"model_type": kind, "out_features": ["stage2"]}})["backbone_config"]
    assert inner["depths"] == [3, 4, 6, 3]
    assert inner["hidden_sizes"] == [256, 512, 1024, 2048]
    assert inner["out_features"] == ["stage2"]
    other = fill_defaults({"backbone_config": {"model_type": kind, "depths": [2, 2]}})
    assert other["backbone_config"]["depths"] == [2, 2]
    assert fill_defaults({"hidden_size": 3, "model_type": kind}) == {"hidden_size": 3, "model_type": kind}


def test_a_bert_is_read_by_the_head_that_its_architecture_names():
    config = json.loads((HUB / "google-bert--bert-tiny" / "config.json").read_text())
    for architecture, head in (("BertModel", "pooled"), ("BertForMaskedLM", "tokens")):
        config["architectures"] = [architecture]
        assert read_network(find_family(config), config)[1]["head"] == head


VIDEO_MAE = {  # MCG-NJU/videomae-base
    **{"architectures": ["VideoMAEForPreTraining"], "hidden_act": "gelu", "hidden_size": 768, "image_size": 224},
    **{"intermediate_size": 3072, "layer_norm_eps": 1e-12, "num_attention_heads": 12, "num_frames": 16},
    **{"num_hidden_layers": 12, "patch_size": 16, "tubelet_size": 2, "use_mean_pooling": False},
}
VJEPA2 = {
    **{"architectures": ["VJEPA2Model"], "crop_size": 32, "frames_per_clip": 8, "hidden_size": 24, "mlp_ratio": 3},
    **{"num_attention_heads": 2, "num_hidden_layers": 4, "patch_size": 16, "tubelet_size": 2},
    **{"pred_hidden_size": 12, "pred_mlp_ratio": 5, "pred_num_attention_heads": 1, "pred_num_hidden_layers": 6},
    "pred_num_mask_tokens": 10,
}
VITPOSE = {  # usyd-community/vitpose-base-simple, whose backbone is the default
    "architectures": ["VitPoseForPoseEstimation"],
    "backbone_config": {"model_type": "vitpose_backbone", "out_features": ["stage12"]},
    "id2label": {str(i): "joint" for i in range(17)},
    "use_simple_decoder": True,
}


@pytest.mark.parametrize(
    ("config", "fields"),
    [
        (
            VIDEO_MAE,
            {"patch_size": 16, "tubelet": 2, "depth": 12, "width": 768, "num_heads": 12, "mlp_features": 3072}
            | {"decoder_depth": 0, "final_norm": True, "epsilon": 1e-12},
        ),
        (
            VIDEO_MAE | {"use_mean_pooling": True, "tubelet_size": 4},
            {"patch_size": 16, "tubelet": 4, "depth": 12, "width": 768, "num_heads": 12, "mlp_features": 3072}
            | {"decoder_depth": 0, "final_norm": False, "epsilon": 1e-12},
        ),
        (
            VJEPA2,
            {"image_size": 32, "frames": 8, "patch_size": 16, "depth": 4, "width": 24, "num_heads": 2}
            | {"mlp_features": 72, "predictor_depth": 6, "predictor_width": 12, "predictor_heads": 1}
            | {"predictor_features": 60, "mask_tokens": 10, "tubelet": 2},
        ),
        (
            VITPOSE,
            {"num_keypoints": 17, "image_size": (256, 192), "patch_size": 16, "depth": 12, "width": 768}
            | {"num_heads": 12, "mlp_features": 3072, "scale": 4, "epsilon": 1e-12, "simple": True},
        ),
    ],
    ids=lambda value: value.get("architectures", [""])[0],
)
def test_fields_of_clips_and_poses_are_those_of_the_configuration(config, fields):
    assert read_network(find_family(config), config)[1] == fields


def test_poses_by_oblong_patches_are_refused_and_experts_of_a_backbone():
    config = VITPOSE | {"backbone_config": VITPOSE["backbone_config"] | {"patch_size": [16, 8]}}
    with pytest.raises(ValueError, match=r"^patch_size=\[16, 8\]: not in dlcore's ViTPose; allowed: \[16, 16\]"):
        read_network(find_family(config), config)
    backbone = {"architectures": ["VitPoseBackbone"], "num_experts": 6}
    with pytest.raises(ValueError, match=r"^num_experts=6: not in dlcore's"):
        read_network(find_family(backbone), backbone)
