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

from functools import partial

from dlcore.data.images import Images
from dlcore.experiment import Experiment, Measure, Sanity, Steps
from dlcore.generative import autoencoder_kl
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.generative.latent_networks import ImageAutoencoder
from dlcore.main import main
from dlcore.optim import AveragedAdamW
from dlcore.report.reconstructions import ReconstructedImages, WriteReconstructions
from dlcore.weights.start import NetworkWeights

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(autoencoder_kl.learner, kl_weight=1e-6),
    data=Images("digits", valid_fraction=0.1, labels=False),
    network=ImageAutoencoder(partial(AutoencoderKL, channels=(16, 32), latent_channels=4)),
    optimizer=AveragedAdamW(learning_rate=2e-3, schedule="cosine", warmup=0.1, weight_decay=0.0, clip_norm=1.0),
    length=Steps(1500, batch_size=64, eval_every=500),
    measures=[Measure("psnr")],
    report=[ReconstructedImages()],
    use=WriteReconstructions(),
    start=NetworkWeights(),
    sanity=Sanity(plain={"weight_decay": 0.0, "kl_weight": 0.0}, regularizer="kl_weight"),
    smoke={"steps": 3, "batch_size": 8, "eval_every": 3, "autoencoder.channels": (8, 8)},
)

if __name__ == "__main__":
    main(experiment)
