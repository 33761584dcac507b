"""WaveNet: dilated causal convolutions predict each sample of a sound from those before it.

van den Oord et al. 2016, arXiv:1609.03499.

    z   = W_0 h(t - d) + W_1 h(t) + V y,   d = 1, 2, 4, ..., then from 1 again          y: the class
    g   = tanh(z_1) sigmoid(z_2)
    h'  = h + A g,     s = sum over layers of B g,     logits = C relu(D relu(s))

The first layer reads the code of the sample before as a vector, which is a causal convolution over one-hot codes. What
is before a sound is a code of its own. A stack of dilations 1, ..., 2^(L - 1) sees 2^L samples; to draw one sample
costs one step of each layer, with the last d inputs of a layer of dilation d in a ring (Le Paine et al. 2016,
arXiv:1611.09482).
"""

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from dlcore.learner import Range
from dlcore.nn import Dense, Embed
from dlcore.ops.precision import to_acc_dtype

__all__ = ["WaveNet"]


class _Layer(nn.Module):
    features: int
    skip_features: int
    num_classes: int
    dilation: int
    dtype: Any

    def setup(self):
        self.conv = Dense(2 * self.features, dtype=self.dtype)
        self.out = Dense(self.features + self.skip_features, dtype=self.dtype)
        if self.num_classes:
            self.label = Embed(self.num_classes, 2 * self.features, dtype=self.dtype)

    def __call__(self, past: jax.Array, h: jax.Array, label: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Inputs d samples ago and now, [B, T, F] each -> (output [B, T, F], part of the skip sum [B, T, S])."""
        z = self.conv(jnp.concatenate([past, h], -1))
        if label is not None:
            z += self.label(label)[:, None]
        filtered, gate = jnp.split(z, 2, -1)
        out = self.out(jnp.tanh(filtered) * nn.sigmoid(gate))
        return h + out[..., : self.features], out[..., self.features :]


class WaveNet(nn.Module):
    """WaveNet: codes [B, H, W, C], read as a sequence of T = H W C samples -> logits [B, H, W, C, levels].

    Args:
      levels: codes of a sample.
      num_classes: classes whose label the network is given; 0 gives it none.
      features: channels of each layer.
      skip_features: channels of the sum over layers, and of the layer after it.
      num_layers: dilated convolutions.
      cycle: layers after which the dilation starts from 1 again.
      dtype: dtype of the matrix products; None takes the input's.
    """

    levels: int
    num_classes: int = 0
    features: Annotated[int, Range(1)] = 32
    skip_features: Annotated[int, Range(1)] = 64
    num_layers: Annotated[int, Range(1)] = 9
    cycle: Annotated[int, Range(1)] = 9
    dtype: Any = None

    def setup(self) -> None:
        """Make the layers."""
        self.embedding = Embed(self.levels + 1, self.features, dtype=self.dtype)
        self.layers = [
            _Layer(self.features, self.skip_features, self.num_classes, 2 ** (i % self.cycle), self.dtype)
            for i in range(self.num_layers)
        ]
        self.head = Dense(self.skip_features, dtype=self.dtype)
        self.logits = Dense(self.levels, kernel_init=nn.initializers.zeros, dtype=self.dtype)

    def _outputs(self, skips: list[jax.Array]) -> jax.Array:
        logits = self.logits(nn.relu(self.head(nn.relu(sum(skips)))))
        return to_acc_dtype(logits)

    def __call__(self, x: jax.Array, label: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Predict each sample from those before it.

        x [B, H, W, C] int in [0, levels); label [B] int, where there are classes -> logits [B, H, W, C, levels]
        float32.
        """
        before = _delayed(x.reshape(x.shape[0], -1), 1, self.levels)
        h, skips = self.embedding(before), []
        for layer in self.layers:
            h, skip = layer(_delayed(h, layer.dilation), h, label)
            skips.append(skip)
        return self._outputs(skips).reshape(*x.shape, self.levels)

    def receptive_field(self) -> int:
        """Count the samples before one that its logits depend on.

        Returns:
          The count.
        """
        return 1 + sum(2 ** (i % self.cycle) for i in range(self.num_layers))

    def start(self, shape: Sequence[int], label: jax.Array | None) -> list[jax.Array]:
        """Begin a sound: what a layer read before it is zero.

        shape (B, H, W, C); label [B] int, or None -> A ring of the last d inputs [B, d, features] of each layer, d its
        dilation.
        """
        dtype = self.dtype or jnp.float32
        return [jnp.zeros((shape[0], layer.dilation, self.features), dtype) for layer in self.layers]

    def step(
        self, cache: list[jax.Array], x: jax.Array, place: tuple, label: jax.Array | None
    ) -> tuple[list[jax.Array], jax.Array]:
        """Predict one sample.

        cache of `start`, or the step before; x [B, H, W, C], of which only the sample before `place` is read; place
        (row, column, color), in raster order; label [B] int, or None -> (cache, logits [B, levels]).
        """
        row, column, color = place
        t = (row * x.shape[2] + column) * x.shape[3] + color
        last = jnp.take(x.reshape(x.shape[0], -1), t - 1, 1, mode="clip")
        h, skips, rings = self.embedding(jnp.where(t > 0, last, self.levels))[:, None], [], []
        for layer, ring in zip(self.layers, cache, strict=True):
            position = t % layer.dilation
            past = jax.lax.dynamic_slice_in_dim(ring, position, 1, 1)
            rings.append(jax.lax.dynamic_update_slice_in_dim(ring, h, position, 1))
            h, skip = layer(past, h, label)
            skips.append(skip)
        return rings, self._outputs(skips)[:, 0]


def _delayed(x: jax.Array, steps: int, fill: int = 0) -> jax.Array:
    """x(t - steps) at t: [B, T, ...] -> the same shape, with `fill` at the first steps."""
    padding = [(0, 0), (steps, 0), *[(0, 0)] * (x.ndim - 2)]
    return jnp.pad(x, padding, constant_values=fill)[:, : x.shape[1]]
