"""Published detectors by name: torchvision's, DETR with its kin, YOLOS and ViTPose.

Trained on COCO, whose classes torchvision and DETR number up to 90; torchvision's two-stage detectors and SSD count the
background apart, so that 91 classes are 90 here.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.detection import grounding_names, torch_weights
from dlcore.detection.conditional_detr import ConditionalDETR
from dlcore.detection.d_fine import DFINE
from dlcore.detection.deformable_detr import DeformableDETR
from dlcore.detection.deim_v2 import DEIMv2
from dlcore.detection.detr import DETR
from dlcore.detection.doc_layout import DocLayout
from dlcore.detection.doc_layout_v3 import DocLayoutV3
from dlcore.detection.faster_rcnn import FasterRCNN
from dlcore.detection.fcos import FCOS
from dlcore.detection.grounding_dino import GroundingDINO
from dlcore.detection.keypoint_rcnn import KeypointHead
from dlcore.detection.lw_detr import LWDETR
from dlcore.detection.mask_rcnn import MaskHead
from dlcore.detection.owl_vit import OWLViT
from dlcore.detection.resnet_d import ResNetD
from dlcore.detection.retinanet import RetinaNet
from dlcore.detection.rt_detr import RTDETR
from dlcore.detection.ssd import SSD, ReducedVGG16
from dlcore.detection.vitpose import ViTPose
from dlcore.detection.windowed_vit import WindowedViT
from dlcore.detection.yolos import YOLOS
from dlcore.models.bert import BERT
from dlcore.models.clip import CLIP
from dlcore.models.feature_maps import FeatureMaps
from dlcore.models.hgnet import MODELS as HGNET
from dlcore.models.hgnet import HGNetV2
from dlcore.models.resnet import ResNet
from dlcore.models.swin import Swin
from dlcore.models.torch_weights import count_from_torch

__all__ = ["BACKBONES", "MODELS", "count_classes", "example_inputs", "from_torch_names"]

_RESNET50 = ResNet()

_VIT = WindowedViT(width=192, depth=10, mlp_features=768, window_blocks=(0, 1, 3, 6, 7, 9), qkv_bias="qv")
_DINOV2 = WindowedViT(
    pretrain_size=518,
    patch_size=14,
    width=384,
    num_heads=6,
    mlp_features=1536,
    window_blocks=(0, 1, 3, 4, 6, 7, 9, 10),
    class_token=True,
    final_norm=True,
    layer_scale=1.0,
)

_GROUNDING_DINO = functools.partial(
    GroundingDINO,
    backbone=FeatureMaps(Swin(num_classes=0), ("stage2", "stage3", "stage4"), 1e-5),
    text_backbone=BERT(30522, 512, head="pooled"),
)


def _clip(image_size: int, patch_size: int) -> CLIP:
    return CLIP(49408, 49407, window=16, image_size=image_size, patch_size=patch_size)


MODELS = {
    "fcos_resnet50_fpn": functools.partial(FCOS, backbone=_RESNET50, num_classes=91),
    "retinanet_resnet50_fpn": functools.partial(RetinaNet, backbone=_RESNET50, num_classes=91),
    "fasterrcnn_resnet50_fpn": functools.partial(FasterRCNN, backbone=_RESNET50, num_classes=90),
    "maskrcnn_resnet50_fpn": functools.partial(FasterRCNN, backbone=_RESNET50, num_classes=90, mask_head=MaskHead(90)),
    "keypointrcnn_resnet50_fpn": functools.partial(
        FasterRCNN, backbone=_RESNET50, num_classes=1, keypoint_head=KeypointHead(17)
    ),
    "ssd300_vgg16": functools.partial(SSD, backbone=ReducedVGG16(), num_classes=90),
    "conditional_detr_resnet50": functools.partial(ConditionalDETR, backbone=_RESNET50, num_classes=91),
    "dab_detr_resnet50": functools.partial(
        ConditionalDETR, backbone=_RESNET50, num_classes=91, anchors=True, max_period=20.0
    ),
    "deformable_detr_resnet50": functools.partial(DeformableDETR, backbone=_RESNET50, num_classes=91),
    "detr_resnet50": functools.partial(DETR, backbone=_RESNET50, num_classes=91),
    "vitpose_base_simple": functools.partial(ViTPose),
    "vitpose_base": functools.partial(ViTPose, simple=False),
    "yolos_tiny": functools.partial(
        YOLOS, num_classes=91, image_size=(800, 1333), width=192, num_heads=3, mlp_features=768, mid_positions=False
    ),
    "yolos_small": functools.partial(YOLOS, num_classes=91),
    "yolos_base": functools.partial(
        YOLOS, num_classes=91, image_size=(800, 1344), width=768, num_heads=12, mlp_features=3072
    ),
    "detr_resnet101": functools.partial(DETR, backbone=ResNet(stages=(3, 4, 23, 3)), num_classes=91),
    "owlvit_base_patch32": functools.partial(OWLViT, clip=_clip(768, 32)),
    "owlv2_base_patch16": functools.partial(OWLViT, clip=_clip(960, 16), objectness=True),
    "rt_detr_r50vd": functools.partial(RTDETR, backbone=ResNetD(), num_classes=80),
    "rt_detr_v2_r50vd": functools.partial(RTDETR, backbone=ResNetD(), num_classes=80),
    "grounding_dino_tiny": functools.partial(_GROUNDING_DINO),
    "mm_grounding_dino_tiny": functools.partial(_GROUNDING_DINO, shared_heads=False, scaled=True),
    "rf_detr_base": functools.partial(
        LWDETR, backbone=_DINOV2, num_classes=91, stages=tuple(f"block{i}" for i in (2, 5, 8, 11)), norm_epsilon=1e-5
    ),
    "lw_detr_tiny": functools.partial(LWDETR, backbone=_VIT, num_classes=91),
    "deim_v2_nano": functools.partial(
        DEIMv2,
        backbone=HGNET["hgnetv2_b0"](num_classes=0, hidden=0),
        num_classes=80,
        stages=("layer3", "layer4"),
        features=128,
        hidden_features=512,
        decoder_layers=3,
        num_levels=2,
        num_points=(6, 6),
        encoder_features=128,
        encoder_hidden_features=512,
        encoder_levels=(1,),
        encoder_blocks=2,
        expansion=0.34,
    ),
    "doc_layout_v3": functools.partial(DocLayoutV3, backbone=HGNetV2(), num_classes=80),
    "doc_layout_v4": functools.partial(DocLayout, backbone=HGNetV2(), num_classes=80),
    "d_fine_large": functools.partial(DFINE, backbone=HGNetV2(), num_classes=80),
}
BACKBONES = {name: "resnet101" if "101" in name else "resnet50" for name in MODELS if "resnet" in name}
"""The `--model` of a page whose backbone has the form of the detector's."""


