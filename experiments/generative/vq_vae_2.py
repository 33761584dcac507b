"""VQ-VAE-2: encode digits as two grids of codes, learn a prior of the fine grid given the coarse one, and sample.

python -m experiments.generative.vq_vae_2        (mse 0.0055, without the top 0.043, without the bottom 0.063)

The first part of the run trains the autoencoder, the last (`--prior_share`) a gated PixelCNN over the top's 2 x 2 codes
and one over the bottom's 4 x 4 codes that reads the top's. `mse_without_top` and `mse_without_bottom` say how much the
decoder needs each level; `top_bits` and `bottom_bits` a code compare with log2 K, which a uniform prior has: 6. With
the default seed they are 3.3 and 4.3 bits. Three times as many steps of the priors overfit: 4.8 bits a bottom code.
"""

import dataclasses
from typing import Any

from dlcore.experiment import Experiment, Setup
from dlcore.generative import vq_vae_2
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.vq_vae_2 import VQVAE2, Priors, TopCondition
from dlcore.main import main
from dlcore.tasks.phased_codes import PhasedAdamW, PhasedCodes, phases
from experiments.classification.supervised import experiment as classifier
from experiments.smoke import few_samples


@dataclasses.dataclass(frozen=True)
class TwoGrids(PhasedCodes):
    """Images, their two grids of codes, and samples by a prior of these."""

    def network(self, setup: Setup) -> VQVAE2:
        return VQVAE2(tuple(setup.spec["image_shape"]), dtype=setup.dtype, **setup.flags.group("vqvae2"))

    def arguments(self, setup: Setup) -> dict[str, Any]:
        flags, priors = setup.flags, None
        if phases(setup)[1]:
            condition = TopCondition(flags.num_codes, dtype=setup.dtype, **flags.group("condition"))
            fields = {**flags.group("prior"), "dtype": setup.dtype}
            priors = Priors(PixelCNN(flags.num_codes, 1, **fields), condition, PixelCNN(flags.num_codes, 1, **fields))
        return {**super().arguments(setup), "priors": priors}


experiment = Experiment(
    __file__,
    __doc__,
    vq_vae_2.learner,
    task=TwoGrids(classifier=classifier),
    optimizer=PhasedAdamW(learning_rate=1e-3, weight_decay=0.0),
    modules={"vqvae2": VQVAE2, "prior": PixelCNN, "condition": TopCondition},
    defaults={
        "steps": 2000,
        "batch_size": 64,
        "eval_every": 500,
        "select": "last",
        "num_codes": 64,
        "vqvae2.width": 32,
        "vqvae2.embedding_dim": 16,
        "vqvae2.num_res_blocks": 1,
        "prior.features": 32,
        "prior.num_layers": 3,
        "prior.first_kernel": 5,
        "prior.embedding_dim": 16,
    },
    smoke={
        **few_samples(4),
        "num_codes": 8,
        "vqvae2.width": 8,
        "prior.features": 8,
        "prior.num_layers": 1,
        "condition.features": 8,
    },
)

if __name__ == "__main__":
    main(experiment)
