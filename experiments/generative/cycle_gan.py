"""CycleGAN: translate red digits into blue ones and back, without pairs.

python -m experiments.generative.cycle_gan                     (map_l1 0.008, 2,000 steps)
python -m experiments.generative.cycle_gan --pool_size=0       (the discriminators see new fakes alone)
python -m experiments.generative.cycle_gan --mode=predict --run=RUN --input=FILE_OR_FOLDER --output=images
python -m experiments.generative.cycle_gan --mode=predict --run=RUN --input=b:FILE_OR_FOLDER --output=images
python -m experiments.generative.cycle_gan --dataset=folder --data_dir=horse2zebra --image_size=64 \\
    --generator.width=32 --generator.depth=2 --generator.num_blocks=6 --batch_size=1 --learning_rate=2e-4 \\
    --cut_longer --steps=100000

Held-out digits have a true partner, which `map_l1` compares with; `unchanged_l1` is that of images left as they are,
and `cycle_l1` of the way there and back. The first command ends at a `map_l1` of 0.008 on 250 test pairs, where
`unchanged_l1` is 0.363. Their PSNR is 39.2 ± 0.3 dB, and their LPIPS 0.069 ± 0.004 in the features of the small network
that dlcore ships (95 % intervals, one seed). The second and the last command were not run.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.generative import cycle_gan
from dlcore.generative.image_to_image import PatchDiscriminator, ResidualGenerator
from dlcore.kits.generative.gan_optimizer import GANAdam
from dlcore.main import main
from dlcore.tasks.image_pairs import UnpairedImages
from experiments.smoke import few_steps


def arguments(setup: Setup) -> dict:
    flags = setup.flags
    fields = {**flags.group("generator"), "channels": setup.spec["image_shape"][-1], "dtype": setup.dtype}
    discriminator = {**flags.group("discriminator"), "dtype": setup.dtype}
    return {
        "generators": cycle_gan.Both(ResidualGenerator(**fields), ResidualGenerator(**fields)),
        "discriminators": cycle_gan.Both(PatchDiscriminator(**discriminator), PatchDiscriminator(**discriminator)),
    }


experiment = Experiment(
    __file__,
    __doc__,
    cycle_gan.learner,
    task=UnpairedImages(),
    optimizer=GANAdam(learning_rate=1e-3),
    arguments=arguments,
    modules={"generator": ResidualGenerator, "discriminator": PatchDiscriminator},
    external_fields=("generator.channels",),
    defaults={
        "generator.width": 12,
        "generator.depth": 0,
        "generator.num_blocks": 2,
        "generator.norm": False,
        "discriminator.width": 24,
        "discriminator.depth": 2,
        "discriminator.norm": False,
        "steps": 2000,
        "batch_size": 8,
        "eval_every": 500,
        "select": "last",
    },
    smoke={
        **few_steps(2),
        "generator.width": 4,
        "generator.num_blocks": 1,
        "discriminator.width": 4,
        "discriminator.depth": 1,
        "pool_size": 4,
    },
)

if __name__ == "__main__":
    main(experiment)
