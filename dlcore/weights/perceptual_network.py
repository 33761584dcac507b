"""The frozen network of a perceptual loss, and the autoencoder of codes that is trained by it and a discriminator."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

from flax import linen as nn

from dlcore.experiment.flags import Flags
from dlcore.experiment.parts import Run
from dlcore.generative.code_networks import CodeGrid
from dlcore.generative.image_to_image import PatchDiscriminator
from dlcore.setting import Setting, field_settings
from dlcore.weights.network import load_network, open_classifier
from dlcore.weights.open import Weights

__all__ = ["AdversarialCodes", "PerceptualNetwork"]


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

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the autoencoder, the `discriminator`, and the network of the perceptual distance."""
        discriminator = self.discriminator(dtype=run.dtype)
        return {**super().arguments(run), "discriminator": discriminator, **self.perceptual.arguments(run)}
