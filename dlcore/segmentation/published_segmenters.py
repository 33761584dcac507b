"""Transformers' segmenters by name: `create_model` and `load_torch` of `dlcore.models` know them."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.detection.detr import DETR
from dlcore.detection.torch_detectors import MODELS as DETECTORS
from dlcore.models.beit import MODELS as BEITS
from dlcore.models.clip import MODELS as CLIPS
from dlcore.models.clip import from_torch_names as clip_from_torch
from dlcore.models.convnext import MODELS as CONVNEXTS
from dlcore.models.hgnet import HGNetV2
from dlcore.models.hiera_det import HieraDet
from dlcore.models.mit import MODELS as ENCODERS
from dlcore.models.mobile_variants import MODELS as MOBILE_NETWORKS
from dlcore.models.mobilevit import MobileViT
from dlcore.models.mobilevit_v2 import MobileViTV2
from dlcore.models.resnet import ResNet
from dlcore.models.rotary_vitdet import RotaryViTDet
from dlcore.models.swin import Swin
from dlcore.models.torch_weights import count_from_torch, fill_from_torch
from dlcore.models.vitdet import MODELS as IMAGE_ENCODERS
from dlcore.models.weight_files import unwrap_state_dict
from dlcore.segmentation.clipseg import CLIPSeg, CLIPSegDecoder
from dlcore.segmentation.detr_segmenter import DETRSegmenter
from dlcore.segmentation.dpt_segmenter import DPTSegmenter
from dlcore.segmentation.eomt import EoMT
from dlcore.segmentation.light_deeplab import LightDeepLab
from dlcore.segmentation.mask2former import Mask2Former
from dlcore.segmentation.maskformer import MaskFormer
from dlcore.segmentation.oneformer import OneFormer
from dlcore.segmentation.rf_detr_segmenter import RFDETRSegmenter
from dlcore.segmentation.sam import SAM
from dlcore.segmentation.sam2 import SAM2
from dlcore.segmentation.sam3 import SAM3Tracker
from dlcore.segmentation.sam_hq import SAMHQ
from dlcore.segmentation.segformer import SegFormer
from dlcore.segmentation.text_maps import TextMap
from dlcore.segmentation.tips_segmenter import TIPSSegmenter
from dlcore.segmentation.upernet import BEiTPyramid, UPerNet
from dlcore.segmentation.videomt import VidEoMT
from dlcore.vision3d.binned_dpt import ReadoutDINOv2
from dlcore.vision3d.dpt import ClassTokenViT

__all__ = ["MODELS", "count_classes", "example_inputs", "from_torch_names"]


def _segformer(size: str, features: int) -> functools.partial:
    encoder = ENCODERS[f"mit_{size}"](num_classes=0)
    return functools.partial(SegFormer, backbone=encoder, num_classes=150, features=features)


def _sam(size: str, network: type[SAM] = SAM) -> functools.partial:
    encoder = IMAGE_ENCODERS[f"vitdet_{size}"](num_classes=0, pretrain_size=1024, drop_path=0.0)
    return functools.partial(network, encoder=encoder)


MODELS = {
    "maskformer_swin_t": functools.partial(MaskFormer, backbone=Swin(num_classes=0), num_classes=150),
    "mask2former_swin_t": functools.partial(Mask2Former, backbone=Swin(num_classes=0), num_classes=133),
    "oneformer_swin_t": functools.partial(OneFormer, backbone=Swin(num_classes=0), num_classes=150, num_queries=150),
    "eomt_large_640": functools.partial(EoMT, num_classes=133),
    "videomt_large_640": functools.partial(VidEoMT, num_classes=40),
    **{f"segformer_{size}": _segformer(size, 256) for size in ("b0", "b1")},
    **{f"segformer_{size}": _segformer(size, 768) for size in ("b2", "b3", "b4", "b5")},
    **{
        f"upernet_convnext_{size}": functools.partial(
            UPerNet, backbone=CONVNEXTS[f"convnext_{size}"](num_classes=0), num_classes=150, aux_stage="stage3"
        )
        for size in ("tiny", "small", "base", "large")
    },
    "upernet_beit_base": functools.partial(
        UPerNet,
        backbone=BEiTPyramid(BEITS["beit_base_patch16_224"](num_classes=0, pool="none", image_size=640)),
        num_classes=150,
        features=768,
        aux_stage="stage3",
        normalize=False,
    ),
    "dpt_large_ade": functools.partial(
        DPTSegmenter,
        backbone=ClassTokenViT(
            num_classes=0, image_size=480, width=1024, depth=24, num_heads=16, mlp_features=4096, epsilon=1e-12
        ),
        num_classes=150,
    ),
    "deeplabv3_mobilenet_v2": functools.partial(
        LightDeepLab,
        backbone=MOBILE_NETWORKS["mobilenetv2_100"](num_classes=0),
        num_classes=21,
        stage="stage7",
        rates=(),
        dropout=0.0,
        map_dropout=0.8,
        mean_first=True,
    ),
    "deeplabv3_mobilevit_s": functools.partial(
        LightDeepLab,
        backbone=MobileViT(num_classes=0, widths=(16, 32, 64, 96, 128, 160), output_stride=16),
        num_classes=21,
    ),
    "deeplabv3_mobilevitv2_100": functools.partial(
        LightDeepLab, backbone=MobileViTV2(num_classes=0, output_stride=16), num_classes=21, channels=512
    ),
    "tips_v2_b_14_ade": functools.partial(
        TIPSSegmenter,
        backbone=ReadoutDINOv2(image_size=448, num_registers=1, antialias_positions=True, linear_positions=True),
        num_classes=150,
    ),
    "detr_resnet50_panoptic": functools.partial(DETRSegmenter, detr=DETR(ResNet(num_classes=0), num_classes=250)),
    "rf_detr_seg_base": functools.partial(RFDETRSegmenter, detector=DETECTORS["rf_detr_base"]()),
    **{f"sam_vit_{size}": _sam(size) for size in ("b", "l", "h")},
    **{f"sam_hq_vit_{size}": _sam(size, SAMHQ) for size in ("b", "l", "h")},
    "clipseg_rd64": functools.partial(
        CLIPSeg,
        clip=CLIPS["clip_vit_b_16"](),
        decoder=CLIPSegDecoder(patch_size=16),
    ),
    "sam2_hiera_tiny": functools.partial(SAM2, encoder=HieraDet()),
    "sam3_tracker": functools.partial(SAM3Tracker, encoder=RotaryViTDet()),
    "pp_ocr_v5_server": functools.partial(TextMap, backbone=HGNetV2(), refined=True),
}


def example_inputs(model: nn.Module) -> tuple[jax.Array, ...]:
    """Build inputs that initialize a segmenter.

    Args:
      model: model of `MODELS`.

    Returns:
      (an image [1, H, W, 3],), and for SAM a prompt of each kind, for OneFormer a task; VidEoMT reads a clip.
    """
    if isinstance(model, SAM):
        size = model.encoder.image_size
        side = 4 * (size // model.encoder.patch_size)
        prompts = jnp.zeros((1, 1, 1, 2)), jnp.ones((1, 1, 1), jnp.int32), jnp.zeros((1, 1, 4))
        return jnp.zeros((1, size, size, 3)), *prompts, jnp.zeros((1, side, side, 1))
    if isinstance(model, CLIPSeg):
        return jnp.zeros((1, model.clip.image_size, model.clip.image_size, 3)), jnp.full((1, 1), model.clip.end_token)
    if isinstance(model, OneFormer):
        return jnp.zeros((1, 64, 64, 3)), jnp.zeros((1, model.task_length))
    if isinstance(model, VidEoMT):
        return (jnp.zeros((1, 2, model.image_size, model.image_size, 3)),)
    side = getattr(model, "image_size", 64)
    return (jnp.zeros((1, side, side, 3)),)


def _shapes(model: nn.Module) -> Any:
    return jax.eval_shape(lambda: model.init(jax.random.key(0), *example_inputs(model)))


def count_classes(model: nn.Module, state_dict: Mapping[str, Any]) -> int | None:
    """Count the classes of published or fine-tuned weights.

    Args:
      model: model of `MODELS`.
      state_dict: {name: array}.

    Returns:
      C; None where the network has no classes or the weights lack the head.

    Raises:
      ValueError: layers of the head have different numbers of classes.
    """
    if isinstance(model, SAM | DETRSegmenter | RFDETRSegmenter | CLIPSeg | TextMap):
        return None
    size = model.num_classes
    shapes = _shapes(model), _shapes(model.clone(num_classes=size + 1))
    return count_from_torch("classes", size, shapes, state_dict, model.TORCH_NAMES, model.TORCH_OLD_NAMES)


SHARED = "shared_image_embedding.positional_embedding"
COPY = "prompt_encoder.shared_embedding.positional_embedding"
"""SAM's frequencies, and their second name."""


