"""The two phases of latent diffusion: an autoencoder of images, and samples in its latents.

network=LatentUNet(autoencoder=AutoencoderKL, unet=ConditionalUNet), start=FirstStage(autoencoder_kl.experiment)
"""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar

from flax import linen as nn

from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.condition import class_condition
from dlcore.generative.conditional_unet import ConditionalUNet
from dlcore.generative.dit import DiT
from dlcore.generative.latent_diffusion import LatentDiffusion
from dlcore.models.network import NetworkFields

__all__ = ["ImageAutoencoder", "LatentDiT", "LatentUNet", "latent_arguments"]

LOCKED = ("autoencoder", "scale")
"""Parameters of `LatentDiffusion` that come from the first phase."""


@dataclasses.dataclass(frozen=True)
class ImageAutoencoder(NetworkFields):
    """The autoencoder of the first phase.

    Args:
      autoencoder: the autoencoder.
    """

    autoencoder: Callable[..., AutoencoderKL] = AutoencoderKL

    external_fields: ClassVar[tuple[str, ...]] = ("autoencoder.image_channels",)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the autoencoder as `model`, for the channels of the images."""
        return {"model": autoencoder_of(run)}


@dataclasses.dataclass(frozen=True)
class LatentUNet(NetworkFields):
    """A U-Net in the latents of an autoencoder.

    Args:
      autoencoder: the autoencoder.
      unet: the U-Net.
    """

    autoencoder: Callable[..., AutoencoderKL] = AutoencoderKL
    unet: Callable[..., nn.Module] = ConditionalUNet

    external_fields: ClassVar[tuple[str, ...]] = ("autoencoder.image_channels",)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique what it takes to generate latents; one more class stands for no class."""
        return latent_arguments(run, self.unet(num_classes=run.facts.num_classes + 1, dtype=run.dtype))


@dataclasses.dataclass(frozen=True)
class LatentDiT(NetworkFields):
    """A transformer in the latents of an autoencoder.

    Args:
      autoencoder: the autoencoder.
      dit: the transformer.
    """

    autoencoder: Callable[..., AutoencoderKL] = AutoencoderKL
    dit: Callable[..., nn.Module] = DiT

    external_fields: ClassVar[tuple[str, ...]] = ("autoencoder.image_channels",)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique what it takes to generate latents."""
        return latent_arguments(run, self.dit(num_classes=run.facts.num_classes, dtype=run.dtype))


def latent_arguments(run: Any, network: nn.Module) -> dict[str, Any]:
    """Build what `ddpm.learner` takes to generate latents.

    Args:
      network: (z [B, h, w, C], t [B], label [B]) -> noise; one more class than the data stands for no class.

    Returns:
      Keyword arguments of the technique.
    """
    autoencoder = autoencoder_of(run)
    model, (height, width, _) = LatentDiffusion(network, autoencoder), run.facts.image_shape
    side = autoencoder.downsampling
    if height % side or width % side:
        allowed = f"levels that divide {height}x{width}"
        raise ValueError(f"autoencoder.channels={autoencoder.channels}: sides do not divide; allowed: {allowed}")
    return {
        "model": model,
        "shape": (height // side, width // side, autoencoder.latent_channels),
        "condition": class_condition(run.facts.num_classes),
        "encode": lambda params, keys, batch: model.apply({"params": params}, batch["image"], keys, method="encoded"),
        "decode": lambda params, z: model.apply({"params": params}, z, method="decoded"),
        "locked": LOCKED,
    }


def autoencoder_of(run: Any) -> AutoencoderKL:
    """Build the autoencoder for the channels of the images."""
    return run.parts.network.autoencoder(image_channels=run.facts.image_shape[-1], dtype=run.dtype)
