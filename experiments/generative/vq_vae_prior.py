"""The prior of a VQ-VAE: learn the codes of a trained autoencoder with a PixelCNN, and sample new digits.

python -m experiments.generative.vq_vae_prior                              (3.94 bits a code; independent codes 5.89)
python -m experiments.generative.vq_vae_prior --init_from=RUN_OF_VQ_VAE
python -m experiments.generative.vq_vae_prior --mode=predict --run=RUN --output=samples

The first command first trains the autoencoder, `experiments.generative.vq_vae`, a run of its own that the next command
finds again. `prior_bits` a code compare with log2 K of uniform codes, 6 here, and with `histogram_bits` of codes that
are drawn by their frequencies in the same split. The number is the mean of three seeds, each with an autoencoder of its
own: compare priors by `--init_from` of one run.
"""

import dataclasses
from collections.abc import Callable
from typing import ClassVar

from dlcore.experiment import Experiment, Setup
from dlcore.generative import vq_vae_prior
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.kits.training.optimizer import AdamW
from dlcore.main import main
from dlcore.tasks.code_priors import CodePriors
from experiments.classification.supervised import experiment as classifier
from experiments.generative.vq_vae import experiment as vq_vae


@dataclasses.dataclass(frozen=True)
class Prior(CodePriors):
    """Codes of a frozen autoencoder, drawn one after the other."""

    modules: ClassVar[dict[str, Callable]] = {**CodePriors.modules, "prior": PixelCNN}

    def prior(self, setup: Setup) -> PixelCNN:
        return PixelCNN(setup.flags.num_codes, 1, dtype=setup.dtype, **setup.flags.group("prior"))


experiment = Experiment(
    __file__,
    __doc__,
    vq_vae_prior.learner,
    task=Prior(classifier=classifier, first_phase=vq_vae),
    optimizer=AdamW(learning_rate=1e-3, weight_decay=0.0),
    defaults={"prior.features": 32, "prior.num_layers": 3, "prior.first_kernel": 5, "prior.embedding_dim": 16},
    smoke={**CodePriors.smoke, "prior.features": 8, "prior.num_layers": 1},
)

if __name__ == "__main__":
    main(experiment)
