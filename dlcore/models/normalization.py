"""How images are normalized for published weights: x = (image - mean) / std, of pixels in [0, 1].

torchvision's weights, and most of timm's, take the mean and standard deviation of ImageNet's pixels. Weights that
were trained in [-1, 1] take 0.5 and 0.5. A file that differs from others of its model (timm's ViTs of "augreg" under
DeiT's names take 0.5) is converted with `--mean` and `--std` of `dlcore convert`.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = [
    "IMAGENET",
    "OF_CLIP",
    "OF_KINETICS",
    "OF_MVIT",
    "OF_SSD",
    "SYMMETRIC",
    "UNCHANGED",
    "Normalization",
    "normalization",
]


class Normalization(NamedTuple):
    """Mean and standard deviation of pixels in [0, 1].

    Args:
      mean: [C].
      std: [C].
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Of ImageNet's pixels."""
SYMMETRIC = Normalization((0.5,) * 3, (0.5,) * 3)
"""Pixels in [-1, 1]."""
OF_CLIP = Normalization((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Of the pixels that OpenAI trained CLIP on; OpenCLIP took the same."""
OF_SSD = Normalization((0.48235, 0.45882, 0.40784), (1 / 255,) * 3)
"""Means of VGG's pixels, not divided by a deviation, in [0, 255]."""
OF_KINETICS = Normalization((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
"""Of the pixels of Kinetics-400, which torchvision's networks of clips were trained on."""
OF_MVIT = Normalization((0.45,) * 3, (0.225,) * 3)
"""Of the pixels that the authors of MViT trained on, which torchvision's took over."""
UNCHANGED = Normalization((0.0,) * 3, (1.0,) * 3)
"""Pixels in [0, 1]."""

BY_NAME = (
    ("clip_", OF_CLIP),
    ("openclip_", OF_CLIP),
    ("siglip_", SYMMETRIC),
    ("siglip2_", SYMMETRIC),
    ("mobilevit_", UNCHANGED),
    ("regnetz_", SYMMETRIC),
    *((f"resnet{size}_clip", OF_CLIP) for size in ("50", "101", "50x4", "50x16", "50x64")),
    ("aimv2_", OF_CLIP),
    ("eva02_", OF_CLIP),
    ("ssd300_vgg16", OF_SSD),
    ("stable_diffusion_", SYMMETRIC),
    ("s3d", OF_KINETICS),
    ("r3d_18", OF_KINETICS),
    ("mc3_18", OF_KINETICS),
    ("r2plus1d_18", OF_KINETICS),
    ("mvit_", OF_MVIT),
)
"""First letters of names of networks, and how their images are normalized."""

IN_SYMMETRIC = {
    "beit_base_patch16_224": "timm, Microsoft's weights",
    "beit_base_patch16_384": "timm, Microsoft's weights",
    "beit_large_patch16_224": "timm, Microsoft's weights",
    "beit_large_patch16_384": "timm, Microsoft's weights",
    "beit_large_patch16_512": "timm, Microsoft's weights",
    "data2vec_vision_base": "transformers",
    "data2vec_vision_large": "transformers",
    "googlenet": "Google's weights, as torchvision has them",
    "inception_v3": "Google's weights, as torchvision has them",
    "efficientnet_v2_l": "Google's weights, as torchvision has them",
    "legacy_xception": "timm",
    "xception41": "timm",
    "xception65": "timm",
    "mixer_s16_224": "timm, Google's weights",
    "mixer_s32_224": "timm, Google's weights",
    "mixer_b16_224": "timm, Google's weights",
    "mixer_b32_224": "timm, Google's weights",
    "mobilenetv1_100": "timm",
    "mobilenetv1_125": "timm",
    "mobilenetv4_conv_small_035": "timm",
    "mobilenetv4_conv_small_050": "timm",
    "cs3darknet_focus_s": "timm",
    "resnetv2_50": "timm",
    "resnetv2_101": "timm",
    "resnetv2_152": "timm",
    "vit_gpt2": "transformers",
}
"""Models whose published weights take pixels in [-1, 1], and whose weights these are."""


def normalization(name: str, fields: Mapping[str, Any] | None = None) -> Normalization:
    """Return how images are normalized for a model's published weights.

    Args:
      name: a name of `dlcore.models.list_models()` that reads images.
      fields: fields of the model; with `transform_input` it turns standardized pixels into [-1, 1] itself.

    Returns:
      Mean and standard deviation.
    """
    from dlcore.models.registry import family_of

    family_of(name)
    for first, normalization in BY_NAME:
        if name.startswith(first):
            return normalization
    return SYMMETRIC if name in IN_SYMMETRIC and not (fields or {}).get("transform_input") else IMAGENET
