"""GAN: generate digits, or clothes, by a generative adversarial network.

python -m experiments.generative.gan                                     (Fréchet distance 2.64; 2 min on one core)
python -m experiments.generative.gan --dataset=fashion_mnist --data_dir=D --steps=1200 --eval_every=300

The second command brings the Fréchet distance from 11.2 at step 300 to 6.9.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.generative import dcgan, gan
from dlcore.kits.generative import gan_optimizer, image_generation, sample_panels, samples
from dlcore.main import main


def build(setup: Setup):
    flags, fields = setup.flags, {"dtype": setup.dtype}
    return gan.learner(
        generator=dcgan.Generator(tuple(setup.spec["image_shape"]), **flags.group("generator"), **fields),
        discriminator=dcgan.Discriminator(**flags.group("discriminator"), **fields),
        generator_optimizer=gan_optimizer.optimizer(setup),
        discriminator_optimizer=gan_optimizer.optimizer(setup),
        **flags.group("learner"),
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=gan.learner,
    data=image_generation.data,
    build=build,
    modules={"generator": dcgan.Generator, "discriminator": dcgan.Discriminator},
    settings={**image_generation.SETTINGS, **gan_optimizer.SETTINGS},
    defaults={
        "generator.width": 24,
        "discriminator.width": 48,
        "steps": 5000,
        "batch_size": 64,
        "ema": 0.999,
        "eval_every": 1000,
        "select": "last",
    },
    smoke={
        "generator.width": 4,
        "discriminator.width": 8,
        "steps": 2,
        "batch_size": 8,
        "num_samples": 16,
        "network_steps": 2,
        "eval_every": 2,
    },
    monitor=None,
    headline="frechet_distance",
    **samples.FIELDS,
    schedule=gan_optimizer.schedule,
    report_hooks=lambda setup: sample_panels.film_of_samples(build, setup),
    panels=sample_panels.panels,
    pictures=sample_panels.pictures,
    evaluators=image_generation.evaluators,
)

if __name__ == "__main__":
    main(experiment)
