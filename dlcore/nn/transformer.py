"""The blocks of a transformer: attention across tokens, then a perceptron on each, all with a shortcut.

    post-norm    x = LN(x + MHA(x)),   x = LN(x + MLP(x))                  Vaswani et al. 2017, arXiv:1706.03762
    pre-norm     x = x + MHA(LN(x)),   x = x + MLP(LN(x))                  Dosovitskiy et al. 2020, arXiv:2010.11929
    MLP(x)       W_2 f(W_1 x + b_1) + b_2;  gated: W_2 (f(W_g x + b_g) (W_1 x + b_1))         Shazeer, arXiv:2002.05202
    decoder      causal MHA(x), then (with an encoder) MHA(x, memory) of keys and values of the encoder, then MLP(x)

Names are timm's: norm1, attn (qkv, proj), norm2, mlp (fc1, fc2); a decoder with an encoder has cross_attn and norm2
between them, and mlp after norm3. Dropout is applied where torch has it: on the attention's weights and output, and
after each layer of the perceptron.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.choices import check_choice
from dlcore.learner import Range
from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.attention import Initializer, MultiHeadAttention, QKVBias
from dlcore.nn.cache import Cache, Memory
from dlcore.nn.dense import Dense
from dlcore.nn.group_norm import LayerNorm, RMSNorm, ZeroCenteredRMSNorm
from dlcore.nn.rotary import Pairs
from dlcore.nn.stochastic import StochasticDepth
from dlcore.ops.checks import check_shapes
from dlcore.ops.split_sequence import split_batch

__all__ = ["FeedForward", "TransformerBlock", "TransformerDecoderBlock", "TransformerEncoderBlock", "drop_path"]


def drop_path(branch: jax.Array, rate: float | jax.Array, train: bool) -> jax.Array:
    """Drop path: drop a residual branch for some examples in training, and scale up the others.

    Call it in a compact method; where it drops it needs the "dropout" rng.

    Args:
      branch: [B, ...], output of the residual branch.
      rate: probability to drop an example's branch; an array may be 0.
      train: drop; otherwise the branch does not change.

    Returns:
      [B, ...].
    """
    check_shapes(rate=(rate, "0 to 1"))
    if not isinstance(rate, jax.Array) and rate <= 0:
        return branch
    return StochasticDepth(1 - rate, inverted=True, deterministic=not train)(branch)


class FeedForward(CheckedModule):
    """Perceptron of a transformer: two dense layers on each token, [..., D] -> [..., D].

    Submodules `fc1` and `fc2`, and `gate` where gated.

    Args:
      hidden_features: units between the two layers.
      activation: function between the two layers.
      dropout_rate: probability to drop a value after each layer in training.
      kernel_init: initializer of all kernels but that of `out_kernel_init`.
      bias_init: initializer of the biases.
      out_kernel_init: initializer of the second kernel; None means `kernel_init`.
      gated: multiply the first layer by the activation of a layer `gate`, in place of activating it.
      use_bias: add biases.
      norm_epsilon: epsilon of a layer norm `norm` before the second layer (sub-LN); None: there is none.
    """

    hidden_features: Count
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dropout_rate: Annotated[float, Range(0, 1)] = 0.0
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    bias_init: Initializer = nn.initializers.zeros
    out_kernel_init: Initializer | None = None
    gated: bool = False
    use_bias: bool = True
    norm_epsilon: float | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Apply the layers.

        Args:
          x: [..., D].

        Returns:
          [..., D].
        """

        def dense(features: int, name: str, init: Initializer) -> Dense:
            return Dense(
                features, self.use_bias, dtype=self.dtype, kernel_init=init, bias_init=self.bias_init, name=name
            )

        h = dense(self.hidden_features, "fc1", self.kernel_init)(x)
        if self.gated:
            h = h * self.activation(dense(self.hidden_features, "gate", self.kernel_init)(x))
        else:
            h = self.activation(h)
        h = nn.Dropout(self.dropout_rate)(h, deterministic=not train)
        if self.norm_epsilon is not None:
            h = LayerNorm(self.norm_epsilon, dtype=self.dtype, name="norm")(h)
        h = dense(x.shape[-1], "fc2", self.out_kernel_init or self.kernel_init)(h)
        return nn.Dropout(self.dropout_rate)(h, deterministic=not train)


