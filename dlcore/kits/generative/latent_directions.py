"""What experiments of StyleGAN-like generators share: path length and noise, and walks along principal directions."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.source import Source
from dlcore.evaluators.latent_distances import noise_share, path_length
from dlcore.experiment.experiment import Setup
from dlcore.experiment.splits import Splits
from dlcore.generative.latents import attribute_direction, edit, principal_directions, slerp
from dlcore.generative.pixels import denormalize
from dlcore.generative.style_gan import Generator
from dlcore.kits.generative import image_generation, sample_panels
from dlcore.kits.training import pretrained_network
from dlcore.learner import Evaluator

__all__ = ["STEP", "evaluators", "noisy", "panels", "walks"]

STEP = 0.01
"""Share of a walk between the two images of a path length."""
NUM_PAIRS = 200
NUM_CODES = 2000
NUM_DIRECTIONS = 5


def walks(count: int, latent_dim: int, num_noise: int, step: float = STEP) -> Source:
    """Draw pairs of latents, a small step apart on the arc between two others, with the same noise.

    Args:
      count: of pairs.
      latent_dim: Z.
      num_noise: numbers of noise that follow.
      step: share of the arc.

    Returns:
      The source of `latent: [2 count, Z + num_noise]`, pairs side by side.
    """
    rng = np.random.default_rng(0)
    starts, ends = (jnp.asarray(rng.normal(size=(count, latent_dim)), jnp.float32) for _ in range(2))
    shares = rng.uniform(0, 1 - step, count).astype(np.float32)
    noise = np.repeat(rng.normal(size=(count, num_noise)), 2, 0)
    points = np.stack([np.asarray(jax.vmap(slerp)(starts, ends, shares + s)) for s in (0, step)], 1)
    latents = np.concatenate([points.reshape(2 * count, latent_dim), noise], -1).astype(np.float32)
    return Source({"latent": latents}, len(latents), name="walks")


def noisy(count: int, latent_dim: int, num_noise: int) -> Source:
    """Draw latents by threes: any, the same with other noise, another with the noise of the first.

    Args:
      count: of threes.
      latent_dim: Z.
      num_noise: numbers of noise that follow.

    Returns:
      The source of `latent: [3 count, Z + num_noise]`.
    """
    rng = np.random.default_rng(0)
    (
        z,
        other,
    ) = rng.normal(size=(2, count, latent_dim))
    noise, new = rng.normal(size=(2, count, num_noise))
    rows = [np.concatenate(pair, -1) for pair in ((z, noise), (z, new), (other, noise))]
    latents = np.stack(rows, 1).reshape(3 * count, -1).astype(np.float32)
    return Source({"latent": latents}, len(latents), name="latents")


def evaluators(setup: Setup, splits: Splits, split: str, num_noise: int) -> list[Evaluator]:
    """Measure samples against real images; at the end of a run also the path length and what noise changes.

    Args:
      setup: with the flags of `dlcore.kits.generative.image_generation` and `latent_dim`.
      splits: the data.
      split: "valid" or "test".
      num_noise: numbers of noise of the generator.

    Returns:
      The Fréchet distance, `path_length` and `noise_share`, all in the same features.
    """
    found = image_generation.evaluators(setup, splits, split)
    if split != "test":
        return found
    network = image_generation.network_of(setup.flags.replace(frechet_network=None), setup.spec)
    extract = pretrained_network.feature_extractor(network)

    def features(images: np.ndarray) -> np.ndarray:
        return extract(images)[0]

    latent_dim, count = setup.flags.latent_dim, min(NUM_PAIRS, setup.flags.num_samples)
    return [
        *found,
        path_length(features, walks(count, latent_dim, num_noise), STEP),
        noise_share(features, noisy(count, latent_dim, num_noise)),
    ]


def panels(context: Any, generator: Generator) -> list:
    """Show samples, walks along the principal directions of the styles, more and less ink, and noise alone.

    Args:
      context: the ReportContext of a run of `dlcore.generative.gan.learner`.
      generator: of the run.

    Returns:
      Report panels.
    """
    from dlcore.report.generative import sample_path, sample_rows

    state, latent_dim = context.state, context.flags.latent_dim
    variables = state.generator_ema or {"params": state.params["generator"]}
    rng = np.random.default_rng(0)
    z = jnp.asarray(rng.normal(size=(NUM_CODES, latent_dim)), jnp.float32)
    noise = jnp.asarray(rng.normal(size=(8, generator.num_noise)), jnp.float32)
    styles = jax.jit(lambda z: generator.apply(variables, z, method="styles"))(z)

    @jax.jit
    def draw(w, noise):
        return denormalize(generator.apply(variables, w, noise, method="synthesize"))

    def with_one_noise(w: np.ndarray) -> np.ndarray:
        return np.asarray(draw(w, jnp.broadcast_to(noise[0], (len(w), generator.num_noise))))

    amounts = np.linspace(-3, 3, 9, dtype=np.float32)
    count = min(NUM_DIRECTIONS, latent_dim)
    directions, shares = principal_directions(np.asarray(styles), count)
    along = np.stack([with_one_noise(edit(styles[0], direction, amounts)) for direction in directions])
    said = ", ".join(f"{100 * share:.1f} %" for share in shares)
    walked = sample_path(
        along.swapaxes(0, 1),
        "Principal directions",
        f"From -3 to 3 deviations of {NUM_CODES:,} styles, a direction a row; shares of their variance: {said}.",
    )
    ink = with_one_noise(styles[:500]).mean((1, 2, 3))
    direction = attribute_direction(np.asarray(styles[:500]), ink)
    change = np.linspace(-2, 2, 9, dtype=np.float32) * ink.std()
    edited = np.stack([with_one_noise(edit(styles[k], direction, change)) for k in range(4)])
    brighter = sample_path(
        edited.swapaxes(0, 1),
        "Editing the mean pixel",
        f"Four samples, by {change[0]:.2f} to {change[-1]:.2f} along the least-squares direction of 500 styles.",
    )
    rows = {f"sample {k}": np.asarray(draw(jnp.repeat(styles[k : k + 1], 8, 0), noise)) for k in range(4)}
    alone = sample_rows(rows, "Noise alone", "The same latent a row, with other noise in each image.")
    samples, *others = sample_panels.panels(context)
    return [samples, walked, brighter, alone, *others]
