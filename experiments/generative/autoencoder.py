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

from flax import linen as nn

from dlcore.data.augment import to_float
from dlcore.evaluators.fine_tuning import module_encoder
from dlcore.experiment import Experiment, Setup
from dlcore.generative import autoencoder
from dlcore.generative.autoencoder import Autoencoder
from dlcore.kits.generative import latent_space
from dlcore.kits.training import optimizer
from dlcore.main import main


def network(setup: Setup) -> Autoencoder:
    flags = setup.flags
    bounded = nn.sigmoid if flags.penalty == "kl" else nn.relu
    return Autoencoder(
        tuple(setup.spec["image_shape"]),
        activation=bounded if flags.kind == "sparse" else None,
        dtype=setup.dtype,
        **flags.group("autoencoder"),
    )


def build(setup: Setup):
    learner = autoencoder.learner(
        model=network(setup), optimizer=optimizer.build(setup), **setup.flags.group("learner")
    )
    return optimizer.evaluate_ema(learner, setup)


def encoder(setup: Setup):
    return module_encoder(
        network(setup),
        to_float,
        setup.spec["image_shape"],
        lambda state: {"params": state.params},
        lambda code: code,
        method="encode",
        takes_train=False,
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=autoencoder.learner,
    data=latent_space.data,
    build=build,
    encoder=encoder,
    modules={"autoencoder": Autoencoder},
    settings={**latent_space.SETTINGS, **optimizer.SETTINGS},
    defaults={"epochs": 100.0, "batch_size": 64, "learning_rate": 2e-3, "weight_decay": 0.0, "eval_every": 500},
    smoke={"steps": 3, "batch_size": 8, "autoencoder.hidden": (16,), "eval_every": 3},
    monitor="loss",
    monitor_mode="min",
    headline="psnr",
    plain={"kind": "plain", "ema": None},
    inputs=latent_space.inputs,
    describe=latent_space.describe,
    write=latent_space.write,
    panels=latent_space.panels,
    pictures=latent_space.pictures,
    schedule=optimizer.schedule,
)

if __name__ == "__main__":
    main(experiment)
