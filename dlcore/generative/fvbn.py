"""Fully visible belief networks: each pixel is predicted from those before it, so log p(x) is a sum that one computes.

    p(x) = prod_d p(x_d | x_1, ..., x_{d-1})         in raster order: rows, columns of a row, colors of a pixel

    logistic  p(x_d = 1 | ...) = sigmoid(b_d + sum_{j < d} W_dj x_j)               Frey, Hinton & Dayan 1996
    NADE      h_d = sigmoid(c + sum_{j < d} W_j x_j),  sigmoid(b_d + V_d h_d)      Larochelle & Murray 2011
    MADE      an autoencoder whose masks cut each path from x_j, j >= d, to output d:
              a hidden unit has a degree m in 1 .. D - 1; it reads x_j with j <= m, units of no higher degree, and is
              read by the outputs d > m                                            Germain et al. 2015, arXiv:1502.03509

NADE's hidden layers share the weights W, so that all D of them cost one running sum. MADE has one order and one set of
masks, where its paper tries ensembles of both. With more than two levels x_d is a number in [-1, 1] as an input and a
softmax as an output.
"""

import itertools
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.generative.levels import encode, num_outputs, to_logits
from dlcore.learner import Range
from dlcore.nn.embed import Embed
from dlcore.ops.checks import check_shapes
from dlcore.ops.precision import to_acc_dtype

__all__ = ["FVBN", "MADE", "NADE", "made_masks"]


def _position(shape: Sequence[int], position: tuple) -> jax.Array:
    """Number of the dimension (row, column, color) of images [B, H, W, C]."""
    row, column, color = position
    return (row * shape[2] + column) * shape[3] + color


def _product(equation: str, x: jax.Array, w: jax.Array, dtype: Any) -> jax.Array:
    product = jnp.einsum(equation, *nn.dtypes.promote_dtype(x, w, dtype=dtype))
    return to_acc_dtype(product)


