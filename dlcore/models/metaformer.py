"""MetaFormer: a transformer block with any token mixer; PoolFormer, ConvFormer and CAFormer.

Yu et al., "MetaFormer is actually what you need for vision" (2022), arXiv:2111.11418 (PoolFormer); Yu et al.,
"MetaFormer baselines for vision" (2024), arXiv:2210.13452 (the others).

    block      z = r z + l M(N(z)),  z = r z + l W_2 s(W_1 N(z))       r, l: a factor of each channel, or 1
    pool       M(z) = average3x3(z) - z
    conv       M(z) = W_2 depthwise7x7(s(W_1 z)),  W_1 to 2 C channels
    attention  M(z) = attention of all pixels, heads of 32 channels
    s          StarReLU, s(z) = a relu(z)^2 + b with learned a and b; GELU in the first PoolFormer
    stage      conv3x3 of stride 2 (7x7 of stride 4 in front) -> blocks

N normalizes each pixel, or (PoolFormer) the whole map. The first PoolFormer has biases and l; the others have no biases
in blocks, r in the last two stages, and norms around the strided convolutions. ConvFormer and CAFormer classify by an
MLP with a squared ReLU. Names are timm's; weights of transformers' PoolFormer load as well.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_images
from dlcore.models.metaformer_blocks import KERNEL_INIT, MetaFormerBlock, Mixer
from dlcore.models.torch_weights import Layout
from dlcore.nn import Conv, Dense, GroupNorm, LayerNorm
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import global_avg_pool
from dlcore.ops.precision import to_acc_dtype

__all__ = ["MODELS", "MetaFormer"]

_STAR = (
    (r"\.(act1|mlp_act)\.slope$", r".\1.scale"),
    (r"\.(act1|mlp_act)\.offset$", r".\1.bias"),
    (r"\.mlp_act\.", ".mlp.act."),
)
_BODY = (
    (r"^stages\.(\d)_", r"stages.\1."),
    (r"^(stem|stages\.\d\.downsample)_", r"\1."),
    *_STAR,
    (r"\.(layer|res)_scale(\d)$", r".\1_scale\2.scale"),
    (r"^norm\.", "head.norm."),
)
TORCH_NAMES = (*_BODY, (r"^head\.(?=weight|bias)", "head.fc."))
TORCH_LAYOUTS = (
    Layout(
        r"^head\.fc\.fc1\.",
        names=(
            *_BODY,
            (r"^hidden\.(0|1)\.", lambda m: f"head.fc.{('fc1', 'norm')[int(m[1])]}."),
            (r"^head\.(?=weight|bias)", "head.fc.fc2."),
        ),
    ),
    Layout(
        r"^encoder\.patch_embeddings\.",
        names=(
            (r"^stem_conv\.", "encoder.patch_embeddings.0.projection."),
            (r"^stages\.(\d)_downsample_conv\.", r"encoder.patch_embeddings.\1.projection."),
            (r"^stages\.(\d)_blocks\.(\d+)\.", r"encoder.block.\1.\2."),
            (r"\.norm1\.", ".before_norm."),
            (r"\.norm2\.", ".after_norm."),
            (r"\.mlp\.fc(\d)\.", r".output.conv\1."),
            (r"\.layer_scale(\d)$", r".layer_scale_\1"),
            (r"^head\.", "classifier."),
        ),
        older=((r"^poolformer\.", ""),),
    ),
)
"""Networks of timm whose head is an MLP, and transformers' PoolFormerForImageClassification."""


