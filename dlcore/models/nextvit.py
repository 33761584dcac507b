"""Next-ViT: stages of convolution blocks that end in a transformer block.

Li et al., "Next-ViT: next generation vision transformer for efficient deployment in realistic industrial scenarios"
(2022), arXiv:2207.05501.

    M(x)          conv1x1(relu BN conv3x3(x))                                  3x3 in groups of 32 channels
    convolution   x = P(x),  x = x + M(x),  x = x + MLP(BN(x))                 P: average pool, conv1x1 and BN, or x
    transformer   x = P(x),  x = x + MSA(BN(x)),  y = P'(x),  y = y + M(y),  x = [x; y],  x = x + MLP(BN(x))

MSA has keys and values of means of R^2 pixels in a row of the raster, R = 4, 2 and 1. Three quarters of a transformer's
channels come from the attention. Names are timm's.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.models.mobilenet_v2 import ConvNorm, round_channels
from dlcore.nn import BatchNorm, Conv, Dense, FeedForward, MultiHeadAttention, drop_path
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops import avg_pool, global_avg_pool
from dlcore.ops.precision import to_acc_dtype
from dlcore.ops.replica import REPLICA

__all__ = ["MODELS", "NextBlock", "NextViT"]

KERNEL_INIT = nn.initializers.truncated_normal(0.02)
HEAD_FEATURES = 32
TORCH_NAMES = (
    (r"^stages\.(\d)_", r"stages.\1."),
    (r"\.(patch_embed|mhca|projection|e_mhsa)_", r".\1."),
    (r"^stem\.(\d)\.0\.", r"stem.\1.conv."),
    (r"^stem\.(\d)\.1\.", r"stem.\1.norm."),
    (r"\.e_mhsa\.attn\.(q|k|v)(?:uery|ey|alue)\.", r".e_mhsa.\1."),
    (r"\.e_mhsa\.attn\.", ".e_mhsa."),
    (r"^head\.", "head.fc."),
)


class NextBlock(CheckedFields):
    """A convolution block, or a transformer block.

    Args:
      stride: 1 or 2.
      reduction: R, of a transformer block; keys and values are means of R^2 pixels; None: a convolution block.
    """

    features: int
    stride: int = 1
    reduction: int | None = None
    drop_path: float = 0.0
    dtype: Any = None
    axis_name: str | None = REPLICA

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, ceil(H / stride), ceil(W / stride), features].
        """
        norm = functools.partial(BatchNorm, not train, axis_name=self.axis_name, dtype=self.dtype)
        dense = functools.partial(Dense, use_bias=False, dtype=self.dtype, kernel_init=KERNEL_INIT)
        attention_width = round_channels(int(0.75 * self.features), HEAD_FEATURES)

        def embedded(x: jax.Array, width: int, stride: int, name: str) -> jax.Array:
            if stride == 1 and x.shape[-1] == width:
                return x
            x = avg_pool(x, (2, 2), (2, 2), count_include_pad=False, ceil_mode=True) if stride > 1 else x
            return norm(name=f"{name}_norm")(dense(width, name=f"{name}_conv")(x))

        def mixed(x: jax.Array, rate: float) -> jax.Array:
            width = x.shape[-1]
            groups = {"feature_group_count": width // HEAD_FEATURES, "use_bias": False, "kernel_init": KERNEL_INIT}
            y = Conv(width, (3, 3), padding=1, dtype=self.dtype, **groups, name="mhca_group_conv3x3")(x)
            y = dense(width, name="mhca_projection")(nn.relu(norm(name="mhca_norm")(y)))
            return x + drop_path(y, rate, train)

        if self.reduction is None:
            x = mixed(embedded(x, self.features, self.stride, "patch_embed"), self.drop_path)
            ratio, name = 3, "norm"
        else:
            x = embedded(x, attention_width, self.stride, "patch_embed")
            query = source = norm(name="norm1")(x).reshape(len(x), -1, attention_width)
            if self.reduction > 1:
                source = avg_pool(source, (self.reduction**2,), (self.reduction**2,))
                source = norm(name="e_mhsa_norm")(source)
            heads = attention_width // HEAD_FEATURES
            attend = MultiHeadAttention(heads, dtype=self.dtype, kernel_init=KERNEL_INIT, name="e_mhsa_attn")
            x = x + drop_path(attend(query, source, train=train).reshape(x.shape), 0.75 * self.drop_path, train)
            y = mixed(embedded(x, self.features - attention_width, 1, "projection"), 0.25 * self.drop_path)
            x, ratio, name = jnp.concatenate([x, y], -1), 2, "norm2"
        mlp = FeedForward(ratio * self.features, nn.relu, dtype=self.dtype, kernel_init=KERNEL_INIT, name="mlp")
        return x + drop_path(mlp(norm(name=name)(x)), self.drop_path, train)


class NextViT(Backbone):
    """A Next-ViT on [B, H, W, C]. Stages stage1 to stage4, of strides 4, 8, 16 and 32.

    Args:
      stages: blocks in each stage; in the third every fifth is a transformer, in the others behind it the last one.
    """

    num_classes: int = 1000
    stages: tuple[int, int, int, int] = (3, 4, 10, 3)
    drop_path: float = 0.1
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        check_images(self, x, "stem_0/0", smallest=32)
        fields = {"dtype": compute_dtype(self.dtype, x, self.variables), "axis_name": self.axis_name}
        for i, (width, stride) in enumerate(((64, 2), (32, 1), (64, 1), (64, 2))):
            x = ConvNorm(width, 3, stride, **fields, name=f"stem_{i}")(x, train)
        a, b, c, d = self.stages
        widths = ([96] * a, [192] * (b - 1) + [256], [384, 384, 384, 384, 512] * (c // 5), [768] * (d - 1) + [1024])
        block, maps, index = remat(NextBlock, self.remat, static_argnums=(2,)), {}, 0
        for i, stage in enumerate(widths):
            for j, width in enumerate(stage):
                rate = self.drop_path * index / max(sum(self.stages) - 1, 1)
                reduction = (8 >> i) if width in (256, 512, 1024) else None
                stride = 2 if i and not j else 1
                x = block(width, stride, reduction, rate, **fields, name=f"stages_{i}_blocks_{j}")(x, train)
                index += 1
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = to_acc_dtype(x)
        x = BatchNorm(not train, axis_name=self.axis_name, dtype=x.dtype, name="norm")(x)
        return self._linear(global_avg_pool(x))


MODELS = {
    "nextvit_small": functools.partial(NextViT),
    "nextvit_base": functools.partial(NextViT, stages=(3, 4, 20, 3), drop_path=0.2),
    "nextvit_large": functools.partial(NextViT, stages=(3, 4, 30, 3), drop_path=0.2),
}
