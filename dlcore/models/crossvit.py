"""CrossViT: two vision transformers on patches of two sizes, whose class tokens read the other's patches.

Chen et al., "CrossViT: cross-attention multi-scale vision transformer for image classification" (2021),
arXiv:2103.14899.

    branch     [class token; patches] + positions;  one of 12 x 12 on the image, one of 16 x 16 on a smaller copy of it
    stage      the blocks of `dlcore.models.vit` in each branch; then each class token t, as wide as the other branch,
               u = f(t),   u = u + MHA(query LN(u), keys and values LN([u; patches of the other]),   t = g(u)
    f, g       a linear layer of gelu(LN(t));    logits = mean over branches of head(LN(t))

Networks called dagger cut patches by three convolutions. Names are timm's.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import (
    Conv,
    Dense,
    LayerNorm,
    LearnedPositions,
    MultiHeadAttention,
    TransformerEncoderBlock,
    drop_path,
    gelu,
)
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops.precision import acc_dtype_of
from dlcore.ops.resize import resize

__all__ = ["MODELS", "CrossViT", "TokenFusion"]

EPSILON = 1e-6
PATCHES = (12, 16)
INIT = nn.initializers.truncated_normal(0.02)
TORCH_NAMES = (
    (r"^patch_embed\.(\d)\.(\d)\.", r"patch_embed.\1.proj.\2."),
    (r"^patch_embed\.(\d)\.(?=weight|bias)", r"patch_embed.\1.proj."),
    (r"^(pos_embed|cls_token)\.(\d)(\.weight)?$", r"\1_\2"),
    (r"^stages\.(\d+)\.(\d)\.(\d+)\.", r"blocks.\1.blocks.\2.\3."),
    (r"^fusion\.(\d+)\.(\d)\.(projs|revert_projs)_", r"blocks.\1.\3.\2."),
    (r"^fusion\.(\d+)\.(\d)\.", r"blocks.\1.fusion.\2."),
    (r"(\.fusion\.\d\.attn)\.(query|key|value)\.", lambda m: f"{m[1]}.w{m[2][0]}."),
    (r"projs\.(\d)\.norm\.", r"projs.\1.0."),
    (r"projs\.(\d)\.linear\.", r"projs.\1.2."),
)


class TokenFusion(CheckedFields):
    """Attention of one branch's class token to the other's patches.

    Args:
      num_heads: attention heads of the other branch.
    """

    num_heads: int
    drop_path: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, token: jax.Array, patches: jax.Array, train: bool = False) -> jax.Array:
        """Fuse.

        Args:
          token: [B, 1, D], the class token.
          patches: [B, N, E], of the other branch.

        Returns:
          [B, 1, D].
        """

        def project(x: jax.Array, features: int, name: str) -> jax.Array:
            x = gelu(LayerNorm(EPSILON, dtype=self.dtype, name=f"{name}_norm")(x))
            return Dense(features, dtype=self.dtype, kernel_init=INIT, name=f"{name}_linear")(x)

        features = token.shape[-1]
        token = project(token, patches.shape[-1], "projs")
        y = LayerNorm(EPSILON, dtype=self.dtype, name="norm1")(jnp.concatenate([token, patches], 1))
        y = MultiHeadAttention(self.num_heads, dtype=self.dtype, kernel_init=INIT, name="attn")(y[:, :1], y)
        return project(token + drop_path(y, self.drop_path, train), features, "revert_projs")


class CrossViT(Backbone):
    """A CrossViT on [B, H, W, C] of one size. Stages stage1 to stage3, of stride 12: the maps of the smaller patches.

    Args:
      image_size: side in pixels of the images.
      small_size: side of the copy that the branch of larger patches reads.
      stages: blocks of the branch of larger patches in each stage; the other branch has one.
      widths: channels of a token in each branch.
      num_heads: attention heads of each branch.
      mlp_ratio: hidden units of a block's MLP, as a multiple of its channels.
      conv_patches: cut patches by three convolutions in place of one.
    """

    num_classes: int = 1000
    image_size: int = 240
    small_size: int = 224
    stages: tuple[int, ...] = (4, 4, 4)
    widths: tuple[int, ...] = (192, 384)
    num_heads: tuple[int, ...] = (6, 6)
    mlp_ratio: float = 4.0
    conv_patches: bool = False
    drop_path: float = 0.0
    remat: Remat = "none"

    def _patches(self, i: int, x: jax.Array, dtype: Any) -> jax.Array:
        width, name = self.widths[i], f"patch_embed_{i}"
        if not self.conv_patches:
            patch = (PATCHES[i], PATCHES[i])
            return Conv(width, patch, patch, "VALID", dtype=dtype, name=name)(x)
        strides, paddings = ((4, 3, 1), (3, 0, 1)) if i == 0 else ((4, 2, 2), (3, 1, 1))
        for j, (features, kernel) in enumerate(((width // 4, 7), (width // 2, 3), (width, 3))):
            layer = Conv(
                *(features, (kernel, kernel), (strides[j], strides[j]), paddings[j]),
                dtype=dtype,
                name=f"{name}_{2 * j}",
            )
            x = layer(x) if j == 2 else nn.relu(layer(x))
        return x

    def _stages(self, x: jax.Array, train: bool) -> tuple[list[jax.Array], dict[str, jax.Array]]:
        sides = (self.image_size, self.small_size)
        check_images(self, x, "patch_embed_0", smallest=PATCHES[1])
        if x.shape[1:3] != sides[:1] * 2 or any(side % patch for side, patch in zip(sides, PATCHES, strict=True)):
            raise ValueError(f"{x.shape=}: does not fit image_size={sides[0]}; allowed: that side, of whole patches")
        dtype, images, branches = compute_dtype(self.dtype, x, self.variables), x, []
        for i, (side, width) in enumerate(zip(sides, self.widths, strict=True)):
            y = images if side == sides[0] else resize(images, (side, side), "bicubic")
            y = self._patches(i, y, dtype)
            grid, y = y.shape[1:3], y.reshape(len(y), -1, width)
            token = self.param(f"cls_token_{i}", INIT, (1, 1, width)).astype(y.dtype)
            y = jnp.concatenate([jnp.broadcast_to(token, (len(y), 1, width)), y], 1)
            positions = LearnedPositions((grid[0], grid[1]), 1, embedding_init=INIT, name=f"pos_embed_{i}")
            branches.append(positions(y))
        grid, maps = (sides[0] // PATCHES[0],) * 2, {}
        block = remat(TransformerEncoderBlock, self.remat, static_argnums=(2,))
        total = max(sum(self.stages) - 1, 1)
        for i, blocks in enumerate(self.stages):
            rates = [self.drop_path * (sum(self.stages[:i]) + j) / total for j in range(blocks)]
            for d, count in enumerate((1, blocks)):
                for j in range(count):
                    branches[d] = block(
                        *(self.num_heads[d], int(self.widths[d] * self.mlp_ratio)),
                        pre_norm=True,
                        activation=gelu,
                        epsilon=EPSILON,
                        drop_path_rate=rates[j],
                        dtype=dtype,
                        kernel_init=INIT,
                        name=f"stages_{i}_{d}_{j}",
                    )(branches[d], train)
            tokens = []
            for d in range(2):
                fusion = TokenFusion(self.num_heads[1 - d], rates[-1], dtype, name=f"fusion_{i}_{d}")
                tokens.append(fusion(branches[d][:, :1], branches[1 - d][:, 1:], train))
            branches = [jnp.concatenate([t, x[:, 1:]], 1) for t, x in zip(tokens, branches, strict=True)]
            patches = branches[0][:, 1:].reshape(len(x), *grid, self.widths[0])
            name = f"stage{i + 1}"
            maps[name] = self.perturb(name, patches)
            branches[0] = jnp.concatenate([tokens[0], maps[name].reshape(branches[0][:, 1:].shape)], 1)
        return branches, maps

    def _head(self, x: list[jax.Array], train: bool) -> jax.Array:
        tokens = [LayerNorm(EPSILON, dtype=acc_dtype_of(y.dtype), name=f"norm_{i}")(y[:, 0]) for i, y in enumerate(x)]
        if self.num_classes == 0:
            return jnp.concatenate(tokens, -1)
        dense = functools.partial(Dense, self.num_classes, dtype=tokens[0].dtype, kernel_init=self.head_init)
        first, second = (dense(name=f"head_{i}")(token) for i, token in enumerate(tokens))
        return (first + second) / 2


def _variant(blocks: int, width: int, num_heads: int, mlp_ratio: float, **fields: Any) -> functools.partial:
    sizes = {"stages": (blocks,) * 3, "widths": (width, 2 * width), "num_heads": (num_heads,) * 2}
    return functools.partial(CrossViT, **sizes, mlp_ratio=mlp_ratio, **fields)


_SIZES = {
    "tiny": (4, 96, 3, 4.0),
    "small": (4, 192, 6, 4.0),
    "base": (4, 384, 12, 4.0),
    "9": (3, 128, 4, 3.0),
    "15": (5, 192, 6, 3.0),
    "18": (6, 224, 7, 3.0),
}
MODELS = {
    **{f"crossvit_{size}_240": _variant(*numbers) for size, numbers in _SIZES.items()},
    **{f"crossvit_{size}_dagger_240": _variant(*_SIZES[size], conv_patches=True) for size in ("9", "15", "18")},
    **{
        f"crossvit_{size}_dagger_408": _variant(*_SIZES[size], conv_patches=True, image_size=408, small_size=384)
        for size in ("15", "18")
    },
}
INPUT_SHAPES = {name: (side, side, 3) for name in MODELS for side in (int(name[-3:]),)}