def from_torch_names(model: nn.Module, state_dict: Mapping[str, Any]) -> Any:
    """Convert a state dict of transformers to the variables of a segmenter.

    Args:
      As `count_classes`.

    Returns:
      {"params": ..., "batch_stats": ...}.
    """
    entries = dict(unwrap_state_dict(state_dict))
    if isinstance(model, CLIPSeg):
        of_clip = {name[5:]: entries.pop(name) for name in list(entries) if name.startswith("clip.")}
        shapes = {"params": {"decoder": _shapes(model)["params"]["decoder"]}}
        decoder = fill_from_torch(shapes, entries, model.TORCH_NAMES, what="CLIPSeg")["params"]
        return {"params": {"clip": clip_from_torch(model.clip, of_clip)["params"], **decoder}}
    if isinstance(model, SAM2):
        for name in ("pos_embed", "pos_embed_window"):
            if (positions := entries.get(f"vision_encoder.backbone.{name}")) is not None:
                entries[f"vision_encoder.backbone.{name}"] = np.moveaxis(np.asarray(positions), 1, -1)
    elif isinstance(model, SAM):
        copy = entries.pop(COPY, None)
        if copy is not None and not np.array_equal(entries.setdefault(SHARED, copy), copy):
            raise ValueError(f"state_dict: {COPY} is not {SHARED}; allowed: one parameter under both names")
        if (positions := entries.get("vision_encoder.pos_embed")) is not None and np.ndim(positions) == 4:
            entries["vision_encoder.pos_embed"] = np.reshape(positions, (1, -1, np.shape(positions)[-1]))
    return fill_from_torch(
        _shapes(model),
        entries,
        model.TORCH_NAMES,
        what=type(model).__name__,
        older=model.TORCH_OLD_NAMES,
        optional=model.TORCH_OPTIONAL,
    )
