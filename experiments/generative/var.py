"""VAR: encode digits as grids of codes from coarse to fine, and sample them one grid at a time.

python -m experiments.generative.var                              (mse 0.0074; 3.59 bits a code; Fréchet distance 11)
python -m experiments.generative.var --prior.scales=1,2,4
python -m experiments.generative.var --mode=predict --run=RUN --output=samples

The first part of the run trains the autoencoder, and the last part (`--prior_share`) the transformer over the scales. A
uniform prior has log2 K = 6 `prior_bits` a code. `prior_bits` cannot be compared with those of
`experiments.generative.vq_vae_prior`, which has other codes. `frechet_distance` of the samples can: the PixelCNN of
that page has 4.5. VAR draws the codes of a scale independently of each other, which harms samples of only 4 x 4 codes;
a `--temperature` below 1 helps. The first scale carries no information here: all digits have the same first code. The
numbers are of one seed; the second command was not run.
"""

import dataclasses
from typing import Any

from dlcore.experiment import Experiment, Setup
from dlcore.generative import var
from dlcore.generative.var import ScaleTransformer
from dlcore.generative.vq_vae import VQVAE
from dlcore.main import main
from dlcore.tasks.phased_codes import PhasedAdamW, PhasedCodes
from experiments.classification.supervised import experiment as classifier
from experiments.smoke import few_samples


@dataclasses.dataclass(frozen=True)
class CodesByScale(PhasedCodes):
    """Images, their grids of codes from coarse to fine, and samples by a transformer over these."""

    def network(self, setup: Setup) -> VQVAE:
        return VQVAE(tuple(setup.spec["image_shape"]), dtype=setup.dtype, **setup.flags.group("vqvae"))

    def arguments(self, setup: Setup) -> dict[str, Any]:
        prior = ScaleTransformer(setup.flags.num_codes, dtype=setup.dtype, **setup.flags.group("prior"))
        return {**super().arguments(setup), "prior": prior}


experiment = Experiment(
    __file__,
    __doc__,
    var.learner,
    task=CodesByScale(classifier=classifier),
    optimizer=PhasedAdamW(learning_rate=1e-3, weight_decay=0.0),
    modules={"vqvae": VQVAE, "prior": ScaleTransformer},
    defaults={
        "steps": 3000,
        "prior_share": 0.5,
        "batch_size": 64,
        "eval_every": 1000,
        "select": "last",
        "num_codes": 64,
        "vqvae.width": 32,
        "vqvae.embedding_dim": 16,
        "vqvae.downsamplings": 1,
        "vqvae.num_res_blocks": 1,
        "prior.scales": (1, 2, 3, 4),
        "prior.width": 64,
        "prior.depth": 3,
        "prior.mlp_ratio": 2,
    },
    smoke={
        **few_samples(4),
        "num_codes": 8,
        "vqvae.width": 8,
        "prior.width": 8,
        "prior.depth": 1,
        "prior.num_heads": 2,
    },
)

if __name__ == "__main__":
    main(experiment)
