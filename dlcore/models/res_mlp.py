"""ResMLP and gMLP: networks of patches that mix them by one linear layer, beside a shortcut or as a gate.

Touvron et al., "ResMLP: feedforward networks for image classification with data-efficient training" (2021),
arXiv:2105.03404; Liu et al., "Pay attention to MLPs" (2021), arXiv:2105.08050.

    ResMLP    X = X + s_1 W A_1(X),   X = X + s_2 MLP(A_2(X))     A(x) = a x + b for each channel, in place of norms
    gMLP      [U, V] = gelu(LN(X) W_1),   X = X + (U * (W LN(V) + c)) W_2

W mixes patches, so that images have one size, as for `dlcore.models.mixer`; s are gains of channels. Names are timm's.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.models.fields import CheckedFields
from dlcore.models.mixer import EPSILON, Mixer
from dlcore.nn import Dense, FeedForward, LayerNorm, drop_path, gelu
from dlcore.nn.remat import remat
from dlcore.ops.precision import to_acc_dtype

__all__ = ["GMLP", "MODELS", "Affine", "GatingBlock", "ResMLP", "ResMLPBlock"]

TORCH_NAMES = (
    (r"^stem\.", "stem.proj."),
    (r"\.mlp_channels_gate_", ".mlp_channels.gate."),
    (r"\.mlp_channels_fc", ".mlp_channels.fc"),
)


class Affine(CheckedFields):
    """A gain and an offset of each channel, [..., C] -> [..., C]."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply them.

        Args:
          x: [..., C].

        Returns:
          [..., C].
        """
        shape = (1, 1, x.shape[-1])
        gain, offset = (
            self.param("alpha", nn.initializers.ones, shape),
            self.param("beta", nn.initializers.zeros, shape),
        )
        return x * gain.astype(x.dtype) + offset.astype(x.dtype)


class ResMLPBlock(CheckedFields):
    """A linear layer across patches and an MLP across channels, each beside its shortcut.

    Args:
      channels_hidden: hidden units of the MLP.
      layer_scale: initial gain of each channel of a branch.
      dropout: probability of dropping a value of the MLP in training.
    """

    channels_hidden: int
    layer_scale: float = 1e-4
    dropout: float = 0.0
    drop_path: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, N, C], tokens.

        Returns:
          [B, N, C].
        """
        init = nn.initializers.constant(self.layer_scale)
        gains = [self.param(f"ls{i}", init, x.shape[-1:]).astype(x.dtype) for i in (1, 2)]
        y = Dense(x.shape[1], dtype=self.dtype, name="linear_tokens")(Affine(name="norm1")(x).swapaxes(1, 2))
        x = x + drop_path(gains[0] * y.swapaxes(1, 2), self.drop_path, train)
        mlp = FeedForward(self.channels_hidden, gelu, self.dropout, self.dtype, name="mlp_channels")
        return x + drop_path(gains[1] * mlp(Affine(name="norm2")(x), train), self.drop_path, train)


class GatingBlock(CheckedFields):
    """An MLP whose units are gated by those of other patches, beside a shortcut.

    Args:
      channels_hidden: hidden units of the MLP, half of them gates.
    """

    channels_hidden: int
    drop_path: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, N, C], tokens.

        Returns:
          [B, N, C].
        """
        y = LayerNorm(EPSILON, dtype=self.dtype, name="norm")(x)
        units = gelu(Dense(self.channels_hidden, dtype=self.dtype, name="mlp_channels_fc1")(y))
        units, gates = jnp.split(units, 2, -1)
        gates = LayerNorm(1e-5, dtype=self.dtype, name="mlp_channels_gate_norm")(gates).swapaxes(1, 2)
        inits = {"kernel_init": nn.initializers.normal(1e-6), "bias_init": nn.initializers.ones}
        gates = Dense(x.shape[1], dtype=self.dtype, name="mlp_channels_gate_proj", **inits)(gates)
        y = Dense(x.shape[-1], dtype=self.dtype, name="mlp_channels_fc2")(units * gates.swapaxes(1, 2))
        return x + drop_path(y, self.drop_path, train)


class ResMLP(Mixer):
    """A ResMLP on [B, H, W, C] of one size; stages are those of `Mixer`.

    All fields of `Mixer`, without those of token mixing.

    Args:
      layer_scale: initial gain of each channel of a branch.
    """

    width: int = 384
    depth: int = 12
    layer_scale: float = 1e-4

    across = ("linear_tokens",)

    def _block(self, name: str, patches: int, dtype: Any) -> nn.Module:
        hidden = int(self.channels_ratio * self.width)
        block = remat(ResMLPBlock, self.remat, static_argnums=(2,))
        return block(hidden, self.layer_scale, self.dropout, self.drop_path, dtype, name=name)

    def _norm(self, x: jax.Array) -> jax.Array:
        return Affine(name="norm")(to_acc_dtype(x))


class GMLP(Mixer):
    """A gMLP on [B, H, W, C] of one size; stages are those of `Mixer`.

    All fields of `Mixer`, without those of token mixing.

    Args:
      channels_ratio: hidden units of a block as a multiple of `width`, half of them gates.
    """

    width: int = 256
    depth: int = 30
    channels_ratio: float = 6.0

    across = ("mlp_channels_gate_proj",)

    def _block(self, name: str, patches: int, dtype: Any) -> nn.Module:
        block = remat(GatingBlock, self.remat, static_argnums=(2,))
        return block(int(self.channels_ratio * self.width), self.drop_path, dtype, name=name)


MODELS = {
    "resmlp_12_224": functools.partial(ResMLP),
    "resmlp_24_224": functools.partial(ResMLP, depth=24, layer_scale=1e-5),
    "resmlp_36_224": functools.partial(ResMLP, depth=36, layer_scale=1e-6),
    "resmlp_big_24_224": functools.partial(ResMLP, patch_size=8, depth=24, width=768, layer_scale=1e-6),
    "gmlp_ti16_224": functools.partial(GMLP, width=128),
    "gmlp_s16_224": functools.partial(GMLP),
    "gmlp_b16_224": functools.partial(GMLP, width=512),
}
