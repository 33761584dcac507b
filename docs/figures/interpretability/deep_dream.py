"""Figure of dlcore.interpretability.deep_dream; its docstring is the caption."""

import functools
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.interpretability.deep_dream import deep_dream as dream_on
from dlcore.interpretability.deep_dream import squared_norm
from dlcore.interpretability.image_optimization import feature_maps
from dlcore.report.figure import BLUE, VERMILION, new_figure, show_image
from dlcore.weights.network import load_network
from experiments.figure_parts import photograph_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["deep_dream"]


def deep_dream() -> "Figure":
    """A photograph that raises the response of a layer of a VGG, on one scale and on three.

    Left to right: the photograph; 12 steps on it alone; 4 steps on each of three copies from small to whole. Right: the
    change by wavelength. One scale adds strokes of a few pixels; small copies, enlarged, add those of 4 to 12 pixels.
    """
    figure, (*axes, right) = new_figure((7.4, 2.3), 1, 4, width_ratios=(1, 1, 1, 1.5))
    network, image = load_network(), jnp.asarray(photograph_tiles(96)[1])

    def response(x: jax.Array) -> jax.Array:
        maps = feature_maps(network.model, network.variables, (x - network.mean) / network.std)
        return squared_norm(maps["relu3_1"])

    dream = functools.partial(dream_on, response, image, jax.random.key(0), step_size=0.02, jitter=4)
    results = [dream(octaves=1, steps=12)[0], dream(octaves=3, scale=1.7, steps=4)[0]]
    for ax, x, name in zip(axes, (image, *results), ("photograph", "one scale", "three scales"), strict=True):
        show_image(ax, x, name)
    waves = 2 ** np.arange(1.5, 6, 0.5)
    lines = ("one scale", "s--", VERMILION), ("three scales", "o-", BLUE)
    for x, (name, style, color) in zip(results, lines, strict=True):
        share = spectrum(np.asarray(x - image).mean(-1), waves)
        right.plot(np.sqrt(waves[1:] * waves[:-1]), 100 * share, style, color=color, markersize=4, label=name)
    right.set(xlabel="wavelength / pixels", ylabel="share of the change / %", xscale="log", xticks=(4, 8, 16, 32))
    right.set_xticklabels((4, 8, 16, 32))
    right.minorticks_off()
    right.legend(frameon=False, fontsize=8)
    return figure


def spectrum(change: np.ndarray, waves: np.ndarray) -> np.ndarray:
    """Share of a square image's power in bands between wavelengths in pixels."""
    frequency = np.fft.fftfreq(len(change))
    power, length = np.abs(np.fft.fft2(change)) ** 2, 1 / np.maximum(np.hypot(frequency[:, None], frequency), 1e-9)
    return np.histogram(length, waves, weights=power)[0] / power.sum()
