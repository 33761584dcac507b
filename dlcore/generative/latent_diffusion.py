"""Latent diffusion: diffuse the small maps of an autoencoder, and decode the samples.

Rombach et al. 2022, arXiv:2112.10752.

    phase 1    x -> mean, logvar -> x                       `dlcore.generative.autoencoder_kl`
    phase 2    z = (mean + exp(logvar / 2) eps) / scale     diffused as if it were an image, `dlcore.generative.ddpm`
    sample     decoder(scale z)

`scale` is the standard deviation of the training latents, so that the diffused latents have variance 1, as the
schedule assumes. Each step samples the posteriors again. Values of a latent are not limited to [-1, 1], so that
samples are not clipped.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.pixels import denormalize, normalize
from dlcore.generative.vae import reparameterize
from dlcore.ops.checks import check_finite, check_shapes

__all__ = ["LatentDiffusion", "latent_scale"]


class LatentDiffusion(nn.Module):
    """The network of the latents, and the autoencoder that encodes and decodes them: (z, t, label) -> noise.

    Parameters `network`, and `autoencoder` and `scale` [], which are locked.

    Args:
      network: network of the latents, such as `ConditionalUNet` or `DiT`.
      autoencoder: autoencoder of the latents.
    """

    network: nn.Module
    autoencoder: AutoencoderKL

    def setup(self):
        """Create the parameter `scale`."""
        self.scale = self.param("scale", nn.initializers.ones, ())

    def __call__(self, z: jax.Array, t: jax.Array, label: jax.Array | None = None) -> jax.Array:
        """Predict the noise of a latent.

        z [B, h, w, latent_channels], of variance 1; t [B], timesteps; label [B] int, classes, or None -> [B, h, w,
        latent_channels].
        """
        if self.is_initializing():
            side = self.autoencoder.downsampling
            self.autoencoder(jnp.zeros((1, side * z.shape[1], side * z.shape[2], self.autoencoder.image_channels)))
        return self.network(z, t, label)

    def encoded(self, images: jax.Array, keys: jax.Array) -> jax.Array:
        """Draw from the posteriors of images, without a gradient.

        images [B, H, W, C], uint8 or in [0, 1]; keys [B] -> [B, h, w, latent_channels], of variance 1.
        """
        mean, logvar = self.autoencoder.encode(normalize(images))
        return jax.lax.stop_gradient(jax.vmap(reparameterize)(keys, mean, logvar) / self.scale)

    def decoded(self, z: jax.Array) -> jax.Array:
        """Decode latents: [B, h, w, latent_channels], of variance 1 -> [B, H, W, C] in [0, 1]."""
        return denormalize(self.autoencoder.decode(self.scale * z))


def latent_scale(mean: np.ndarray, logvar: np.ndarray) -> float:
    """Find the standard deviation of latents drawn from posteriors.

    Args:
      mean: [N, h, w, C].
      logvar: [N, h, w, C].

    Returns:
      The root of the variance of the means plus the mean variance.
    """
    check_shapes(mean=(mean, "..."), logvar=(logvar, "..."), latents=(np.size(mean), ">= 1"))
    check_finite("mean", mean)
    check_finite("logvar", logvar)
    return float(np.sqrt(np.var(np.asarray(mean, np.float64)) + np.exp(np.asarray(logvar, np.float64)).mean()))
