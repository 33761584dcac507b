"""KL-regularized autoencoder of digits: the first phase of latent diffusion.

python -m experiments.generative.autoencoder_kl                                    (34.6 dB; 90 s on one core)
python -m experiments.generative.autoencoder_kl --mode=predict --run=RUN --input=FILES --output=reconstructions
python -m experiments.generative.autoencoder_kl --dataset=fashion_mnist --data_dir=D --autoencoder.channels=32,64,64 \\
    --steps=20000 --batch_size=64

The latent's sides are 1 / 2^(levels - 1) of the image's. `psnr` is that of the decoded mean, in dB; the mean training
image has 11.4 dB. The default latent of a digit, 4 x 4 x 4, has as many numbers as its 64 pixels. The last command was
not run.
"""

from functools import partial

from dlcore.experiment import Experiment, Setup
from dlcore.generative import autoencoder_kl
from dlcore.generative.autoencoder_kl import AutoencoderKL
from dlcore.kits.generative import latent_autoencoder
from dlcore.kits.images import labeled_images, prediction
from dlcore.kits.training import optimizer
from dlcore.main import main


def build(setup: Setup):
    learner = autoencoder_kl.learner(
        model=latent_autoencoder.model_of(setup.flags.group("autoencoder"), setup.spec, setup.dtype),
        optimizer=optimizer.build(setup),
        **setup.flags.group("learner"),
    )
    return optimizer.evaluate_ema(learner, setup)


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=autoencoder_kl.learner,
    data=partial(labeled_images.data, labels=False),
    build=build,
    modules={"autoencoder": AutoencoderKL},
    external_fields=("autoencoder.image_channels",),
    settings={**latent_autoencoder.SETTINGS, **optimizer.SETTINGS},
    defaults={
        "steps": 1500,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "weight_decay": 0.0,
        "clip_norm": 1.0,
        "eval_every": 500,
    },
    smoke={"steps": 3, "batch_size": 8, "eval_every": 3, "autoencoder.channels": (8, 8)},
    monitor="psnr",
    headline="psnr",
    plain={"weight_decay": 0.0, "kl_weight": 0.0},
    regularizer="kl_weight",
    inputs=prediction.inputs,
    describe=latent_autoencoder.describe,
    write=latent_autoencoder.write,
    schedule=optimizer.schedule,
    panels=latent_autoencoder.panels,
)

if __name__ == "__main__":
    main(experiment)
