"""Mix transformer (MiT), SegFormer's encoder: a transformer of four stages on overlapping patches, without positions.

Xie et al., "SegFormer: simple and efficient design for semantic segmentation with transformers" (2021),
arXiv:2105.15203.

    stage      overlapping patches: conv (7x7 of stride 4, then 3x3 of stride 2) -> LN -> blocks -> LN
    block      z = z + SRA(LN(z)),  z = z + MixFFN(LN(z))
    MixFFN     W_2 gelu(depthwise3x3(W_1 z))

It is `dlcore.models.pvt_v2` with other sizes: MLPs of 4 times the channels, and 1e-5 beside variances. The segmenter is
`dlcore.segmentation.segformer`. Names are those of transformers' SegformerForImageClassification, whose weights of any
version load unchanged, as do those of SegformerModel with `num_classes=0`.
"""

import functools

from dlcore.models.pvt_v2 import PVTv2

__all__ = ["ENCODER_NAMES", "ENCODER_OLD_NAMES", "MODELS", "MiT"]

ENCODER_NAMES = (
    (r"^layers\.(\d)_", r"stages.\1."),
    (r"\.patch_embedding_", ".patch_embeddings."),
    (r"\.attention\.attn\.(q|k|v)(?:uery|ey|alue)\.", r".attention.\1_proj."),
    (r"\.attention\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attention\.spatial_reduction\.", ".attention.sequence_reduction."),
    (r"\.attention\.(sequence_reduction|layer_norm)\.", r".attention.sequence_reduction.\1."),
    (r"\.mlp_dwconv\.", ".mlp.dwconv.dwconv."),
    (r"\.mlp_dense(\d)\.", r".mlp.fc\1."),
    (r"\.layer_norm\.1\.", ".layernorm_before."),
    (r"\.layer_norm\.2\.", ".layernorm_after."),
)
"""From the paths of an encoder's parameters to transformers' names."""
ENCODER_OLD_NAMES = (
    (r"^(segformer|glpn)\.", ""),
    (r"^encoder\.patch_embeddings\.(\d+)\.", r"stages.\1.patch_embeddings."),
    (r"^encoder\.block\.(\d+)\.", r"stages.\1.blocks."),
    (r"^encoder\.layer_norm\.(\d+)\.", r"stages.\1.layer_norm."),
    (r"\.attention\.self\.(q|k|v)(?:uery|ey|alue)\.", r".attention.\1_proj."),
    (r"\.attention\.self\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attention\.self\.layer_norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.mlp\.dense(\d)\.", r".mlp.fc\1."),
    (r"\.layer_norm_1\.", ".layernorm_before."),
    (r"\.layer_norm_2\.", ".layernorm_after."),
)
"""From the names of older files, as most published weights have them, to today's."""
TORCH_NAMES = (*ENCODER_NAMES, (r"^head\.", "classifier."))
TORCH_OLD_NAMES = ENCODER_OLD_NAMES


class MiT(PVTv2):
    """A MiT on [B, H, W, C]. Stages stage1 to stage4, of strides 4, 8, 16 and 32.

    All fields of `PVTv2`.
    """

    mlp_ratios: tuple[int, ...] = (4, 4, 4, 4)

    epsilon = 1e-5


MODELS = {
    "mit_b0": functools.partial(MiT, widths=(32, 64, 160, 256)),
    "mit_b1": functools.partial(MiT),
    "mit_b2": functools.partial(MiT, stages=(3, 4, 6, 3)),
    "mit_b3": functools.partial(MiT, stages=(3, 4, 18, 3)),
    "mit_b4": functools.partial(MiT, stages=(3, 8, 27, 3)),
    "mit_b5": functools.partial(MiT, stages=(3, 6, 40, 3)),
}
