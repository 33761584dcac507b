"""StyleGAN: generate digits from mapped styles and per-layer noise, and interpolate in the latent space.

python -m experiments.generative.style_gan                     (Fréchet distance 1.19, noise share 1.03)
python -m experiments.generative.style_gan --mode=predict --run=RUN --output=samples
python -m experiments.generative.style_gan --dataset=fashion_mnist --data_dir=D --generator.width=16 \\
    --discriminator.width=16 --steps=2000 --eval_every=1000

`noise_share` is how far noise alone moves samples in a classifier's features, over how far another latent does, and
`path_length` how fast they change along walks. The report walks along the principal directions of the styles. The
last command was not run.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.generative import gan, sagan, style_gan
from dlcore.kits.generative import (
    class_conditional,
    gan_optimizer,
    image_generation,
    latent_directions,
    latent_space,
    sample_panels,
)
from dlcore.kits.images import labeled_images
from dlcore.main import main


def generator_of(setup: Setup) -> style_gan.Generator:
    shape = tuple(setup.spec["image_shape"])
    return style_gan.Generator(shape, **setup.flags.group("generator"), dtype=setup.dtype)


def build(setup: Setup):
    flags, generator = setup.flags, generator_of(setup)
    judge = {**flags.group("discriminator"), "num_classes": 0, "dtype": setup.dtype}
    return gan.learner(
        generator=generator,
        discriminator=sagan.Discriminator(**judge),
        generator_optimizer=gan_optimizer.optimizer(setup),
        discriminator_optimizer=gan_optimizer.optimizer(setup),
        **{**flags.group("learner"), "latent_dim": flags.latent_dim + generator.num_noise},
    )


def panels(context) -> list:
    return latent_directions.panels(
        context, style_gan.Generator(tuple(context.spec["image_shape"]), **context.flags.group("generator"))
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=gan.learner,
    data=image_generation.data,
    build=build,
    modules={"generator": style_gan.Generator, "discriminator": sagan.Discriminator},
    settings={
        **image_generation.SETTINGS,
        **gan_optimizer.SETTINGS,
        "num_drawn": latent_space.SAMPLED["num_drawn"],
    },
    defaults={
        "generator.width": 24,
        "discriminator.width": 32,
        "discriminator.attention": False,
        "discriminator.spectral_norm": False,
        "latent_dim": 64,
        "r1": 0.3,
        "learning_rate": 1e-3,
        "momentum": 0.0,
        "steps": 2500,
        "batch_size": 64,
        "ema": 0.999,
        "eval_every": 1250,
        "select": "last",
    },
    smoke={
        "generator.width": 4,
        "discriminator.width": 4,
        "latent_dim": 8,
        "steps": 2,
        "batch_size": 8,
        "num_samples": 16,
        "network_steps": 2,
        "eval_every": 2,
    },
    monitor=None,
    headline="frechet_distance",
    example=labeled_images.example,
    drawn=latent_space.drawn,
    describe=class_conditional.describe,
    write=class_conditional.write,
    schedule=gan_optimizer.schedule,
    panels=panels,
    pictures=sample_panels.pictures,
    evaluators=lambda setup, splits, split: latent_directions.evaluators(
        setup, splits, split, generator_of(setup).num_noise
    ),
)

if __name__ == "__main__":
    main(experiment)