class MetaFormer(Backbone):
    """A MetaFormer on [B, H, W, C]. Stages stage1 to stage4, of strides 4, 8, 16 and 32.

    Args:
      mixers: token mixer of the blocks of each stage: pool, conv or attention.
      group_norm: normalize the whole map in front of mixers and MLPs, in place of each pixel.
      star: StarReLU and no biases in blocks, scaled shortcuts in the stages after the second, and norms around the
        strided convolutions; otherwise GELU and biases.
      mlp_head: classify by an MLP in place of a linear layer.
      norm_map: normalize the last map as a whole before the average, as transformers' PoolFormer does, which has no
        such norm without classes; otherwise normalize the average.
      mlp_ratio: hidden units of a block's MLP as a multiple of its channels.
      pool_size: side of the window of the pool.
      layer_scale: initial factor of each channel of a branch; None for none.
    """

    num_classes: int = 1000
    stages: tuple[int, ...] = (2, 2, 6, 2)
    widths: tuple[int, ...] = (64, 128, 320, 512)
    mixers: tuple[Mixer, ...] = ("pool", "pool", "pool", "pool")
    group_norm: bool = False
    star: bool = True
    mlp_head: bool = False
    norm_map: bool = False
    mlp_ratio: float = 4.0
    pool_size: int = 3
    layer_scale: float | None = None
    drop_path: float = 0.1
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        for field in ("widths", "mixers"):
            if len(getattr(self, field)) != len(self.stages):
                raise ValueError(f"{field}={getattr(self, field)}: wrong length; allowed: {len(self.stages)}")
        check_images(self, x, "stem_conv", smallest=4)
        dtype = compute_dtype(self.dtype, x, self.variables)
        block, maps, index = remat(MetaFormerBlock, self.remat, static_argnums=(2,)), {}, 0

        def norm(x: jax.Array, name: str) -> jax.Array:
            return LayerNorm(1e-6, dtype=dtype, use_bias=False, name=name)(x) if self.star else x

        conv = functools.partial(Conv, dtype=dtype, kernel_init=KERNEL_INIT)
        x = norm(conv(self.widths[0], (7, 7), 4, 2, name="stem_conv")(x), "stem_norm")
        for i, (blocks, width) in enumerate(zip(self.stages, self.widths, strict=True)):
            if i:
                front = f"stages_{i}_downsample"
                x = conv(width, (3, 3), 2, 1, name=f"{front}_conv")(norm(x, f"{front}_norm"))
            for j in range(blocks):
                x = block(
                    self.mixers[i],
                    self.group_norm,
                    self.star,
                    self.mlp_ratio,
                    self.pool_size,
                    self.layer_scale,
                    1.0 if self.star and i > 1 else None,
                    self.drop_path * index / max(sum(self.stages) - 1, 1),
                    1e-6 if self.star else 1e-5,
                    dtype,
                    name=f"stages_{i}_blocks_{j}",
                )(x, train)
                index += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = to_acc_dtype(x)
        if self.norm_map:
            x = global_avg_pool(GroupNorm(1, dtype=x.dtype, name="norm")(x) if self.num_classes else x)
        else:
            x = LayerNorm(1e-6, dtype=x.dtype, name="norm")(global_avg_pool(x))
        if self.mlp_head and self.num_classes:
            x = jnp.square(nn.relu(Dense(4 * x.shape[-1], dtype=x.dtype, kernel_init=KERNEL_INIT, name="hidden_0")(x)))
            x = LayerNorm(1e-6, dtype=x.dtype, name="hidden_1")(x)
        return self._linear(x)


DEPTHS = {"s12": (2, 2, 6, 2), "s24": (4, 4, 12, 4), "s36": (6, 6, 18, 6), "m36": (6, 6, 18, 6), "m48": (8, 8, 24, 8)}
WIDTHS = {"s": (64, 128, 320, 512), "m": (96, 192, 384, 768)}
LATER = {
    "s18": ((3, 3, 9, 3), (64, 128, 320, 512)),
    "s36": ((3, 12, 18, 3), (64, 128, 320, 512)),
    "m36": ((3, 12, 18, 3), (96, 192, 384, 576)),
    "b36": ((3, 12, 18, 3), (128, 256, 512, 768)),
}
MIXERS = {"convformer": ("conv",) * 4, "caformer": ("conv", "conv", "attention", "attention")}
MODELS = {
    f"{name}_{size}": functools.partial(MetaFormer, stages=stages, widths=WIDTHS[size[0]], group_norm=True, **fields)
    for name in ("poolformer", "poolformerv2")
    for size, stages in DEPTHS.items()
    for fields in [{} if "v2" in name else {"star": False, "layer_scale": 1e-5 if size in ("s12", "s24") else 1e-6}]
} | {
    f"{name}_{size}": functools.partial(MetaFormer, stages=stages, widths=widths, mixers=mixers, mlp_head=True)
    for name, mixers in MIXERS.items()
    for size, (stages, widths) in LATER.items()
}
