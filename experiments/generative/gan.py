"""GAN: generate digits, or clothes, by a generative adversarial network.

python -m experiments.generative.gan                                     (Fréchet distance 2.64; 2 min on one core)
python -m experiments.generative.gan --dataset=fashion_mnist --data_dir=D --steps=1200 --eval_every=300

The second command brings the Fréchet distance from 11.2 at step 300 to 6.9.
"""

import dataclasses

from dlcore.experiment import Experiment, Setup
from dlcore.generative import dcgan, gan
from dlcore.kits.generative.gan_optimizer import GANAdam
from dlcore.kits.generative.sample_panels import FilmedSamples
from dlcore.main import main
from dlcore.tasks.image_generation import ImageGeneration
from experiments.classification.supervised import experiment as classifier
from experiments.smoke import few_samples


def arguments(setup: Setup) -> dict:
    flags, dtype = setup.flags, setup.dtype
    return {
        "generator": dcgan.Generator(tuple(setup.spec["image_shape"]), **flags.group("generator"), dtype=dtype),
        "discriminator": dcgan.Discriminator(**flags.group("discriminator"), dtype=dtype),
    }


@dataclasses.dataclass(frozen=True)
class FilmedGeneration(FilmedSamples, ImageGeneration):
    """ImageGeneration, with a film of the samples in the report; the last checkpoint is taken."""

    monitor = None


experiment = Experiment(
    __file__,
    __doc__,
    gan.learner,
    task=FilmedGeneration(classifier=classifier),
    optimizer=GANAdam(),
    arguments=arguments,
    modules={"generator": dcgan.Generator, "discriminator": dcgan.Discriminator},
    defaults={
        "generator.width": 24,
        "discriminator.width": 48,
        "steps": 5000,
        "batch_size": 64,
        "ema": 0.999,
        "eval_every": 1000,
        "select": "last",
    },
    smoke={**few_samples(2), "generator.width": 4, "discriminator.width": 8},
)

if __name__ == "__main__":
    main(experiment)
