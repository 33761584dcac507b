"""Additive attention: a small perceptron scores how well each key fits a query; the context is the mean of the keys.

    e_i = v . tanh(W s + U h_i),   a = softmax(e),   c = sum_i a_i h_i        s: a query, h_i: the keys

The keys are a set: their order does not matter. U h does not depend on the query, so a decoder computes it once for all
of its steps (`project`). Bahdanau, Cho & Bengio, "Neural machine translation by jointly learning to align and
translate" (2014), arXiv:1409.0473.

Scores and softmax are at least float32. A mask is True at a key that may be attended to; a query without any gets the
mean of all keys, as in `attention_weights`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn._checked import CheckedModule, Count
from dlcore.nn.attention import Initializer
from dlcore.nn.dense import Dense
from dlcore.ops.checks import check_shapes, describe_array
from dlcore.ops.precision import to_acc_dtype

__all__ = ["AdditiveAttention"]


class AdditiveAttention(CheckedModule):
    """Additive attention of queries to keys, which are the values too.

    Submodules `query` (W), `key` (U) and `score` (v), without biases. The weights are sown as "weights".

    Args:
      features: size of v, units between a query, a key and their score.
      kernel_init: initializer of the three kernels.
    """

    features: Count
    dtype: Any = None
    kernel_init: Initializer = nn.initializers.xavier_uniform()

    def setup(self):
        """Build the three layers."""

        def dense(features: int) -> Dense:
            return Dense(features, use_bias=False, dtype=self.dtype, kernel_init=self.kernel_init)

        self.query, self.key, self.score = dense(self.features), dense(self.features), dense(1)

    def project(self, keys: jax.Array) -> jax.Array:
        """Compute U h, once for all queries.

        Args:
          keys: [..., S, E].

        Returns:
          [..., S, features].
        """
        return self.key(keys)

    def __call__(
        self, query: jax.Array, keys: jax.Array, *, mask: jax.Array | None = None, projected: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Attend from every query to all keys.

        Args:
          query: [..., T, D].
          keys: [..., S, E].
          mask: bool [..., S], True at the keys that may be attended to. None means all.
          projected: `project(keys)`; None computes it.

        Returns:
          (context [..., T, E], weights [..., T, S] with sum 1 over S).
        """
        check_shapes(query=(query, "... T D"))
        check_shapes(keys=(keys, "... S E"))
        if query.ndim != keys.ndim:
            raise ValueError(f"keys={describe_array(keys)}: {keys.ndim} axes; allowed: {query.ndim}, as of the query")
        if mask is not None and mask.dtype != jnp.bool_:
            raise ValueError(f"mask.dtype={mask.dtype}: not a mask; allowed: bool, True at a key that counts")
        projected = self.project(keys) if projected is None else projected
        hidden = jnp.tanh(self.query(query)[..., :, None, :] + projected[..., None, :, :])
        scores = self.score(hidden)[..., 0]
        scores = to_acc_dtype(scores)
        if mask is not None:
            scores = jnp.where(mask[..., None, :], scores, jnp.finfo(scores.dtype).min)
        weights = jax.nn.softmax(scores, axis=-1)
        self.sow("intermediates", "weights", weights)
        return jnp.einsum("...ts,...se->...te", weights.astype(keys.dtype), keys), weights