class FVBN(nn.Module):
    """The chain of logistic regressions: images [B, H, W, C] -> logits [B, H, W, C, levels].

    Args:
      levels: values of a dimension.
      num_classes: classes whose label the network is given; 0 gives it none.
      dtype: dtype of the matrix product; None takes the input's.
    """

    levels: int
    num_classes: int = 0
    dtype: Any = None

    @nn.compact
    def weights(self, dimensions: int, label: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Make the parameters.

        dimensions, D, of an image; label [B] int, or None -> (strictly lower triangular weights [D, D, outputs], biases
        [B or 1, D, outputs]).
        """
        outputs = num_outputs(self.levels)
        w = self.param("kernel", nn.initializers.zeros, (dimensions, dimensions, outputs))
        bias = self.param("bias", nn.initializers.zeros, (max(1, self.num_classes), dimensions, outputs))
        bias = bias if label is None else bias[label]
        return jnp.tril(jnp.ones((dimensions, dimensions)), -1)[..., None] * w, bias

    def __call__(self, x: jax.Array, label: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Predict each dimension from those before it.

        x [B, H, W, C] in [0, levels); label [B] int, where there are classes -> logits [B, H, W, C, levels] float32.
        """
        flat = encode(x, self.levels).reshape(x.shape[0], -1)
        w, bias = self.weights(flat.shape[1], label)
        logits = _product("bj,djo->bdo", flat, w, self.dtype) + bias
        return to_logits(logits, self.levels).reshape(*x.shape, self.levels)

    def start(self, shape: Sequence[int], label: jax.Array | None) -> tuple:
        """Begin a sample; there is nothing to remember: shape (B, H, W, C); label [B] int, or None -> Nothing."""
        return ()

    def step(self, cache: tuple, x: jax.Array, place: tuple, label: jax.Array | None) -> tuple[tuple, jax.Array]:
        """Predict one dimension.

        cache of `start`; x [B, H, W, C], of which only what comes before `place` is read; place (row, column, color);
        label [B] int, or None -> (cache, logits [B, levels]).
        """
        flat, d = encode(x, self.levels).reshape(x.shape[0], -1), _position(x.shape, place)
        w, bias = self.weights(flat.shape[1], label)
        return cache, to_logits(_product("bj,jo->bo", flat, w[d], self.dtype) + bias[:, d], self.levels)


class NADE(nn.Module):
    """The neural autoregressive distribution estimator: images [B, H, W, C] -> logits [B, H, W, C, levels].

    Args:
      levels: values of a dimension.
      num_classes: classes whose label the network is given; 0 gives it none.
      hidden_size: units of each hidden layer.
      dtype: dtype of the products with the hidden layers; sums are float32. None takes the input's.
    """

    levels: int
    num_classes: int = 0
    hidden_size: Annotated[int, Range(1)] = 500
    dtype: Any = None

    @nn.compact
    def weights(self, dimensions: int, label: jax.Array | None) -> tuple[jax.Array, ...]:
        """Make the parameters.

        dimensions, D, of an image; label [B] int, or None -> (W [D, hidden], hidden biases [B or 1, hidden], V [D,
        hidden, outputs], output biases [D, outputs]).
        """
        hidden, outputs = self.hidden_size, num_outputs(self.levels)
        w = self.param("encoder", nn.initializers.lecun_normal(), (dimensions, hidden))
        c = self.param("hidden_bias", nn.initializers.zeros, (max(1, self.num_classes), hidden))
        v = self.param("decoder", nn.initializers.zeros, (dimensions, hidden, outputs))
        bias = self.param("bias", nn.initializers.zeros, (dimensions, outputs))
        return w, c if label is None else c[label], v, bias

    def __call__(self, x: jax.Array, label: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Predict each dimension from those before it; the hidden layers of a row of the image at a time.

        x [B, H, W, C] in [0, levels); label [B] int, where there are classes -> logits [B, H, W, C, levels] float32.
        """
        b, rows = x.shape[:2]
        flat = encode(x, self.levels).reshape(b, rows, -1)
        w, c, v, bias = self.weights(rows * flat.shape[2], label)
        by_row = jax.tree.map(lambda p: p.reshape(rows, -1, *p.shape[1:]), (w, v, bias))

        @jax.checkpoint
        def row(a, inputs):
            x, (w, v, bias) = inputs
            # Activations of all pixels of a row from those before them.
            sums = jnp.cumsum(x[..., None] * w, 1)
            before = a[:, None] + jnp.pad(sums, ((0, 0), (1, 0), (0, 0)))[:, :-1]
            return a + sums[:, -1], _product("bdh,dho->bdo", nn.sigmoid(before), v, self.dtype) + bias

        a = jnp.broadcast_to(c, (b, self.hidden_size))
        _, logits = jax.lax.scan(row, a, (flat.swapaxes(0, 1), by_row))
        return to_logits(logits.swapaxes(0, 1), self.levels).reshape(*x.shape, self.levels)

    def start(self, shape: Sequence[int], label: jax.Array | None) -> jax.Array:
        """Begin a sample: the sum over no pixel.

        shape (B, H, W, C); label [B] int, or None -> [B, hidden], what the hidden layer of the next dimension is the
        sigmoid of, less the newest pixel's part.
        """
        c = self.weights(int(np.prod(shape[1:])), label)[1]
        return jnp.broadcast_to(c, (shape[0], self.hidden_size))

    def step(self, cache: jax.Array, x: jax.Array, place: tuple, label: jax.Array | None) -> tuple:
        """Predict one dimension, after adding the part of the one before it.

        cache [B, hidden], of `start` or the step before; x [B, H, W, C], of which only what comes before `place` is
        read; place (row, column, color), in raster order; label [B] int, or None -> (cache, logits [B, levels]).
        """
        flat, d = encode(x, self.levels).reshape(x.shape[0], -1), _position(x.shape, place)
        w, _, v, bias = self.weights(flat.shape[1], label)
        cache += jnp.where(d > 0, flat[:, d - 1, None] * w[d - 1], 0)
        return cache, to_logits(_product("bh,ho->bo", nn.sigmoid(cache), v[d], self.dtype) + bias[d], self.levels)


def made_masks(dimensions: int, hidden_sizes: Sequence[int]) -> list[np.ndarray]:
    """Masks of the layers of a MADE, whose degrees are spread evenly over its hidden units.

    Args:
      dimensions: D, of an image.
      hidden_sizes: units of each hidden layer.

    Returns:
      A [inputs, units] of zeros and ones for each hidden layer, then [units, D] of the output, then [D, D] of the
      direct connections from input to output.
    """
    for name, size in (("dimensions", dimensions), *(("hidden_sizes", size) for size in hidden_sizes)):
        check_shapes(**{name: (size, "int >= 1")})
    order = np.arange(1, dimensions + 1)
    degrees = [order, *(1 + np.arange(n) * max(1, dimensions - 1) // n for n in hidden_sizes)]
    hidden = [(a[:, None] <= b).astype(np.float32) for a, b in itertools.pairwise(degrees)]
    return [*hidden, *((a[:, None] < order).astype(np.float32) for a in (degrees[-1], order))]


class MADE(nn.Module):
    """The masked autoencoder: images [B, H, W, C] -> logits [B, H, W, C, levels].

    Args:
      levels: values of a dimension.
      num_classes: classes whose label the network is given; 0 gives it none.
      hidden_sizes: units of each hidden layer.
      dtype: dtype of the matrix products; None takes the input's.
    """

    levels: int
    num_classes: int = 0
    hidden_sizes: tuple[int, ...] = (1024, 1024)
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array | None = None, train: bool = False) -> jax.Array:
        """Predict each dimension from those before it.

        x [B, H, W, C] in [0, levels); label [B] int, where there are classes -> logits [B, H, W, C, levels] float32.
        """
        flat = encode(x, self.levels).reshape(x.shape[0], -1)
        dimensions, outputs = flat.shape[1], num_outputs(self.levels)
        # Masks hide from each output the pixels at and after its own.
        *masks, last, direct = made_masks(dimensions, self.hidden_sizes)
        h = flat
        for i, mask in enumerate(masks):
            h = self._masked(h, mask, nn.initializers.he_normal(), f"hidden{i}")
            if i == 0 and self.num_classes:
                h += Embed(self.num_classes, h.shape[-1], name="label")(label)
            h = nn.relu(h)
        zeros = nn.initializers.zeros
        # Output layer, and direct connections from the inputs.
        logits = sum(
            self._masked(source, np.repeat(mask, outputs, 1), zeros, name)
            for source, mask, name in ((h, last, "output"), (flat, direct, "direct"))
        )
        return to_logits(logits.reshape(*x.shape, outputs), self.levels)

    def _masked(self, x: jax.Array, mask: np.ndarray, init: Any, name: str) -> jax.Array:
        w = self.param(f"{name}_kernel", init, mask.shape)
        bias = self.param(f"{name}_bias", nn.initializers.zeros, mask.shape[1:])
        x, w, bias = nn.dtypes.promote_dtype(x, w * mask, bias, dtype=self.dtype)
        return x @ w + bias
