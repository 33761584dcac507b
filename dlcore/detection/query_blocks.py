"""What detectors of queries that attend to a pyramid of maps share: layers, heads and references.

encoder layer    x = LN(x + deformable attention(x)),   x = LN(x + MLP(x))
decoder layer    z = LN(z + MHA(z)),   z = LN(z + deformable attention(z, x)),   z = LN(z + MLP(z))
gated            z = LN(g z + g' deformable attention(z, x)),   (g, g') = sigmoid(W [z, deformable attention(z, x)])
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.nn import DeformableAttention, Dense, FeedForward, LayerNorm, MultiHeadAttention, RMSNorm
from dlcore.nn.deformable_encoder import Shapes
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["BoxHead", "DeformableDecoderLayer", "inverse_sigmoid"]


def inverse_sigmoid(x: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Compute the logarithm of the odds, of numbers that are at least `epsilon` from 0 and 1.

    Args:
      x: [...], clipped to 0 to 1.
      epsilon: least of x and 1 - x.

    Returns:
      [...].
    """
    check_shapes(epsilon=(epsilon, "0 to 1"))
    x = jnp.clip(to_acc_dtype(x), 0, 1)
    return jnp.log(jnp.maximum(x, epsilon) / jnp.maximum(1 - x, epsilon))


class BoxHead(nn.Module):
    """Perceptron of a head, with a ReLU after each layer but the last: [..., D] -> [..., out_features].

    Submodules `layers_0`, ...

    Args:
      hidden_features: units of each layer but the last.
      out_features: outputs.
      num_layers: number of layers.
      last_init: initializer of the last kernel.
      activation: function after each layer but the last.
    """

    hidden_features: int
    out_features: int = 4
    num_layers: int = 3
    last_init: Any = nn.initializers.zeros
    dtype: Any = None
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the layers: [..., D] -> [..., out_features]."""
        for i in range(self.num_layers - 1):
            layer = Dense(self.hidden_features, dtype=self.dtype, name=f"layers_{i}")
            x = self.activation(layer(x))
        last = f"layers_{self.num_layers - 1}"
        return Dense(self.out_features, dtype=self.dtype, kernel_init=self.last_init, name=last)(x)


class _Gate(nn.Module):
    """LN(g x + g' y) with gates between 0 and 1 of both: [B, Q, D] -> [B, Q, D]."""

    dtype: Any = None
    norm: Any = LayerNorm

    @nn.compact
    def __call__(self, x: jax.Array, y: jax.Array) -> jax.Array:
        gate = Dense(2 * x.shape[-1], dtype=self.dtype, kernel_init=nn.initializers.zeros, name="gate")
        gates = jnp.split(nn.sigmoid(gate(jnp.concatenate([x, y], -1))), 2, axis=-1)
        return self.norm(dtype=self.dtype, name="norm")(gates[0] * x + gates[1] * y)


class DeformableDecoderLayer(nn.Module):
    """Layer of a deformable decoder on queries: [B, Q, D] -> [B, Q, D].

    Args:
      num_heads: heads of each attention.
      hidden_features: units of the perceptron.
      num_points: points of each head on each level.
      offset_scale: see `DeformableAttention`.
      method: see `DeformableAttention`.
      dropout_rate: dropout rate in training.
      gated: the deformable attention has no projections, and a gate adds what it reads (D-FINE).
      cross_heads: heads of the deformable attention; None means `num_heads`.
      rms: RMS norms, a perceptron gated by a SiLU, and a deformable attention without projections (DEIMv2).
    """

    num_heads: int
    hidden_features: int
    num_points: int | tuple[int, ...] = 4
    offset_scale: float = 0.5
    method: Literal["bilinear", "discrete"] = "bilinear"
    dropout_rate: float = 0.0
    dtype: Any = None
    gated: bool = False
    cross_heads: int | None = None
    rms: Annotated[bool, "if changed"] = False

    @nn.compact
    def __call__(
        self,
        queries: jax.Array,
        position: jax.Array,
        reference: jax.Array,
        memory: jax.Array,
        shapes: Shapes,
        memory_mask: jax.Array | None = None,
        mask: jax.Array | None = None,
        train: bool = False,
    ) -> jax.Array:
        """Apply the layer.

        Args:
          queries: [B, Q, D].
          position: added to queries and to keys of the self-attention, not to values; broadcasts to queries.
          reference: [B, Q, 1 or levels, 2 or 4].
          memory: [B, N, D], the maps row by row, one level after the other.
          shapes: (rows, columns) of each level.
          memory_mask: [B, N] bool, False for padding; None for none.
          mask: bool, True where a query may attend to a query; broadcasts to [B, H, Q, Q]. None means everywhere.

        Returns:
          [B, Q, D].
        """

        norm = partial(RMSNorm, 1e-6) if self.rms else LayerNorm

        def add(x: jax.Array, y: jax.Array, name: str) -> jax.Array:
            y = nn.Dropout(self.dropout_rate)(y, deterministic=not train)
            if name == "gateway":
                return _Gate(self.dtype, norm, name=name)(x, y)
            return norm(dtype=self.dtype, name=name)(x + y)

        attention = MultiHeadAttention(
            self.num_heads, fused_qkv=False, dropout_rate=self.dropout_rate, dtype=self.dtype, name="self_attn"
        )
        z = queries + position
        z = add(queries, attention(z, z, queries, mask=mask, train=train), "self_attn_layer_norm")
        look = DeformableAttention(
            self.cross_heads or self.num_heads,
            self.num_points,
            self.offset_scale,
            self.method,
            projections=not (self.gated or self.rms),
            dtype=self.dtype,
            name="encoder_attn",
        )
        name = "gateway" if self.gated else "encoder_attn_layer_norm"
        z = add(z, look(z + position, reference, memory, shapes, memory_mask), name)
        gate = {"gated": True, "activation": nn.silu} if self.rms else {}
        mlp = FeedForward(self.hidden_features, dropout_rate=self.dropout_rate, dtype=self.dtype, name="mlp", **gate)
        return norm(dtype=self.dtype, name="final_layer_norm")(z + mlp(z, train))
