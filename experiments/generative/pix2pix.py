"""pix2pix: translate the edges of digits, or of clothes, back into images.

python -m experiments.generative.pix2pix                             (l1 0.038, 3,000 steps)
python -m experiments.generative.pix2pix --adversarial_weight=0      (the L1 loss alone)
python -m experiments.generative.pix2pix --mode=predict --run=RUN --input=FILE_OR_FOLDER --output=images
python -m experiments.generative.pix2pix --dataset=fashion_mnist --data_dir=D --generator.depth=2 \\
    --discriminator.depth=2 --generator.width=32 --steps=3000 --eval_every=1000

`l1` is over held-out images; that of the mean training image is printed before training (0.153 of digits, four
times that of the first command). The second and the last command were not run.
"""

from dlcore.experiment import Experiment, Setup
from dlcore.generative import pix2pix
from dlcore.generative.image_to_image import PatchDiscriminator, UNetGenerator
from dlcore.kits.generative import gan_optimizer, image_pairs, image_to_image
from dlcore.main import main


def build(setup: Setup):
    flags = setup.flags
    fields = {"channels": setup.spec["image_shape"][-1], "dtype": setup.dtype}
    return pix2pix.learner(
        generator=UNetGenerator(**{**flags.group("generator"), **fields}),
        discriminator=PatchDiscriminator(**flags.group("discriminator"), dtype=setup.dtype),
        generator_optimizer=gan_optimizer.optimizer(setup),
        discriminator_optimizer=gan_optimizer.optimizer(setup),
        **flags.group("learner"),
    )


experiment = Experiment(
    file=__file__,
    doc=__doc__,
    learner=pix2pix.learner,
    data=image_pairs.edges,
    build=build,
    modules={"generator": UNetGenerator, "discriminator": PatchDiscriminator},
    external_fields=("generator.channels",),
    settings={**image_pairs.EDGES, **gan_optimizer.SETTINGS},
    defaults={
        "generator.width": 24,
        "generator.depth": 3,
        "discriminator.width": 24,
        "discriminator.depth": 2,
        "learning_rate": 1e-3,
        "steps": 3000,
        "batch_size": 32,
        "eval_every": 500,
    },
    smoke={
        "generator.width": 4,
        "generator.depth": 2,
        "discriminator.width": 4,
        "discriminator.depth": 1,
        "steps": 2,
        "batch_size": 8,
        "eval_every": 2,
    },
    monitor="l1",
    monitor_mode="min",
    headline="l1",
    inputs=image_to_image.edge_inputs,
    describe=image_to_image.describe,
    write=image_to_image.write,
    schedule=gan_optimizer.schedule,
    panels=image_to_image.panels,
)

if __name__ == "__main__":
    main(experiment)
