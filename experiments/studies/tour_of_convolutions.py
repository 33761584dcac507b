"""A layer is what it shares and what it sees: a tour of the relatives of the convolution, without training.

python -m experiments.studies.tour_of_convolutions

Each layer maps 8 channels of a 13x13 map to 8. Its parameters are counted, and two properties are measured on random
weights and a random map rather than read off its definition:

- what it sees: the pixels on which its central output depends, |d y[center] / d x[pixel]| > 0, the picture;
- what it shares: how far the output of a shifted map is from the shifted output, relative to the output, at pixels
  whose windows lie within the map. Layers with the same weights everywhere have 0.

Layers that start as something simpler (offsets or gates of zero) get random values there. The claim holds where every
layer sees as many pixels and shares its weights as its line in `EXPECTED` says.

Reference: the papers named in the files of `dlcore.nn`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.flatten_util import ravel_pytree

from dlcore.experiment import Headline, Seed, Study, StudyResult
from dlcore.main import main
from dlcore.nn.conv import Conv
from dlcore.nn.conv_recurrent import ConvRecurrent
from dlcore.nn.deformable import DeformableConv
from dlcore.nn.graph_conv import GraphConv
from dlcore.nn.locally_connected import LocallyConnected
from dlcore.nn.masked_conv import MaskedConv
from dlcore.nn.separable import DepthwiseSeparableConv, FactorizedConv
from dlcore.nn.spatial_attention import LocalAttention, NonLocalBlock, SAGANAttention
from dlcore.nn.weight_norm import SpectralNorm, WeightNorm, WeightStandardization
from dlcore.report.figure import new_figure, show_image

SIDE, CHANNELS, CENTER = 13, 8, 6


class Layer(NamedTuple):
    """A stop of the tour: a module [1, 13, 13, 8] -> [1, 13, 13, 8], and what it should show.

    pixels: how many pixels the central output depends on. shared: whether the same weights act everywhere.
    """

    make: Callable[[], nn.Module]
    pixels: int
    shared: bool


class OverGrid(nn.Module):
    """A graph convolution on the grid of pixels, each joined to its four neighbors."""

    @nn.compact
    def __call__(self, x):
        at = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
        pairs = [(at[:, :-1], at[:, 1:]), (at[:-1], at[1:])]
        edges = np.concatenate([np.stack([a.ravel(), b.ravel()], 1) for a, b in pairs])
        edges = jnp.asarray(np.concatenate([edges, edges[:, ::-1]]), jnp.int32)
        return GraphConv(CHANNELS)(x[0].reshape(-1, CHANNELS), edges=edges).reshape(x.shape)


class OverTime(nn.Module):
    """A convolutional LSTM that sees the same map three times; the last output."""

    @nn.compact
    def __call__(self, x):
        layer = ConvRecurrent(CHANNELS, cell="lstm")
        _, h = layer(layer.initial_carry(1, (SIDE, SIDE)), jnp.stack([x] * 3, 1))
        return h[:, -1]


class Dense(nn.Module):
    """A fully connected layer from the whole map to the whole map."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(x.size)(x.ravel()).reshape(x.shape)


class Updated(nn.Module):
    """A wrapper whose call takes `update_stats`."""

    layer: nn.Module

    def __call__(self, x):
        return self.layer(x, update_stats=False)


LAYERS = {
    "convolution 3x3": Layer(lambda: Conv(CHANNELS, (3, 3)), 9, True),
    "convolution 1x1": Layer(lambda: Conv(CHANNELS, (1, 1)), 1, True),
    "dilated, 3x3 by 2": Layer(lambda: Conv(CHANNELS, (3, 3), kernel_dilation=(2, 2)), 9, True),
    "grouped, 4 groups": Layer(lambda: Conv(CHANNELS, (3, 3), feature_group_count=4), 9, True),
    "depthwise separable": Layer(lambda: DepthwiseSeparableConv(CHANNELS), 9, True),
    "factorized, 1x5 and 5x1": Layer(lambda: FactorizedConv(CHANNELS, 5), 25, True),
    "masked 5x5 (PixelCNN)": Layer(lambda: MaskedConv(CHANNELS, (5, 5), "A"), 12, True),
    "weight norm": Layer(lambda: WeightNorm(Conv(CHANNELS, (3, 3))), 9, True),
    "spectral norm": Layer(lambda: Updated(SpectralNorm(Conv(CHANNELS, (3, 3)))), 9, True),
    "weight standardization": Layer(lambda: WeightStandardization(Conv(CHANNELS, (3, 3))), 9, True),
    "graph, 4 neighbors": Layer(OverGrid, 5, True),
    "convolutional LSTM, 3 steps": Layer(OverTime, 49, True),
    "local attention 5x5": Layer(lambda: LocalAttention(2, 5), 25, True),
    "deformable 3x3": Layer(lambda: DeformableConv(CHANNELS), -1, True),
    "locally connected 3x3": Layer(lambda: LocallyConnected(CHANNELS), 9, False),
    "non-local block": Layer(NonLocalBlock, SIDE * SIDE, True),
    "SAGAN attention": Layer(lambda: SAGANAttention(2), SIDE * SIDE, True),
    "fully connected": Layer(Dense, SIDE * SIDE, False),
}
"""-1: between the 9 of the predicting windows and all, by the random offsets."""


