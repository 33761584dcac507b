"""MLP-Mixer: MLPs across patches and MLPs across channels, in turn.

Tolstikhin et al., "MLP-Mixer: an all-MLP architecture for vision" (2021), arXiv:2105.01601.

    X = patches E                                              [N, C], N patches: one dense layer on each
    X = X + W_2 gelu(W_1 LN(X))                                token mixing: down the columns, one MLP for all channels
    X = X + gelu(LN(X) W_3) W_4                                channel mixing: along the rows, one MLP for all patches
    logits = head(mean over patches of LN(X))

The weights across patches fit one number of patches, so a Mixer takes images of one size only; in return it needs no
position table. Hidden units: C / 2 across patches, 4 C across channels. Names and initial values are timm's.
"""

import functools
import re
from typing import Annotated, Any

import jax
import numpy as np
from flax import linen as nn

from dlcore.models.backbone import Backbone
from dlcore.models.fields import CheckedFields
from dlcore.models.inputs import check_images
from dlcore.nn import Conv, FeedForward, LayerNorm, drop_path, gelu
from dlcore.nn.precision import compute_dtype
from dlcore.nn.remat import Remat, remat
from dlcore.ops.precision import acc_dtype_of

__all__ = ["MODELS", "Mixer", "MixerBlock", "from_torch"]

EPSILON = 1e-6
TORCH_NAMES = ((r"^stem\.", "stem.proj."), (r"\.(mlp_\w+)\.gate\.(?=weight|bias)", r".\1.fc1."))


def from_torch(path: str, value: np.ndarray, shape: tuple[int, ...]) -> Any:
    """Cut the first layer of a gated MLP, whose gate comes last, in two."""
    part = re.search(r"/mlp_\w+/(fc1|gate)/", path)
    if part is None or len(value) != 2 * shape[-1]:
        return None
    return np.split(value, 2)[part[1] == "gate"].T


class MixerBlock(CheckedFields):
    """Token mixing and channel mixing, each beside its shortcut.

    Args:
      tokens_hidden: hidden units of the MLP across tokens.
      channels_hidden: hidden units of the MLP across channels.
      dropout: probability of dropping a value of the MLPs in training.
      gated: the hidden units are half as many, each times silu of another layer's.
    """

    tokens_hidden: int
    channels_hidden: int
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = None
    gated: Annotated[bool, "if changed"] = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, N, C], tokens.

        Returns:
          [B, N, C].
        """
        layers = {"mlp_tokens": self.tokens_hidden, "mlp_channels": self.channels_hidden}
        for i, (name, hidden) in enumerate(layers.items(), 1):
            mlp = FeedForward(
                hidden // 2 if self.gated else hidden,
                nn.silu if self.gated else gelu,
                self.dropout,
                self.dtype,
                bias_init=nn.initializers.normal(1e-6),
                gated=self.gated,
                name=name,
            )
            y = LayerNorm(EPSILON, dtype=self.dtype, name=f"norm{i}")(x)
            y = mlp(y, train) if name == "mlp_channels" else mlp(y.swapaxes(1, 2), train).swapaxes(1, 2)
            x = x + drop_path(y, self.drop_path, train)
        return x


class Mixer(Backbone):
    """An MLP-Mixer on [B, H, W, C] of one size. Stages block1, block2, ... of stride P = patch_size.

    Args:
      patch_size: P, side in pixels of a patch.
      depth: number of blocks.
      width: channels of a token.
      tokens_ratio: hidden units of token mixing, as a multiple of `width`.
      channels_ratio: hidden units of channel mixing, as a multiple of `width`.
      dropout: probability of dropping a value of the MLPs in training.
      drop_path: probability of dropping a branch of an example in training, the same in all blocks.
      gated: gate the MLPs, see `MixerBlock` (timm's gMixer).
    """

    num_classes: int = 1000
    patch_size: int = 16
    depth: int = 8
    width: int = 512
    tokens_ratio: float = 0.5
    channels_ratio: float = 4.0
    dropout: float = 0.0
    drop_path: float = 0.0
    remat: Remat = "none"
    gated: Annotated[bool, "if changed"] = False

    across = ("mlp_tokens", "fc1")
    """Where a block has the first layer across patches."""

    def _block(self, name: str, patches: int, dtype: Any) -> nn.Module:
        return remat(MixerBlock, self.remat, static_argnums=(2,))(
            int(self.tokens_ratio * self.width),
            int(self.channels_ratio * self.width),
            self.dropout,
            self.drop_path,
            dtype,
            self.gated,
            name=name,
        )

    def _norm(self, x: jax.Array) -> jax.Array:
        return LayerNorm(EPSILON, dtype=acc_dtype_of(x.dtype), name="norm")(x)

    def _stages(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """(The last tokens, the output of each block, [B, H / P, W / P, width])."""
        size = self.patch_size
        check_images(self, x, "stem", smallest=size)
        sides = x.shape[1:3]
        if any(side % size for side in sides):
            raise ValueError(f"{x.shape=}: patches do not cover the image; allowed: multiples of {size}")
        patches = sides[0] // size * (sides[1] // size)
        built = functools.reduce(
            lambda tree, key: tree.get(key, {}), ("blocks_0", *self.across), self.variables.get("params", {})
        )
        built = built.get("kernel")
        if built is not None and built.shape[0] != patches:
            raise ValueError(f"x.shape={x.shape}: {patches} patches do not fit this Mixer; allowed: {built.shape[0]}")
        dtype = compute_dtype(self.dtype, x, self.variables)
        x = Conv(
            self.width,
            (size, size),
            (size, size),
            "VALID",
            dtype=dtype,
            kernel_init=nn.initializers.lecun_normal(),
            name="stem",
        )(x)
        grid, x = x.shape[1:3], x.reshape(x.shape[0], patches, self.width)
        maps = {}
        for i in range(self.depth):
            x = self._block(f"blocks_{i}", patches, dtype)(x, train)
            x = self.perturb(f"block{i + 1}", x.reshape(x.shape[0], *grid, self.width))
            maps[f"block{i + 1}"], x = x, x.reshape(x.shape[0], patches, self.width)
        return x, maps

    def _head(self, x: jax.Array, train: bool) -> jax.Array:
        return self._linear(self._norm(x).mean(1))


MODELS = {
    "mixer_s16_224": functools.partial(Mixer),
    "mixer_s32_224": functools.partial(Mixer, patch_size=32),
    "mixer_b16_224": functools.partial(Mixer, depth=12, width=768),
    "mixer_b32_224": functools.partial(Mixer, patch_size=32, depth=12, width=768),
    "mixer_l16_224": functools.partial(Mixer, depth=24, width=1024),
    "mixer_l32_224": functools.partial(Mixer, patch_size=32, depth=24, width=1024),
    "gmixer_12_224": functools.partial(Mixer, depth=12, width=384, tokens_ratio=1.0, gated=True),
    "gmixer_24_224": functools.partial(Mixer, depth=24, width=384, tokens_ratio=1.0, gated=True),
}