def example_inputs(model: nn.Module) -> tuple[jax.Array, ...]:
    """Build inputs that initialize a detector.

    Args:
      model: name from `MODELS`.

    Returns:
      (an image [1, H, W, 3],): of 300 pixels for SSD, whose last levels need them, of its own size for ViTPose, of
      `EXAMPLE_SIDE` or 64 for others; (an image, a text [1, 1]) for OWL-ViT and
      Grounding DINO.
    """
    if isinstance(model, OWLViT):
        side = model.clip.image_size
        return jnp.zeros((1, side, side, 3)), jnp.ones((1, 1), jnp.int32)
    if isinstance(model, GroundingDINO):
        side = model.EXAMPLE_SIDE
        return jnp.zeros((1, side, side, 3)), jnp.ones((1, 1), jnp.int32)
    if isinstance(model, ViTPose):
        return (jnp.zeros((1, *model.image_size, 3)),)
    side = 300 if isinstance(model, SSD) else getattr(model, "EXAMPLE_SIDE", 64)
    return (jnp.zeros((1, side, side, 3)),)


def count_classes(model: nn.Module, state_dict: Mapping[str, Any]) -> int | None:
    """Count the classes of published or fine-tuned weights.

    Args:
      model: model from `MODELS`.
      state_dict: PyTorch state dict, see `dlcore.detection.torch_weights`.

    Returns:
      C, as the field `num_classes` counts it; None where the weights lack the heads.

    Raises:
      ValueError: the heads have different numbers of classes.
    """
    if isinstance(model, OWLViT | ViTPose | GroundingDINO):
        return None
    return _count("classes", model.num_classes, lambda n: _with_classes(model, n), state_dict)


def from_torch_names(model: nn.Module, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict to the variables of a detector.

    Args:
      model: model from `MODELS`; its mask head gets the detector's number of classes, and its keypoint head the number
        of keypoints of the state dict.
      state_dict: PyTorch state dict, see `dlcore.detection.torch_weights`.

    Returns:
      {"params": ..., "batch_stats": ...}.

    Raises:
      ValueError: entries are missing, left over or of a wrong shape; they are listed by name.
    """
    if isinstance(model, OWLViT):
        return torch_weights.from_torch_names(model, state_dict, inputs=example_inputs(model))
    if isinstance(model, GroundingDINO):
        return grounding_names.from_torch_names(model, state_dict)
    if isinstance(model, ViTPose):
        return torch_weights.from_torch_names(model, state_dict, model.image_size)
    model = _with_classes(model, model.num_classes)
    if (head := getattr(model, "keypoint_head", None)) is not None:

        def with_keypoints(count: int) -> nn.Module:
            return model.clone(keypoint_head=head.clone(num_keypoints=count))

        count = _count("keypoints", head.num_keypoints, with_keypoints, state_dict)
        model = model if count is None else with_keypoints(count)
    return torch_weights.from_torch_names(model, state_dict, example_inputs(model)[0].shape[1:3])


def _with_classes(model: nn.Module, num_classes: int) -> nn.Module:
    head = getattr(model, "mask_head", None)
    heads = {} if head is None else {"mask_head": head.clone(num_classes=num_classes)}
    return model.clone(num_classes=num_classes, **heads)


def _count(what: str, size: int, build: Callable[[int], nn.Module], state_dict: Mapping[str, Any]) -> int | None:
    models = build(size), build(size + 1)
    shapes = [jax.eval_shape(model.init, jax.random.key(0), *example_inputs(model)) for model in models]
    rules, older = models[0].TORCH_NAMES, getattr(models[0], "TORCH_OLD_NAMES", ())
    return count_from_torch(what, size, (shapes[0], shapes[1]), state_dict, rules, older)
