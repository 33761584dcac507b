"""Attention: every query takes a mean of the values, weighted by how well its key matches.

    weights = softmax_over_keys(Q K^T / sqrt(D_Q) + bias)        Q: [T, D_Q], K: [S, D_Q], V: [S, D_V]
    output  = weights V
    self-attention     Q = X W_Q,  K = X W_K,  V = X W_V
    multi-head         concat_h(softmax(Q_h K_h^T / sqrt(D / H)) V_h) W_O         H slices of D / H channels

The scale is the root of the dimension of queries and keys, not of the input: the product of two vectors of independent
entries of variance 1 has variance D_Q, and a softmax of such scores would saturate. Vaswani et al., "Attention is all
you need" (2017), arXiv:1706.03762.

Arrays are [..., T, H, D] as in `jax.nn.dot_product_attention` (torch has heads before tokens). Scores and softmax are
at least float32; gradients multiply in the inputs' type. A mask is True where a query may attend; a query that may
attend to no key gets the mean of all values (torch: NaN). `MultiHeadAttention` sows its weights: `apply(...,
mutable=["intermediates"])` returns them. Where nobody asks for weights, and none are dropped, they need not be stored:
half-precision attention on a GPU or a TPU is then a fused kernel of `dlcore.ops.attention_kernels`, if dtype, shape and
mask suit it. The program chooses when it is lowered. Every network of dlcore attends through `dot_product_attention`,
by itself or in `MultiHeadAttention`.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.cache import Cache, Memory
from dlcore.nn.dense import Dense
from dlcore.nn.group_norm import LayerNorm, RMSNorm, ZeroCenteredRMSNorm
from dlcore.nn.rotary import Pairs, rotary, rotate_pairs
from dlcore.ops.attention_kernels import log_plain_attention, suitable_kernels
from dlcore.ops.checks import check_indices, check_shapes
from dlcore.ops.precision import acc_dtype_of, result_dtype, to_acc_dtype

__all__ = [
    "MultiHeadAttention",
    "SelfAttention",
    "attention_weights",
    "causal_mask",
    "dot_product_attention",
    "padding_mask",
]

Initializer = Callable[..., jax.Array]
QKVBias = Literal["qkv", "qv", "none"]


def causal_mask(length: int, key_length: int | None = None, *, window: int | None = None) -> jax.Array:
    """Mask of causal attention: a query sees itself and the keys before it.

    Args:
      length: T, queries; they are the last T of the S positions.
      key_length: S, keys; None means T.
      window: most keys that a query sees, itself included; None means all.

    Returns:
      [T, S] bool, True where a query may attend.
    """
    key_length = length if key_length is None else key_length
    check_shapes(length=(length, "int >= 0"), key_length=(key_length, "int >= 0"), window=(window, "int >= 1 or None"))
    if length > key_length:
        raise ValueError(f"length={length}: more queries than keys; allowed: at most {key_length}")
    back = jnp.arange(key_length - length, key_length)[:, None] - jnp.arange(key_length)
    return (back >= 0) if window is None else (back >= 0) & (back < window)


def padding_mask(lengths: jax.Array, key_length: int) -> jax.Array:
    """Mask of padded keys: every query sees the first keys of its row.

    Args:
      lengths: [B] int, keys of each row that are there.
      key_length: S.

    Returns:
      [B, 1, 1, S] bool, True where there is a key.
    """
    check_indices("lengths", lengths, key_length + 1, f"lengths up to {key_length}")
    return (jnp.arange(key_length) < lengths[:, None])[:, None, None]


def attention_weights(
    query: jax.Array,
    key: jax.Array,
    *,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    scale: float | None = None,
) -> jax.Array:
    """Attention weights: the softmax over keys of the scaled scores, at least float32.

    Args:
      query: [..., T, H, D].
      key: [..., S, H, D].
      mask: bool, True where a query may attend; broadcasts to [..., H, T, S]. None means everywhere.
      bias: added to the scaled scores; broadcasts to [..., H, T, S]. None adds nothing.
      scale: factor of the scores; None means 1 / sqrt(D).

    Returns:
      [..., H, T, S], with sum 1 over S.
    """
    _check_attention(query, key, mask, bias, scale)
    return _softmax_of_scores(_scores("...thd,...shd->...hts", query, key, scale), mask, bias)


def _scores(formula: str, query: jax.Array, key: jax.Array, scale: float | None) -> jax.Array:
    """Scaled scores, at least float32. The queries are scaled, being fewer, unless their type is too narrow for it."""
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    acc_dtype = acc_dtype_of(query, key)
    if query.dtype == acc_dtype:
        return jnp.einsum(formula, query * scale, key)
    return _wide_product(formula, query, key) * scale


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _wide_product(formula: str, query: jax.Array, key: jax.Array) -> jax.Array:
    """Products of narrow numbers, at least float32."""
    acc_dtype = acc_dtype_of(query, key)
    return jnp.einsum(formula, query, key, preferred_element_type=acc_dtype)


@_wide_product.defjvp
def _wide_product_tangent(formula: str, primals: tuple, tangents: tuple) -> tuple[jax.Array, jax.Array]:
    """Round the tangent to the type of queries and keys: a gradient then multiplies in it and not in float32."""
    (query, key), (query_dot, key_dot) = primals, tangents
    y = _wide_product(formula, query, key)
    return y, (jnp.einsum(formula, query_dot, key) + jnp.einsum(formula, query, key_dot)).astype(y.dtype)


def _capped(scores: jax.Array, softcap: float | None) -> jax.Array:
    return scores if softcap is None else softcap * jnp.tanh(scores / softcap)


def _softmax_of_scores(scores: jax.Array, mask: jax.Array | None, bias: jax.Array | None) -> jax.Array:
    if bias is not None:
        # A bias of -inf hides a key; a query that it hides all keys from gets their mean, as with a mask.
        scores = jnp.maximum(scores + bias, jnp.finfo(scores.dtype).min)
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    return jax.nn.softmax(scores, axis=-1)


def _check_attention(
    query: jax.Array, key: jax.Array, mask: jax.Array | None, bias: jax.Array | None, scale: float | None
) -> None:
    check_shapes(scale=(scale, "... > 0 or None"))
    batch, heads = query.shape[:-3], query.shape[-2:]
    if query.ndim < 3 or (batch, heads) != (key.shape[:-3], key.shape[-2:]):
        raise ValueError(f"{query.shape=}, {key.shape=}: do not fit; allowed: [..., T, H, D], [..., S, H, D]")
    if mask is not None and mask.dtype != jnp.bool_:
        raise ValueError(f"mask.dtype={mask.dtype}: not a mask; allowed: bool, True where a query may attend")
    scores = (*batch, query.shape[-2], query.shape[-3], key.shape[-3])
    for name, array in (("mask", mask), ("bias", bias)):
        if array is not None and not _broadcasts_to(np.shape(array), scores):
            raise ValueError(f"{name}.shape={np.shape(array)}: does not fit; allowed: what broadcasts to {scores}")


def _broadcasts_to(shape: tuple[int, ...], larger: tuple[int, ...]) -> bool:
    pairs = zip(reversed(shape), reversed(larger), strict=False)  # `larger` may have more leading axes
    return len(shape) <= len(larger) and all(size in (1, whole) for size, whole in pairs)


def dot_product_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    scale: float | None = None,
    is_causal: bool = False,
    softcap: float | None = None,
) -> jax.Array:
    """Scaled dot-product attention: the mean of the values under `attention_weights`.

    Args:
      query: [..., T, H, D].
      key: [..., S, H, D].
      value: [..., S, H, E].
      mask: bool, True where a query may attend; broadcasts to [..., H, T, S]. None means everywhere.
      bias: added to the scaled scores; broadcasts to [..., H, T, S]. None adds nothing.
      scale: factor of the scores; None means 1 / sqrt(D).
      is_causal: hide later keys, as `causal_mask` does. On a CPU long sequences are then computed in four blocks of
        queries, each with the keys that it may see, which spares three eighths of the products.
      softcap: c of scores c tanh(scores / c) before the mask (Gemma 2, arXiv:2408.00118); None leaves them.

    Returns:
      [..., T, H, E].
    """
    _check_attention(query, key, mask, bias, scale)
    if value.shape[:-1] != key.shape[:-1]:
        raise ValueError(f"value.shape={value.shape}: does not fit key; allowed: {(*key.shape[:-1], 'E')}")
    value, length, size = value.astype(result_dtype(value)), query.shape[-3], key.shape[-3]
    check_shapes(softcap=(softcap, "... > 0 or None"))
    if softcap is not None:
        return _attend(query, key, value, scale, mask, bias, is_causal, softcap=softcap)

    def plain(query, key, value, mask, bias):
        return _attend(query, key, value, scale, mask, bias, is_causal)

    def in_blocks(query, key, value, mask, bias):
        query, key, value = map(_swap_heads, (query, key, value))
        boundaries = [length * i // BLOCKS for i in range(BLOCKS + 1)]
        blocks = [
            _attend_block(query[..., first:last, :], key[..., :last, :], value[..., :last, :], scale)
            for first, last in itertools.pairwise(boundaries)
        ]
        return _swap_heads(jnp.concatenate(blocks, -2))

    arrays = query, key, value, mask, bias
    by_platform = {}
    if is_causal and mask is None and bias is None and length == size >= LONG and length % BLOCKS == 0:
        by_platform["cpu"] = in_blocks
    by_platform |= suitable_kernels(*arrays, scale=scale, is_causal=is_causal)
    return jax.lax.platform_dependent(*arrays, **by_platform, default=plain) if by_platform else plain(*arrays)


LONG, BLOCKS = 128, 4
"""Tokens from which causal attention is cut into blocks of queries on a CPU, and their number: the fastest of 1, 2, 4
and 8 for 256 tokens on two cores."""


def _attend_block(query, key, value, scale) -> jax.Array:
    """Causal attention of the last queries, as `_attend` gives it, in fewer passes over the weights.

    The sum of the weights divides the output, [T, E], and not the weights, [T, S]; backward, too. The largest score of
    a query cancels out, so no gradient goes through it. Heads stand before tokens, in the output, too.
    """
    scores = _scores("...td,...sd->...ts", query, key, scale)  # [..., H, T, S]
    scores = jnp.where(causal_mask(query.shape[-2], key.shape[-2]), scores, jnp.finfo(scores.dtype).min)
    weights = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    y = jnp.einsum("...ts,...se->...te", weights.astype(value.dtype), value)
    return (y / weights.sum(-1, keepdims=True)).astype(value.dtype)


def _attend(
    query, key, value, scale, mask=None, bias=None, is_causal=True, drop=lambda weights: weights, softcap=None
) -> jax.Array:
    """Attention with heads before tokens: XLA:CPU multiplies such batches of matrices without moving them."""
    query, key, value = map(_swap_heads, (query, key, value))
    if is_causal:
        earlier = causal_mask(query.shape[-2], key.shape[-2])
        mask = earlier if mask is None else mask & earlier
    scores = _capped(_scores("...td,...sd->...ts", query, key, scale), softcap)  # [..., H, T, S]
    weights = drop(_softmax_of_scores(scores, mask, bias))
    return _swap_heads(jnp.einsum("...ts,...se->...te", weights.astype(value.dtype), value))


def _swap_heads(x: jax.Array) -> jax.Array:
    """Give [..., H, T, D] for [..., T, H, D], and back."""
    return x.swapaxes(-2, -3)


def _unit_vectors(x: jax.Array) -> jax.Array:
    """Vectors of length 1 along the last axis, computed in at least float32; zeros stay zeros."""
    values = to_acc_dtype(x)
    return (values * jax.lax.rsqrt(jnp.maximum(jnp.square(values).sum(-1, keepdims=True), 1e-24))).astype(x.dtype)


def _mean_of_values(weights: jax.Array, value: jax.Array) -> jax.Array:
    return jnp.einsum("...hts,...she->...the", weights.astype(value.dtype), value)


class SelfAttention(CheckedModule):
    """Self-attention with one head and no output projection, on a set of vectors.

    Submodules `query`, `key` (kernels [D_X, D_Q]) and `value` ([D_X, D_V]).

    Args:
      qk_features: D_Q, dimension of queries and keys.
      v_features: D_V, dimension of values; None means D_X, that of the input.
      use_bias: add biases to the three projections.
      kernel_init: initializer of the three kernels.
    """

    qk_features: Count
    v_features: Count | None = None
    use_bias: bool = False
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()

    @nn.compact
    def __call__(self, x: jax.Array, *, mask: jax.Array | None = None, bias: jax.Array | None = None) -> jax.Array:
        """Attend from every vector to all.

        Args:
          x: [..., N, D_X].
          mask: bool, True where a query may attend; broadcasts to [..., 1, N, N]. None means everywhere.
          bias: added to the scaled scores; broadcasts to [..., 1, N, N]. None adds nothing.

        Returns:
          [..., N, D_V].
        """

        def project(features: int, name: str) -> jax.Array:
            layer = Dense(features, use_bias=self.use_bias, dtype=self.dtype, kernel_init=self.kernel_init, name=name)
            return layer(x)[..., None, :]

        query, key = project(self.qk_features, "query"), project(self.qk_features, "key")
        value = project(self.v_features or x.shape[-1], "value")
        return dot_product_attention(query, key, value, mask=mask, bias=bias).squeeze(-2)


class MultiHeadAttention(CheckedModule):
    """Multi-head attention: `num_heads` attentions side by side and a projection of their concatenation.

    Submodules `query`, `key` and `value`, or `qkv` where fused, and `proj`.

    Args:
      num_heads: number of heads; divides `qkv_features`.
      features: output features; None means those of the query.
      qkv_features: features of all heads together; None means `features`.
      fused_qkv: compute queries, keys and values of self-attention by one layer `qkv`, in this order, as torch and timm
        do.
      num_kv_heads: heads of keys and values, each shared by as many neighboring heads of queries (grouped queries); a
        divisor of `num_heads`. None means `num_heads`.
      scale: factor of the scores; None means 1 / sqrt(features of a head).
      rotary: period of rotary positions of queries and keys, in self-attention; None: the scores see no position.
      use_bias: add biases to all projections.
      dropout_rate: probability to drop an attention weight in training.
      kernel_init: initializer of all kernels but `proj`'s.
      out_kernel_init: initializer of the kernel of `proj`; None means `kernel_init`.
      qkv_bias: which get a bias, where `use_bias` adds biases: qkv, queries, keys and values; qv, all but the keys; or
        none. A fused layer's are with qv the parameters `q_bias` and `v_bias`. A softmax over keys does not see a bias
        of the keys, unless positions turn them.
      rotary_pairs: channels that rotary positions turn together: halves, i and i + D / 2, or neighbors.
      cosine: scores are cosines of queries and keys times a learned factor of each head, the exponential of the
        parameter `logit_scale`, at most 100 (Liu et al. 2021, arXiv:2111.09883), in place of `scale`.
      talking_heads: mix the heads' scores by a layer `proj_l`, and their weights by a layer `proj_w` (Shazeer et al.
        2020, arXiv:2003.02436).
      qk_norm: epsilon of an RMS norm of each head's queries and of its keys, before they turn (`q_norm`, `k_norm`;
        Dehghani et al. 2023, arXiv:2302.05442); None for no norms.
      out_norm: epsilon of a layer norm `norm` of all heads' means before `proj` (sub-LN; Wang et al. 2022,
        arXiv:2210.06423); None for no norm.
      qk_norm_zero_centered: the factors of the norms of queries and keys are 1 + scale (Gemma 3).
      biased_qkv: add biases to queries, keys and values where `use_bias` adds none (Qwen 2).
      window: most keys that a query of causal attention sees, itself included; None means all.
      softcap: c of scores c tanh(scores / c), see `dot_product_attention`; None leaves them.
    """

    num_heads: Count
    features: Count | None = None
    qkv_features: Count | None = None
    fused_qkv: bool = False
    num_kv_heads: Count | None = None
    scale: float | None = None
    rotary: float | None = None
    use_bias: bool = True
    dropout_rate: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    out_kernel_init: Initializer | None = None
    qkv_bias: QKVBias = "qkv"
    rotary_pairs: Pairs = "halves"
    cosine: bool = False
    talking_heads: bool = False
    qk_norm: float | None = None
    out_norm: float | None = None
    qk_norm_zero_centered: bool = False
    biased_qkv: bool = False
    window: int | None = None
    softcap: float | None = None

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
        is_causal: bool = False,
        cache: Cache | Memory | None = None,
        angles: jax.Array | None = None,
        bidirectional: jax.Array | None = None,
    ) -> Any:
        """Attend from every query to all keys.

        Args:
          query: [..., T, D].
          key: [..., S, D']; None means the query (self-attention).
          value: [..., S, D'']; None means the key.
          mask: bool, True where a query may attend; broadcasts to [..., H, T, S]. None means everywhere.
          bias: added to the scaled scores; broadcasts to [..., H, T, S]. None adds nothing.
          is_causal: hide later keys from each query; faster than a mask that does.
          cache: a Cache of earlier tokens of self-attention, which then is causal; or a Memory of cross-attention: an
            empty one is filled from `key`, a full one stands in its place. None keeps nothing.
          angles: [T', 1 or H, D / 2] radians by which the pairs of channels of the last T' queries and keys turn, of
            self-attention (rotary positions of a grid), or [T', 1 or H, D], see `rotate_pairs`; tokens before them,
            such as a class token, do not turn. They replace the field `rotary`, and may have the batch's axes.
          bidirectional: [B, T, T] bool, pairs of new tokens that attend to each other in causal self-attention,
            whichever comes first; None: no pair.

        Returns:
          [..., T, features]; with a cache (that, the cache after it).
        """
        features = self.features or query.shape[-1]
        inner, num_kv_heads = self.qkv_features or features, self.num_kv_heads or self.num_heads
        if inner % self.num_heads:
            raise ValueError(f"num_heads={self.num_heads}: not a divisor; allowed: divisors of the {inner} features")
        if self.num_heads % num_kv_heads:
            raise ValueError(f"num_kv_heads={num_kv_heads}: not a divisor; allowed: divisors of {self.num_heads} heads")
        if self.fused_qkv and not (key is None and value is None):
            raise ValueError("fused_qkv=True: of self-attention; allowed: key=None and value=None")
        is_projected, is_self_attention = isinstance(cache, Memory) and cache.key is not None, key is None
        if key is not None and (is_projected or isinstance(cache, Cache)):
            raise ValueError(f"key.shape={key.shape}: the cache holds the keys; allowed: key=None")
        size = inner // self.num_heads
        kv_inner = num_kv_heads * size

        def dense(features: int, name: str, init: Initializer) -> Dense:
            bare = {"qkv": (), "qv": ("key", "qkv"), "none": ("query", "key", "value", "qkv")}[self.qkv_bias]
            use_bias = (self.use_bias and name not in bare) or (self.biased_qkv and name != "proj")
            return Dense(features, use_bias=use_bias, dtype=self.dtype, kernel_init=init, name=name)

        def by_head(x: jax.Array) -> jax.Array:
            return x.reshape(*x.shape[:-1], -1, size)

        def project(name: str, x: jax.Array) -> jax.Array:
            return by_head(dense(inner if name == "query" else kv_inner, name, self.kernel_init)(x))

        if self.fused_qkv:
            qkv = dense(inner + 2 * kv_inner, "qkv", self.kernel_init)(query)
            q, k, v = jnp.split(qkv, (inner, inner + kv_inner), axis=-1)
            if self.use_bias and self.qkv_bias == "qv":
                q = q + self.param("q_bias", nn.initializers.zeros, (inner,)).astype(q.dtype)
                v = v + self.param("v_bias", nn.initializers.zeros, (kv_inner,)).astype(v.dtype)
            q, k, v = map(by_head, (q, k, v))  # [..., T, H, D]
        elif is_projected:
            q, k, v = project("query", query), *map(_swap_heads, (cache.key, cache.value))
        else:
            key = query if key is None else key
            q, k, v = project("query", query), project("key", key), project("value", key if value is None else value)
        if self.qk_norm is not None:
            norm = ZeroCenteredRMSNorm if self.qk_norm_zero_centered else RMSNorm
            q = norm(self.qk_norm, dtype=self.dtype, name="q_norm")(q)
            k = norm(self.qk_norm, dtype=self.dtype, name="k_norm")(k)
        if self.rotary is not None and angles is None and is_self_attention and not isinstance(cache, Memory):
            position = jnp.arange(query.shape[-2])
            position = position if cache is None else cache.length[:, None] + position
            q, k = (rotary(x, position, self.rotary, self.rotary_pairs) for x in (q, k))
        if angles is not None:
            first = query.shape[-2] - angles.shape[-3]
            halves = [jnp.split(x, [first], -3) for x in (q, k)]
            q, k = (jnp.concatenate([x, rotate_pairs(y, angles, self.rotary_pairs)], -3) for x, y in halves)
        scale = self.scale
        if self.cosine:
            q, k = map(_unit_vectors, (q, k))
            factors = self.param("logit_scale", nn.initializers.constant(math.log(10)), (self.num_heads, 1))
            q, scale = q * jnp.exp(jnp.minimum(factors, math.log(100))).astype(q.dtype), 1.0
        if isinstance(cache, Memory):
            mask = cache.mask if is_projected else mask
            cache = cache if is_projected else Memory(_swap_heads(k), _swap_heads(v), mask)
        elif cache is not None:
            check_shapes(query=(query, "B T D"))
            cache = cache.append(k, v)
            k, v = _swap_heads(cache.key), _swap_heads(cache.value)
            visible = cache.visible(query.shape[1], self.window, bidirectional)
            mask, is_causal = visible if mask is None else visible & mask, False
        elif is_causal and not (self.window is None and bidirectional is None):
            visible = causal_mask(q.shape[-3], k.shape[-3])
            visible = visible if bidirectional is None else visible | bidirectional[..., None, :, :]
            if self.window is not None:  # hides earlier tokens, of these pairs, too
                visible &= jnp.arange(k.shape[-3]) > jnp.arange(q.shape[-3])[:, None] - self.window
            mask, is_causal = visible if mask is None else visible & mask, False
        if num_kv_heads < self.num_heads:
            k, v = (jnp.repeat(x, self.num_heads // num_kv_heads, axis=-2) for x in (k, v))
        _check_attention(q, k, mask, bias, scale)
        drop = functools.partial(nn.Dropout(self.dropout_rate), deterministic=not train)
        if self.talking_heads or self.is_mutable_collection("intermediates"):
            if is_causal:
                earlier = causal_mask(q.shape[-3], k.shape[-3])
                mask = earlier if mask is None else mask & earlier
            weights = self._weights(q, k, mask, bias, scale)
            self.sow("intermediates", "weights", weights)
            y = _mean_of_values(drop(weights), v)
        elif train and self.dropout_rate > 0:
            log_plain_attention("weights are dropped in training")
            y = _attend(q, k, v, scale, mask, bias, is_causal, drop, self.softcap)
        else:
            y = dot_product_attention(
                q, k, v, mask=mask, bias=bias, scale=scale, is_causal=is_causal, softcap=self.softcap
            )
        y = y.reshape(*y.shape[:-2], inner)
        if self.out_norm is not None:
            y = LayerNorm(self.out_norm, dtype=self.dtype, name="norm")(y)
        y = dense(features, "proj", self.out_kernel_init or self.kernel_init)(y)
        return y if cache is None else (y, cache)

    def _weights(
        self, q: jax.Array, k: jax.Array, mask: jax.Array | None, bias: jax.Array | None, scale: float | None
    ) -> jax.Array:
        if not self.talking_heads:
            scores = _capped(_scores("...thd,...shd->...hts", q, k, scale), self.softcap)
            return _softmax_of_scores(scores, mask, bias)

        def mix(x: jax.Array, name: str) -> jax.Array:
            layer = Dense(self.num_heads, dtype=self.dtype, kernel_init=self.kernel_init, name=name)
            return jnp.moveaxis(layer(jnp.moveaxis(x, -3, -1)), -1, -3)

        scores = mix(_scores("...thd,...shd->...hts", q, k, scale), "proj_l")
        return mix(_softmax_of_scores(scores, mask, bias), "proj_w")