ATTENTION_FIELDS = (
    *("qkv_features", "num_kv_heads", "scale", "rotary", "rotary_pairs", "use_bias", "qkv_bias", "qk_norm"),
    *("out_norm", "cosine", "talking_heads", "dtype", "kernel_init", "out_kernel_init"),
    *("biased_qkv", "softcap"),
)
"""Fields of a block that are those of its attention, under the same names."""


class TransformerBlock(CheckedModule):
    """Base of both blocks: their fields, and the layers that they share.

    Args:
      num_heads: heads of each attention; divides the features of all heads.
      hidden_features: units of the perceptron.
      pre_norm: normalize the input of each branch instead of the sum after it.
      activation: activation of the perceptron; torch's default is relu, that of vision transformers gelu.
      dropout_rate: probability to drop a value of an attention's output or of the perceptron in training.
      attention_dropout_rate: probability to drop an attention weight in training.
      epsilon: epsilon of the norms.
      fused_qkv: compute queries, keys and values of the self-attention by one layer `qkv`.
      kernel_init: initializer of all kernels but those of `out_kernel_init`.
      out_kernel_init: initializer of the last kernels of branches, see the block; None means `kernel_init`.
      bias_init: initializer of the perceptron's biases.
      norm: layer, rms, zero_centered_rms (its factor is 1 + scale), or unbiased_layer.
      use_bias: add biases to the layers of attention and perceptron.
      gated: multiply the perceptron's first layer by a gate.
      qkv_features: features of all heads together; None means those of a token.
      num_kv_heads: heads of keys and values, each shared by several heads of queries; None means `num_heads`.
      scale: factor of the attention's scores; None means 1 / sqrt(features of a head).
      rotary: period of the rotary positions of the self-attention; None: it sees no position.
      rotary_pairs: channels that rotary positions turn together, halves or neighbors, see `MultiHeadAttention`.
      qkv_bias: which of queries, keys and values get a bias, qkv, qv or none, see `MultiHeadAttention`.
      cosine: scores are scaled cosines, see `MultiHeadAttention`.
      talking_heads: mix the scores and the weights of heads, see `MultiHeadAttention`.
      mlp_norm: normalize the perceptron's units before its second layer (sub-LN).
      qk_norm: epsilon of RMS norms of each head's queries and keys, see `MultiHeadAttention`; None for none.
      out_norm: epsilon of a norm before the attention's last layer, see `MultiHeadAttention`; None for none.
      biased_qkv: add biases to queries, keys and values alone, see `MultiHeadAttention`.
      softcap: cap of the attention's scores, see `dot_product_attention`; None for none.
    """

    num_heads: Count
    hidden_features: Count
    pre_norm: bool = False
    activation: Callable[[jax.Array], jax.Array] = nn.relu
    dropout_rate: Annotated[float, Range(0, 1)] = 0.0
    attention_dropout_rate: Annotated[float, Range(0, 1)] = 0.0
    epsilon: Annotated[float, Range(0)] = 1e-5
    fused_qkv: bool = True
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()
    out_kernel_init: Initializer | None = None
    bias_init: Initializer = nn.initializers.zeros
    norm: Literal["layer", "rms", "zero_centered_rms", "unbiased_layer"] = "layer"
    use_bias: bool = True
    gated: bool = False
    qkv_features: Count | None = None
    num_kv_heads: Count | None = None
    scale: float | None = None
    rotary: float | None = None
    rotary_pairs: Pairs = "halves"
    qkv_bias: QKVBias = "qkv"
    cosine: bool = False
    mlp_norm: bool = False
    talking_heads: bool = False
    qk_norm: float | None = None
    out_norm: float | None = None
    biased_qkv: bool = False
    softcap: float | None = None

    @nn.nowrap
    def _attention(self, name: str, fused_qkv: bool, **fields: Any) -> MultiHeadAttention:
        shared = {field: getattr(self, field) for field in ATTENTION_FIELDS} | fields
        shared["qk_norm_zero_centered"] = self.norm == "zero_centered_rms"
        return MultiHeadAttention(
            self.num_heads, fused_qkv=fused_qkv, dropout_rate=self.attention_dropout_rate, name=name, **shared
        )

    @nn.nowrap
    def _perceptron(self, out_kernel_init: Initializer | None = None) -> FeedForward:
        return FeedForward(
            self.hidden_features,
            self.activation,
            self.dropout_rate,
            self.dtype,
            self.kernel_init,
            self.bias_init,
            out_kernel_init,
            self.gated,
            self.use_bias,
            self.epsilon if self.mlp_norm else None,
            name="mlp",
        )

    @nn.nowrap
    def _norm(self, i: int) -> nn.Module:
        kinds: dict[str, Any] = {"layer": LayerNorm, "rms": RMSNorm, "zero_centered_rms": ZeroCenteredRMSNorm}
        kinds["unbiased_layer"] = partial(LayerNorm, use_bias=False)
        check_choice("norm", self.norm, tuple(kinds))
        return kinds[self.norm](self.epsilon, dtype=self.dtype, name=f"norm{i}")


