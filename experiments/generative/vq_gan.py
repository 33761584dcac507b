"""VQGAN: encode digits as few codes, whose reconstructions must look right to a network and real to a discriminator.

python -m experiments.generative.vq_gan                                                 (rFID 1.04; the VQ-VAE 1.62)
python -m experiments.generative.vq_gan --perceptual_weight=0 --adversarial_weight=0                    (the VQ-VAE)
python -m experiments.generative.vq_gan --adversarial_weight=0                              (without a discriminator)
python -m experiments.generative.vq_gan --dataset=photographs --architecture=vqmodel
python -m experiments.generative.vq_gan --dataset=folder --data_dir=D --image_size=64 --vqvae.downsamplings=3 \\
    --vqvae.width=64 --num_codes=512 --perceptual_network=RUN_OR_FOLDER

`frechet_distance` compares reconstructed test images with the test images themselves (rFID), in the features of a small
classifier of the data. The perceptual distance uses another network, by default the VGG of CIFAR-10 that dlcore ships.
The squared error is higher: mse 0.0220, and 0.0186 for the VQ-VAE. Each digit has four codes. The numbers are of one
seed; the last three commands were not run.
"""

import dataclasses
from typing import Annotated, Any

from dlcore.experiment import Experiment, Flags, Setting, Setup, Splits
from dlcore.generative import vq_gan
from dlcore.generative.image_to_image import PatchDiscriminator
from dlcore.kits.generative import image_generation
from dlcore.kits.generative.gan_optimizer import GANAdam
from dlcore.learner import Evaluator
from dlcore.main import main
from dlcore.tasks.discrete_codes import SMOKE, CodeGrids, with_mean_image
from dlcore.weights.network import load_network, open_classifier
from experiments.classification.supervised import experiment as classifier


@dataclasses.dataclass(frozen=True)
class LifelikeCodes(CodeGrids):
    """Images, their grids of codes, and how far reconstructions are from images in a classifier's features.

    Args:
      perceptual_network: network whose features reconstructions must share: a run's folder, a folder of `dlcore
        convert` or a packed .npz; by default the small VGG that dlcore ships
    """

    perceptual_network: Annotated[str | None, "essential"] = None

    monitor = "perceptual"
    headline = "frechet_distance"
    shared_settings = image_generation.SETTINGS

    def settings(self) -> dict[str, Setting]:
        """Collect the flags of the task; `--perceptual_network` says where its weights come from."""
        settings, name = super().settings(), "perceptual_network"

        def origin(flags: Flags):
            source = flags.get(name)
            return None if source is None else open_classifier(source, name)._replace(initializes=False)

        return {**settings, name: settings[name]._replace(origin=origin)}

    def evaluators(self, setup: Setup, splits: Splits, split: str) -> list[Evaluator]:
        return image_generation.reconstruction_evaluators(setup, splits, split, classifier)

    def data(self, flags: Flags) -> Splits:
        return with_mean_image(super().data(flags))

    def arguments(self, setup: Setup) -> dict[str, Any]:
        flags = setup.flags
        channels = setup.spec["image_shape"][-1]
        network = load_network(
            flags.perceptual_network, "perceptual_network", channels=None if channels == 1 else channels
        )
        return {
            **super().arguments(setup),
            "discriminator": PatchDiscriminator(**flags.group("discriminator"), dtype=setup.dtype),
            "network": network.model,
            "variables": network.variables,
            "mean": network.mean,
            "std": network.std,
        }


experiment = Experiment(
    __file__,
    __doc__,
    vq_gan.learner,
    task=LifelikeCodes(),
    optimizer=GANAdam(learning_rate=1e-3),
    modules={**CodeGrids.modules, "discriminator": PatchDiscriminator},
    defaults={
        "vqvae.downsamplings": 2,
        "discriminator.width": 32,
        "discriminator.depth": 1,
        "perceptual_weight": 0.2,
        "adversarial_start": 300,
    },
    smoke={**SMOKE, "discriminator.width": 4, "num_samples": 16, "network_steps": 2, "adversarial_start": 2},
)

if __name__ == "__main__":
    main(experiment)
