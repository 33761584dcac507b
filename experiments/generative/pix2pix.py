"""pix2pix: translate the edges of digits, or of clothes, back into images.

python -m experiments.generative.pix2pix                             (l1 0.038, 3,000 steps)
python -m experiments.generative.pix2pix --adversarial_weight=0      (the L1 loss alone)
python -m experiments.generative.pix2pix --mode=predict --run=RUN --input=FILE_OR_FOLDER --output=images
python -m experiments.generative.pix2pix --dataset=fashion_mnist --data_dir=D --generator.depth=2 \\
    --discriminator.depth=2 --generator.width=32 --steps=3000 --eval_every=1000

`l1` is over held-out images; that of the mean training image is printed before training (0.153 of digits, four times
that of the first command). The test images also have a PSNR and an LPIPS with 95 % intervals, the latter in the
features of the small network that dlcore ships: 24.6 ± 0.2 dB and 0.69 ± 0.04 by the first command, one seed. The
second and the last command were not run.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.generative import pix2pix
from dlcore.generative.image_to_image import PatchDiscriminator, UNetGenerator
from dlcore.kits.generative.gan_optimizer import GANAdam
from dlcore.main import main
from dlcore.tasks.image_pairs import EdgesToImages
from experiments.smoke import few_steps


def arguments(setup: Setup) -> dict:
    flags = setup.flags
    fields = {"channels": setup.spec["image_shape"][-1], "dtype": setup.dtype}
    return {
        "generator": UNetGenerator(**{**flags.group("generator"), **fields}),
        "discriminator": PatchDiscriminator(**flags.group("discriminator"), dtype=setup.dtype),
    }


experiment = Experiment(
    __file__,
    __doc__,
    pix2pix.learner,
    task=EdgesToImages(),
    optimizer=GANAdam(learning_rate=1e-3),
    arguments=arguments,
    modules={"generator": UNetGenerator, "discriminator": PatchDiscriminator},
    external_fields=("generator.channels",),
    defaults={
        "generator.width": 24,
        "generator.depth": 3,
        "discriminator.width": 24,
        "discriminator.depth": 2,
        "steps": 3000,
        "batch_size": 32,
        "eval_every": 500,
    },
    smoke={
        **few_steps(2),
        "generator.width": 4,
        "generator.depth": 2,
        "discriminator.width": 4,
        "discriminator.depth": 1,
    },
)

if __name__ == "__main__":
    main(experiment)
