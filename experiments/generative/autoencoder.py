"""Autoencoders of digits: undercomplete, sparse or denoising; fully connected or convolutional.

python -m experiments.generative.autoencoder                              (21.7 dB; the mean training image has 11.4)
python -m experiments.generative.autoencoder --kind=denoising       (+4.2 dB over the noisy digits, 1,823 steps)
python -m experiments.generative.autoencoder --kind=sparse --autoencoder.latent_dim=128
python -m experiments.generative.autoencoder --autoencoder.widths=16,32        (with convolutions: 21.4 dB)
python -m experiments.generative.autoencoder --autoencoder.widths=16,32 --kind=denoising           (+4.3 dB)
python -m experiments.generative.autoencoder --autoencoder.widths=16,32 --kind=sparse --autoencoder.latent_dim=128
python -m experiments.generative.autoencoder --dataset=mnist --data_dir=D --kind=denoising --autoencoder.latent_dim=64

`psnr_gain` is what denoising gains over its noisy input, and `mean_activation` what the sparse code should bring to
`--rho`.
"""

from typing import ClassVar

from flax import linen as nn

from dlcore.evaluators.fine_tuning import Encoder
from dlcore.experiment import Experiment, Setup
from dlcore.generative import autoencoder
from dlcore.generative.autoencoder import Autoencoder
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.latent_space import LatentSpace, code_encoder


class Codes(LatentSpace):
    """Images, and an autoencoder that gives each a code."""

    headline = "psnr"
    plain: ClassVar[dict] = {"kind": "plain", "ema": None}

    def network(self, setup: Setup) -> Autoencoder:
        flags = setup.flags
        bounded = nn.sigmoid if flags.penalty == "kl" else nn.relu
        return Autoencoder(
            tuple(setup.spec["image_shape"]),
            activation=bounded if flags.kind == "sparse" else None,
            dtype=setup.dtype,
            **flags.group("autoencoder"),
        )

    def encoder(self, setup: Setup) -> Encoder:
        return code_encoder(setup, self.network(setup))


experiment = Experiment(
    __file__,
    __doc__,
    autoencoder.learner,
    task=Codes(),
    optimizer=AveragedAdamW(learning_rate=2e-3, weight_decay=0.0),
    modules={"autoencoder": Autoencoder},
    defaults={"epochs": 100.0, "batch_size": 64, "eval_every": 500},
    smoke={"steps": 3, "batch_size": 8, "autoencoder.hidden": (16,), "eval_every": 3},
)

if __name__ == "__main__":
    main(experiment)
