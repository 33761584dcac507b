"""The encoder block of a transformer: attention across tokens, then a perceptron on each, both with a shortcut.

    post-norm    x = LN(x + MHA(x)),   x = LN(x + MLP(x))                  Vaswani et al. 2017, arXiv:1706.03762
    pre-norm     x = x + MHA(LN(x)),   x = x + MLP(LN(x))                  Dosovitskiy et al. 2020, arXiv:2010.11929
    MLP(x)       W_2 f(W_1 x + b_1) + b_2

Names are timm's: norm1, attn (qkv, proj), norm2, mlp (fc1, fc2). Dropout is where torch has it: on the attention's
weights and output, and behind each layer of the perceptron.
"""

from collections.abc import Callable
from typing import Any

import jax
from flax import linen as nn

from dlcore.nn.attention import Initializer, MultiHeadAttention
from dlcore.nn.group_norm import LayerNorm
from dlcore.nn.stochastic import StochasticDepth

__all__ = ["FeedForward", "TransformerEncoderBlock", "drop_path"]


def drop_path(branch: jax.Array, rate: float, train: bool) -> jax.Array:
    """What a residual branch [B, ...] adds: in training all of an example's is dropped at `rate`, the rest scaled up.

    To be called in a compact method; needs the "dropout" rng where it drops.
    """
    return StochasticDepth(1 - rate, inverted=True, deterministic=not train)(branch) if rate > 0 else branch


class FeedForward(nn.Module):
    """Two dense layers on each token, [..., D] -> [..., D], with `hidden` units between."""

    hidden: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dropout: float = 0.0
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Layers `fc1` and `fc2`."""
        inits = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": self.bias_init}
        h = self.activation(nn.Dense(self.hidden, name="fc1", **inits)(x))
        h = nn.Dropout(self.dropout)(h, deterministic=not train)
        h = nn.Dense(x.shape[-1], name="fc2", **inits)(h)
        return nn.Dropout(self.dropout)(h, deterministic=not train)


class TransformerEncoderBlock(nn.Module):
    """Self-attention and a perceptron on tokens [B, N, D].

    hidden: units of the perceptron. pre_norm: layer norm at the head of each branch instead of behind the sum.
    activation: torch's default is relu, that of vision transformers gelu. attention_dropout: of the weights, dropout:
    of all else. drop_path: share of examples for which a branch is left out in training. epsilon: of the layer norms.
    out_kernel_init: of the attention's last layer, kernel_init for None.
    """

    num_heads: int
    hidden: int
    pre_norm: bool = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    epsilon: float = 1e-5
    fused: bool = True
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    out_kernel_init: Initializer | None = None
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, mask: jax.Array | None = None, bias: jax.Array | None = None
    ) -> jax.Array:
        """[B, N, D] -> [B, N, D]; mask (True where a query may look) and bias broadcast to [B, H, N, N]."""
        attention = MultiHeadAttention(
            self.num_heads, fused=self.fused, dropout=self.attention_dropout, dtype=self.dtype,
            kernel_init=self.kernel_init, out_kernel_init=self.out_kernel_init, name="attn",
        )  # fmt: skip
        mlp = FeedForward(
            self.hidden, self.activation, self.dropout, self.dtype, self.kernel_init, self.bias_init, name="mlp"
        )

        def attend(x: jax.Array) -> jax.Array:
            return nn.Dropout(self.dropout)(attention(x, mask=mask, bias=bias, train=train), deterministic=not train)

        for i, branch in enumerate((attend, lambda x: mlp(x, train)), 1):
            norm = LayerNorm(self.epsilon, dtype=self.dtype, name=f"norm{i}")
            if self.pre_norm:
                x = x + drop_path(branch(norm(x)), self.drop_path, train)
            else:
                x = norm(x + drop_path(branch(x), self.drop_path, train))
        return x
