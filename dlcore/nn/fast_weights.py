"""Fast weights: linear attention, whose weights are outer products of what the sequence says.

Schmidhuber, "Learning to control fast-weight memories" (1992); Katharopoulos, Vyas, Pappas & Fleuret, "Transformers are
RNNs: fast autoregressive transformers with linear attention" (2020), arXiv:2006.16236; Schlag, Irie & Schmidhuber,
"Linear transformers are secretly fast weight programmers" (2021), arXiv:2102.11174.

    recurrent    S_t = S_{t-1} + phi(k_t) v_t^T,   z_t = z_{t-1} + phi(k_t),   y_t = S_t^T phi(q_t) / (z_t . phi(q_t))
    parallel     y_t = sum_{s <= t} (phi(q_t) . phi(k_s)) v_s / sum_{s <= t} phi(q_t) . phi(k_s),   phi(x) = elu(x) + 1

The slow weights, which gradients train, write keys and values; S is the fast weight matrix that they program. Both
forms give the same numbers: the parallel one takes T^2 products, the recurrent one a memory that does not grow with T.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.dense import Dense
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of, result_dtype, to_acc_dtype

__all__ = ["FastWeightAttention", "FastWeights", "linear_attention", "linear_attention_step", "positive_features"]


class FastWeights(NamedTuple):
    """The memory of linear attention.

    Args:
      matrix: S, [..., K, V], the sum of the outer products, at least float32.
      norm: z, [..., K], the sum of the keys' features, at least float32.
    """

    matrix: jax.Array
    norm: jax.Array


def positive_features(x: jax.Array) -> jax.Array:
    """Feature map phi(x) = elu(x) + 1, positive everywhere.

    Args:
      x: [..., K].

    Returns:
      [..., K].
    """
    return jax.nn.elu(x) + 1


def linear_attention(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    """Causal linear attention in its parallel form.

    Args:
      query: [..., T, K].
      key: [..., T, K].
      value: [..., T, V].

    Returns:
      [..., T, V].
    """
    check_shapes(query=(query, "... T K"), key=(key, "... T K"), value=(value, "... T V"))
    dtype = result_dtype(query, key, value)
    query, key, value = map(to_acc_dtype, (query, key, value))
    weights = jnp.tril(jnp.einsum("...tk,...sk->...ts", positive_features(query), positive_features(key)))
    return (jnp.einsum("...ts,...sv->...tv", weights, value) / weights.sum(-1, keepdims=True)).astype(dtype)


def linear_attention_step(
    memory: FastWeights, query: jax.Array, key: jax.Array, value: jax.Array
) -> tuple[FastWeights, jax.Array]:
    """One step of linear attention in its recurrent form: write, then read.

    Args:
      memory: memory of all earlier steps; zeros at the start.
      query: [..., K].
      key: [..., K].
      value: [..., V].

    Returns:
      (memory, output [..., V]).
    """
    check_shapes(
        query=(query, "... K"),
        key=(key, "... K"),
        value=(value, "... V"),
        matrix=(memory.matrix, "... K V"),
        norm=(memory.norm, "... K"),
    )
    dtype = result_dtype(query, key, value)
    query, key = positive_features(to_acc_dtype(query)), positive_features(to_acc_dtype(key))
    matrix = memory.matrix + key[..., :, None] * value[..., None, :]
    norm = memory.norm + key
    read = jnp.einsum("...kv,...k->...v", matrix, query)
    return FastWeights(matrix, norm), (read / (norm * query).sum(-1, keepdims=True)).astype(dtype)


class FastWeightAttention(CheckedModule):
    """A layer of causal linear attention with one head.

    Args:
      features: size of queries, keys, values and outputs.
      recurrent: compute step by step in a scan, with a memory of one matrix, instead of all at once.
    """

    features: Count
    recurrent: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Attend to all earlier steps and the present one.

        Args:
          x: [B, T, D].

        Returns:
          [B, T, features].
        """
        query, key, value = (Dense(self.features, name=name)(x) for name in ("query", "key", "value"))
        if not self.recurrent:
            return linear_attention(query, key, value)
        batch = x.shape[0]
        start = FastWeights(
            jnp.zeros((batch, self.features, self.features), acc_dtype_of(query)),
            jnp.zeros((batch, self.features), acc_dtype_of(query)),
        )
        steps = tuple(jnp.moveaxis(array, 1, 0) for array in (query, key, value))
        _, outputs = lax.scan(lambda memory, step: linear_attention_step(memory, *step), start, steps)
        return jnp.moveaxis(outputs, 0, 1)
