"""VQ-VAE-2: encode digits as two grids of codes, learn a prior of the fine grid given the coarse one, and sample.

python -m experiments.generative.vq_vae_2        (mse 0.0055, without the top 0.043, without the bottom 0.063)

The first part of the run trains the autoencoder, the last (`--prior_share`) a gated PixelCNN over the top's 2 x 2 codes
and one over the bottom's 4 x 4 codes that reads the top's. `mse_without_top` and `mse_without_bottom` say how much the
decoder needs each level; `top_bits` and `bottom_bits` a code compare with log2 K, which a uniform prior has: 6. With
the default seed they are 3.3 and 4.3 bits. Three times as many steps of the priors overfit: 4.8 bits a bottom code.
"""

from functools import partial

from dlcore.data.images_or_crops import MeanImage
from dlcore.evaluators.image_generation import PriorFrechet
from dlcore.experiment import Experiment, Steps
from dlcore.generative import vq_vae_2
from dlcore.generative.code_networks import TwoGrids
from dlcore.generative.images_or_factors import ImagesOrFactors
from dlcore.generative.phased_codes import FilmPrior, PriorBits, ReconstructOrDrawPrior
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.shown_reconstructions import Reconstructions
from dlcore.generative.vq_vae_2 import VQVAE2, TopCondition
from dlcore.main import main
from dlcore.optim.phased_adamw import PhasedAdamW
from experiments.classification import supervised
from experiments.smoke import few_samples

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(vq_vae_2.learner, num_codes=64, temperature=1.0),
    data=ImagesOrFactors("digits", valid_fraction=0.1, labels=False),
    network=TwoGrids(
        vqvae2=partial(VQVAE2, width=32, embedding_dim=16, downsamplings=1, num_res_blocks=1),
        prior=partial(PixelCNN, features=32, num_layers=3, first_kernel=5, embedding_dim=16),
        condition=partial(TopCondition, features=32, num_res_blocks=1),
    ),
    optimizer=PhasedAdamW(learning_rate=1e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, prior_share=0.25),
    length=Steps(2000, batch_size=64, eval_every=500, select="last"),
    measures=[PriorBits(), PriorFrechet(classifier=supervised.experiment, num_samples=1000), MeanImage(shown=64)],
    report=[Reconstructions(), FilmPrior()],
    use=ReconstructOrDrawPrior(),
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
