"""Networks of codes: autoencoders of one grid or of several, the models of their codes, and of codes of sound."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal

from flax import linen as nn

from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.var import ScaleTransformer
from dlcore.generative.vq_model import VQModel
from dlcore.generative.vq_vae import VQVAE
from dlcore.generative.vq_vae_2 import VQVAE2, Priors, TopCondition
from dlcore.learner import check_record
from dlcore.models.network import NetworkFields
from dlcore.setting import flag_prefix

__all__ = ["CodeGrid", "CodeGridPrior", "CodeNetwork", "CodesByScale", "TwoGrids"]


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

    def __post_init__(self):
        check_record(self)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the autoencoder that `--architecture` names as `model`, for the shape of the images."""
        return {"model": self.modules[self.architecture](tuple(run.facts.image_shape), dtype=run.dtype)}


@dataclasses.dataclass(frozen=True)
class CodeGridPrior(CodeGrid):
    """The autoencoder of codes, and a network of their distribution.

    Args:
      prior: network of the codes.
      prior_fields: fields of the prior that are no flags.
    """

    prior: Callable[..., nn.Module] = PixelCNN
    prior_fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the autoencoder, and the `prior` of its codes."""
        num_codes = run.parts.technique.keywords["num_codes"]
        return {**super().arguments(run), "prior": self.prior(num_codes, dtype=run.dtype, **self.prior_fields)}


@dataclasses.dataclass(frozen=True)
class TwoGrids(NetworkFields):
    """The autoencoder of two grids of codes, and two autoregressive networks of these.

    Args:
      vqvae2: the autoencoder.
      prior: network of each grid.
      condition: network of what the fine grid's network reads of the coarse grid.
    """

    vqvae2: Callable[..., nn.Module] = VQVAE2
    prior: Callable[..., nn.Module] = PixelCNN
    condition: Callable[..., nn.Module] = TopCondition

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the autoencoder as `model`, and the `priors`, None in a run without them."""
        num_codes, priors = run.parts.technique.keywords["num_codes"], None
        if run.parts.optimizer.phases(run.steps)[1]:
            condition = self.condition(num_codes, dtype=run.dtype)
            top, bottom = (self.prior(num_codes, 1, dtype=run.dtype) for _ in range(2))
            priors = Priors(top, condition, bottom)
        return {"model": self.vqvae2(tuple(run.facts.image_shape), dtype=run.dtype), "priors": priors}


@dataclasses.dataclass(frozen=True)
class CodesByScale(NetworkFields):
    """The autoencoder of grids of codes from coarse to fine, and a transformer over these.

    Args:
      vqvae: the autoencoder.
      prior: the transformer.
    """

    vqvae: Callable[..., nn.Module] = VQVAE
    prior: Callable[..., nn.Module] = ScaleTransformer

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the autoencoder as `model`, and the `prior`."""
        prior = self.prior(run.parts.technique.keywords["num_codes"], dtype=run.dtype)
        return {"model": self.vqvae(tuple(run.facts.image_shape), dtype=run.dtype), "prior": prior}


@dataclasses.dataclass(frozen=True)
class CodeNetwork:
    """A network of the codes of a sound, such as WaveNet.

    Args:
      network: class of the network with the fields `levels`, `num_classes` and `dtype`, or a `functools.partial`
      conditional: give the network the pitch of a tone or the name of a vowel
    """

    network: Callable[..., nn.Module]
    conditional: Annotated[bool, "essential"] = True

    @property
    def modules(self) -> dict[str, Callable[..., nn.Module]]:
        """The network by the prefix of its flags."""
        return {flag_prefix(self.network): self.network}

    def with_flags(self, flags: Any) -> "CodeNetwork":
        """Return the network with the values of its flags in its fields."""
        return CodeNetwork(partial(self.network, **flags.group(flag_prefix(self.network))), flags.conditional)

    def arguments(self, run: Any) -> dict[str, Any]:
        """Give the technique the network as `model`."""
        num_classes = run.facts.num_classes if self.conditional else 0
        return {"model": self.network(levels=run.parts.data.levels, num_classes=num_classes, dtype=run.dtype)}
