"""PiT: a pooling-based vision transformer, whose maps shrink between stages of ordinary blocks.

Heo et al., "Rethinking spatial dimensions of vision transformers" (2021), arXiv:2103.16302.

    overlapping patches of 2 S x 2 S, stride S, + positions -> map;   class token beside it
    stage      the blocks of `dlcore.models.vit` on [class token; map]
    pooling    a 3x3 depthwise convolution of stride 2 doubles the map's channels, a linear layer the class token's
    logits = head(LN(class token)); distilled, the mean of two heads on two tokens, as in DeiT

Names are timm's.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.models import vit
from dlcore.models.backbone import Backbone
from dlcore.models.inputs import check_images
from dlcore.nn import Conv, Dense, LayerNorm, LearnedPositions, TransformerEncoderBlock, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops.precision import acc_dtype_of

__all__ = ["MODELS", "PiT", "from_torch"]

EPSILON = 1e-6
INIT = nn.initializers.truncated_normal(0.02)
TORCH_NAMES = (
    (r"^patch_embed\.", "patch_embed.conv."),
    (r"^pos_embed\.weight", "pos_embed"),
    (r"^transformers\.(\d)\.(\d+)\.", r"transformers.\1.blocks.\2."),
    (r"^pools\.(\d)_", r"transformers.\1.pool."),
)


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Read the map of positions [1, C, h, w] as a table [1, h w, C], interpolated to another image size."""
    if not path.endswith("pos_embed/embedding"):
        return None
    table = value.reshape(*value.shape[:2], -1).swapaxes(1, 2)
    return table if table.shape == shape else vit.from_torch(path, table, shape)


class PiT(Backbone):
    """A PiT on [B, H, W, C]. Stages stage1 to stage3, of strides S, 2 S and 4 S.

    Args:
      image_size: side in pixels of the square images whose positions are learned; they are interpolated for other
        sizes.
      stride: S, pixels between patches, whose side is 2 S.
      head_width: channels of an attention head.
      mlp_ratio: hidden units of a block's MLP, as a multiple of its channels.
      distilled: a second token and its head, see `dlcore.models.deit`.
    """

    num_classes: int = 1000
    image_size: int = 224
    stride: int = 8
    stages: tuple[int, ...] = (2, 6, 4)
    num_heads: tuple[int, ...] = (2, 4, 8)
    head_width: int = 48
    mlp_ratio: float = 4.0
    distilled: bool = False
    drop_path: float = 0.0
    remat: Remat = "none"

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        size, stride = (2 * self.stride,) * 2, (self.stride,) * 2
        check_images(self, x, "patch_embed", smallest=size[0])
        dtype, width = compute_dtype(self.dtype, x, self.variables), self.head_width * self.num_heads[0]
        x = Conv(width, size, stride, "VALID", dtype=dtype, name="patch_embed")(x)
        positions = LearnedPositions((self.image_size // self.stride - 1,) * 2, embedding_init=INIT, name="pos_embed")
        x = positions(x.reshape(len(x), -1, width), x.shape[1:3]).reshape(x.shape)
        count = 2 if self.distilled else 1
        tokens = self.param("cls_token", INIT, (1, count, width)).astype(x.dtype)
        tokens = jnp.broadcast_to(tokens, (len(x), count, width))
        block, maps, done = remat(TransformerEncoderBlock, self.remat, static_argnums=(2,)), {}, 0
        for i, (blocks, num_heads) in enumerate(zip(self.stages, self.num_heads, strict=True)):
            if i > 0:
                groups, width = width, self.head_width * num_heads
                pool = Conv(
                    *(width, (3, 3), (2, 2), 1), feature_group_count=groups, dtype=dtype, name=f"pools_{i}_conv"
                )
                x, tokens = pool(x), Dense(width, dtype=dtype, name=f"pools_{i}_fc")(tokens)
            shape, x = x.shape, jnp.concatenate([tokens, x.reshape(len(x), -1, width)], 1)
            for j in range(blocks):
                x = block(
                    *(num_heads, int(width * self.mlp_ratio)),
                    pre_norm=True,
                    activation=gelu,
                    epsilon=EPSILON,
                    drop_path_rate=self.drop_path * done / max(sum(self.stages) - 1, 1),
                    dtype=dtype,
                    name=f"transformers_{i}_{j}",
                )(x, train)
                done += 1
            tokens, x = x[:, :count], x[:, count:].reshape(shape)
            x = maps[f"stage{i + 1}"] = self.perturb(f"stage{i + 1}", x)
        return tokens, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        x = LayerNorm(EPSILON, dtype=acc_dtype_of(x.dtype), name="norm")(x)
        if self.num_classes == 0:
            return x.mean(1)
        heads = ("head", "head_dist") if self.distilled else ("head",)
        dense = functools.partial(Dense, self.num_classes, dtype=x.dtype, kernel_init=self.head_init)
        return jnp.stack([dense(name=name)(x[:, i]) for i, name in enumerate(heads)]).mean(0)


_SIZES = {
    "ti": {"head_width": 32},
    "xs": {},
    "s": {"num_heads": (3, 6, 12)},
    "b": {"stride": 7, "head_width": 64, "stages": (3, 6, 4), "num_heads": (4, 8, 16)},
}
MODELS = {
    f"pit_{size}_{kind}224": functools.partial(PiT, distilled=bool(kind), **fields)
    for kind in ("", "distilled_")
    for size, fields in _SIZES.items()
}
