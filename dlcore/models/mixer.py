"""MLP-Mixer: perceptrons across patches and perceptrons across channels, in turn, and nothing else.

Tolstikhin et al., "MLP-Mixer: an all-MLP architecture for vision" (2021), arXiv:2105.01601.

    X = patches E                                              [N, C], N patches: one dense layer on each
    X = X + W_2 gelu(W_1 LN(X))                                token mixing: down the columns, one MLP for all channels
    X = X + gelu(LN(X) W_3) W_4                                channel mixing: along the rows, one MLP for all patches
    logits = head(mean over patches of LN(X))

The weights across patches are those of one number of patches, so that a Mixer takes images of its own size alone; in
return positions need no table. Hidden units: C / 2 across patches, 4 C across channels. Names and initial values are
timm's.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from dlcore.models.inputs import check_images
from dlcore.nn import Conv, FeedForward, LayerNorm, drop_path, gelu
from dlcore.nn.precision import compute_dtype, logits_dtype
from dlcore.nn.remat import Remat, remat

__all__ = ["MODELS", "Mixer", "MixerBlock"]

EPSILON = 1e-6
TORCH_NAMES = ((r"^stem\.", "stem.proj."),)


class MixerBlock(nn.Module):
    """Token mixing with `tokens_hidden` units and channel mixing with `channels_hidden`, on [B, N, C]."""

    tokens_hidden: int
    channels_hidden: int
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """[B, N, C] -> the same shape."""
        layers = {"mlp_tokens": self.tokens_hidden, "mlp_channels": self.channels_hidden}
        for i, (name, hidden) in enumerate(layers.items(), 1):
            mlp = FeedForward(hidden, gelu, self.dropout, self.dtype, bias_init=nn.initializers.normal(1e-6), name=name)
            y = LayerNorm(EPSILON, dtype=self.dtype, name=f"norm{i}")(x)
            y = mlp(y, train) if name == "mlp_channels" else mlp(y.swapaxes(1, 2), train).swapaxes(1, 2)
            x = x + drop_path(y, self.drop_path, train)
        return x


class Mixer(nn.Module):
    """An MLP-Mixer on [B, H, W, C] of one size. Stages: block1, block2, ... (stride P = patch_size).

    depth: blocks. width: channels of a token. tokens_ratio, channels_ratio: hidden units over `width`. dropout: in each
    block; drop_path: share of examples that leave out a branch, the same in all blocks.
    remat: recompute each block in the backward pass. axis_name: for the form that all models have; nothing is averaged.
    """

    num_classes: int = 1000
    patch_size: int = 16
    depth: int = 8
    width: int = 512
    tokens_ratio: float = 0.5
    channels_ratio: float = 4.0
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = None
    axis_name: str | None = None
    remat: Remat = "none"
    head_init: Any = nn.initializers.zeros

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Logits [B, num_classes], at least float32; dropout where `train`, under the rng "dropout"."""
        return self._forward(x, train)[0]

    def features(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        """What each block says of the patches, [B, H / P, W / P, width]."""
        return self._forward(x, train)[1]

    @nn.compact
    def _forward(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        size = self.patch_size
        check_images(self, x, "stem", smallest=size)
        sides = x.shape[1:3]
        if any(side % size for side in sides):
            raise ValueError(f"x has images of {sides[0]}x{sides[1]}: multiples of patch_size={size} are allowed")
        patches = sides[0] // size * (sides[1] // size)
        built = self.variables.get("params", {}).get("blocks_0", {}).get("mlp_tokens", {}).get("fc1", {}).get("kernel")
        if built is not None and built.shape[0] != patches:
            raise ValueError(f"x has {patches} patches: this Mixer was built for {built.shape[0]}")
        dtype = compute_dtype(self.dtype, x, self.variables)
        x = Conv(
            self.width, (size, size), (size, size), "VALID", dtype=dtype,
            kernel_init=nn.initializers.lecun_normal(), name="stem",
        )(x)  # fmt: skip
        grid, x = x.shape[1:3], x.reshape(x.shape[0], patches, self.width)
        block, maps = MixerBlock, {}
        block = remat(block, self.remat, static_argnums=(2,))
        for i in range(self.depth):
            x = block(
                int(self.tokens_ratio * self.width), int(self.channels_ratio * self.width), self.dropout,
                self.drop_path, dtype, name=f"blocks_{i}",
            )(x, train)  # fmt: skip
            maps[f"block{i + 1}"] = x.reshape(x.shape[0], *grid, self.width)
        x = LayerNorm(EPSILON, dtype=logits_dtype(x.dtype), name="norm")(x).mean(1)
        return nn.Dense(self.num_classes, dtype=x.dtype, kernel_init=self.head_init, name="head")(x), maps


MODELS = {
    "mixer_s16_224": functools.partial(Mixer),
    "mixer_s32_224": functools.partial(Mixer, patch_size=32),
    "mixer_b16_224": functools.partial(Mixer, depth=12, width=768),
    "mixer_b32_224": functools.partial(Mixer, patch_size=32, depth=12, width=768),
}