class Measured(NamedTuple):
    """Parameters, field [13, 13] = |d y[center] / d x[pixel]| over channels, and relative error of a shifted map."""

    parameters: int
    field: np.ndarray
    shift_error: float

    @property
    def pixels(self) -> int:
        """How many pixels the central output depends on."""
        return int((self.field > 0).sum())


def measure(module: nn.Module, key: jax.Array) -> Measured:
    """Measure a layer [1, 13, 13, 8] -> [1, 13, 13, 8] on random weights."""
    inner = slice(4, SIDE - 4)

    @jax.jit
    def run(key):
        keys = jax.random.split(key, 3)
        # The map is zero at its rim, so that a roll by one pixel is a shift for layers that see all of it.
        x = jnp.pad(jax.random.normal(keys[0], (1, SIDE - 4, SIDE - 4, CHANNELS)), ((0, 0), (2, 2), (2, 2), (0, 0)))
        variables = dict(module.init(keys[1], x))
        flat, unravel = ravel_pytree(variables["params"])
        variables["params"] = unravel(flat + 0.2 * jax.random.normal(keys[2], flat.shape))

        def center(x):
            y = module.apply(variables, x)
            return y[0, CENTER, CENTER], y

        gradients, y = jax.jacrev(center, has_aux=True)(x)
        shifted = module.apply(variables, jnp.roll(x, 1, 2))[:, inner, inner]
        error = jnp.abs(jnp.roll(y, 1, 2)[:, inner, inner] - shifted).max() / jnp.abs(shifted).max()
        return flat.size, jnp.abs(gradients).sum((0, 1, 4)), error

    size, field, error = run(key)
    return Measured(int(size), np.asarray(field, np.float64), float(error))


def fits(layer: Layer, measured: Measured) -> bool:
    """Whether a layer sees and shares what its line says."""
    has_field = measured.pixels == layer.pixels if layer.pixels > 0 else 9 <= measured.pixels < SIDE * SIDE
    return has_field and (measured.shift_error < 1e-4) == layer.shared


def draw(measured: dict[str, Measured]):
    figure, axes = new_figure((9.6, 6.0), 3, 6)
    for panel in axes.flat:
        panel.set_axis_off()
    for panel, (name, m) in zip(axes.flat, measured.items(), strict=False):
        field_image = np.sqrt(m.field / max(m.field.max(), 1e-30))
        weight_sharing = "shared" if m.shift_error < 1e-4 else "not shared"
        title = f"{name}\n{m.parameters:,}, {weight_sharing}"
        show_image(panel, field_image, title, cmap="cividis", vmin=0, vmax=1)
    return figure


def study(*, names: tuple[str, ...] = tuple(LAYERS), seed: Seed = 0) -> StudyResult:
    """Measure what each layer sees and shares.

    Args:
      names: layers.
    """
    if unknown := [name for name in names if name not in LAYERS]:
        raise ValueError(f"names={unknown[0]!r}: unknown; allowed: {', '.join(LAYERS)}")
    measured = {name: measure(LAYERS[name].make(), jax.random.key(seed)) for name in names}
    mismatches = [name for name, m in measured.items() if not fits(LAYERS[name], m)]
    numbers = {
        f"{name}: parameters, pixels seen, shift error": [m.parameters, m.pixels, m.shift_error]
        for name, m in measured.items()
    }
    verdict = (
        f"{len(measured) - len(mismatches)} of {len(measured)} layers see and share what their definition says"
        + (f"; not {', '.join(mismatches)}." if mismatches else ".")
    )
    headline = Headline("layers that are what they say", len(measured) - len(mismatches), "random maps")
    return StudyResult(numbers, verdict, {"fields": draw(measured)}, not mismatches, headline)


experiment = Study(__file__, __doc__, study, smoke={"names": ("convolution 3x3", "locally connected 3x3")})

if __name__ == "__main__":
    main(experiment)
