"""Flux: two streams of image and text that attend jointly, then one stream of both, with rotary positions.

Black Forest Labs 2024 (no paper), in the form of the diffusers library, whose weights it takes
(`dlcore.generative.torch_diffusers`). The blocks of two streams are MMDiT's (Esser et al. 2024, arXiv:2403.03206);
those of one stream have attention and perceptron side by side (Dehghani et al. 2023, arXiv:2302.05442).

    x = W patches,   context = W' text,   c = MLP(waves of t) + MLP(waves of the guidance) + MLP(pooled text)
    x, context = block(x, context, c)             depth times, see `dlcore.generative.two_stream`
    s = [context, x]
    h = (1 + scale) LN(s) + shift,   s = s + gate W [attention(h), gelu(W'' h)]                single_depth times
    prediction = W ((1 + scale) LN(x) + shift),   scale, shift from silu(c)

A token has one position for each axis, (0, row, column) of an image and (0, 0, 0) of a text; each axis turns its own
channels of a head. The guidance is an input of networks distilled from guided ones (the published "dev"). Timesteps are
those of flow matching times 1000.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.generative.dit import modulate
from dlcore.generative.two_stream import JointAttention, Modulation, PooledConditioning, TwoStreamBlock, plain_norm
from dlcore.learner import Range
from dlcore.nn import Dense
from dlcore.nn.precision import compute_dtype
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import acc_dtype_of

__all__ = ["Flux", "image_positions"]

PERIOD = 10_000.0


def image_positions(rows: int, columns: int) -> np.ndarray:
    """Number the patches of an image, (0, row, column).

    Args:
      rows: patches on a column.
      columns: patches on a row.

    Returns:
      [rows columns, 3] float32, row by row.
    """
    check_shapes(rows=(rows, "int >= 1"), columns=(columns, "int >= 1"))
    row, column = np.mgrid[:rows, :columns]
    return np.stack([np.zeros_like(row), row, column], -1).reshape(-1, 3).astype(np.float32)


class _SingleBlock(nn.Module):
    """Attention and a perceptron side by side, between a modulated norm and a gate."""

    num_heads: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, c: jax.Array, angles: jax.Array) -> jax.Array:
        width = x.shape[-1]
        shift, scale, gate = Modulation(3, width, self.dtype, name="norm")(c)
        h = modulate(plain_norm(x, self.dtype), shift, scale)
        attend = JointAttention(self.num_heads, norm_keys=True, project_x=False, dtype=self.dtype, name="attn")
        y, _ = attend(h, angles=angles)
        hidden = nn.gelu(Dense(4 * width, dtype=self.dtype, name="proj_mlp")(h))
        return x + gate[:, None] * Dense(width, dtype=self.dtype, name="proj_out")(jnp.concatenate([y, hidden], -1))


class Flux(nn.Module):
    """Predicts an output of the shape of image tokens from them, the timestep, a text and its pooled vector.

    Args:
      width: D, of a token.
      depth: blocks of two streams.
      single_depth: blocks of one stream after them.
      num_heads: attention heads; divides width.
      axes: channels of a head that each axis of the positions turns, even; their sum is width / num_heads.
      has_guidance: embed the scale of guidance, which the network then wants.
    """

    width: Annotated[int, Range(4)] = 64
    depth: Annotated[int, Range(1)] = 1
    single_depth: Annotated[int, Range(0)] = 2
    num_heads: Annotated[int, Range(1)] = 4
    axes: tuple[int, ...] = (4, 6, 6)
    has_guidance: bool = False
    dtype: Any = None

    @nn.nowrap
    def angles(self, positions: jax.Array) -> jax.Array:
        """Compute the rotary angles of tokens: [N, axes], of each token -> [N, 1, D / heads / 2] radians."""
        turns = []
        for position, features in zip(jnp.asarray(positions, jnp.float32).T, self.axes, strict=True):
            frequencies = PERIOD ** (-np.arange(0, features, 2) / features)
            turns.append(position[:, None] * jnp.asarray(frequencies, jnp.float32))
        return jnp.concatenate(turns, -1)[:, None]

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        context: jax.Array,
        pooled: jax.Array,
        positions: jax.Array,
        context_positions: jax.Array | None = None,
        guidance: jax.Array | None = None,
    ) -> jax.Array:
        """Predict the velocity.

        Args:
          x: [B, N, C], tokens of an image: the values of a square of 2 x 2 positions of a latent, channel by channel.
          t: [B], times of flow matching, 0 to 1.
          context: [B, T, E], the words of a text.
          pooled: [B, P], one vector for a text.
          positions: [N, axes], of the tokens, see `image_positions`.
          context_positions: [T, axes], of the words; None for 0.
          guidance: [B], scales of guidance; None where has_guidance is False.

        Returns:
          [B, N, C], at least float32.
        """
        self._check(x, positions, guidance)
        dtype, channels = compute_dtype(self.dtype, x, self.variables), x.shape[-1]
        if context_positions is None:
            context_positions = jnp.zeros((context.shape[1], len(self.axes)))
        angles = self.angles(jnp.concatenate([jnp.asarray(context_positions), jnp.asarray(positions)]))
        # Tokens and condition.
        x = Dense(self.width, dtype=dtype, name="x_embedder")(x)
        embed = PooledConditioning(self.width, dtype, name="time_text_embed")
        c = embed(1000 * t, pooled, None if guidance is None else 1000 * guidance)
        context = Dense(self.width, dtype=dtype, name="context_embedder")(context)
        # Two streams, then one of both.
        for k in range(self.depth):
            block = TwoStreamBlock(self.num_heads, norm_keys=True, dtype=dtype, name=f"transformer_blocks_{k}")
            x, context = block(x, context, c, angles)
        tokens = jnp.concatenate([context, x], 1)  # [B, T + N, D]
        for k in range(self.single_depth):
            tokens = _SingleBlock(self.num_heads, dtype, name=f"single_transformer_blocks_{k}")(tokens, c, angles)
        x = tokens[:, context.shape[1] :]
        # The head starts at zero.
        scale, shift = Modulation(2, self.width, dtype, name="norm_out")(c)
        x = modulate(plain_norm(x, dtype), shift, scale).astype(acc_dtype_of(x.dtype))
        return Dense(channels, kernel_init=nn.initializers.zeros, name="proj_out")(x)

    @nn.nowrap
    def _check(self, x: jax.Array, positions: jax.Array, guidance: jax.Array | None) -> None:
        if self.width % self.num_heads or sum(self.axes) != self.width // self.num_heads:
            raise ValueError(
                f"axes={self.axes}: their sum is not width / num_heads = {self.width / self.num_heads:g}; allowed: "
                "even numbers with that sum"
            )
        if positions.shape != (x.shape[1], len(self.axes)):
            shape = x.shape[1], len(self.axes)
            raise ValueError(f"positions={positions.shape}: another shape; allowed: {shape}, one row a token")
        if (guidance is not None) != self.has_guidance:
            problem = "missing" if guidance is None else "the network embeds none"
            raise ValueError(f"guidance: {problem}; allowed: a scale for each example where has_guidance=True")
