"""Latent diffusion: diffuse the small maps of an autoencoder, and decode what is drawn.

Rombach et al. 2022, arXiv:2112.10752.

    phase 1    x -> mean, logvar -> x                       `dlcore.generative.autoencoder_kl`
    phase 2    z = (mean + exp(logvar / 2) eps) / scale     diffused as if it were an image, `dlcore.generative.ddpm`
    sample     decoder(scale z)

`scale` is the standard deviation of the training latents, so that what is diffused has variance 1, as the schedule
takes for granted. Training images are encoded once; each step draws anew from their posteriors. Values of a latent are
not limited to [-1, 1], so that samples are not clipped.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.pixels import denormalize

__all__ = ["LatentDiffusion", "decode", "draw_latents", "latent_scale"]


class LatentDiffusion(nn.Module):
    """The network of the latents, and the autoencoder that decodes them: (z, t, label) -> noise.

    Args:
      network: of the latents, such as `ConditionalUNet` or `DiT`.
      autoencoder: whose latents they are.
    """

    network: nn.Module
    autoencoder: AutoencoderKL

    def __call__(self, z: jax.Array, t: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Predict the noise of a latent.

        Args:
          z: [B, h, w, latent_channels].
          t: [B], timesteps.
          label: [B] int, classes, or None.

        Returns:
          [B, h, w, latent_channels].
        """
        if self.is_initializing():
            scale = 2 ** (len(self.autoencoder.channels) - 1)
            image = (1, scale * z.shape[1], scale * z.shape[2], self.autoencoder.image_channels)
            self.autoencoder(jnp.zeros(image))
        return self.network(z, t, label)

    def decoded(self, z: jax.Array) -> jax.Array:
        """Decode latents.

        Args:
          z: [B, h, w, latent_channels], unscaled.

        Returns:
          [B, H, W, C], about [-1, 1].
        """
        return self.autoencoder.decode(z)


def latent_scale(mean: np.ndarray, logvar: np.ndarray) -> float:
    """Find the standard deviation of latents drawn from posteriors.

    Args:
      mean: [N, h, w, C].
      logvar: [N, h, w, C].

    Returns:
      The root of the mean variance plus the variance of the means.
    """
    return float(np.sqrt(np.var(np.asarray(mean, np.float64)) + np.exp(np.asarray(logvar, np.float64)).mean()))


def draw_latents(keys: jax.Array, batch: dict, scale: float) -> jax.Array:
    """Draw from the posteriors of encoded images: `encode` of the diffusion learner.

    Args:
      keys: [B].
      batch: with `mean` and `logvar`, [B, h, w, C].
      scale: see `latent_scale`.

    Returns:
      [B, h, w, C], of variance 1.
    """
    mean = batch["mean"]
    noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape[1:], mean.dtype))(keys)
    return (mean + jnp.exp(0.5 * batch["logvar"]) * noise) / scale


def decode(model: LatentDiffusion, params: object, z: jax.Array, scale: float) -> jax.Array:
    """Turn samples into images: `decode` of the diffusion learner.

    Args:
      model: with the autoencoder.
      params: of the model.
      z: [B, h, w, C], of variance 1.
      scale: see `latent_scale`.

    Returns:
      [B, H, W, C] in [0, 1].
    """
    return denormalize(model.apply({"params": params}, scale * z, method="decoded"))
