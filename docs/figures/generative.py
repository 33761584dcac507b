"""Figures of techniques of dlcore.generative: each function is named as its technique; its docstring, the caption."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.sample_images import fit_to, sample_image
from dlcore.generative.dpm_solver import dpmpp_sample
from dlcore.generative.samplers import ddim_sample
from dlcore.generative.schedules import alphas_cumprod, linear_betas, sampling_grid, timesteps
from dlcore.generative.vq_model import VQModel
from dlcore.generative.vq_vae import codebook_from, nearest_codes
from dlcore.nn import SAGANAttention
from dlcore.report.figure import BLACK, BLUE, SKY, VERMILION, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["dpm_solver", "sagan", "vq_model"]


def dpm_solver() -> "Figure":
    """Samples of N(0.5, 0.2²) from the exact noise predictor, by DDIM and by DPM-Solver++ (2M), from 64 starts.

    The differential equation has a closed solution here. The curves are the mean distance from it over the number of
    evaluations of the network, on the noise levels of Karras et al.: the second-order solver needs fewer for the same
    error.
    """
    figure, ax = new_figure((7, 3))
    mean, deviation = 0.5, 0.2
    abar = alphas_cumprod(linear_betas(1000))
    log_sigma = jnp.asarray(np.log(1 / abar - 1) / 2)

    def denoise(x, t):
        a = 1 / (1 + jnp.exp(2 * jnp.interp(t, jnp.arange(1000), log_sigma)))
        return jnp.sqrt(1 - a) * (x - jnp.sqrt(a) * mean) / (a * deviation**2 + 1 - a)

    x = jnp.asarray(np.random.default_rng(0).normal(size=64), jnp.float32)
    exact = mean + deviation * (x - abar[-1] ** 0.5 * mean) / (abar[-1] * deviation**2 + 1 - abar[-1]) ** 0.5
    counts = (4, 8, 16, 32, 64)
    for sample, color, name in ((ddim_sample, VERMILION, "DDIM"), (dpmpp_sample, BLUE, "DPM-Solver++ (2M)")):
        errors = []
        for count in counts:
            grid = sampling_grid(abar, timesteps(1000, count, "linspace"), sigmas="karras")
            errors.append(float(jnp.abs(sample(denoise, x, jnp.zeros_like, grid, clip_sample=False) - exact).mean()))
        ax.plot(counts, errors, "o-", color=color, label=name)
    ax.set(xlabel="evaluations", ylabel="mean |error|", xscale="log", yscale="log", xticks=counts, xticklabels=counts)
    ax.minorticks_off()
    ax.legend(frameon=False)
    return figure


def sagan() -> "Figure":
    """Where SAGAN's self-attention looks from the marked pixel of a photograph of 40 x 40 pixels, at two scales.

    Queries and keys are here the colors, centered and scaled, so that the layer gathers from pixels of a like color
    anywhere in the image; the larger the scale, the fewer. A convolution of 3 x 3 pixels would see the neighbors alone.
    """
    figure, axes = new_figure((7, 2.4), 1, 3)
    photo, layer, row, column = fit_to(sample_image("flower", 80), (40, 40)), SAGANAttention(1), 20, 22
    x = jnp.concatenate([jnp.asarray(photo)[None] / 255 - 0.5, jnp.zeros((1, 40, 40, 1))], -1)
    color, probe = jnp.diag(jnp.array([1.0, 1, 1, 0])), jnp.diag(jnp.array([0.0, 0, 0, 1]))
    axes[0].imshow(photo)
    for ax, scale in zip(axes[1:], (2.0, 5.0), strict=True):
        kernels = {"f": scale * color, "g": scale * color, "h": probe, "v": probe}
        params = {name: {"kernel": kernel} for name, kernel in kernels.items()} | {"gamma": jnp.ones(())}
        seen = jax.grad(lambda x, p=params: (layer.apply({"params": p}, x) - x)[0, row, column, 3])(x)[0, ..., 3]
        ax.imshow(seen, cmap="viridis")
        ax.set_title(f"weights, scale {scale:g}", fontsize=10)
    axes[0].set_title("image", fontsize=10)
    for ax in axes:
        ax.plot(column, row, "o", markerfacecolor="none", markeredgecolor=SKY, markeredgewidth=2)
        ax.set_axis_off()
    return figure


def vq_model() -> "Figure":
    """The quantization of a photograph of 64 x 64 pixels by an untrained model of 2 numbers a code and 8 codes.

    The encoder gives a vector for each of 32 x 32 places, and each becomes the nearest of the codes (crosses): its
    cell of the plane. The grid of code numbers, on the right, is all that the decoder and a prior get to see.
    """
    figure, (image, plane, grid) = new_figure((7, 2.5), 1, 3)
    photo = fit_to(sample_image("flower", 128), (64, 64))
    model = VQModel((64, 64, 3), (8, 16), 1, 2, 4)
    encode = jax.jit(lambda key, x: model.apply(model.init(key, x), x, method="encode"))
    z = encode(jax.random.key(4), jnp.asarray(photo)[None] / 127.5 - 1)[0]
    vectors = codebook_from(jax.random.key(1), z.reshape(-1, 2), 8).vectors
    codes = nearest_codes(z, vectors)
    image.imshow(photo)
    plane.scatter(*z.reshape(-1, 2).T, c=codes.ravel(), cmap="tab10", vmin=0, vmax=9, s=4)
    plane.plot(*np.asarray(vectors).T, "x", color=BLACK, markeredgewidth=2)
    plane.set(xlabel="first number", ylabel="second number", aspect="equal", adjustable="datalim")
    grid.imshow(codes, cmap="tab10", vmin=0, vmax=9)
    image.set_axis_off()
    grid.set_axis_off()
    return figure
