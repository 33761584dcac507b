"""Attention: every query takes a mean of the values, weighted by how well its key matches.

    weights = softmax_over_keys(Q K^T / sqrt(D_Q) + bias)        Q: [T, D_Q], K: [S, D_Q], V: [S, D_V]
    output  = weights V
    self-attention     Q = X W_Q,  K = X W_K,  V = X W_V
    multi-head         concat_h(softmax(Q_h K_h^T / sqrt(D / H)) V_h) W_O         H slices of D / H channels

The scale is the root of the dimension of queries and keys, not of the input: the product of two vectors of independent
entries of variance 1 has variance D_Q, and a softmax of such scores would saturate. Vaswani et al., "Attention is all
you need" (2017), arXiv:1706.03762.

Arrays are [..., T, H, D] as in `jax.nn.dot_product_attention` (torch has heads before positions). Scores and softmax
are at least float32. A mask is True where a query may look; a query that may look nowhere gets the mean of all values
(torch: NaN). `MultiHeadAttention` sows its weights, so `apply(..., mutable=["intermediates"])` shows them.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

__all__ = ["MultiHeadAttention", "SelfAttention", "attention_weights", "dot_product_attention"]

Initializer = Callable[..., jax.Array]


def attention_weights(
    query: jax.Array,
    key: jax.Array,
    *,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """query: [..., T, H, D], key: [..., S, H, D] -> [..., H, T, S], at least float32; the sum over S is 1.

    mask (bool) and bias (added to the scores) are anything that broadcasts to the result. scale: 1 / sqrt(D) for None.

    Raises ValueError for shapes that do not go together or a mask that is not bool.
    """
    if query.ndim < 3 or query.ndim != key.ndim or query.shape[-2:] != key.shape[-2:]:
        raise ValueError(f"query has shape {query.shape} and key {key.shape}: [..., T, H, D] and [..., S, H, D] needed")
    if mask is not None and mask.dtype != jnp.bool_:
        raise ValueError(f"mask has dtype {mask.dtype}: bool is needed, True where a query may look")
    wide = jnp.promote_types(jnp.result_type(query, key), jnp.float32)
    scores = jnp.einsum("...thd,...shd->...hts", query, key, preferred_element_type=wide)
    scores = scores * (query.shape[-1] ** -0.5 if scale is None else scale)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    return jax.nn.softmax(scores, axis=-1)


def dot_product_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """query: [..., T, H, D], key: [..., S, H, D], value: [..., S, H, E] -> [..., T, H, E]; see `attention_weights`."""
    weights = attention_weights(query, key, mask=mask, bias=bias, scale=scale)
    return _mean_of_values(weights, value)


def _mean_of_values(weights: jax.Array, value: jax.Array) -> jax.Array:
    return jnp.einsum("...hts,...she->...the", weights.astype(value.dtype), value)


class SelfAttention(nn.Module):
    """One head on a set of vectors [..., N, D_X]: kernels `query` and `key` D_X x D_Q, `value` D_X x D_V.

    qk_features: D_Q. v_features: D_V, D_X for None. There is no projection after it.
    """

    qk_features: int
    v_features: int | None = None
    use_bias: bool = False
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None, bias: jax.Array | None = None) -> jax.Array:
        """[..., N, D_X] -> [..., N, D_V]; mask and bias broadcast to [..., 1, N, N]."""

        def project(features: int, name: str) -> jax.Array:
            layer = nn.Dense(
                features, use_bias=self.use_bias, dtype=self.dtype, kernel_init=self.kernel_init, name=name
            )
            return layer(x)[..., None, :]

        query, key = project(self.qk_features, "query"), project(self.qk_features, "key")
        value = project(self.v_features or x.shape[-1], "value")
        return dot_product_attention(query, key, value, mask=mask, bias=bias)[..., 0, :]


class MultiHeadAttention(nn.Module):
    """`num_heads` attentions side by side and a projection of their concatenation.

    features: of the output, those of the query for None. qkv_features: of all heads together, `features` for None.
    fused: queries, keys and values of self-attention come from one layer `qkv` whose outputs are in that order, as in
    torch and timm; otherwise from `query`, `key` and `value`. The last layer is `proj`. dropout: of the weights, in
    training. out_kernel_init: of `proj`, kernel_init for None.
    """

    num_heads: int
    features: int | None = None
    qkv_features: int | None = None
    fused: bool = False
    use_bias: bool = True
    dropout: float = 0.0
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    out_kernel_init: Initializer | None = None

    @nn.compact
    def __call__(
        self,
        query: jax.Array,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        *,
        mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """query: [..., T, D], key and value: [..., S, D'] -> [..., T, features].

        key: the query for None (self-attention). value: the key for None. mask and bias broadcast to [..., H, T, S].
        Raises ValueError where heads do not divide the features, or for a key where `fused` is on.
        """
        features = self.features or query.shape[-1]
        inner = self.qkv_features or features
        if inner % self.num_heads:
            raise ValueError(f"num_heads is {self.num_heads}: it must divide the {inner} features of all heads")
        if self.fused and not (key is None and value is None):
            raise ValueError("fused is True: one layer gives queries, keys and values, so key and value must be None")

        def dense(features: int, name: str, init: Initializer) -> nn.Dense:
            return nn.Dense(features, use_bias=self.use_bias, dtype=self.dtype, kernel_init=init, name=name)

        if self.fused:
            parts = jnp.split(dense(3 * inner, "qkv", self.kernel_init)(query), 3, axis=-1)
        else:
            key = query if key is None else key
            inputs = {"query": query, "key": key, "value": key if value is None else value}
            parts = [dense(inner, name, self.kernel_init)(x) for name, x in inputs.items()]
        q, k, v = (x.reshape(*x.shape[:-1], self.num_heads, inner // self.num_heads) for x in parts)
        weights = attention_weights(q, k, mask=mask, bias=bias)
        self.sow("intermediates", "weights", weights)
        weights = nn.Dropout(self.dropout)(weights, deterministic=not train)
        y = _mean_of_values(weights, v)
        return dense(features, "proj", self.out_kernel_init or self.kernel_init)(y.reshape(*y.shape[:-2], inner))
