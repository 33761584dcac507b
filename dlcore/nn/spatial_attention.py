"""Attention between the pixels of a feature map, for use inside a convolutional network.

    non-local    z_i = x_i + W_z y_i,   y_i = 1 / C_i sum_j f(x_i, x_j) W_g x_j          over all locations j
                 embedded gaussian  f = exp(theta(x_i) . phi(x_j)),  C_i = sum_j f      attention without the root
                 gaussian           f = exp(x_i . x_j),              C_i = sum_j f
                 dot product        f = theta(x_i) . phi(x_j),       C_i = N
    SAGAN        y = x + gamma W_v softmax(f(x) . g(x)) h(x),  gamma = 0 at first
    local        multi-head attention of each pixel to the k x k pixels around it, replacing a convolution

Wang, Girshick, Gupta & He, "Non-local neural networks" (2017), arXiv:1711.07971; Zhang, Goodfellow, Metaxas & Odena,
"Self-attention generative adversarial networks" (2018), arXiv:1805.08318; Ramachandran et al., "Stand-alone
self-attention in vision models" (2019), arXiv:1906.05909 (whose relative embeddings are a table of biases here).

Non-local blocks and SAGAN's layer start as the identity, so they can be inserted into a trained network. Over all N =
R x R pixels the weights are (R^2)^2 numbers a head: 4,096 at R = 8, and 268,435,456 (1 GiB of float32) at R = 128.
Local attention holds k^2 R^2.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.attention import Initializer, attention_weights, dot_product_attention
from dlcore.nn.dense import Dense
from dlcore.ops.checks import check_shapes
from dlcore.ops.im2col import im2col
from dlcore.ops.pooling import max_pool

__all__ = ["LocalAttention", "NonLocalBlock", "SAGANAttention"]


def _dense(features: int, name: str, dtype: Any, init: Initializer, use_bias: bool = True) -> Dense:
    """Return a 1x1 convolution, on any number of axes."""
    return Dense(features, use_bias=use_bias, dtype=dtype, kernel_init=init, name=name)


class NonLocalBlock(CheckedModule):
    """Non-local block over any number of spatial (and time) axes: [B, ..., C] -> the same shape; the identity at first.

    Submodules `theta`, `phi`, `g` and `out`, whose kernel starts at zero.

    Args:
      kind: pairwise function f: "embedded_gaussian", "gaussian" or "dot_product".
      features: channels of theta, phi and g; None means half of C.
      pool: take keys and values from the map after 2x2 max pooling, at a quarter of the cost ([B, H, W, C] only).
      kernel_init: initializer of all kernels but `out`'s.
    """

    kind: Literal["embedded_gaussian", "gaussian", "dot_product"] = "embedded_gaussian"
    features: Count | None = None
    pool: bool = False
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Add to each location the mean of all, weighted by the pairwise function.

        Args:
          x: [B, ..., C].

        Returns:
          [B, ..., C].
        """
        if self.pool and x.ndim != 4:
            raise ValueError(f"x.shape={x.shape}: no image batch to pool; allowed: [B, H, W, C], or pool=False")
        features = self.features or max(1, x.shape[-1] // 2)
        source = max_pool(x, (2, 2), (2, 2)) if self.pool else x

        def project(x: jax.Array, name: str) -> jax.Array:
            return _dense(features, name, self.dtype, self.kernel_init)(x)

        theta, phi = (x, source) if self.kind == "gaussian" else (project(x, "theta"), project(source, "phi"))
        query, key, value = (m.reshape(m.shape[0], -1, 1, m.shape[-1]) for m in (theta, phi, project(source, "g")))
        if self.kind == "dot_product":  # f is linear: multiply keys and values first, without N x N weights
            product = jnp.einsum("bshd,bshe->bhde", key, value) / key.shape[1]
            y = jnp.einsum("bthd,bhde->bthe", query, product)
        else:
            y = dot_product_attention(query, key, value, scale=1.0)
        y = y.reshape(*x.shape[:-1], features)
        return x + _dense(x.shape[-1], "out", self.dtype, nn.initializers.zeros)(y)


class SAGANAttention(CheckedModule):
    """Self-attention layer of SAGAN: [B, H, W, C] -> the same shape; the identity at first.

    Submodules `f` (keys), `g` (queries), `h` (values) and `v` (output), without biases; parameter `gamma`, a scalar
    that starts at 0.

    Args:
      reduction: keys, queries and values have C / reduction channels.
      kernel_init: initializer of all kernels.
    """

    reduction: Count = 8
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Attend from every pixel to all, without scaling the scores.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, C].
        """
        check_shapes(x=(x, "B H W C"))
        inner = max(1, x.shape[-1] // self.reduction)
        key, query, value = (
            _dense(inner, name, self.dtype, self.kernel_init, False)(x).reshape(x.shape[0], -1, 1, inner)
            for name in ("f", "g", "h")
        )
        y = dot_product_attention(query, key, value, scale=1.0).reshape(*x.shape[:-1], inner)
        y = _dense(x.shape[-1], "v", self.dtype, self.kernel_init, False)(y)
        gamma = self.param("gamma", nn.initializers.zeros, ())
        return x + gamma.astype(y.dtype) * y


class LocalAttention(CheckedModule):
    """Local self-attention: [B, H, W, C] -> [B, H, W, features], each pixel attends to a window around it.

    Pixels beyond the border are masked. With a window of 2 max(H, W) - 1 and no bias this is `MultiHeadAttention` on
    all pixels, whose layers have the same names. Parameter `relative_position_bias: [num_heads, window^2]`.

    Args:
      num_heads: number of heads; divides the features.
      window: odd side of the window in pixels.
      features: output channels; None means C.
      relative_bias: learn a bias for each offset and head; without it the order of a window's pixels does not matter.
      kernel_init: initializer of all kernels.
    """

    num_heads: Count
    window: Count = 7
    features: Count | None = None
    relative_bias: bool = True
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Attend from every pixel to its window.

        Args:
          x: [B, H, W, C].

        Returns:
          [B, H, W, features].
        """
        check_shapes(x=(x, "B H W C"))
        features = self.features or x.shape[-1]
        if self.window % 2 == 0:
            raise ValueError(f"window={self.window}: has no center; allowed: odd numbers from 1")
        if features % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads}: not a divisor; allowed: divisors of the {features} features")
        taps, heads = self.window**2, (self.num_heads, features // self.num_heads)

        def project(name: str) -> jax.Array:
            return _dense(features, name, self.dtype, self.kernel_init)(x)

        def around(m: jax.Array) -> jax.Array:
            return im2col(m, self.window, padding=self.window // 2).reshape(*m.shape[:3], taps, -1)

        query = project("query").reshape(*x.shape[:3], 1, *heads)
        key, value = (around(project(name)).reshape(*x.shape[:3], taps, *heads) for name in ("key", "value"))
        bias = None
        if self.relative_bias:
            table = self.param("relative_position_bias", nn.initializers.normal(0.02), (self.num_heads, taps))
            bias = table[:, None, :]
        inside = around(jnp.ones((1, *x.shape[1:3], 1), bool))[..., 0][:, :, :, None, None, :]
        weights = attention_weights(query, key, mask=inside, bias=bias)
        self.sow("intermediates", "weights", weights)
        y = jnp.einsum("...hts,...she->...the", weights.astype(value.dtype), value)
        return _dense(features, "proj", self.dtype, self.kernel_init)(y.reshape(*x.shape[:3], features))
