"""Configurations of transformers' detectors as fields of dlcore's, outputs by their names, and counts of classes."""

import types

import numpy as np
import pytest
from flax import linen as nn

from dlcore.detection.detr import Outputs
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.detection.owl_vit import OWLViT
from dlcore.detection.resnet_d import ResNetD
from dlcore.detection.rt_detr import QueryOutputs
from dlcore.detection.ssd import SSD, ReducedVGG16
from dlcore.detection.torch_detectors import MODELS, count_classes, example_inputs, from_torch_names
from dlcore.detection.vitpose import ViTPose
from dlcore.models.clip import CLIP
from dlcore.models.hgnet import HGNetV2
from dlcore.models.resnet import BasicBlock, ResNet
from dlcore.pretrained.family import find_family

LABELS = {"id2label": {str(i): str(i) for i in range(5)}}
RESNET = {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 12, 16, 20], "depths": [1, 2, 1, 3]}
RESNET |= {"layer_type": "basic", "out_features": ["stage2", "stage3", "stage4"]}
PROPOSALS = {
    **LABELS, "num_queries": 11, "d_model": 16, "decoder_attention_heads": 2, "decoder_ffn_dim": 24,
    "decoder_layers": 3, "num_feature_levels": 4, "encoder_hidden_dim": 20, "encoder_attention_heads": 5,
    "encoder_ffn_dim": 28, "encoder_layers": 1, "encode_proj_layers": [1, 2], "hidden_expansion": 0.5,
    "num_denoising": 7,
}  # fmt: skip
PROPOSAL_FIELDS = {
    "num_classes": 5, "num_queries": 11, "features": 16, "num_heads": 2, "hidden_features": 24, "decoder_layers": 3,
    "num_levels": 4, "encoder_features": 20, "encoder_heads": 5, "encoder_hidden_features": 28, "encoder_layers": 1,
    "encoder_levels": (1, 2), "expansion": 0.5, "num_denoising": 7,
}  # fmt: skip
DEFORMABLE = {
    **LABELS, "architectures": ["DeformableDetrForObjectDetection"], "use_timm_backbone": False,
    "backbone_config": RESNET, "d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 4, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "num_queries": 10,
    "num_feature_levels": 4, "encoder_n_points": 3, "decoder_n_points": 3, "two_stage_num_proposals": 14,
}  # fmt: skip
DEFORMABLE_FIELDS = {
    "backbone": ResNet(0, (1, 2, 1, 3), BasicBlock, stem_width=8, widths=(8, 12, 16, 20)),
    "stages": ("layer2", "layer3", "layer4"), "num_levels": 4, "num_classes": 5, "num_queries": 10, "features": 32,
    "num_heads": 4, "hidden_features": 24, "num_points": 3, "encoder_layers": 1, "decoder_layers": 2,
    "box_refine": False, "two_stage": False,
}  # fmt: skip
RT_DETR = PROPOSALS | {"backbone_config": RESNET | {"model_type": "rt_detr_resnet"}, "decoder_n_points": 3}
RT_DETR_FIELDS = PROPOSAL_FIELDS | {
    "backbone": ResNetD(0, (1, 2, 1, 3), (8, 12, 16, 20), 8, "basic"), "stages": ("layer2", "layer3", "layer4"),
    "num_points": 3,
}  # fmt: skip
HGNET = {
    "model_type": "hgnet_v2", "stem_channels": [3, 8, 6], "stage_out_channels": [12, 16, 24, 32],
    "stage_mid_channels": [8, 9, 10, 11], "stage_num_blocks": [1, 2, 1, 3], "stage_numb_of_layers": [2, 2, 3, 2],
    "stage_kernel_size": [3, 3, 5, 7], "stage_light_block": [False, False, True, True],
    "out_features": ["stage3", "stage4"], "hidden_act": "relu", "stem_strides": [2, 1, 1, 2, 1],
    "stage_downsample": [False, True, True, True], "stage_downsample_strides": [2, 2, 2, 2],
}  # fmt: skip
D_FINE = PROPOSALS | {
    "architectures": ["DFineForObjectDetection"], "backbone_config": HGNET, "decoder_in_channels": [20] * 4,
}  # fmt: skip
HGNET_FIELDS = ((8, 6), (12, 16, 24, 32), (8, 9, 10, 11), (1, 2, 1, 3), (2, 2, 3, 2), (3, 3, 5, 7))
D_FINE_FIELDS = PROPOSAL_FIELDS | {
    "backbone": HGNetV2(0, *HGNET_FIELDS, (False, False, True, True), False), "stages": ("layer3", "layer4"),
    "num_points": (4,) * 4, "encoder_blocks": 3, "num_bins": 32, "num_probabilities": 4, "quality_features": 64,
    "quality_layers": 2, "learned_queries": False, "offset_scale": 0.5, "method": "bilinear",
}  # fmt: skip
DETR = {
    **LABELS, "architectures": ["DetrForObjectDetection"], "use_timm_backbone": False, "backbone_config": RESNET,
    "num_queries": 9, "d_model": 16, "encoder_attention_heads": 2, "encoder_ffn_dim": 24, "encoder_layers": 3,
    "decoder_attention_heads": 2, "decoder_ffn_dim": 24, "decoder_layers": 4,
}  # fmt: skip
DETR_FIELDS = {
    "backbone": DEFORMABLE_FIELDS["backbone"], "stage": "layer4", "num_classes": 5, "num_queries": 9, "features": 16,
    "num_heads": 2, "hidden_features": 24, "encoder_layers": 3, "decoder_layers": 4,
}  # fmt: skip
SINES = {"position_embedding_type": "sine", "activation_function": "relu", "dilation": False}
YOLOS = {
    **LABELS, "architectures": ["YolosForObjectDetection"], "image_size": [24, 32], "patch_size": 8, "hidden_size": 16,
    "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 20, "num_detection_tokens": 7,
    "layer_norm_eps": 1e-4, "hidden_act": "gelu", "qkv_bias": True,
}  # fmt: skip
YOLOS_FIELDS = {
    "num_classes": 5, "image_size": (24, 32), "patch_size": 8, "depth": 3, "width": 16, "num_heads": 2,
    "mlp_features": 20, "num_queries": 7, "mid_positions": True, "epsilon": 1e-4,
}  # fmt: skip
POSES = {
    **LABELS, "architectures": ["VitPoseForPoseEstimation"],
    "backbone_config": {
        "image_size": [24, 32], "patch_size": [8, 8], "num_hidden_layers": 3, "hidden_size": 16, "mlp_ratio": 3,
        "num_attention_heads": 2, "layer_norm_eps": 1e-4, "num_experts": 1, "hidden_act": "gelu", "qkv_bias": True,
    },
}  # fmt: skip
POSE_FIELDS = {
    "num_keypoints": 5, "image_size": (24, 32), "patch_size": 8, "depth": 3, "width": 16, "num_heads": 2,
    "mlp_features": 48, "scale": 4, "epsilon": 1e-4,
}  # fmt: skip
FIXED = {
    "activation_function": "silu", "encoder_activation_function": "gelu", "decoder_activation_function": "relu",
    "normalize_before": False, "eval_size": None, "batch_norm_eps": 1e-5, "layer_norm_eps": 1e-5,
    "positional_encoding_temperature": 10000, "with_box_refine": True,
}  # fmt: skip
"""What transformers writes into a file of RT-DETR or D-FINE, and dlcore has."""
UNUSED = {"downsample_in_bottleneck": False, "downsample_in_first_stage": False, "hidden_act": "relu"}
FILES = {
    "detr": (DETR | SINES, "detr_resnet50", DETR_FIELDS),
    "yolos": (YOLOS, "yolos_small", YOLOS_FIELDS),
    "yolos without middle positions": (
        YOLOS | {"use_mid_position_embeddings": False}, "yolos_small", YOLOS_FIELDS | {"mid_positions": False}
    ),
    "vit_pose": (POSES, "vitpose_base_simple", POSE_FIELDS | {"simple": True}),
    "vit_pose of another scale": (
        POSES | {"scale_factor": 2}, "vitpose_base_simple", POSE_FIELDS | {"scale": 2, "simple": True}
    ),
    "deformable": (DEFORMABLE | SINES, "deformable_detr_resnet50", DEFORMABLE_FIELDS),
    "deformable, two stages of one level": (
        DEFORMABLE | {"two_stage": True, "with_box_refine": True, "num_feature_levels": 1},
        "deformable_detr_resnet50",
        DEFORMABLE_FIELDS
        | {"num_queries": 14, "two_stage": True, "box_refine": True, "num_levels": 1, "stages": ("layer4",)},
    ),
    "rt_detr": (
        RT_DETR
        | {"architectures": ["RTDetrForObjectDetection"], "learn_initial_query": True, **FIXED}
        | {"backbone_config": RT_DETR["backbone_config"] | UNUSED},
        "rt_detr_r50vd",
        RT_DETR_FIELDS | {"learned_queries": True, "offset_scale": 0.5, "method": "bilinear"},
    ),
    "rt_detr_v2": (
        RT_DETR
        | {"architectures": ["RTDetrV2ForObjectDetection"]}
        | {"decoder_method": "discrete", "decoder_offset_scale": 0.25},
        "rt_detr_v2_r50vd",
        RT_DETR_FIELDS | {"learned_queries": False, "offset_scale": 0.25, "method": "discrete"},
    ),
    "d_fine, by defaults": (D_FINE | FIXED | {"layer_scale": 1}, "d_fine_large", D_FINE_FIELDS),
    "d_fine": (
        D_FINE
        | {"backbone_config": HGNET | {"use_learnable_affine_block": True}, "decoder_n_points": [3, 6, 3, 2]}
        | {"depth_mult": 0.34, "max_num_bins": 8, "top_prob_values": 2, "lqe_hidden_dim": 6, "lqe_layers": 3}
        | {"eval_idx": 2},
        "d_fine_large",
        D_FINE_FIELDS
        | {"backbone": HGNetV2(0, *HGNET_FIELDS, (False, False, True, True), True), "num_points": (3, 6, 3, 2)}
        | {"encoder_blocks": 1, "num_bins": 8, "num_probabilities": 2, "quality_features": 6, "quality_layers": 3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_a_configuration_becomes_fields(file):
    config, name, fields = FILES[file]
    assert find_family(config).model(config) == (name, fields)


@pytest.mark.parametrize(("architecture", "name"), [("OwlViT", "owlvit_base_patch32"), ("Owlv2", "owlv2_base_patch16")])
def test_owl_without_fields_is_the_published_network(architecture, name):
    """Images have 768 pixels where the file says nothing: those of version 2 have 960."""
    config = {"architectures": [f"{architecture}ForObjectDetection"], "text_config": {}, "projection_dim": 512}
    config["vision_config"] = {} if architecture == "OwlViT" else {"image_size": 960}
    found, fields = find_family(config).model(config)
    known = MODELS[name]()
    clip = known.clip.clone(mlp_features=4 * 768, text_mlp_features=4 * 512)
    assert (found, OWLViT(**fields)) == (name, known.clone(clip=clip))
    config |= {"vision_config": {"patch_size": 24}, "text_config": {"vocab_size": 9}}
    clip = find_family(config).model(config)[1]["clip"]
    assert (clip.image_size, clip.patch_size, clip.vocab_size, clip.end_token) == (768, 24, 9, 8)


def test_published_detectors_have_the_classes_and_sizes_of_their_authors():
    """COCO has 80 classes, with numbers up to 90; the first of the 91 outputs of torchvision and DETR is unused."""
    classes = {name: getattr(build(), "num_classes", None) for name, build in MODELS.items()}
    numbers = {"fcos": 91, "retinanet": 91, "fasterrcnn": 90, "maskrcnn": 90, "keypointrcnn": 1, "ssd300": 90}
    numbers |= {"detr": 91, "deformable": 91, "yolos": 91, "rt": 80, "d": 80, "vitpose": None}
    numbers |= {"owlvit": None, "owlv2": None}
    of_authors = {name: count for name, count in classes.items() if name.split("_")[0] in numbers}
    assert of_authors == {name: numbers[name.split("_")[0]] for name in of_authors}
    assert MODELS["maskrcnn_resnet50_fpn"]().mask_head.num_classes == 90
    assert MODELS["keypointrcnn_resnet50_fpn"]().keypoint_head.num_keypoints == 17
    stages = {name: build().backbone.stages for name, build in MODELS.items() if "_resnet" in name}
    assert stages.pop("detr_resnet101") == (3, 4, 23, 3)
    assert set(stages.values()) == {(3, 4, 6, 3)}
    yolos = {
        name: (net.image_size, net.width, net.num_heads, net.mlp_features, net.mid_positions)
        for name, net in ((name, MODELS[f"yolos_{name}"]()) for name in ("tiny", "small", "base"))
    }
    assert yolos == {
        "tiny": ((800, 1333), 192, 3, 768, False),
        "small": ((512, 864), 384, 6, 1536, True),
        "base": ((800, 1344), 768, 12, 3072, True),
    }
    owls = [MODELS[name]() for name in ("owlvit_base_patch32", "owlv2_base_patch16")]
    assert [(owl.clip.image_size, owl.clip.patch_size, owl.objectness) for owl in owls] == [
        (768, 32, False),
        (960, 16, True),
    ]
    assert {(owl.clip.vocab_size, owl.clip.end_token, owl.clip.window) for owl in owls} == {(49408, 49407, 16)}
    assert [MODELS[name]().simple for name in ("vitpose_base_simple", "vitpose_base")] == [True, False]


def test_settings_that_dlcore_does_not_have_are_named():
    with pytest.raises(ValueError, match="decoder_ffn_dim=25: not in dlcore's DETR; allowed: 24"):
        find_family(DETR).model(DETR | {"decoder_ffn_dim": 25})


def outputs_of(architecture, answer, **inputs):
    """(Outputs by transformers' names, what the model was called with)."""
    seen = []

    def apply(variables, *arguments):
        seen.extend(arguments)
        return answer

    family = find_family({"architectures": [architecture]})
    return family.outputs(types.SimpleNamespace(apply=apply, num_experts=1), {}, inputs), seen


LOGITS, BOXES = np.arange(24.0).reshape(1, 3, 4, 2), np.arange(48.0).reshape(1, 3, 4, 4)
"""Of three layers."""


def test_outputs_are_those_of_the_last_layer_and_of_the_proposals():
    answer = QueryOutputs(LOGITS, BOXES, None, None), None
    for architecture in ("RTDetrForObjectDetection", "RTDetrV2ForObjectDetection", "DFineForObjectDetection"):
        found, seen = outputs_of(architecture, answer, pixel_values="pixels")
        assert seen == ["pixels"]
        assert set(found) == {"logits", "pred_boxes", "enc_topk_logits", "enc_topk_bboxes"}
        np.testing.assert_array_equal(found["logits"], LOGITS[:, 2])
        np.testing.assert_array_equal(found["pred_boxes"], BOXES[:, 2])
        np.testing.assert_array_equal(found["enc_topk_logits"], LOGITS[:, 0])
        np.testing.assert_array_equal(found["enc_topk_bboxes"], BOXES[:, 0])
    found, seen = outputs_of("YolosForObjectDetection", (Outputs(LOGITS, BOXES), None), pixel_values="pixels")
    assert seen == ["pixels"]
    np.testing.assert_array_equal(found["logits"], LOGITS[:, 2])
    np.testing.assert_array_equal(found["pred_boxes"], BOXES[:, 2])


def test_a_mask_of_pixels_becomes_heights_and_widths():
    """Of 4 x 5 pixels the first image has 2 rows and 5 columns, the second 4 rows and 3 columns."""
    mask = np.zeros((2, 4, 5), int)
    mask[0, :2] = mask[1, :, :3] = 1
    answer = Outputs(LOGITS, BOXES), None
    for architecture in ("DetrForObjectDetection", "DeformableDetrForObjectDetection"):
        found, (pixels, sizes) = outputs_of(architecture, answer, pixel_values="pixels", pixel_mask=mask)
        assert pixels == "pixels"
        assert sizes.tolist() == [[2, 5], [4, 3]]
        np.testing.assert_array_equal(found["logits"], LOGITS[:, 2])
        np.testing.assert_array_equal(found["pred_boxes"], BOXES[:, 2])
        assert outputs_of(architecture, answer, pixel_values="pixels")[1] == ["pixels", None]


def test_words_have_boxes_and_version_2_their_objectness():
    answer = types.SimpleNamespace(logits=1, boxes=2, objectness=None)
    found, seen = outputs_of("OwlViTForObjectDetection", answer, pixel_values="pixels", input_ids="words")
    assert (found, seen) == ({"logits": 1, "pred_boxes": 2}, ["pixels", "words"])
    answer.objectness = 3
    found, _ = outputs_of("Owlv2ForObjectDetection", answer, pixel_values="pixels", input_ids="words")
    assert found == {"logits": 1, "pred_boxes": 2, "objectness_logits": 3}
    assert outputs_of("VitPoseForPoseEstimation", "maps", pixel_values="pixels")[0] == {"heatmaps": "maps"}


def test_inputs_that_initialize_a_detector():
    owl = OWLViT(CLIP(50, 49, window=16, image_size=24, patch_size=8))
    image, words = example_inputs(owl)
    assert (image.shape, words.tolist()) == ((1, 24, 24, 3), [[1]])
    shapes = {
        ViTPose(image_size=(32, 24)): (1, 32, 24, 3),
        SSD(ReducedVGG16(), 2): (1, 300, 300, 3),
        MODELS["rt_detr_r50vd"](): (1, 256, 256, 3),
        MODELS["fcos_resnet50_fpn"](): (1, 64, 64, 3),
    }
    for model, shape in shapes.items():
        assert [x.shape for x in example_inputs(model)] == [shape]
    assert count_classes(owl, {}) is None
    assert count_classes(ViTPose(), {}) is None


class Detector(nn.Module):
    """Three layers: of the classes, of the mask head's classes and of the keypoints."""

    num_classes: int
    mask_head: MaskHead | None = None
    keypoint_head: nn.Module | None = None
    TORCH_NAMES = ()
    EXAMPLE_SIDE = 2

    @nn.compact
    def __call__(self, x):
        sizes = {"box": 1 + self.num_classes, "other": 3}
        sizes |= {"mask": 1 + self.mask_head.num_classes} if self.mask_head else {}
        sizes |= {"points": self.keypoint_head.num_keypoints} if self.keypoint_head else {}
        return [nn.Dense(size, name=name)(x) for name, size in sizes.items()]


class Keypoints(nn.Module):
    num_keypoints: int = 17


def weights_of(**sizes):
    """Layers of three inputs: {name: number of outputs}."""
    weights = {f"{name}.weight": np.zeros((size, 3), np.float32) for name, size in sizes.items()}
    return weights | {f"{name}.bias": np.zeros(size, np.float32) for name, size in sizes.items()}


def test_classes_are_counted_in_the_box_head_and_in_the_mask_head():
    assert count_classes(Detector(90), weights_of(box=6, other=3)) == 5
    assert count_classes(Detector(90, MaskHead(2)), weights_of(box=6, other=3, mask=6)) == 5
    assert count_classes(Detector(90), weights_of(other=3)) is None


def test_a_detector_is_filled_with_as_many_keypoints_as_there_are():
    """The mask head takes the detector's number of classes, and the keypoint head that of the weights."""
    model = Detector(5, MaskHead(90), Keypoints())
    weights = weights_of(box=6, other=3, mask=6, points=4)
    weights["points.bias"] += np.arange(4, dtype=np.float32)
    params = from_torch_names(model, weights)["params"]
    assert {name: layer["kernel"].shape for name, layer in params.items()} == {
        "box": (3, 6), "other": (3, 3), "mask": (3, 6), "points": (3, 4),
    }  # fmt: skip
    assert params["points"]["bias"].tolist() == [0, 1, 2, 3]
