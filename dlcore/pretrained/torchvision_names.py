"""Names of torchvision's weights, such as ResNet50_Weights.IMAGENET1K_V2: the network and how photographs are prepared.

A photograph's shorter side becomes `resize` pixels, and the center of `crop` x `crop` is read, normalized by ImageNet's
statistics. The table holds what differs from resize 256 (V1) or 232 (V2), crop 224, bilinear. Networks of
clips, such as Swin3D_T_Weights.KINETICS400_V1, take frames that are prepared alike; some stretch them to `STRETCHED`.
"""

import re
from typing import NamedTuple

from dlcore.models.normalization import IMAGENET, normalization
from dlcore.pretrained.processor import Processor

__all__ = ["TorchvisionWeights", "torchvision_weights"]

NAME = re.compile(r"(\w+)_Weights\.(\w+)$")


SIZES = {
    "convnext_tiny": (236, 224),
    "convnext_small": (230, 224),
    "convnext_base": (232, 224),
    "convnext_large": (232, 224),
    "efficientnet_b1": (256, 240),
    "efficientnet_b2": (288, 288),
    "efficientnet_b3": (320, 300),
    "efficientnet_b4": (384, 380),
    "efficientnet_b5": (456, 456),
    "efficientnet_b6": (528, 528),
    "efficientnet_b7": (600, 600),
    "efficientnet_v2_s": (384, 384),
    "efficientnet_v2_m": (480, 480),
    "efficientnet_v2_l": (480, 480),
    "inception_v3": (342, 299),
    "maxvit_t": (224, 224),
    "mnasnet0_75": (232, 224),
    "mnasnet1_3": (232, 224),
    "resnext101_64x4d": (232, 224),
    "shufflenet_v2_x1_5": (232, 224),
    "shufflenet_v2_x2_0": (232, 224),
    "swin_t": (232, 224),
    "swin_s": (246, 224),
    "swin_b": (238, 224),
    "swin_v2_t": (260, 256),
    "swin_v2_s": (260, 256),
    "swin_v2_b": (272, 256),
    "vit_l_16": (242, 224),
}
"""Network -> (resize, crop) in pixels."""


STRETCHED = {
    "r3d_18": ((128, 171), 112),
    "mc3_18": ((128, 171), 112),
    "r2plus1d_18": ((128, 171), 112),
    "s3d": ((256, 256), 224),
}
"""Network of clips -> ((height, width), crop) in pixels."""


END_TO_END = {"vit_b_16": 384, "vit_l_16": 512, "vit_h_14": 518}
"""Side in pixels of the weights IMAGENET1K_SWAG_E2E_V1; others have 384."""


BICUBIC = (
    "swin_",
    "maxvit_",
    "efficientnet_b0",
    "efficientnet_b1",
    "efficientnet_b2",
    "efficientnet_b3",
    "efficientnet_b4",
    "efficientnet_b5",
    "efficientnet_b6",
    "efficientnet_b7",
    "efficientnet_v2_l",
)


class TorchvisionWeights(NamedTuple):
    """What a name of torchvision's weights says.

    Args:
      model: name of the network in `dlcore.models.list_models`.
      image_size: side in pixels of the images.
      processor: how photographs, or the frames of a clip, are prepared.
    """

    model: str
    image_size: int
    processor: Processor


def torchvision_weights(name: str) -> TorchvisionWeights | None:
    """Read a name of torchvision's weights.

    Args:
      name: such as ResNet50_Weights.IMAGENET1K_V2.

    Returns:
      The network and its processor; None where the text is no such name.
    """
    match = NAME.match(name)
    if match is None:
        return None
    model, weights = match[1].lower(), match[2]
    if model in STRETCHED:
        size, crop = STRETCHED[model]
        return TorchvisionWeights(model, crop, Processor(size, crop=(crop, crop), **normalization(model)._asdict()))
    swag = "SWAG" in weights
    if "E2E" in weights:
        resize = crop = END_TO_END.get(model, 384)
    elif swag:
        resize = crop = 224
    elif model == "efficientnet_b1" and weights == "IMAGENET1K_V2":
        resize, crop = 255, 240
    else:
        resize, crop = SIZES.get(model, (232 if weights == "IMAGENET1K_V2" else 256, 224))
    is_bicubic = swag or (model.startswith(BICUBIC) and (model, weights) != ("efficientnet_b1", "IMAGENET1K_V2"))
    has_own = model == "efficientnet_v2_l" or weights.startswith("KINETICS400")
    normalize = (normalization(model) if has_own else IMAGENET)._asdict()
    resample = "bicubic" if is_bicubic else "bilinear"
    return TorchvisionWeights(
        model, crop, Processor(shortest=resize, crop=(crop, crop), resample=resample, **normalize)
    )
