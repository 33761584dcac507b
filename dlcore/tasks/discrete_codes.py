"""Grids of codes: the networks that encode an image as one grid of codes, with a discriminator or a prior beside them.

network=CodeGrid(vqvae=partial(VQVAE, width=32))
network=AdversarialCodes(vqvae=partial(VQVAE, width=32), discriminator=partial(PatchDiscriminator, width=32))
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from flax import linen as nn

from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run, with_flags
from dlcore.experiment.setting import Setting, field_settings
from dlcore.generative.image_to_image import PatchDiscriminator
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.vq_model import VQModel
from dlcore.generative.vq_vae import VQVAE
from dlcore.kits.generative.networks import NetworkFields
from dlcore.weights.network import load_network, open_classifier
from dlcore.weights.open import Weights

__all__ = [
    "SMOKE",
    "AdversarialCodes",
    "CodeGrid",
    "CodeGridPrior",
    "PerceptualNetwork",
]

SMOKE = {"steps": 4, "batch_size": 8, "num_codes": 8, "vqvae.width": 8, "eval_every": 4}
"""Settings of --smoke."""


@dataclasses.dataclass(frozen=True)
class CodeGrid(NetworkFields):
    """The autoencoder that encodes images as one grid of codes.

    Args:
      vqvae: the paper's convolutions.
      vqmodel: VQGAN's residual blocks with attention.
      architecture: the paper's convolutions, or VQGAN's residual blocks with attention
    """

    vqvae: Callable[..., nn.Module] = VQVAE
    vqmodel: Callable[..., nn.Module] = VQModel
    architecture: Literal["vqvae", "vqmodel"] = "vqvae"

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the autoencoder that `--architecture` names as `model`, for the shape of the images."""
        return {"model": self.modules[self.architecture](tuple(run.facts.image_shape), dtype=run.dtype)}


@dataclasses.dataclass(frozen=True)
class PerceptualNetwork:
    """The network whose features reconstructions must share.

    Args:
      perceptual_network: network whose features reconstructions must share: a run's folder, a folder of `dlcore
        convert` or a packed .npz; by default the small VGG that dlcore ships
    """

    perceptual_network: Annotated[str | None, "essential"] = None

    @property
    def settings(self) -> dict[str, Setting]:
        """The flag, which says where its weights come from."""
        return {name: setting._replace(origin=_origin) for name, setting in field_settings(self).items()}

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the `network` with its `variables`, and the `mean` and `std` of its images."""
        channels = run.facts.image_shape[-1]
        network = load_network(
            self.perceptual_network, "perceptual_network", channels=None if channels == 1 else channels
        )
        return {"network": network.model, "variables": network.variables, "mean": network.mean, "std": network.std}


def _origin(flags: Flags) -> Weights | None:
    source, name = flags.get("perceptual_network"), "perceptual_network"
    return None if source is None else open_classifier(source, name)._replace(initializes=False)


@dataclasses.dataclass(frozen=True)
class AdversarialCodes(CodeGrid):
    """The autoencoder of codes, its discriminator, and the network of the perceptual distance.

    Args:
      discriminator: network that tells images from reconstructions.
      perceptual: the network of the perceptual distance.
    """

    discriminator: Callable[..., nn.Module] = PatchDiscriminator
    perceptual: PerceptualNetwork = PerceptualNetwork()

    def with_flags(self, flags: Flags) -> "AdversarialCodes":
        """Return the part with the values of the flags in the fields of its networks, and in its own."""
        return dataclasses.replace(super().with_flags(flags), perceptual=with_flags(self.perceptual, flags))

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the autoencoder, the `discriminator`, and the network of the perceptual distance."""
        discriminator = self.discriminator(dtype=run.dtype)
        return {**super().arguments(run), "discriminator": discriminator, **self.perceptual.arguments(run)}


@dataclasses.dataclass(frozen=True)
class CodeGridPrior(CodeGrid):
    """The autoencoder of codes, and a network of their distribution.

    Args:
      prior: network of the codes.
      prior_fields: fields of the prior that are no flags.
    """

    prior: Callable[..., nn.Module] = PixelCNN
    prior_fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the autoencoder, and the `prior` of its codes."""
        num_codes = run.parts.technique.keywords["num_codes"]
        return {**super().arguments(run), "prior": self.prior(num_codes, dtype=run.dtype, **self.prior_fields)}
