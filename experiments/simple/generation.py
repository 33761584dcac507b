"""Simple methods on generation: mixtures of Gaussians, kernel densities, principal components, kernel ridge."""

import functools
from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from dlcore.diagnostics.simple_density import (
    causal_linear_bits,
    choose_kernel_ridge,
    class_gaussian_samples,
    kernel_density_nats,
    mixture_of_gaussians,
    mixture_posterior_mean,
    principal_reconstruction,
)
from dlcore.diagnostics.simple_methods import flat
from dlcore.evaluators import image_generation
from dlcore.experiment.resolve import resolve
from dlcore.generative.likelihood import binarize, quantize
from dlcore.metrics import psnr
from experiments import find_experiment
from experiments.classification import supervised
from experiments.simple.method import SimpleMethod, page_splits

__all__ = ["METHODS"]

FRECHET = (
    "generative.gan-digits",
    *(f"digits-{name}" for name in ("stylegan2", "stylegan2-500", "stylegan2-500-no-ada", "style-gan")),
    *(f"digits-{name}" for name in ("conditional-gan", "dit", "latent-diffusion", "ddpm", "edm", "flow-matching")),
    "digits-score-sde",
)
"""Rows of samples of digits."""
DISTANCE = "test frechet_distance (resnet8_cifar, 1,000 samples, 500 real)"
NOISE = 0.3
"""Standard deviation of the denoising autoencoders' noise."""


@functools.cache
def frechet_of(page: str, words: tuple[str, ...] = ()) -> Callable[[np.ndarray], float]:
    """The Fréchet distance of samples [N, H, W, C] in [0, 1] from a page's test images, in the features it measures in.

    The small classifier is the page's own, of seed 0.
    """
    experiment = find_experiment(page)
    run = experiment.run(resolve(experiment, [*words, "--seed=0"]), {}, 1, None)
    splits = run.load()
    (evaluator,) = image_generation.evaluators(run.replace(spec=splits.facts), splits, "test", supervised.experiment)

    def distance(samples: np.ndarray) -> float:
        return evaluator.finish(evaluator.add(None, {"sample": samples.astype(np.float32)}, None))["frechet_distance"]

    return distance


def sample_distance(draw: Callable, seed: int, count: int = 1000) -> float:
    """Measure 1,000 samples of digits by `draw(rows, labels, count, seed)`."""
    train = page_splits("generative.gan").train.arrays
    rows = draw(flat(train["image"]), np.asarray(train["label"]), count, seed)
    return frechet_of("generative.gan")(np.clip(rows, 0, 1).reshape(-1, *train["image"].shape[1:]))


