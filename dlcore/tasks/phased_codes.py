"""Phases of a run: its first part trains an autoencoder of codes, its last a model of these codes.

network=TwoGrids(vqvae2=partial(VQVAE2, width=32)), optimizer=PhasedAdamW(learning_rate=1e-3, prior_share=0.25)
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import optax
from flax import linen as nn

from dlcore.experiment.experiment import Setup
from dlcore.experiment.parts import Run
from dlcore.experiment.setting import FlagError
from dlcore.experiment.splits import Splits
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.var import ScaleTransformer
from dlcore.generative.vq_vae import VQVAE
from dlcore.generative.vq_vae_2 import VQVAE2, Priors, TopCondition
from dlcore.kits.generative.image_generation import FinalFrechet
from dlcore.kits.generative.networks import NetworkFields
from dlcore.kits.generative.sample_panels import FilmSamples
from dlcore.learner import Evaluator, Learner, Range
from dlcore.optim import AdamW
from dlcore.tasks.latent_space import ReconstructOrDraw

__all__ = [
    "CodesByScale",
    "FilmPrior",
    "PhasedAdamW",
    "PriorBits",
    "PriorFrechet",
    "ReconstructOrDrawPrior",
    "TwoGrids",
]


@dataclasses.dataclass(frozen=True)
class PhasedAdamW(AdamW):
    """AdamW whose schedule starts anew with the second phase.

    Args:
      prior_share: fraction of the steps, the last ones, that train the prior; 0 trains none
    """

    prior_share: Annotated[float, Range(0, 0.99)] = 0.25

    def phases(self, steps: int) -> tuple[int, int]:
        """Count the steps of the autoencoder and those of the model of its codes.

        Args:
          steps: length of the training.

        Returns:
          (steps of the first phase, steps of the second).
        """
        last = round(self.prior_share * steps)
        return steps - last, last

    def build(self, steps: int, steps_per_epoch: float | None = None) -> optax.GradientTransformationExtraArgs:
        """Build the optimizer of the autoencoder, whose schedule ends with the first phase."""
        return super().build(max(1, self.phases(steps)[0]), steps_per_epoch)

    def arguments(self, run: Run) -> dict[str, Any]:
        """Tell the technique which steps train the model of the codes, and by which optimizer."""
        first, last = self.phases(run.steps)
        optimizer = super().build(max(1, last), run.steps_per_epoch)
        return {"prior_optimizer": optimizer, "is_prior_step": lambda step: step >= first}

    def rate_of_step(self, steps: int, steps_per_epoch: float | None = None) -> Callable[[int], float] | None:
        """Build the learning-rate schedule of both phases."""
        first, last = self.phases(steps)
        early, late = (super(PhasedAdamW, self).rate_of_step(max(1, k), steps_per_epoch) for k in (first, last))
        if early is None or late is None:
            return None
        return lambda step: early(step) if step < first else late(step - first)


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

    def arguments(self, run: Run) -> dict[str, Any]:
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

    def arguments(self, run: Run) -> dict[str, Any]:
        """Give the technique the autoencoder as `model`, and the `prior`."""
        prior = self.prior(run.parts.technique.keywords["num_codes"], dtype=run.dtype)
        return {"model": self.vqvae(tuple(run.facts.image_shape), dtype=run.dtype), "prior": prior}


class PriorBits:
    """The bits of a code under the model of the codes, and the squared error of the autoencoder."""

    metric: ClassVar[str] = "prior_bits"
    mode: ClassVar[str] = "min"
    headline: ClassVar[str] = "mse"

    def finish_data(self, splits: Splits, run: Run) -> Splits:
        """Select the checkpoint of a run without a prior, which has no `prior_bits`, by its squared error."""
        return splits if run.parts.optimizer.prior_share else splits._replace(spec={**splits.spec, "headline": "mse"})


class PriorFrechet(FinalFrechet):
    """The distances of samples to test images, at the end of a run that has a prior."""

    def evaluators(self, run: Run, splits: Splits, split: str) -> list[Evaluator]:
        """Build the evaluators of samples; none for a run without a prior."""
        return super().evaluators(run, splits, split) if run.parts.optimizer.phases(run.steps)[1] else []


class FilmPrior(FilmSamples):
    """Report with a film of the samples of a run that has a prior."""

    def report_hooks(self, run: Run, build: Callable[[Setup], Learner]) -> list:
        """Film the samples; none for a run without a prior."""
        return super().report_hooks(run, build) if run.parts.optimizer.phases(run.steps)[1] else []


class ReconstructOrDrawPrior(ReconstructOrDraw):
    """Use of an autoencoder of a run that has a prior, or has none to draw from."""

    def samples(self, run: Run) -> tuple[Any, list[str]]:
        """Number the samples that `--mode=predict` draws without `--input`."""
        if not run.parts.optimizer.prior_share:
            raise FlagError("--prior_share=0: the run has no prior to sample from; allowed: --input=FILE_OR_FOLDER")
        return super().samples(run)
