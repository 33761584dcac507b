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

from functools import partial

from dlcore.data.images_or_crops import MeanImage
from dlcore.evaluators.image_generation import FinalFrechet
from dlcore.experiment import Experiment, Measure, Steps
from dlcore.generative import vq_gan
from dlcore.generative.image_to_image import PatchDiscriminator
from dlcore.generative.images_or_factors import ImagesOrFactors
from dlcore.generative.shown_reconstructions import Reconstructions
from dlcore.generative.vq_vae import VQVAE
from dlcore.main import main
from dlcore.optim import GANAdam
from dlcore.report.reconstructions import ReconstructImages
from dlcore.weights.perceptual_network import AdversarialCodes
from experiments.classification import supervised
from experiments.smoke import CODES

experiment = Experiment(
    __file__,
    __doc__,
    technique=partial(
        vq_gan.learner,
        num_codes=64,
        perceptual_weight=0.2,
        adversarial_weight=1.0,
        adversarial_start=300,
        loss="hinge",
    ),
    data=ImagesOrFactors("digits", valid_fraction=0.1, labels=False),
    network=AdversarialCodes(
        vqvae=partial(VQVAE, width=32, embedding_dim=16, downsamplings=2, num_res_blocks=1),
        discriminator=partial(PatchDiscriminator, width=32, depth=1),
    ),
    optimizer=GANAdam(learning_rate=1e-3, schedule="linear", momentum=0.5),
    length=Steps(1500, batch_size=64, eval_every=500, select="last"),
    measures=[
        Measure("perceptual", "min", headline="frechet_distance"),
        FinalFrechet(classifier=supervised.experiment, num_samples=1000, outputs="reconstruction"),
        MeanImage(shown=64),
    ],
    report=[Reconstructions()],
    use=ReconstructImages(),
    smoke={**CODES, "discriminator.width": 4, "num_samples": 16, "network_steps": 2, "adversarial_start": 2},
)

if __name__ == "__main__":
    main(experiment)