def of_mixture(rows: np.ndarray, labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Samples of a mixture of 60 Gaussians."""
    del labels  # not needed
    return mixture_of_gaussians(rows, 60, seed=seed).sample(count)[0]


def copies(rows: np.ndarray, labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The training images themselves, each once at most."""
    del labels  # not needed
    return rows[np.random.default_rng(seed).permutation(len(rows))[:count]]


@functools.cache
def digits_kernel_density(seed: int) -> float:
    """-log p of test digits that are binarized anew by each seed, in nats, under one component a training digit."""
    train, valid, test = (part.arrays["image"] for part in page_splits("generative.autoencoder")[:3])

    def nats(images: np.ndarray, weight: float) -> float:
        x = binarize(jax.random.key(seed), images, "dynamic", np.arange(len(images)))
        return float(kernel_density_nats(flat(train), flat(x), weight).mean())

    return nats(test, min((0.5, 0.6, 0.7, 0.8, 0.9, 0.95), key=lambda weight: nats(valid, weight)))


def mean_psnr(rows: np.ndarray, images: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio of reconstructed rows [N, D], which are clipped to [0, 1], in dB."""
    return float(jax.vmap(psnr)(np.clip(rows, 0, 1).astype(np.float32), flat(images)).mean())


@functools.cache
def digit_mixtures() -> list:
    """Mixtures of 10 and 20 Gaussians, of the training digits."""
    train = flat(page_splits("generative.autoencoder").train.arrays["image"])
    return [mixture_of_gaussians(train, components) for components in (10, 20)]


def denoised(seed: int) -> float:
    """PSNR of test digits from which the noise is removed under a mixture of Gaussians."""
    valid, test = (flat(part.arrays["image"]) for part in page_splits("generative.autoencoder")[1:3])
    rng = np.random.default_rng(seed)
    noisy = [np.clip(x + NOISE * rng.standard_normal(x.shape), 0, 1) for x in (valid, test)]

    def quality(mixture, y: np.ndarray, clean: np.ndarray) -> float:
        return mean_psnr(mixture_posterior_mean(mixture, y, NOISE), clean)

    best = max(digit_mixtures(), key=lambda mixture: quality(mixture, noisy[0], valid))
    return quality(best, noisy[1], test)


def sixteen_components(seed: int) -> float:
    """PSNR of test digits from 16 principal components."""
    del seed  # nothing is drawn at random
    train, test = (flat(part.arrays["image"]) for part in page_splits("generative.autoencoder")[:3:2])
    return mean_psnr(principal_reconstruction(train, test, 16), test)


def images_of_edges(seed: int) -> float:
    """Mean absolute error of test digits that kernel ridge regression predicts from their edges."""
    parts = page_splits("generative.pix2pix", seed=seed)[:3]
    train, valid, test = ((flat(part.arrays["source"]), flat(part.arrays["image"])) for part in parts)
    return float(np.abs(np.clip(choose_kernel_ridge(train, valid).predict(test[0]), 0, 1) - test[1]).mean())


def photograph_bits(seed: int) -> float:
    """Bits a dimension of crops of photographs of 16 levels, by a linear predictor."""
    parts = page_splits("generative.normalizing_flow", seed=seed)[:3:2]
    train, test = (np.asarray(quantize(part.arrays["image"], 16)) for part in parts)
    return float(causal_linear_bits(train, test, 16).mean())


METHODS = [
    SimpleMethod(
        "digits-mixture",
        FRECHET,
        DISTANCE,
        "lower",
        "samples of a mixture of 60 Gaussians",
        partial(sample_distance, of_mixture),
        seeds=(0, 1, 2),
    ),
    SimpleMethod(
        "digits-class-gaussian-samples",
        FRECHET,
        DISTANCE,
        "lower",
        "samples of one Gaussian a class",
        partial(sample_distance, class_gaussian_samples),
        seeds=(0, 1, 2),
    ),
    SimpleMethod(
        "digits-copies",
        FRECHET,
        DISTANCE,
        "lower",
        "copies of training images",
        partial(sample_distance, copies),
        seeds=(0, 1, 2),
        knows="the training images",
        is_control=True,
    ),
    SimpleMethod(
        "digits-kernel-density",
        tuple(f"generative.{name}-digits" for name in ("fvbn", "pixel_rnn", "pixel_cnn")),
        "test nll_nats_dynamic",
        "lower",
        "kernel density: one component of independent pixels a training image",
        digits_kernel_density,
        seeds=(0, 1, 2, 3, 4),
    ),
    SimpleMethod(
        "digits-kernel-density-vae",
        ("digits-vae",),
        "test elbo_nll_nats_dynamic",
        "lower",
        "kernel density: one component of independent pixels a training image",
        digits_kernel_density,
        seeds=(0, 1, 2, 3, 4),
    ),
    SimpleMethod(
        "digits-mixture-denoising",
        tuple(f"digits-{name}denoising-autoencoder" for name in ("", "convolutional-")),
        "test psnr",
        "higher",
        "posterior mean under a mixture of Gaussians",
        denoised,
        seeds=(0, 1, 2),
    ),
    SimpleMethod(
        "digits-pca",
        tuple(f"digits-{name}autoencoder" for name in ("", "convolutional-", "convolutional-sparse-")),
        "test psnr",
        "higher",
        "16 principal components",
        sixteen_components,
    ),
    SimpleMethod(
        "digits-kernel-ridge",
        ("digits-pix2pix",),
        "test l1",
        "lower",
        "kernel ridge regression on the edges",
        images_of_edges,
    ),
    SimpleMethod(
        "photographs-linear-predictor",
        ("generative.normalizing_flow-photographs",),
        "test bits_per_dim_16_levels",
        "lower",
        "linear predictor and histogram of its errors",
        photograph_bits,
    ),
]
