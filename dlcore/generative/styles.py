"""Styles of a GAN: networks whose latent holds the noise of the layers, walks through latents, and their panels."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore.data.source import Source
from dlcore.generative import sample_panels
from dlcore.generative.latents import attribute_direction, edit, principal_directions, slerp
from dlcore.generative.pixels import denormalize
from dlcore.models.network import Networks
from dlcore.report.context import ReportContext
from dlcore.report.panel import Panel

__all__ = ["ShowStyles", "StyleNetworks", "noisy", "walks"]

STEP = 0.01
"""Share of a walk between the two images of a path length."""


NUM_PAIRS = 200


NUM_CODES = 2000


NUM_DIRECTIONS = 5


def walks(count: int, latent_dim: int, num_noise: int, step: float = STEP) -> Source:
    """Sample pairs of latents, a small step apart on the arc between two others, with the same noise.

    Args:
      count: number of pairs.
      latent_dim: Z, numbers of a latent.
      num_noise: N, numbers of noise of the layers.
      step: distance of the two latents of a pair, as a share of the arc.

    Returns:
      A source of `latent: [2 count, Z + N]`.
    """
    rng = np.random.default_rng(0)
    starts, endpoints = (jnp.asarray(rng.normal(size=(count, latent_dim)), jnp.float32) for _ in range(2))
    fractions = rng.uniform(0, 1 - step, count).astype(np.float32)
    noise = np.repeat(rng.normal(size=(count, num_noise)), 2, 0)
    points = np.stack([np.asarray(jax.vmap(slerp)(starts, endpoints, fractions + s)) for s in (0, step)], 1)
    latents = np.concatenate([points.reshape(2 * count, latent_dim), noise], -1).astype(np.float32)
    return Source({"latent": latents}, len(latents), name="walks")


def noisy(count: int, latent_dim: int, num_noise: int) -> Source:
    """Sample latents by threes: any, the same with other noise, another with the noise of the first.

    Args:
      count: number of threes.
      latent_dim: Z, numbers of a latent.
      num_noise: N, numbers of noise of the layers.

    Returns:
      A source of `latent: [3 count, Z + N]`.
    """
    rng = np.random.default_rng(0)
    z, other = rng.normal(size=(2, count, latent_dim))
    noise, new = rng.normal(size=(2, count, num_noise))
    rows = [np.concatenate(pair, -1) for pair in ((z, noise), (z, new), (other, noise))]
    latents = np.stack(rows, 1).reshape(3 * count, -1).astype(np.float32)
    return Source({"latent": latents}, len(latents), name="latents")


@dataclasses.dataclass(frozen=True)
class StyleNetworks(Networks):
    """Generator and discriminator of a StyleGAN; the technique's latent holds the noise of the layers, too.

    Args:
      modules: {prefix of the flags: class of the network, or a `functools.partial` of one}.
      condition: None.
    """

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique both networks, and the length of the latent with the noise."""
        networks = super().arguments(run)
        latent_dim = run.parts.technique.keywords["latent_dim"] + networks["generator"].num_noise
        return {**networks, "latent_dim": latent_dim}


class ShowStyles(sample_panels.ShowSamples):
    """Report of generated images and their styles; TensorBoard shows the samples."""

    def panels(self, context: ReportContext, run: Any) -> list[Panel]:
        """Show samples, walks along the principal directions of the styles, more and less ink, and noise alone."""
        from dlcore.report.generative import sample_path, sample_rows

        generator: Any = run.parts.network.build(run.facts)["generator"]
        state, latent_dim = context.state, run.parts.technique.keywords["latent_dim"]
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
        directions, fractions = principal_directions(np.asarray(styles), count)
        along = np.stack([with_one_noise(edit(styles[0], direction, amounts)) for direction in directions])
        percentages = ", ".join(f"{100 * fraction:.1f} %" for fraction in fractions)
        walked = sample_path(
            along.swapaxes(0, 1),
            "Principal directions",
            f"From -3 to 3 deviations of {NUM_CODES:,} styles, a direction a row; shares of variance: {percentages}.",
        )
        ink = with_one_noise(styles[:500]).mean((1, 2, 3))
        brighter = []
        if np.ptp(ink):  # a young network may draw all images white
            direction = attribute_direction(np.asarray(styles[:500]), ink)
            change = np.linspace(-2, 2, 9, dtype=np.float32) * ink.std()
            edited = np.stack([with_one_noise(edit(styles[k], direction, change)) for k in range(4)])
            text = (
                f"Four samples, by {change[0]:.2f} to {change[-1]:.2f} along the least-squares direction of 500 styles."
            )
            brighter = [sample_path(edited.swapaxes(0, 1), "Editing the mean pixel", text)]
        rows = {f"sample {k}": np.asarray(draw(jnp.repeat(styles[k : k + 1], 8, 0), noise)) for k in range(4)}
        noise_panel = sample_rows(rows, "Noise alone", "The same latent a row, with other noise in each image.")
        samples, *other_panels = super().panels(context, run)
        return [samples, walked, *brighter, noise_panel, *other_panels]
