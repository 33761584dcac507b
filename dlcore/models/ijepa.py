"""I-JEPA's encoder: a ViT without a class token, trained to predict the features of hidden parts of an image.

Assran et al., "Self-supervised learning from images with a joint-embedding predictive architecture" (2023),
arXiv:2301.08243. The network is `dlcore.models.vit` with `pool="mean"`; published without a head.

    z = patches E + positions,  then the encoder;    a call gives the mean over tokens of LN(z)

Here is the encoder that is published; the predictor of its training is not. Weights may be those of transformers'
IJepaModel and IJepaForImageClassification, with `epsilon=1e-12`, or the `target_encoder` of facebook's files.
"""

import functools

from dlcore.models import vit
from dlcore.models.vit import ViT

__all__ = ["IJEPA", "MODELS"]

TORCH_NAMES = vit.TIMM_NAMES
TORCH_LAYOUTS = (vit.TRANSFORMERS._replace(older=((r"^ijepa\.", ""), *vit.TRANSFORMERS.older)),)
from_torch = vit.from_torch


class IJEPA(ViT):
    """A ViT without a class token, on [B, H, W, C]; stages are those of `ViT`.

    All fields of `ViT`.

    Args:
      num_classes: number of classes, the length of the logits; 0, as published: no head, a call gives the mean over
        tokens.
    """

    num_classes: int = 0
    pool: str = "mean"

    pools = ("mean",)
    moves_token = False


_HUGE = {"width": 1280, "depth": 32, "num_heads": 16, "mlp_features": 5120}
MODELS = {
    "ijepa_vith14_1k": functools.partial(IJEPA, patch_size=14, **_HUGE),
    "ijepa_vith14_22k": functools.partial(IJEPA, patch_size=14, **_HUGE),
    "ijepa_vith16_1k": functools.partial(IJEPA, image_size=448, **_HUGE),
    "ijepa_vitg16_22k": functools.partial(IJEPA, width=1408, depth=40, num_heads=16, mlp_features=6144),
}
INPUT_SHAPES = {"ijepa_vith16_1k": (448, 448, 3)}
