"""A table of vectors, one for each token or class."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.dtypes import promote_dtype

from dlcore.choices import check_whole_number
from dlcore.ops.checks import check_indices

__all__ = ["Embed"]


class Embed(nn.Embed):
    """Look up a vector for each index; its gradient is summed in the parameters' dtype.

    flax's own casts the table before it reads, so that with `dtype=jnp.bfloat16` the gradients of a token that occurs
    a thousand times are summed in bfloat16, where a sum of 256 ones stays at 256. Here the rows are read first.
    Fields and parameters are flax's.
    """

    def __post_init__(self) -> None:
        check_whole_number("num_embeddings", self.num_embeddings, 1)
        check_whole_number("features", self.features, 1)
        super().__post_init__()

    def __call__(self, inputs: jax.Array) -> jax.Array:
        """Look up vectors.

        Args:
          inputs: integers [...] from 0 to `num_embeddings` - 1.

        Returns:
          [..., features] in `dtype`, or in that of the parameters where it is None; NaN for a traced index
          outside the table.
        """
        if not jnp.issubdtype(inputs.dtype, jnp.integer):
            raise ValueError(f"inputs={inputs.dtype}: not an index; allowed: integers below {self.num_embeddings}")
        check_indices("inputs", inputs, self.num_embeddings, "embeddings")
        # "fill" alone would read a negative index from the end of the table.
        inputs = jnp.where(inputs < 0, self.num_embeddings, inputs)
        rows = jnp.take(self.embedding, inputs, axis=0, mode="fill")
        return rows if self.dtype is None else rows.astype(self.dtype)

    def attend(self, query: jax.Array) -> jax.Array:
        """Multiply queries with every vector, for logits by the table that reads tokens.

        Args:
          query: [..., features].

        Returns:
          [..., num_embeddings], in the dtype of both by promotion, or in `dtype`.
        """
        query, table = promote_dtype(query, self.embedding, dtype=self.dtype)
        return jnp.einsum("...d,vd->...v", query, table)
