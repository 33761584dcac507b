"""The encoder block of a transformer: attention across tokens, then a perceptron on each, both with a shortcut.

    post-norm    x = LN(x + MHA(x)),   x = LN(x + MLP(x))                  Vaswani et al. 2017, arXiv:1706.03762
    pre-norm     x = x + MHA(LN(x)),   x = x + MLP(LN(x))                  Dosovitskiy et al. 2020, arXiv:2010.11929
    MLP(x)       W_2 f(W_1 x + b_1) + b_2

Names are timm's: norm1, attn (qkv, proj), norm2, mlp (fc1, fc2). Dropout is applied where torch has it: on the
attention's weights and output, and after each layer of the perceptron.
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
    """Drop path: drop a residual branch for some examples in training, and scale up the others.

    Call it in a compact method; where it drops it needs the "dropout" rng.

    Args:
      branch: [B, ...], output of the residual branch.
      rate: probability to drop an example's branch.
      train: drop; otherwise the branch does not change.

    Returns:
      [B, ...].
    """
    return StochasticDepth(1 - rate, inverted=True, deterministic=not train)(branch) if rate > 0 else branch


class FeedForward(nn.Module):
    """Perceptron of a transformer: two dense layers on each token, [..., D] -> [..., D]. Submodules `fc1` and `fc2`.

    Args:
      hidden_features: units between the two layers.
      activation: function between the two layers.
      dropout_rate: probability to drop a value after each layer in training.
      dtype: dtype of the computation; None means by promotion.
      kernel_init: initializer of both kernels.
      bias_init: initializer of both biases.
    """

    hidden_features: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dropout_rate: float = 0.0
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the two layers.

        Args:
          x: [..., D].
          train: apply dropout, with the "dropout" rng.

        Returns:
          [..., D].
        """
        inits = {"dtype": self.dtype, "kernel_init": self.kernel_init, "bias_init": self.bias_init}
        h = self.activation(nn.Dense(self.hidden_features, name="fc1", **inits)(x))
        h = nn.Dropout(self.dropout_rate)(h, deterministic=not train)
        h = nn.Dense(x.shape[-1], name="fc2", **inits)(h)
        return nn.Dropout(self.dropout_rate)(h, deterministic=not train)


class TransformerEncoderBlock(nn.Module):
    """Transformer encoder block: self-attention and a perceptron on tokens, [B, N, D] -> [B, N, D].

    Args:
      num_heads: heads of the attention; divides D.
      hidden_features: units of the perceptron.
      pre_norm: normalize the input of each branch instead of the sum after it.
      activation: of the perceptron; torch's default is relu, that of vision transformers gelu.
      dropout_rate: probability to drop a value of the attention's output or of the perceptron in training.
      attention_dropout_rate: probability to drop an attention weight in training.
      drop_path_rate: probability to drop a whole branch of an example in training.
      epsilon: of the layer norms.
      fused_qkv: compute queries, keys and values by one layer `qkv`.
      dtype: dtype of the computation; None means by promotion.
      kernel_init: initializer of all kernels but that of `out_kernel_init`.
      out_kernel_init: initializer of the attention's output projection; None means `kernel_init`.
      bias_init: initializer of the perceptron's biases.
    """

    num_heads: int
    hidden_features: int
    pre_norm: bool = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dropout_rate: float = 0.0
    attention_dropout_rate: float = 0.0
    drop_path_rate: float = 0.0
    epsilon: float = 1e-5
    fused_qkv: bool = True
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    out_kernel_init: Initializer | None = None
    bias_init: Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, mask: jax.Array | None = None, bias: jax.Array | None = None
    ) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, N, D].
          train: apply dropout and drop path, with the "dropout" rng.
          mask: bool, True where a query may attend; broadcasts to [B, H, N, N]. None means everywhere.
          bias: added to the attention scores; broadcasts to [B, H, N, N]. None adds nothing.

        Returns:
          [B, N, D].
        """
        attention = MultiHeadAttention(
            self.num_heads,
            fused_qkv=self.fused_qkv,
            dropout_rate=self.attention_dropout_rate,
            dtype=self.dtype,
            kernel_init=self.kernel_init,
            out_kernel_init=self.out_kernel_init,
            name="attn",
        )
        mlp = FeedForward(
            self.hidden_features,
            self.activation,
            self.dropout_rate,
            self.dtype,
            self.kernel_init,
            self.bias_init,
            name="mlp",
        )

        def attend(x: jax.Array) -> jax.Array:
            return nn.Dropout(self.dropout_rate)(
                attention(x, mask=mask, bias=bias, train=train), deterministic=not train
            )

        for i, branch in enumerate((attend, lambda x: mlp(x, train)), 1):
            norm = LayerNorm(self.epsilon, dtype=self.dtype, name=f"norm{i}")
            if self.pre_norm:
                x = x + drop_path(branch(norm(x)), self.drop_path_rate, train)
            else:
                x = norm(x + drop_path(branch(x), self.drop_path_rate, train))
        return x
