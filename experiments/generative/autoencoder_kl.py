"""KL-regularized autoencoder of digits: the first phase of latent diffusion.

python -m experiments.generative.autoencoder_kl                                    (34.6 dB; 90 s on one core)
python -m experiments.generative.autoencoder_kl --mode=predict --run=RUN --input=FILES --output=reconstructions
python -m experiments.generative.autoencoder_kl --dataset=fashion_mnist --data_dir=D --autoencoder.channels=32,64,64 \\
    --steps=20000 --batch_size=64
python -m experiments.generative.autoencoder_kl --dataset=folder --data_dir=D --image_size=256 --learning_rate=1e-5 \\
    --init_from=hf:stabilityai/sd-vae-ft-mse

The latent's sides are 1 / 2^(levels - 1) of the image's. `psnr` is that of the decoded mean, in dB; the mean training
image has 11.4 dB. The default latent of a digit, 4 x 4 x 4, has as many numbers as its 64 pixels. The last two
commands were not run.
"""

import dataclasses
from typing import ClassVar

from dlcore.experiment import Experiment, Setup
from dlcore.generative import autoencoder_kl
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.kits.training.optimizer import AveragedAdamW
from dlcore.main import main
from dlcore.tasks.latent_images import ReconstructedImages
from dlcore.weights.start import NETWORK, Start, start_network


@dataclasses.dataclass(frozen=True)
class RegularizedLatents(ReconstructedImages):
    """Reconstructed images, whose latents the weight of the divergence regularizes."""

    plain: ClassVar[dict] = {"weight_decay": 0.0, "kl_weight": 0.0}
    regularizer = "kl_weight"
    shared_settings: ClassVar[dict] = NETWORK

    def start(self, setup: Setup) -> Start | None:
        """Start from the weights of `--init_from`."""
        return start_network(setup)


experiment = Experiment(
    __file__,
    __doc__,
    autoencoder_kl.learner,
    task=RegularizedLatents(),
    optimizer=AveragedAdamW(learning_rate=2e-3, weight_decay=0.0, clip_norm=1.0),
    modules={"autoencoder": AutoencoderKL},
    external_fields=("autoencoder.image_channels",),
    defaults={"steps": 1500, "batch_size": 64, "eval_every": 500},
    smoke={"steps": 3, "batch_size": 8, "eval_every": 3, "autoencoder.channels": (8, 8)},
)

if __name__ == "__main__":
    main(experiment)