def _placed(x: jax.Array, position: jax.Array | None) -> tuple[jax.Array, ...]:
    """(queries, keys, values) with the position on queries and keys; (x,) without one."""
    return (x,) if position is None else (x + position, x + position, x)


class TransformerEncoderBlock(TransformerBlock):
    """Transformer encoder block: self-attention and a perceptron on tokens, [B, N, D] -> [B, N, D].

    All fields of `TransformerBlock`; `out_kernel_init` is for the attention's output projection.

    Args:
      drop_path_rate: probability to drop a whole branch of an example in training.
      layer_scale: initial factor of each channel of a branch, a parameter `layer_scale1` or `layer_scale2` (Touvron et
        al. 2021, arXiv:2103.17239); None leaves branches as they are.
      branch_norm: normalize what a branch gives before it is added, in place of its input.
    """

    drop_path_rate: Annotated[float, Range(0, 1)] = 0.0
    layer_scale: float | None = None
    branch_norm: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool = False,
        mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        position: jax.Array | None = None,
        angles: jax.Array | None = None,
        drop_path_rate: jax.Array | None = None,
    ) -> jax.Array:
        """Apply the block.

        Args:
          x: [B, N, D].
          mask: bool, True where a query may attend; broadcasts to [B, H, N, N]. None means everywhere.
          bias: added to the attention scores; broadcasts to [B, H, N, N]. None adds nothing.
          position: added to queries and keys, not to values (DETR); broadcasts to x; not with `fused_qkv`. None adds
            nothing.
          angles: [N', 1 or H, features of a head / 2] radians by which the queries and keys of the last N' tokens turn,
            see `MultiHeadAttention`; None turns nothing.
          drop_path_rate: probability in place of the field's, where blocks of several rates share a program; None takes
            the field's.

        Returns:
          [B, N, D].
        """
        rate = self.drop_path_rate if drop_path_rate is None else drop_path_rate
        attention, mlp = self._attention("attn", self.fused_qkv), self._perceptron()

        def attend(x: jax.Array) -> jax.Array:
            inputs = _placed(x, position)
            return nn.Dropout(self.dropout_rate)(
                attention(*inputs, mask=mask, bias=bias, train=train, angles=angles), deterministic=not train
            )

        def scaled(y: jax.Array, i: int) -> jax.Array:
            if self.layer_scale is None:
                return y
            init = nn.initializers.constant(self.layer_scale)
            return y * self.param(f"layer_scale{i}", init, y.shape[-1:]).astype(y.dtype)

        for i, branch in enumerate((attend, lambda x: mlp(x, train)), 1):
            norm = self._norm(i)
            if self.branch_norm:
                x = x + drop_path(scaled(norm(branch(x)), i), rate, train)
            elif self.pre_norm:
                x = x + drop_path(scaled(branch(norm(x)), i), rate, train)
            else:
                x = norm(x + drop_path(scaled(branch(x), i), rate, train))
            x = split_batch(x)
        return x


