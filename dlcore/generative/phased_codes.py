"""Phases of a run: its first part trains an autoencoder of codes, its last a model of these codes.

network=TwoGrids(vqvae2=partial(VQVAE2, width=32)), optimizer=PhasedAdamW(learning_rate=1e-3, prior_share=0.25)
"""

from typing import Any, ClassVar

from dlcore.data.splits import Splits
from dlcore.generative.sample_panels import FilmSamples
from dlcore.report.reconstructions import ReconstructOrDraw
from dlcore.setting import FlagError

__all__ = ["FilmPrior", "PriorBits", "ReconstructOrDrawPrior"]


class PriorBits:
    """The bits of a code under the model of the codes, and the squared error of the autoencoder."""

    metric: ClassVar[str] = "prior_bits"
    mode: ClassVar[str] = "min"
    headline: ClassVar[str] = "mse"

    def finish_data(self, splits: Splits, run: Any) -> Splits:
        """Select the checkpoint of a run without a prior, which has no `prior_bits`, by its squared error."""
        return splits if run.parts.optimizer.prior_share else splits._replace(spec={**splits.spec, "headline": "mse"})


class FilmPrior(FilmSamples):
    """Report with a film of the samples of a run that has a prior."""

    def report_hooks(self, run: Any) -> list:
        """Film the samples; none for a run without a prior."""
        return super().report_hooks(run) if run.parts.optimizer.phases(run.steps)[1] else []


class ReconstructOrDrawPrior(ReconstructOrDraw):
    """Use of an autoencoder of a run that has a prior, or has none to draw from."""

    def samples(self, run: Any) -> tuple[Any, list[str]]:
        """Number the samples that `--mode=predict` draws without `--input`."""
        if not run.parts.optimizer.prior_share:
            raise FlagError("--prior_share=0: the run has no prior to sample from; allowed: --input=FILE_OR_FOLDER")
        return super().samples(run)
