"""VQ-VAE-2: encode digits as two grids of codes, learn a prior of the fine grid given the coarse one, and sample.

python -m experiments.generative.vq_vae_2        (mse 0.0055, without the top 0.043, without the bottom 0.063)

The first part of the run trains the autoencoder, the last (`--prior_share`) a gated PixelCNN over the top's 2 x 2 codes
and one over the bottom's 4 x 4 codes that reads the top's. `mse_without_top` and `mse_without_bottom` say how much the
decoder needs each level; `top_bits` and `bottom_bits` a code compare with log2 K, which a uniform prior has: 6. With
the default seed they are 3.3 and 4.3 bits. Three times as many steps of the priors overfit: 4.8 bits a bottom code.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.generative import vq_vae_2
from dlcore.generative.pixel_cnn import PixelCNN
from dlcore.generative.vq_vae_2 import VQVAE2, Priors, TopCondition
from dlcore.kits.generative import discrete_codes
from dlcore.main import main


def build(setup: Setup):
    flags = setup.flags
    model = VQVAE2(tuple(setup.spec["image_shape"]), dtype=setup.dtype, **flags.group("vqvae2"))
    priors = None
    if discrete_codes.phases(setup)[1]:
        condition = TopCondition(flags.num_codes, dtype=setup.dtype, **flags.group("condition"))
        fields = {**flags.group("prior"), "dtype": setup.dtype}
        priors = Priors(PixelCNN(flags.num_codes, 1, **fields), condition, PixelCNN(flags.num_codes, 1, **fields))
    return vq_vae_2.learner(
        model=model,
        priors=priors,
        **discrete_codes.prior_arguments(setup),
        **flags.group("learner"),
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=vq_vae_2.learner,
    **discrete_codes.fields(build),
    modules={"vqvae2": VQVAE2, "prior": PixelCNN, "condition": TopCondition},
    settings=discrete_codes.SETTINGS,
    defaults={
        "steps": 2000,
        "prior_share": 0.25,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "weight_decay": 0.0,
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
        "steps": 4,
        "batch_size": 8,
        "num_codes": 8,
        "vqvae2.width": 8,
        "prior.features": 8,
        "prior.num_layers": 1,
        "condition.features": 8,
        "num_samples": 16,
        "network_steps": 2,
        "eval_every": 4,
    },
)

if __name__ == "__main__":
    main(experiment)