class TransformerDecoderBlock(TransformerBlock):
    """Transformer decoder block: self-attention, cross-attention and a perceptron on tokens, [B, T, D] -> [B, T, D].

    All fields of `TransformerBlock`; `out_kernel_init` is for the last kernel of each branch.

    Args:
      cross: attend to a memory; False leaves the cross-attention out (GPT).
      window: most tokens that a token sees, itself included, of causal self-attention; None means all.
      sandwich: normalize what a branch gives, too, before it is added (Gemma 2); norms count in order of use.
      parallel: one norm for all branches, which are added together (GPT-J, Cohere).
    """

    cross: bool = True
    window: int | None = None
    sandwich: bool = False
    parallel: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array | None = None,
        train: bool = False,
        mask: jax.Array | None = None,
        memory_mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        cache: dict[str, Any] | None = None,
        is_causal: bool = False,
        position: jax.Array | None = None,
        memory_position: jax.Array | None = None,
        angles: jax.Array | None = None,
        bidirectional: jax.Array | None = None,
    ) -> Any:
        """Apply the block.

        Args:
          x: [B, T, D].
          memory: [B, S, E], of the encoder; None without cross-attention, or where the cache holds it.
          mask: bool, True where a query may attend to a token of x; broadcasts to [B, H, T, T]. None means everywhere.
          memory_mask: bool, True where the memory has a token; broadcasts to [B, H, T, S]. None means everywhere.
          bias: added to the self-attention's scores; broadcasts to [B, H, T, T]. None adds nothing.
          cache: cache from `init_cache`, or what the call before returned; None keeps nothing. A cache is causal by
            itself.
          is_causal: hide later tokens from each; faster than a mask that does.
          position: added to queries and to the keys of the self-attention, not to values (DETR); broadcasts to x; not
            with `fused_qkv` or a cache. None adds nothing.
          memory_position: added to the keys of the memory; broadcasts to it. None adds nothing.
          angles: [B or none, T, 1, features of a head / 2] radians by which queries and keys of the self-attention
            turn, in place of the field `rotary`; None leaves it.
          bidirectional: [B, T, T] bool, pairs that attend to each other whatever their order; None: no pair.

        Returns:
          [B, T, D]; with a cache (that, the cache after it).
        """
        after = dict(cache or {})

        def attend(x: jax.Array) -> jax.Array:
            self_attention = {"mask": mask, "bias": bias, "train": train, "is_causal": is_causal}
            self_attention |= {"angles": angles, "bidirectional": bidirectional}
            y = self._attention("attn", self.fused_qkv, window=self.window)(
                *_placed(x, position), **self_attention, cache=after.get("self")
            )
            if cache is not None:
                y, after["self"] = y
            return nn.Dropout(self.dropout_rate)(y, deterministic=not train)

        def look(x: jax.Array) -> jax.Array:
            query = x if position is None else x + position
            keys = memory if memory_position is None else memory + memory_position
            values = None if memory_position is None else memory
            attention = self._attention("cross_attn", False)
            y = attention(query, keys, values, mask=memory_mask, train=train, cache=after.get("cross"))
            if cache is not None:
                y, after["cross"] = y
            return nn.Dropout(self.dropout_rate)(y, deterministic=not train)

        mlp = self._perceptron(self.out_kernel_init)
        branches = [*([attend, look] if self.cross else [attend]), lambda x: mlp(x, train)]
        if self.parallel:
            y = self._norm(1)(x)
            x = x + sum(branch(y) for branch in branches)
            return x if cache is None else (x, after)
        for i, branch in enumerate(branches, 1):
            norm = self._norm(2 * i - 1 if self.sandwich else i)
            if self.sandwich:
                x = x + self._norm(2 * i)(branch(norm(x)))
            else:
                x = x + branch(norm(x)) if self.pre_norm else norm(x + branch(x))
            # Else XLA:CPU sums the residual stream anew, from all branches before, for whatever reads it.
            x = jax.lax.platform_dependent(x, cpu=jax.lax.optimization_barrier, default=lambda x: x)
            x = split_batch(x)
        return x if cache is None else (x, after)

    @nn.nowrap
    def init_cache(self, batch_size: int, length: int, features: int) -> dict[str, Any]:
        """Make an empty cache of the block.

        Args:
          batch_size: B.
          length: L, the most tokens that it holds.
          features: D, of the tokens.

        Returns:
          {"self": a Cache} and, with cross-attention, {"cross": an empty Memory}.
        """
        heads, size = self.num_kv_heads or self.num_heads, (self.qkv_features or features) // self.num_heads
        cache = {"self": Cache.zeros(batch_size, length, heads, size, self.dtype or jnp.float32)}
        return cache | ({"cross": Memory()} if self.cross else {})
