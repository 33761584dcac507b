"""VQ-VAE: encode digits as a grid of codebook indices, learn a prior of the grids, and sample new digits.

python -m experiments.generative.vq_vae           (mse 0.0061, perplexity 59.5 of 64, prior 4.2 of 6 bits)
python -m experiments.generative.vq_vae --dataset=cifar10 --data_dir=D --vqvae.downsamplings=2 --num_codes=128 \\
    --vqvae.width=64 --epochs=20

The first part of the run trains the autoencoder, the last (`--prior_share`) a gated PixelCNN over its codes.
`perplexity` and `usage` of the codebook are over a whole split, and `prior_bits` a code compare with log2 K, which a
uniform prior has. The mean image has an mse of 0.0734. The second command was not run. `--prior_share=0` trains the
autoencoder alone, for `experiments.generative.vq_vae_prior`.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.generative import vq_vae
from dlcore.kits.generative import discrete_codes
from dlcore.main import main


def build(setup: Setup):
    return vq_vae.learner(
        model=discrete_codes.model_of(setup),
        prior=discrete_codes.prior_of(setup) if discrete_codes.phases(setup)[1] else None,
        **discrete_codes.prior_arguments(setup),
        **setup.flags.group("learner"),
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=vq_vae.learner,
    **discrete_codes.fields(build),
    modules=discrete_codes.MODULES,
    settings={**discrete_codes.SETTINGS, **discrete_codes.ARCHITECTURE},
    defaults={**discrete_codes.DEFAULTS, "steps": 3000},
    smoke=discrete_codes.SMOKE,
)

if __name__ == "__main__":
    main(experiment)
