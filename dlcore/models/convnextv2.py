"""ConvNeXt V2: a ConvNeXt whose blocks have global response norm (GRN) in place of layer scale.

Woo et al., "ConvNeXt V2: co-designing and scaling ConvNets with masked autoencoders" (2023), arXiv:2301.00808.

    block      y = x + W_2 GRN(gelu(W_1 LN(depthwise 7x7(x))))
    GRN(h)     h gamma (G / mean_c G) + beta + h,    G_c = |h_c|, the L2 norm of a channel over all locations

Masked pretraining of a ConvNeXt leaves many channels dead or alike; the norm lets channels compete, so that they stay
different. gamma and beta start at 0: a new layer is the identity. This is the supervised network, without the sparse
convolutions of the masked pretraining. Names are those of `dlcore.models.convnext`; published weights are timm's
(whose names of 1x1 convolutions for W_1 and W_2 in the small sizes load as well), facebook's and transformers'.
"""

import functools

from dlcore.models.convnext import TORCH_LAYOUTS as CONVNEXT_LAYOUTS
from dlcore.models.convnext import TORCH_NAMES, ConvNeXt

__all__ = ["MODELS", "TORCH_LAYOUTS", "TORCH_NAMES"]

TORCH_LAYOUTS = tuple(
    layout._replace(
        names=(*layout.names, (r"\.block_grn\.", ".mlp.grn.")),
        older=(
            *((pattern.replace("convnext", "convnextv2"), name) for pattern, name in layout.older),
            (r"(?<!\.mlp)\.grn\.", ".mlp.grn."),
            (r"\.grn\.gamma$", ".grn.weight"),
            (r"\.grn\.beta$", ".grn.bias"),
        ),
    )
    for layout in CONVNEXT_LAYOUTS
)
"""timm's names, and what turns facebook's and those of transformers' ConvNextV2ForImageClassification into them."""


def _variant(stages: tuple[int, ...], width: int, drop_path: float = 0.0) -> functools.partial:
    widths = (width, 2 * width, 4 * width, 8 * width)
    return functools.partial(ConvNeXt, stages=stages, widths=widths, drop_path=drop_path, grn=True)


MODELS = {
    "convnextv2_atto": _variant((2, 2, 6, 2), 40),
    "convnextv2_femto": _variant((2, 2, 6, 2), 48),
    "convnextv2_pico": _variant((2, 2, 6, 2), 64),
    "convnextv2_nano": _variant((2, 2, 8, 2), 80, 0.1),
    "convnextv2_tiny": _variant((3, 3, 9, 3), 96, 0.2),
    "convnextv2_base": _variant((3, 3, 27, 3), 128, 0.1),
    "convnextv2_large": _variant((3, 3, 27, 3), 192, 0.2),
    "convnextv2_huge": _variant((3, 3, 27, 3), 352, 0.3),
}
